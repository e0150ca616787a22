"""Putting a spec into force, without Kafka: killed between two records, and two authors at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from tests.specs import bare_spec

from driftline.errors import DriftlineError
from driftline.events.admin import Deployment, Placed, SpecRevision, decode_specs_record
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform import declare
from driftline.platform.records import Record, Source

PARTITIONS = 3
DEPLOYMENT = Deployment(
    id="d", clock="events", slice=timedelta(seconds=1), max_stall=timedelta(minutes=1), partitions=PARTITIONS, shards=1
)
ONE = bare_spec()
TWO = msgspec.structs.replace(ONE, horizon=ONE.horizon + timedelta(hours=1))
THREE = msgspec.structs.replace(ONE, horizon=ONE.horizon + timedelta(hours=2))


class Killed(BaseException):
    """The process is gone."""


class Logs:
    """Topics in memory. `left`: how many more records are taken before the writer is killed. `meanwhile`: what somebody
    else does `before` or `after` the next record is taken.
    """

    def __init__(self) -> None:
        self.records: dict[Source, list[Record]] = {}
        self.left = 1_000
        self.meanwhile: dict[str, Callable[[], object]] = {}

    def send_all(self, _, records):
        placed = []
        for record in records:
            self.meanwhile.pop("before", int)()
            if not self.left:
                raise Killed
            self.left -= 1
            log = self.records.setdefault(Source(record.topic, record.partition), [])
            placed.append((record.partition, len(log)))
            log.append(
                Record(Source(record.topic, record.partition), len(log), 0, 0, record.key, record.value, record.headers)
            )
            self.meanwhile.pop("after", int)()
        return placed

    def read_all(self, _, topic, since=None):
        assert since is None, "a replay's marks are stamped 0"
        return [record for source, log in self.records.items() if source.topic is topic for record in log]

    def marks(self) -> list[tuple[int, str]]:
        """Partition and text of every mark."""
        return [(r.source.partition, r.header(MARK_HEADER)) for r in self.read_all(None, Topic.PREDICTIONS)]

    def specs(self, kind):
        """What stands in topic `specs`."""
        found = (decode_specs_record(record.value) for record in self.read_all(None, Topic.SPECS))
        return [event for event in found if isinstance(event, kind)]


@pytest.fixture
def logs(monkeypatch):
    found = Logs()
    monkeypatch.setattr(declare, "send_all", found.send_all)
    monkeypatch.setattr(declare, "read_all", found.read_all)
    monkeypatch.setattr(declare, "read_deployment", lambda _: DEPLOYMENT)
    return found


def test_a_spec_is_written_then_marked_then_told_to_be_placed_and_left_alone_afterwards(logs):
    assert declare.apply_spec(None, ONE, "ada") == (1, True)
    assert logs.marks() == [(i, f"spec {ONE.model}@1") for i in range(PARTITIONS)]
    (placed,) = logs.specs(Placed)
    assert placed.offsets == dict.fromkeys(range(PARTITIONS), 0)
    assert declare.apply_spec(None, ONE, "ada") == (1, False)
    assert (len(logs.marks()), len(logs.specs(SpecRevision))) == (PARTITIONS, 1)
    assert declare.apply_spec(None, TWO, "ada") == (2, True)


@pytest.mark.parametrize("taken", range(PARTITIONS + 2))
def test_who_is_killed_at_any_record_is_completed_by_the_next_apply(logs, taken):
    logs.left = taken
    with pytest.raises(Killed):
        declare.apply_spec(None, ONE, "ada")
    logs.left = 1_000
    assert declare.apply_spec(None, ONE, "bob") == (1, True)
    assert sorted(logs.marks()) == [(i, f"spec {ONE.model}@1") for i in range(PARTITIONS)]
    (placed,) = logs.specs(Placed)
    assert placed.offsets == dict.fromkeys(range(PARTITIONS), 0)
    assert declare.apply_spec(None, ONE, "bob") == (1, False)


def both_at_once(logs, mine, other, when="before") -> tuple[int, bool]:
    """Ada applies `mine`; just before or after her revision is taken, Bob applies `other`."""
    logs.meanwhile[when] = lambda: declare.apply_spec(None, other, "bob")
    return declare.apply_spec(None, mine, "ada")


def authors() -> list[tuple[int, str]]:
    return [(event.revision, event.author) for event in declare.spec_revisions(None, ONE.model)]


def test_of_two_who_take_one_number_the_second_takes_the_next(logs):
    declare.apply_spec(None, ONE, "ada")
    assert both_at_once(logs, TWO, THREE) == (3, True)
    assert authors() == [(1, "ada"), (2, "bob"), (3, "ada")]
    assert declare.latest_spec(None, ONE.model) == (3, TWO)
    assert [text for _, text in logs.marks()] == [f"spec {ONE.model}@{n}" for _ in range(PARTITIONS) for n in (1, 2, 3)]


def test_who_was_first_keeps_the_number_though_another_has_taken_the_next_one_since(logs):
    declare.apply_spec(None, ONE, "ada")
    assert both_at_once(logs, TWO, THREE, "after") == (2, True)
    assert authors() == [(1, "ada"), (2, "ada"), (3, "bob")]


def test_two_who_apply_the_same_have_one_revision(logs):
    declare.apply_spec(None, ONE, "ada")
    assert both_at_once(logs, TWO, TWO) == (2, False)
    assert declare.latest_spec(None, ONE.model) == (2, TWO)
    assert len(logs.marks()) == 2 * PARTITIONS


def test_the_second_of_two_is_refused_what_the_first_has_settled_for_good(logs):
    with pytest.raises(DriftlineError, match="`pane` of m cannot change"):
        both_at_once(logs, msgspec.structs.replace(ONE, pane=ONE.pane * 2), ONE)
    assert declare.latest_spec(None, ONE.model) == (1, ONE)
