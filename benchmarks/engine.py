"""The monitor's engine in memory: records in, slices out, and the figures out of their panes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.answers import Answer
from benchmarks.feeding import Batch, feed, first_batch, new_work
from benchmarks.measure import Spent, Stopwatch
from benchmarks.watched import MemoryCatalog
from driftline.core.metrics import compute
from driftline.core.pane import Layout, Pane, Totals
from driftline.events.base import decode
from driftline.events.slices import Slice
from driftline.events.topics import Topic
from driftline.platform.records import Outgoing


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
    values = {name: float(compute(totals, name).value or 0.0) for name in ("accuracy", "f1", "auc", "log_loss")}
    breaches = sum(breach.n for each in slices for breach in each.breaches)
    return Answer(totals.n, totals.labelled, breaches, **values)


def slices_in(out: Sequence[Outgoing]) -> list[Slice]:
    """The slices among what a monitor writes."""
    return [
        decode(record.value or b"", Slice)
        for record in out
        if record.topic is Topic.SLICES and dict(record.headers).get("driftline-kind") == b"slice"
    ]
