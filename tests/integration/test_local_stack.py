"""The local stack with real servers of its own: kills lose nothing, and an end leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from driftline.errors import DeploymentError
from driftline.events.base import encode
from driftline.events.inputs import Prediction
from driftline.events.topics import Topic
from driftline.platform import topics
from driftline.platform.kafka import read_all, send_all
from driftline.platform.local import stack as stack_module
from driftline.platform.local.stack import WORKERS, LocalStack, leftovers
from driftline.platform.records import Outgoing
from driftline.platform.settings import LocalServers, Settings

pytestmark = pytest.mark.integration

SERVERS = ("DRIFTLINE_BOOTSTRAP", "DRIFTLINE_REDIS_URL")
DEADLINE_S = 60.0
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state directory whose path has a space, as people's have; whatever happens, nothing stays behind."""
    for name in SERVERS:
        monkeypatch.delenv(name, raising=False)
    directory = tmp_path / "my state"
    yield directory
    LocalStack(directory).stop()


def driftline(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "driftline.cli.main", *arguments],
        env={**os.environ, "DRIFTLINE_STATE_DIR": str(state)},
        capture_output=True,
        text=True,
        check=False,
    )


def python(state: Path, program: str) -> str:
    """What a program of the user prints."""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "DRIFTLINE_STATE_DIR": str(state)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def up(state: Path, *arguments: str) -> subprocess.Popen[str]:
    """`driftline up` as a shell starts it: in a process group of its own, which Ctrl-C reaches as a whole."""
    return subprocess.Popen(
        [sys.executable, "-m", "driftline.cli.main", "up", *arguments],
        env={**os.environ, "DRIFTLINE_STATE_DIR": str(state), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=hears_ctrl_c,
    )


def hears_ctrl_c() -> None:
    """A shell that starts the tests in the background lets them, and so what they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until(holds: Callable[[], Any], logs: LocalStack | None = None) -> Any:
    """What `holds` returns once it is true; where that does not come about, the ends of the servers' logs are told."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := holds()):
        if time.monotonic() > deadline:
            pytest.fail(
                "\n".join(["it did not come about", *(logs._tail(name) for name in ("kafka", "redis") if logs)])
            )
        time.sleep(0.05)
    return found


def ports(state: Path) -> list[int]:
    return [int(port) for path in state.glob("*.ports") for port in path.read_text().split()]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def assert_nothing_is_left(state: Path) -> None:
    assert leftovers(state) == []
    assert not any(is_open(port) for port in ports(state))
    assert not (state / "servers.json").exists()


def seen_from(state: Path, servers: LocalServers) -> Settings:
    return Settings(
        bootstrap=servers.bootstrap,
        redis_url=servers.redis_url,
        prefix="driftline.",
        state_dir=state,
        archive_dir=state / "archive",
        artifact_dir=state / "artifacts",
    )


def predictions(count: int) -> list[Outgoing]:
    now = int(time.time() * 1000)
    return [
        Outgoing(
            Topic.PREDICTIONS,
            f"p{n}".encode(),
            encode(Prediction(id=f"p{n}", model="m", version="1", time=now, prediction="late", score=0.5)),
            n % 4,
        )
        for n in range(count)
    ]


def test_killed_servers_come_back_with_their_data(state):
    stack = LocalStack(state, brief=True)
    settings = seen_from(state, stack.start())
    topics.create(settings)
    send_all(settings, predictions(100))
    with redis.Redis.from_url(settings.redis_url) as client:
        client.mset({f"key{n}": n for n in range(100)})

    killed = {name: stack.pid(name) for name in ("kafka", "redis")}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: {p["name"] for p in stack.processes() if p["pid"] not in (0, killed.get(p["name"]))} >= {*killed}, stack
    )
    wait_until(lambda: stack_module.redis_answers(settings.redis_url), stack)
    wait_until(lambda: stack_module._kafka_answers(settings.bootstrap), stack)

    assert {record.key for record in read_all(settings, Topic.PREDICTIONS)} == {f"p{n}".encode() for n in range(100)}
    assert topics.check(settings) == []
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
        assert client.mget([f"key{n}" for n in range(100)]) == [str(n) for n in range(100)]

    first = stack.addresses()
    stack.stop()
    assert_nothing_is_left(state)
    assert stack.start() == first
    assert len(list(read_all(settings, Topic.PREDICTIONS))) == 100


def in_readme(language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    return [text for of, text in blocks if of == language]


def test_the_readme_s_first_prediction_raises_the_alert_that_it_shows_and_down_leaves_nothing(state):
    """From `driftline up` on, each step at once after the other, as a reader types them."""
    started = up(state)
    output, _ = started.communicate(timeout=2 * DEADLINE_S)
    assert started.returncode == 0, output
    stack = LocalStack(state)
    settings = seen_from(state, stack.addresses())

    def told(progress: str, *services: str) -> dict[str, Any] | None:
        answer = json.loads(driftline(state, "status", "--json").stdout)
        by_service = {worker["service"]: worker for worker in answer["workers"]}
        assert set(by_service) == set(WORKERS)
        return answer if all(by_service[service]["progress"] == progress for service in services) else None

    assert told("ok", *WORKERS) is not None
    (spec,), (send, listen), shown = in_readme("yaml"), in_readme("python"), in_readme("")
    (state / "monitor.yaml").write_text(spec)
    assert driftline(state, "apply", str(state / "monitor.yaml")).stdout == "flight-delay@1 is in force\n"
    assert python(state, send) == ""
    assert python(state, listen) in shown
    send_all(settings, predictions(40))

    # nobody has declared their model: that they became dead letters is the proof that they were taken
    wait_until(lambda: len(list(read_all(settings, Topic.DEAD_LETTERS))) == 40)

    def monitor_told() -> dict[str, Any]:
        answer = told("ok", "monitor")
        assert answer is not None
        return next(worker for worker in answer["workers"] if worker["service"] == "monitor")

    monitor = monitor_told()
    assert (monitor["process"], monitor["pid"]) == ("running", stack.pid("monitor"))
    assert abs(time.time() * 1000 - monitor["last_event"]) < DEADLINE_S * 1000
    wait_until(lambda: monitor_told()["decision_time"] > monitor["decision_time"])

    os.kill(stack.pid("monitor"), signal.SIGKILL)
    wait_until(lambda: any(p["name"] == "monitor" and p["pid"] not in (0, monitor["pid"]) for p in stack.processes()))
    stack._supervisor.stop("gate")
    assert told("stopped", "gate")["problems"] == ["gate: stopped; see `driftline logs gate`"]

    ended = driftline(state, "down")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert_nothing_is_left(state)
    after = driftline(state, "status")
    assert after.returncode == 1
    assert after.stderr.startswith("driftline: no servers known: start them with `driftline up`")
    assert driftline(state, "down").returncode == 0


def interrupt(process: subprocess.Popen[str]) -> str:
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=DEADLINE_S)
    return output


def test_ctrl_c_while_the_servers_start_leaves_nothing(state):
    process = up(state)
    wait_until(lambda: any(is_open(port) for port in ports(state)))
    output = interrupt(process)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert_nothing_is_left(state)


def test_ctrl_c_in_the_foreground_stops_everything(state):
    process = up(state, "--servers-only", "--foreground")
    assert process.stdout is not None
    assert any("running; Ctrl-C stops everything" in line for line in iter(process.stdout.readline, ""))
    assert all(is_open(port) for port in ports(state))
    output = interrupt(process)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert_nothing_is_left(state)


def test_a_polite_end_of_the_foreground_leaves_nothing_either(state, servers, monkeypatch):
    monkeypatch.setenv("DRIFTLINE_BOOTSTRAP", servers.bootstrap)
    process = up(state, "--servers-only", "--foreground")
    assert process.stdout is not None
    assert any("running" in line for line in iter(process.stdout.readline, ""))
    process.terminate()
    process.communicate(timeout=DEADLINE_S)
    assert_nothing_is_left(state)


def test_two_state_directories_run_at_once_each_with_its_own_redis(state, servers, monkeypatch, tmp_path):
    monkeypatch.setenv("DRIFTLINE_BOOTSTRAP", servers.bootstrap)
    one, other = LocalStack(state), LocalStack(tmp_path / "other")
    try:
        addresses = [stack.start() for stack in (one, other)]
        assert [each.bootstrap for each in addresses] == [servers.bootstrap] * 2
        clients = [redis.Redis.from_url(each.redis_url, decode_responses=True) for each in addresses]
        for name, client in zip("ab", clients, strict=True):
            client.set("who", name)
        assert [client.get("who") for client in clients] == ["a", "b"]
        one.stop()
        assert clients[1].get("who") == "b"
    finally:
        other.stop()


def test_a_port_that_somebody_else_has_taken_is_not_used(state, servers, monkeypatch):
    monkeypatch.setenv("DRIFTLINE_BOOTSTRAP", servers.bootstrap)
    state.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (state / "redis.ports").write_text(str(port))
        stack = LocalStack(state)
        assert stack.start().redis_url != f"redis://127.0.0.1:{port}/0"
        stack.stop()


def test_a_port_taken_at_the_last_moment_is_told_with_the_log_and_nothing_stays(state, servers, monkeypatch):
    monkeypatch.setenv("DRIFTLINE_BOOTSTRAP", servers.bootstrap)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(stack_module, "free_port", lambda: taken.getsockname()[1])
        monkeypatch.setattr(stack_module, "redis_answers", lambda url: False)
        with pytest.raises(DeploymentError, match=r"(?s)redis did not start; the end of .*redis\.log:.*in use"):
            LocalStack(state).start()
    assert leftovers(state) == []
    assert not (state / "servers.json").exists()


def test_what_a_killed_supervisor_left_is_ended_by_the_next_start(state, servers, monkeypatch):
    monkeypatch.setenv("DRIFTLINE_BOOTSTRAP", servers.bootstrap)
    stack = LocalStack(state)
    addresses = stack.start()
    orphan = stack.pid("redis")
    os.kill(int((state / "supervisord.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: leftovers(state) == [orphan])
    assert stack.start() == addresses
    assert orphan not in leftovers(state)
