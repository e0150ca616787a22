"""Feeding the monitor's work as the loop does, without Kafka: batches of records in, what it would write out."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.watched import MemoryCatalog
from benchmarks.workload import START_MS
from driftline.events.base import Millis
from driftline.events.topics import MARK_HEADER, Topic
from driftline.monitor.work import MonitorWork
from driftline.platform.changes import Changes
from driftline.platform.records import Outgoing, Record, Source

PREDICTIONS, OUTCOMES = Source(Topic.PREDICTIONS, 0), Source(Topic.OUTCOMES, 0)


@dataclass(frozen=True)
class Batch:
    """All records that arrive before `end`, and after the batch before it: one step of the engine."""

    predictions: list[Record]
    outcomes: list[Record]
    end: Millis

    @property
    def events(self) -> int:
        """Records in it."""
        return len(self.predictions) + len(self.outcomes)


def new_work(catalog: MemoryCatalog) -> MonitorWork:
    """The monitor's work on partition 0, without a worker around it."""
    return MonitorWork(catalog, 0, lambda *_: None)


def mark_records(marks: Sequence[str], at: Millis) -> list[Record]:
    """Marks as they stand in `predictions`, all at one instant."""
    return [
        Record(PREDICTIONS, offset, at, at, None, b"", ((MARK_HEADER, text.encode()),))
        for offset, text in enumerate(marks)
    ]


def first_batch(marks: Sequence[str], slice_ms: Millis) -> Batch:
    """The marks alone, in the slice before the first event's."""
    return Batch(mark_records(marks, START_MS - slice_ms), [], START_MS)


def batches(predictions: Sequence[Record], outcomes: Sequence[Record], length_ms: Millis) -> list[Batch]:
    """Records cut at multiples of `length_ms`."""
    found = []
    ends = [records[-1].arrival for records in (predictions, outcomes) if records]
    p = o = 0
    for end in range(START_MS + length_ms, max(ends) + length_ms + 1, length_ms):
        next_p = bisect_left(predictions, end, key=_arrival)
        next_o = bisect_left(outcomes, end, key=_arrival)
        found.append(Batch(list(predictions[p:next_p]), list(outcomes[o:next_o]), end))
        p, o = next_p, next_o
    return found


async def feed(
    work: MonitorWork, some: Sequence[Batch], stored: Callable[[Changes], None] | None = None
) -> list[Outgoing]:
    """Each batch through cut, prepare and step, as the loop does it; what the loop would write to Kafka."""
    out: list[Outgoing] = []
    for batch in some:
        waiting = {PREDICTIONS: deque(batch.predictions), OUTCOMES: deque(batch.outcomes)}
        reached = {PREDICTIONS: batch.end, OUTCOMES: batch.end}
        counts = work.cut(waiting, reached)
        assert counts == {PREDICTIONS: len(batch.predictions), OUTCOMES: len(batch.outcomes)}, "a batch is whole slices"
        taken = {PREDICTIONS: batch.predictions, OUTCOMES: batch.outcomes}
        await work.prepare(taken)
        step = work.step(taken, reached)
        out += step.outbox
        if stored is not None:
            stored(step.changes)
    return out


def _arrival(record: Record) -> Millis:
    return record.arrival
