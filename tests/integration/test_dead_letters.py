"""Dead letters on a real Kafka: sent to a monitor that does not know their model, and put back when it does."""

from __future__ import annotations

import json

import msgspec
import pytest
from tests.integration.test_standing_still import SPEC, Monitor, counted, driftline, predict

from driftline.events.slices import KIND_HEADER, Slice
from driftline.events.topics import Topic
from driftline.platform import topics
from driftline.platform.declare import apply_spec
from driftline.platform.kafka import read_all, send_all
from driftline.platform.letters import REPLAYED_HEADER
from driftline.platform.records import Outgoing
from driftline.spec.reader import parse_spec

pytestmark = [pytest.mark.integration, pytest.mark.timeout(280)]


@pytest.fixture
def monitor(fresh_settings):
    topics.create(fresh_settings, partitions=2)
    one = Monitor(fresh_settings)
    yield one
    one.stop()


def letters(settings) -> list[dict[str, bytes]]:
    """Headers of the dead letters, marks aside."""
    return [dict(r.headers) for r in read_all(settings, Topic.DEAD_LETTERS) if r.value]


def duplicates(settings) -> int:
    records = [r for r in read_all(settings, Topic.SLICES) if r.header(KIND_HEADER) == "slice"]
    slices = {(p.partition, p.slice): p for r in records for p in [msgspec.json.decode(r.value, type=Slice)]}
    return sum(s.counters.get("m", {}).get("duplicates", 0) for s in slices.values())


def test_unknown_models_are_put_back_once_their_spec_is_applied_and_no_record_twice(monitor, monkeypatch):
    settings = monitor.settings
    for partition in (0, 1):
        predict(settings, partition, range(30))
    traced = {"id": "t", "model": "m", "version": "1", "time": 1, "prediction": "no", "features": {"x": 1}}
    headers = (("traceparent", b"00-1"),)
    send_all(settings, [Outgoing(Topic.PREDICTIONS, b"t", msgspec.json.encode(traced), 0, headers)])
    send_all(settings, [Outgoing(Topic.PREDICTIONS, b"bad", b"{", 1), Outgoing(Topic.OUTCOMES, None, b"[]", 0)])
    monitor.until(lambda: len(letters(settings)) == 63)

    told = json.loads(driftline(settings, monkeypatch, "dead-letters", "list", "--json", "--limit", "5").stdout)
    assert (told["found"], len(told["letters"])) == (63, 5)
    assert told["by_reason"] == {"unknown-model": 61, "not-json": 1, "not-an-event": 1}
    few = driftline(settings, monkeypatch, "dead-letters", "list", "--reason", "not-json")
    assert "predictions-1 at 30" in few.stdout
    assert few.stdout.splitlines()[-1] == "1 dead letters: 1 not-json"

    chosen = ("--reason", "unknown-model", "--model", "m")
    for arguments, said in (
        (("--since", "1h"), "say which: --reason, --model, or --all"),
        (chosen, "nothing was done: there is nobody to ask; say --yes"),
    ):
        assert said in str(driftline(settings, monkeypatch, "dead-letters", "replay", *arguments).exception)
    dry = driftline(settings, monkeypatch, "dead-letters", "replay", *chosen, "--dry-run", "--json")
    assert json.loads(dry.stdout) == {"found": 61, "to_replay": 61, "replayed": 0}
    assert len(list(read_all(settings, Topic.DEAD_LETTERS))) == 63

    # before the spec is applied they fail again, and are still remembered as the same
    early = driftline(settings, monkeypatch, "dead-letters", "replay", *chosen, "--yes", "--json")
    assert json.loads(early.stdout) == {"found": 61, "to_replay": 61, "replayed": 61}
    monitor.until(lambda: len(letters(settings)) == 63 + 61)
    nothing = driftline(settings, monkeypatch, "dead-letters", "replay", *chosen, "--yes")
    assert nothing.stdout == "nothing to put back\n"

    apply_spec(settings, parse_spec(SPEC, "m.yaml"), "test")
    again = driftline(settings, monkeypatch, "dead-letters", "replay", *chosen, "--again", "--yes", "--json")
    assert json.loads(again.stdout) == {"found": 122, "to_replay": 61, "replayed": 61}
    monitor.until(lambda: counted(settings, 0) + counted(settings, 1) == 60)
    monitor.until(lambda: len(letters(settings)) == 63 + 61 + 1)  # the traced one is of 1970
    last = letters(settings)[-1]
    assert (last["driftline.reason"], last["driftline.key"], last["traceparent"]) == (b"too-old", b"t", b"00-1")
    assert last[REPLAYED_HEADER].startswith(b"predictions/0/")
    assert duplicates(settings) == 0

    once_more = driftline(settings, monkeypatch, "dead-letters", "replay", "--model", "m", "--again", "--yes", "--json")
    assert json.loads(once_more.stdout)["replayed"] == 61
    monitor.until(lambda: duplicates(settings) == 60)
    assert counted(settings, 0) + counted(settings, 1) == 60
