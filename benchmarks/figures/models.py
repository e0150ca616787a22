"""Many models interleaved at random: what an event costs then, and what a model costs that does nothing."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from benchmarks import feeding
from benchmarks.measure import Progress, Spent, Stopwatch, median, paired_ratio, rounds, settled
from benchmarks.results import Cell, Column, Result
from benchmarks.watched import MemoryCatalog, Timing, catalog_of, declarations, deployment, reference_baseline, watch
from benchmarks.workload import PREDICTIONS_A_SECOND, START_MS, Workload, generate, location
from driftline.events.topics import MARK_HEADER
from driftline.monitor.work import MonitorWork
from driftline.platform.records import Record

HORIZON = timedelta(seconds=500)


@dataclass(frozen=True)
class Scale:
    """Predictions of each run, numbers of models, rounds, idle models for the memory, records a step."""

    predictions: int
    models: tuple[int, ...]
    rounds: int
    idle: int
    size: int


FULL = Scale(200_000, (1, 100, 1_000, 10_000), 3, 2_000, 20_000)
QUICK = Scale(2_000, (1, 10), 1, 10, 400)


def measure(scale: Scale, progress: Progress) -> Result:
    """Only the second half of each run is timed: by then every model has been seen."""
    progress.expect(len(scale.models) * (1 + scale.rounds) + 1)
    timing = Timing(slice=timedelta(seconds=scale.size / 2 / PREDICTIONS_A_SECOND), horizon=HORIZON)
    contenders: dict[str, Callable[[], Spent]] = {}
    for models in scale.models:
        progress(f"making the workload of {models:,} models")
        contenders[f"{models:,}"] = _contender(generate(scale.predictions, models), timing)
    with settled():
        found = rounds(contenders, scale.rounds, progress)
    progress(f"memory of {scale.idle:,} idle models")
    idle, declared = idle_bytes(scale.idle, timing)
    return _result(scale, found, idle, declared)


def _contender(workload: Workload, timing: Timing) -> Callable[[], Spent]:
    catalog, marks = catalog_of(workload, timing)
    batches = feeding.batches(*workload.records(), timing.slice_ms)
    first = feeding.first_batch(marks, timing.slice_ms)
    half = next(
        k for k, batch in enumerate(batches) if batch.predictions and _index(batch) >= len(workload.predictions) // 2
    )

    def run() -> Spent:
        work = feeding.new_work(catalog)
        asyncio.run(feeding.feed(work, [first, *batches[:half]]))
        watch = Stopwatch()
        asyncio.run(feeding.feed(work, batches[half:]))
        return watch.spent(sum(batch.events for batch in batches[half:]))

    return run


def _index(batch: feeding.Batch) -> int:
    return batch.predictions[0].offset


def idle_bytes(models: int, timing: Timing) -> tuple[float, float]:
    """Bytes a model in the worker after its last prediction was forgotten: (its state, what was declared about it).

    One prediction and one outcome of each, then three horizons pass in which nothing comes.
    """
    workload = generate(max(models, 1) * 2, 1)
    predictions, outcomes = workload.records()
    model_of = {record.key: f"m{k}" for k, record in enumerate(predictions)}
    spec = watch("m0", timing)
    baseline = reference_baseline(spec, workload)
    declared = [declarations(spec, baseline, f"m{number}") for number in range(models)]
    once = [_renamed(record, model_of[record.key]) for record in predictions[:models]]
    truths = [_renamed(record, model_of[record.key]) for record in outcomes if int(model_of[record.key][1:]) < models]
    later = START_MS + 3 * round(timing.horizon.total_seconds() * 1000) + 100 * timing.slice_ms
    gc.collect()
    tracemalloc.start()
    try:
        catalog = MemoryCatalog(deployment(timing), counts=False)  # as the monitor has it
        marks = [mark for revision, bins in declared for mark in catalog.take(revision, bins)]
        gc.collect()
        known = tracemalloc.get_traced_memory()[0]
        work = feeding.new_work(catalog)
        asyncio.run(feeding.feed(work, [feeding.first_batch(marks, timing.slice_ms)]))
        length = timing.slice_ms
        asyncio.run(feeding.feed(work, feeding.batches(once, sorted(truths, key=_arrival), length)))
        _pass_time(work, later, length)
        gc.collect()
        total = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    return (total - known) / models, known / models


def _pass_time(work: MonitorWork, until: int, length: int) -> None:
    ticks = [
        Record(source, 10**9, until, until, None, b"", ((MARK_HEADER, b"tick"),))
        for source in (feeding.PREDICTIONS, feeding.OUTCOMES)
    ]
    end = until // length * length + length
    asyncio.run(feeding.feed(work, [feeding.Batch(ticks[:1], ticks[1:], end)]))


def _renamed(record: Record, model: str) -> Record:
    value = (record.value or b"").replace(b'"model":"m0"', f'"model":"{model}"'.encode(), 1)
    return record._replace(value=value)


def _arrival(record: Record) -> int:
    return record.arrival


def _result(scale: Scale, found: dict[str, list[Spent]], idle: float, declared: float) -> Result:
    alone = [spent.cpu_us for spent in found["1"]]
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    for name, runs in found.items():
        costs = [spent.cpu_us for spent in runs]
        ratio = paired_ratio(costs, alone)
        rows.append([name, median(costs), min(costs), max(costs), ratio])
        figures[f"{name} models: us an event"] = median(costs)
        figures[f"{name} models: x one model"] = ratio
    figures["bytes an idle model"] = idle + declared
    return Result(
        name="models",
        title="Models interleaved at random: processor time an event",
        columns=[
            Column("models", "text"),
            Column("median", "us"),
            Column("lowest", "us"),
            Column("highest", "us"),
            Column("to one model", "ratio"),
        ],
        rows=rows,
        figures=figures,
        notes=[
            f"{scale.predictions:,} predictions and their outcomes, steps of {scale.size:,} records, the second half "
            f"timed; an event is a prediction or an outcome; {scale.rounds} rounds in turn.",
            f"A model of 12 features whose last prediction was forgotten holds {idle:,.0f} bytes of state in the "
            f"worker, and {declared:,.0f} bytes of declarations (spec, bins, reference counts), over {scale.idle:,} "
            "models (allocations traced).",
        ],
        rounds={name: [spent.cpu_us for spent in runs] for name, runs in found.items()},
        workload=location()[1],
    )
