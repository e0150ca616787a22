"""The monitor's engine in memory: records in, slices out, and the figures out of their panes."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.answers import Answer
from benchmarks.measure import Spent, Stopwatch
from benchmarks.watched import MemoryCatalog
from benchmarks.workload import START_MS
from driftline.core.metrics import compute
from driftline.core.pane import Layout, Pane, Totals
from driftline.events.base import Millis, decode
from driftline.events.slices import Slice
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


@dataclass(frozen=True)
class Run:
    """One run of the engine: `steps` from records to slices, `figures` from slices to metrics."""

    steps: Spent
    figures: Spent
    answer: Answer

    @property
    def whole(self) -> Spent:
        """Both."""
        return Spent(self.steps.events, self.steps.wall_s + self.figures.wall_s, self.steps.cpu_s + self.figures.cpu_s)


def run(catalog: MemoryCatalog, marks: Sequence[str], some: Sequence[Batch]) -> Run:
    """Everything of one model from records to its metrics."""
    work = new_work(catalog)
    slice_ms = round(catalog.deployment.slice.total_seconds() * 1000)
    asyncio.run(feed(work, [first_batch(marks, slice_ms)]))
    events = sum(batch.events for batch in some)
    watch = Stopwatch()
    out = asyncio.run(feed(work, some))
    steps = watch.spent(events)
    watch = Stopwatch()
    answer = answer_of(catalog, out)
    return Run(steps, watch.spent(events), answer)


def answer_of(catalog: MemoryCatalog, out: Sequence[Outgoing]) -> Answer:
    """The figures out of all panes of the one model, whose bins are its baseline's."""
    dead = sum(record.topic is Topic.DEAD_LETTERS for record in out)
    assert not dead, f"{dead} records of the workload became dead letters"
    slices = slices_in(out)
    (baseline,) = catalog.baselines.values()
    panes = [
        Pane.of(np.array(delta.cells), np.array(delta.counts), delta.sums) for each in slices for delta in each.panes
    ]
    totals = Totals.of(Layout(baseline.bins), panes)
    values = {name: compute(totals, name).value or 0.0 for name in ("accuracy", "f1", "auc", "log_loss")}
    breaches = sum(breach.n for each in slices for breach in each.breaches)
    return Answer(totals.n, totals.labelled, breaches, **values)


def slices_in(out: Sequence[Outgoing]) -> list[Slice]:
    """The slices among what a monitor writes."""
    return [
        decode(record.value or b"", Slice)
        for record in out
        if record.topic is Topic.SLICES and dict(record.headers).get("driftline-kind") == b"slice"
    ]


def _arrival(record: Record) -> Millis:
    return record.arrival
