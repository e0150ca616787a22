"""What it costs control to close a window of one model with 12 features."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from benchmarks import feeding
from benchmarks.measure import Progress, Spent, Stopwatch, median, rounds, settled
from benchmarks.results import Cell, Column, Result
from benchmarks.watched import METRICS, MemoryCatalog, Timing, declarations, deployment, reference_baseline, spec_text
from benchmarks.workload import START_MS, Workload, generate, location
from driftline.control.work import ControlWork
from driftline.events.admin import Progress as Decided
from driftline.events.base import Millis
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.records import Outgoing, Record, Source
from driftline.spec.model import MonitorSpec
from driftline.spec.reader import parse_spec

SLICE = timedelta(seconds=10)
PANE = timedelta(seconds=10)
"""Of the workload's clock: a thousand predictions a pane."""
HORIZON = timedelta(seconds=200)
SLICES = Source(Topic.SLICES, 0)
INPUTS = tuple(Source(topic, 0) for topic in (Topic.COMMANDS, Topic.CANDIDATES, Topic.VERDICTS))


@dataclass(frozen=True)
class Scale:
    """Predictions, the panes of the windows, rounds."""

    predictions: int
    panes: tuple[int, ...]
    rounds: int


FULL, QUICK = Scale(200_000, (1, 6, 60, 180), 3), Scale(4_000, (1, 6), 1)


def measure(scale: Scale, progress: Progress) -> Result:
    """The same slices with windows of different spans, each ending at every pane, and with next to no windows."""
    progress.expect(2 + scale.rounds * (1 + len(scale.panes)))
    progress("making the workload")
    workload = generate(scale.predictions)
    progress("making its slices")
    never = timedelta(days=1000)
    published = _slices(workload, _spec(never, never), 0)
    told: dict[str, int] = {}
    contenders: dict[str, Callable[[], Spent]] = {"no window": _contender(workload, published, never, never, told)}
    for panes in scale.panes:
        contenders[f"{panes}"] = _contender(workload, published, panes * PANE, PANE, told)
    with settled():
        found = rounds(contenders, scale.rounds, progress)
    return _result(scale, found, told)


def _spec(span: timedelta, every: timedelta) -> MonitorSpec:
    return parse_spec(spec_text("m0", PANE, HORIZON, {"w": span}, every), "benchmark.yaml")


def _catalog(workload: Workload, spec: MonitorSpec) -> tuple[MemoryCatalog, list[str]]:
    catalog = MemoryCatalog(deployment(Timing(slice=SLICE, horizon=HORIZON)))
    return catalog, catalog.take(*declarations(spec, reference_baseline(spec, workload), "m0"))


def _slices(workload: Workload, spec: MonitorSpec, partition: int) -> list[Record]:
    """What a monitor publishes about the workload, as records of `slices`."""
    catalog, marks = _catalog(workload, spec)
    slice_ms = round(SLICE.total_seconds() * 1000)
    steps = [feeding.first_batch(marks, slice_ms), *feeding.batches(*workload.records(partition), slice_ms)]
    out = asyncio.run(feeding.feed(feeding.new_work(catalog), steps))
    return [_record(offset, each) for offset, each in enumerate(o for o in out if o.topic is Topic.SLICES)]


def _record(offset: int, published: Outgoing) -> Record:
    at = START_MS + offset
    return Record(SLICES, offset, at, at, published.key, published.value, published.headers)


def _contender(
    workload: Workload, published: Sequence[Record], span: timedelta, every: timedelta, told: dict[str, int]
) -> Callable[[], Spent]:
    catalog, _ = _catalog(workload, _spec(span, every))
    name = "no window" if span == every and every > 2 * HORIZON else f"{span // PANE}"

    def run() -> Spent:
        work = ControlWork(catalog, 0, lambda *_: None, _ignore, _not_asked)
        watch = Stopwatch()
        reports = asyncio.run(_decide(work, published))
        told[name] = reports
        return watch.spent(max(reports, 1))

    return run


async def _ignore(_: Decided) -> None:
    """Nobody waits for control's progress here."""


def _not_asked(*_: object) -> Any:
    raise AssertionError("a work that is not started does not ask what has been published before")


async def _decide(work: ControlWork, published: Sequence[Record]) -> int:
    """Everything that the monitor published, one "read up to" at a time; the number of window reports."""
    reports = 0
    waiting: deque[Record] = deque()
    far: Millis = published[-1].arrival + 10**12
    ticks = {source: deque([_tick(source, far)]) for source in INPUTS}
    for record in published:
        waiting.append(record)
        if dict(record.headers)["driftline-kind"] != b"upto":
            continue
        every = {SLICES: waiting, **ticks}
        reached = dict.fromkeys(every, far)
        while (counts := work.cut(every, reached)) is not None:
            taken = {source: [every[source].popleft() for _ in range(count)] for source, count in counts.items()}
            await work.prepare(taken)
            reports += sum(each.topic is Topic.METRICS for each in work.step(taken, reached).outbox)
    return reports


def _tick(source: Source, at: Millis) -> Record:
    return Record(source, 0, at, at, None, b"", ((MARK_HEADER, b"tick"),))


def _result(scale: Scale, found: dict[str, list[Spent]], told: dict[str, int]) -> Result:
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    empty = [spent.cpu_s for spent in found["no window"]]
    costs: dict[str, list[float]] = {}
    for name, runs in found.items():
        if name == "no window":
            continue
        # what adding the slices up costs without any window is taken off, round by round
        costs[name] = [1000 * (spent.cpu_s - base) / told[name] for spent, base in zip(runs, empty, strict=True)]
        each = median(costs[name])
        rows.append([name, float(told[name]), each, min(costs[name]), max(costs[name]), 1000 / each])
        figures[f"{name} panes: ms a report"] = each
    return Result(
        name="windows",
        title="Closing one window of one model with 12 features",
        columns=[
            Column("panes in it"),
            Column("reports", "count"),
            Column("median", "ms"),
            Column("lowest", "ms"),
            Column("highest", "ms"),
            Column("reports/s, one core", "rate"),
        ],
        rows=rows,
        figures=figures,
        notes=[
            f"Control fed with the slices of {scale.predictions:,} predictions and their outcomes; a window ends at "
            f"each pane, and tells {', '.join(METRICS)} with intervals, and the drift of 12 features and the score; "
            f"reports include restatements. Processor time, {scale.rounds} rounds in turn, less that of a run without "
            "windows.",
        ],
        rounds=costs,
        workload=location()[1],
    )
