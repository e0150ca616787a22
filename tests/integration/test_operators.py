"""What an operator types, against a monitor and a control that run: each command is answered with what came of it."""

from __future__ import annotations

import json
import time

import msgspec
import pytest
from click.testing import CliRunner, Result
from tests.workers import Worker, environment, wait

from driftline.cli.main import cli
from driftline.events.admin import CommandResult
from driftline.events.base import decode
from driftline.events.partitioning import partition_of
from driftline.events.topics import Topic
from driftline.platform import topics
from driftline.platform.declare import apply_spec
from driftline.platform.kafka import read_all, send_all
from driftline.platform.records import Outgoing
from driftline.spec.reader import parse_spec

pytestmark = [pytest.mark.integration, pytest.mark.timeout(280)]

SPEC = """
model: m
task: binary
labels: ["no", "yes"]
positive: "yes"
features: {x: {type: number, range: [0, 10]}}
horizon: 2d
pane: 10s
windows: {hour: {span: 1h}}
"""


@pytest.fixture
def workers(fresh_settings, monkeypatch):
    for name, value in environment(fresh_settings).items():
        monkeypatch.setenv(name, value)
    topics.create(fresh_settings, partitions=2)
    apply_spec(fresh_settings, parse_spec(SPEC, "m.yaml"), "test")
    found = [Worker(fresh_settings, service) for service in ("monitor", "control")]
    yield found
    for worker in found:
        worker.kill()


def driftline(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def listed(*options: str) -> list[dict]:
    return json.loads(driftline("alerts", "list", "--json", *options).stdout)


def predict(settings, name: str, x: float) -> None:
    now = int(time.time() * 1000)
    event = {"id": name, "model": "m", "version": "1", "time": now, "prediction": "no", "features": {"x": x}}
    send_all(settings, [Outgoing(Topic.PREDICTIONS, name.encode(), msgspec.json.encode(event), partition_of(name, 2))])


def answered(settings) -> dict[str, tuple[bool, str]]:
    results = (decode(r.value, CommandResult) for r in read_all(settings, Topic.COMMAND_RESULTS) if r.value)
    return {result.command: (result.accepted, result.reason) for result in results}


def test_alerts_are_taken_on_silenced_and_told_again_and_what_makes_no_sense_is_refused_in_words(
    fresh_settings, workers
):
    predict(fresh_settings, "odd", 99.0)
    wait(lambda: any(not alert["provisional"] for alert in listed()), workers)
    (alert,) = listed()
    assert (alert["rule"], alert["state"], alert["acknowledged"], alert["muted"]) == ("range:x", "firing", None, "")

    taken = driftline("alerts", "ack", alert["id"][:12], "--comment", "a new sensor")
    assert (taken.exit_code, taken.output) == (0, "range:x of m is yours\n")
    (alert,) = listed()
    assert alert["acknowledged"]["comment"] == "a new sensor"
    again = driftline("alerts", "ack", alert["fingerprint"])
    assert str(again.exception) == "refused: no such alert is open and waits for somebody"

    silenced = driftline("alerts", "silence", "m", "--rule", "range:x", "--lasts", "1h", "--json")
    name = json.loads(silenced.stdout)["command"]
    (alert,) = listed()
    assert alert["muted"] == f"silenced by {name}"
    assert driftline("alerts", "unsilence", "m", name).output == "ended\n"
    (alert,) = listed()
    assert alert["muted"] == ""
    assert len(listed("--history")) >= 4

    assert "only a call for manual intervention" in str(driftline("alerts", "close", alert["id"]).exception)
    assert "there is no such alert" in str(driftline("alerts", "ack", "nothing").exception)
    assert "'soon' is no duration" in str(driftline("alerts", "silence", "m", "--lasts", "soon").exception)
    assert "m has no version to go back to" in str(driftline("models", "rollback", "m", "--yes").exception)
    assert "m has no champion" in str(driftline("models", "show", "m").exception)
    for action in ("promote", "reject"):
        refused = driftline("models", action, "m", "--verdict", "v")
        assert str(refused.exception) == "refused: no candidate waits for a decision"
    for command in (("retrain", "m"), ("cases", "retrain", "m")):
        assert str(driftline(*command).exception) == "refused: the-spec-declares-no-retrain"
    assert "there is no such case" in str(driftline("cases", "close", "nothing").exception)

    results = answered(fresh_settings)
    assert len(results) == 9
    assert sum(accepted for accepted, _ in results.values()) == 3
    verified = driftline("trace", "verify", "m")
    assert verified.exit_code == 0, verified.output
