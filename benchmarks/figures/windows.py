"""What it costs control to close a window of one model with 12 features."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

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


AVERAGE_PRECISION, ESTIMATES = "average_precision", "estimates"
"""What a window may tell beside the usual metrics; estimates are of all that can be, from a baseline with outcomes."""


class Closed(NamedTuple):
    """A window: its panes, segments, and what it tells beside the usual metrics."""

    panes: int
    segments: int
    more: str = ""

    def __str__(self) -> str:
        return f"{self.panes} panes, {self.segments} segments" + (f", {self.more}" if self.more else "")


@dataclass(frozen=True)
class Scale:
    """Predictions, windows, rounds."""

    predictions: int
    windows: tuple[Closed, ...]
    rounds: int


FULL = Scale(
    200_000,
    (
        *(Closed(panes, 0) for panes in (1, 6, 60, 180)),
        Closed(60, 5),
        Closed(60, 20),
        Closed(60, 0, AVERAGE_PRECISION),
        Closed(60, 0, ESTIMATES),
    ),
    3,
)
QUICK = Scale(4_000, (Closed(1, 0), Closed(6, 5), Closed(6, 0, AVERAGE_PRECISION), Closed(6, 0, ESTIMATES)), 1)
A_DAY = 24 + 1
"""Reports of a model with hourly and daily windows, each told once."""
SLICES_A_DAY = 86_400 // 10


def measure(scale: Scale, progress: Progress) -> Result:
    """The same slices with windows of different spans, each ending at every pane, and with next to no windows."""
    cuts = sorted({window.segments for window in scale.windows})
    progress.expect(1 + len(cuts) + scale.rounds * (len(cuts) + len(scale.windows)))
    progress("making the workload")
    workload = generate(scale.predictions)
    never = timedelta(days=1000)
    told: dict[str, int] = {}
    slices: dict[int, int] = {}
    contenders: dict[str, Callable[[], Spent]] = {}
    for segments in cuts:
        progress(f"making its slices, {segments} segments")
        published = _slices(workload, _spec(never, never, segments), 0)
        slices[segments] = sum(not _is_mark(record) for record in published)
        idle = f"no window, {segments} segments"
        contenders[idle] = _contender(workload, published, _spec(never, never, segments), told, idle)
        for window in (window for window in scale.windows if window.segments == segments):
            spec = _spec(window.panes * PANE, PANE, segments, window.more)
            contenders[str(window)] = _contender(
                workload, published, spec, told, str(window), estimates=window.more == ESTIMATES
            )
    with settled():
        found = rounds(contenders, scale.rounds, progress)
    return _result(scale, found, told, slices)


def _spec(span: timedelta, every: timedelta, segments: int, more: str = "") -> MonitorSpec:
    metrics = (*METRICS, more) if more == AVERAGE_PRECISION else METRICS
    return parse_spec(spec_text("m0", PANE, HORIZON, {"w": span}, every, segments, metrics), "benchmark.yaml")


def _catalog(workload: Workload, spec: MonitorSpec, *, outcomes: bool = False) -> tuple[MemoryCatalog, list[str]]:
    catalog = MemoryCatalog(deployment(Timing(slice=SLICE, horizon=HORIZON)))
    baseline = reference_baseline(spec, workload, outcomes=outcomes)
    assert ("labelled" in baseline.counts) == outcomes, "estimates need a baseline with outcomes"
    return catalog, catalog.take(*declarations(spec, baseline, "m0"))


def _slices(workload: Workload, spec: MonitorSpec, partition: int) -> list[Record]:
    """What a monitor publishes about the workload, as records of `slices`."""
    catalog, marks = _catalog(workload, spec)
    slice_ms = round(SLICE.total_seconds() * 1000)
    steps = [feeding.first_batch(marks, slice_ms), *feeding.batches(*workload.records(partition), slice_ms)]
    out = asyncio.run(feeding.feed(feeding.new_work(catalog), steps))
    return [_record(offset, each) for offset, each in enumerate(o for o in out if o.topic is Topic.SLICES)]


def _is_mark(record: Record) -> bool:
    return dict(record.headers)["driftline-kind"] == b"upto"


def _record(offset: int, published: Outgoing) -> Record:
    at = START_MS + offset
    return Record(SLICES, offset, at, at, published.key, published.value, published.headers)


def _contender(
    workload: Workload,
    published: Sequence[Record],
    spec: MonitorSpec,
    told: dict[str, int],
    name: str,
    *,
    estimates: bool = False,
) -> Callable[[], Spent]:
    catalog, _ = _catalog(workload, spec, outcomes=estimates)

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
        if not _is_mark(record):
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


def _result(scale: Scale, found: dict[str, list[Spent]], told: dict[str, int], slices: dict[int, int]) -> Result:
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    costs: dict[str, list[float]] = {}
    for window in scale.windows:
        name, segments = str(window), window.segments
        runs, idle = found[name], found[f"no window, {segments} segments"]
        # what adding the slices up costs without any window is taken off, round by round
        costs[name] = [1000 * (spent.cpu_s - base.cpu_s) / told[name] for spent, base in zip(runs, idle, strict=True)]
        each = median(costs[name])
        adding = median([1000 * base.cpu_s / slices[segments] for base in idle])
        models = 86_400_000 / (each * A_DAY + adding * SLICES_A_DAY)
        row: list[Cell] = [
            f"{window.panes}",
            f"{segments}",
            window.more or "-",
            float(told[name]),
            each,
            min(costs[name]),
            max(costs[name]),
        ]
        rows.append([*row, adding, models])
        figures[f"{name}: ms a report"] = each
        figures[f"{segments} segments: ms a slice"] = adding
    return Result(
        name="windows",
        title="Closing one window of one model with 12 features",
        columns=[
            Column("panes in it"),
            Column("segments"),
            Column("tells besides"),
            Column("reports", "count"),
            Column("median", "ms"),
            Column("lowest", "ms"),
            Column("highest", "ms"),
            Column("a slice", "ms"),
            Column("models, one core", "count"),
        ],
        rows=rows,
        figures=figures,
        notes=[
            f"Control fed with the slices of {scale.predictions:,} predictions and their outcomes; a window ends at "
            f"each pane, and tells {', '.join(METRICS)} with intervals, and the drift of 12 features and the score, of "
            "everybody and of each segment; reports include restatements. Estimates: what can be told without outcomes "
            "(accuracy, precision, recall, f1, auc), with intervals, and the metrics of a baseline with outcomes. "
            f"Processor time, {scale.rounds} rounds in turn, less that of a run without windows.",
            "A slice: adding up what came in 10 s about a thousand predictions and their outcomes, without any window. "
            "Models: so many with hourly and daily windows, each told once, and a slice every 10 s take all of a core.",
        ],
        rounds=costs,
        workload=location()[1],
    )
