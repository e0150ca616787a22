"""A monitor that finds a gap, as an operator meets it: real Kafka, real Redis, its own process, the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable

import msgspec
import pytest
from click.testing import CliRunner, Result
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from driftline.cli.main import cli
from driftline.events.slices import KIND_HEADER, Gap, Notice, NoticeKind, Slice
from driftline.events.topics import Topic
from driftline.platform import retention, topics
from driftline.platform.declare import apply_spec
from driftline.platform.heartbeat import read_heartbeats
from driftline.platform.kafka import read_all, send_all
from driftline.platform.records import Outgoing
from driftline.platform.units import states
from driftline.spec.reader import parse_spec

pytestmark = [pytest.mark.integration, pytest.mark.timeout(280)]

SPEC = """
model: m
task: binary
labels: ["no", "yes"]
positive: "yes"
features: {x: {type: number}}
horizon: 2d
pane: 10s
windows: {hour: {span: 1h}}
"""


def environment(settings) -> dict[str, str]:
    return os.environ | {
        "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
        "DRIFTLINE_REDIS_URL": settings.redis_url,
        "DRIFTLINE_PREFIX": settings.prefix,
        "DRIFTLINE_STATE_DIR": str(settings.state_dir),
    }


class Monitor:
    """The service in a process of its own."""

    def __init__(self, settings) -> None:
        self.settings = settings
        self.start()

    def start(self) -> None:
        with (self.settings.state_dir / "monitor.log").open("ab") as log:
            command = [sys.executable, "-m", "driftline.monitor.main"]
            self.process = subprocess.Popen(command, env=environment(self.settings), stdout=log, stderr=log)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0

    def log(self) -> str:
        return (self.settings.state_dir / "monitor.log").read_text()

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert self.process.poll() is None, f"the monitor has ended: {self.log()[-2000:]}"
            assert time.monotonic() < deadline, self.log()[-2000:]
            time.sleep(0.1)


@pytest.fixture
def monitor(fresh_settings):
    topics.create(fresh_settings, partitions=2)
    apply_spec(fresh_settings, parse_spec(SPEC, "m.yaml"), "test")
    one = Monitor(fresh_settings)
    yield one
    if one.process.poll() is None:
        one.stop()


def driftline(settings, monkeypatch, *arguments: str) -> Result:
    """A command, with nobody at the terminal; what it raises is what `main` would print."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    return CliRunner().invoke(cli, arguments)


def predict(settings, partition: int, names: range) -> list[int]:
    """Send predictions; returns their offsets."""
    now = int(time.time() * 1000)
    events = [
        {"id": f"{partition}-{n}", "model": "m", "version": "1", "time": now, "prediction": "no", "features": {"x": 1}}
        for n in names
    ]
    records = [Outgoing(Topic.PREDICTIONS, e["id"].encode(), msgspec.json.encode(e), partition) for e in events]
    return [offset for _, offset in send_all(settings, records)]


def offset_of(settings, partition: int) -> int:
    """How far the monitor has taken predictions of a partition."""
    state = states(settings)[partition]
    return state.position.sources[f"predictions/{partition}"][0] if state.position else 0


def counted(settings, partition: int) -> int:
    """Predictions in the slices of a partition; cell 0 of a pane counts them."""
    found = {}
    for record in read_all(settings, Topic.SLICES):
        if record.source.partition == partition and record.header(KIND_HEADER) == "slice":
            part = msgspec.json.decode(record.value, type=Slice)
            found[part.slice] = sum(dict(zip(p.cells, p.counts, strict=True)).get(0, 0) for p in part.panes)
    return sum(found.values())


def notices(settings) -> list[Notice]:
    return [
        msgspec.json.decode(record.value, type=Notice)
        for record in read_all(settings, Topic.SLICES)
        if record.header(KIND_HEADER) == "notice"
    ]


def scrape(settings) -> str:
    (beat,) = read_heartbeats(settings)
    with urllib.request.urlopen(f"http://{beat.vitals.metrics}/metrics") as answer:
        return answer.read().decode()


def test_a_gap_is_told_counted_and_accepted_by_an_operator_and_the_other_partition_goes_on(
    monitor, servers, monkeypatch
):
    settings = monitor.settings
    first = [predict(settings, partition, range(50)) for partition in (0, 1)]
    monitor.until(lambda: all(offset_of(settings, p) > first[p][-1] for p in (0, 1)))
    monitor.stop()
    stood = offset_of(settings, 0)
    lost = predict(settings, 0, range(50, 80))
    predict(settings, 0, range(80, 90))
    admin = KafkaAdminClient(bootstrap_servers=servers.bootstrap)
    place = TopicPartition(settings.topic(Topic.PREDICTIONS), 0)
    admin.delete_records({place: lost[-1] + 1})
    admin.close()
    gap = Gap(topic="predictions", first=stood, last=lost[-1])

    monitor.start()
    monitor.until(lambda: states(settings)[0].stop is not None)
    assert [(n.kind, n.partition, n.gap) for n in notices(settings)] == [(NoticeKind.GAP, 0, gap)]
    more = predict(settings, 1, range(50, 60))
    monitor.until(lambda: offset_of(settings, 1) > more[-1])
    assert offset_of(settings, 0) == stood
    monitor.until(lambda: bool(read_heartbeats(settings)[0].vitals.stopped))
    told = json.loads(driftline(settings, monkeypatch, "status", "--json").stdout)
    (worker,) = [w for w in told["workers"] if w["service"] == "monitor"]
    assert (worker["progress"], list(worker["stopped"])) == ("standing still", ["monitor:0"])
    assert any("`driftline partitions accept-gap monitor 0`" in problem for problem in told["problems"])
    assert 'driftline_unit_stopped{unit="monitor:0"} 1.0' in scrape(settings)

    refused = driftline(settings, monkeypatch, "partitions", "resume", "monitor", "0")
    assert "what mends it is `driftline partitions accept-gap monitor 0`" in str(refused.exception)
    unasked = driftline(settings, monkeypatch, "partitions", "accept-gap", "monitor", "0")
    assert "there is nobody to ask; say --yes" in str(unasked.exception)
    missing = lost[-1] + 1 - stood
    assert f"predictions-0: {missing} records, offsets {stood} to {lost[-1]}" in unasked.stderr
    assert states(settings)[0].released is False

    accepted = driftline(settings, monkeypatch, "partitions", "accept-gap", "monitor", "0", "--yes", "--json")
    assert accepted.exit_code == 0, accepted.output
    answer = json.loads(accepted.stdout)
    assert (answer["unit"], answer["goes_on"]) == ("monitor:0", True)
    assert [(part["first"], part["last"], part["records"]) for part in answer["lost"]] == [(stood, lost[-1], missing)]
    last = predict(settings, 0, range(90, 95))
    monitor.until(lambda: offset_of(settings, 0) > last[-1])
    monitor.until(lambda: counted(settings, 0) == 50 + 10 + 5)
    assert counted(settings, 1) == 60
    assert [(n.kind, n.gap) for n in notices(settings)] == [(NoticeKind.GAP, gap), (NoticeKind.RESUMED, gap)]
    listed = json.loads(driftline(settings, monkeypatch, "partitions", "list", "--json").stdout)
    assert [(u["unit"], u["stop"], u["missing"]) for u in listed] == [
        ("monitor:0", None, {"predictions/0": missing}),
        ("monitor:1", None, {}),
        ("control:0", None, {}),
    ]
    nothing = driftline(settings, monkeypatch, "partitions", "accept-gap", "monitor", "0", "--yes")
    assert "monitor:0 does not stand still" in str(nothing.exception)
    figures = scrape(settings)
    assert f'driftline_missing_records_total{{source="predictions/0",unit="monitor:0"}} {missing}.0' in figures
    assert 'driftline_kept_predictions{unit="monitor:1"} 60.0' in figures
    assert "driftline_step_seconds_count" in figures
    assert "process_resident_memory_bytes" in figures


def test_retention_shorter_than_two_horizons_is_warned_of_beforehand(deployment, servers, monkeypatch):
    settings = deployment
    apply_spec(settings, parse_spec(SPEC, "m.yaml"), "test")
    assert retention.warnings(settings) == []
    admin = KafkaAdminClient(bootstrap_servers=servers.bootstrap)
    name = settings.topic(Topic.OUTCOMES)
    configs = {
        "retention.ms": str(3 * 86_400_000),
        "message.timestamp.type": "LogAppendTime",
        "retention.bytes": "1000",
    }
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=configs)])
    admin.close()
    checked = driftline(settings, monkeypatch, "topics", "check")
    assert (checked.exit_code, checked.stdout) == (0, "all topics are as they should be, but for the warnings\n")
    short, bytes_too = checked.stderr.splitlines()
    assert short.startswith(f"warning: topic {name} keeps records for 3d, less than two horizons of m (4d): ")
    assert f"--entity-name {name} --add-config retention.ms=345600000` keeps them" in short
    assert bytes_too.startswith(f"warning: topic {name} is also limited to 1000 bytes a partition")
    found = json.loads(driftline(settings, monkeypatch, "topics", "check", "--json").stdout)
    assert (found["problems"], len(found["warnings"])) == ([], 2)
