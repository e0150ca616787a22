"""Kafka to stored slices: one monitor on a real Kafka and a real Redis, beside bare consumption of the same topics."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from benchmarks.answers import WrongAnswer
from benchmarks.columns import ROWS
from benchmarks.consuming import consume
from benchmarks.loading import PARTITIONS, Form, Spread, declare, send
from benchmarks.measure import Progress, Spent, median, paired_ratio
from benchmarks.results import Cell, Column, Result
from benchmarks.servers import forget, log_of, new_settings, worker
from benchmarks.watched import Timing
from benchmarks.watching import Watch, dead_letters, run_until
from benchmarks.workload import Workload, generate, location
from driftline.platform.settings import LocalServers, Settings

HORIZON = timedelta(seconds=500)


@dataclass(frozen=True)
class Variant:
    """A way in which the same workload comes. `key` names its figures."""

    key: str
    name: str
    form: Form
    with_outcomes: bool


SINGLE = Variant("single", "single JSON", "single", True)
COLUMNS = Variant("columns", "predictions in columns, outcomes single", "columns", True)
SINGLE_ALONE = Variant("single alone", "single JSON, predictions alone", "single", False)
COLUMNS_ALONE = Variant("columns alone", "columns, predictions alone", "columns", False)
COMPARED = ((COLUMNS, SINGLE), (COLUMNS_ALONE, SINGLE_ALONE))


@dataclass(frozen=True)
class Scale:
    """Predictions, the slice, rounds, and in which ways they come."""

    predictions: int
    slice: timedelta
    rounds: int
    variants: tuple[Variant, ...]


FULL = Scale(400_000, timedelta(seconds=100), 3, (SINGLE, COLUMNS, SINGLE_ALONE, COLUMNS_ALONE))
QUICK = Scale(4_000, timedelta(seconds=5), 1, (SINGLE, COLUMNS))


@dataclass
class _Loaded:
    """One variant of the workload in its topics."""

    settings: Settings
    spread: Spread
    records: int
    monitor: list[Spent] = field(default_factory=list)
    bare: list[Spent] = field(default_factory=list)


def measure(scale: Scale, progress: Progress, addresses: LocalServers, state: Path) -> Result:
    """Bare consumer, monitor, bare consumer, monitor, ...: each reads the same records from the beginning."""
    progress.expect(1 + len(scale.variants) * (1 + 2 * scale.rounds))
    progress("making the workload")
    workload = generate(scale.predictions)
    timing = Timing(slice=scale.slice, horizon=HORIZON)
    loaded: dict[Variant, _Loaded] = {}
    for variant in scale.variants:
        progress(f"loading {variant.name}")
        loaded[variant] = _load(new_settings(addresses, state), workload, timing, variant)
    for number in range(scale.rounds):
        for variant, each in loaded.items():
            progress(f"round {number + 1} of {scale.rounds}: bare consumption, {variant.name}")
            each.bare.append(_bare(each))
            progress(f"round {number + 1} of {scale.rounds}: the monitor, {variant.name}")
            each.monitor.append(_round(each, timing))
    return _result(scale, loaded)


def _load(settings: Settings, workload: Workload, timing: Timing, variant: Variant) -> _Loaded:
    declare(settings, workload, timing)
    chosen = workload if variant.with_outcomes else replace(workload, outcomes=[])
    spread = Spread.of(chosen, timing.slice_ms)
    return _Loaded(settings, spread, send(settings, spread, variant.form))


def _bare(each: _Loaded) -> Spent:
    """In events, of which a record of columns holds many."""
    found = consume(each.settings, PARTITIONS)
    return Spent(round(found.records * each.spread.events / each.records), found.wall_s, found.cpu_s)


def _round(each: _Loaded, timing: Timing) -> Spent:
    """A monitor that has nothing stored begins at the first record."""
    forget(each.settings)
    watch = Watch(each.settings, timing.slice_ms)
    try:
        with worker(each.settings, "monitor") as process:
            spent, _ = run_until(watch, each.spread, [process], log_of(each.settings, "monitor"))
    finally:
        watch.close()
    reasons = dead_letters(each.settings)
    if reasons:
        raise WrongAnswer(f"{len(reasons):,} records of the workload became dead letters ({reasons[0]})")
    return spent


def _result(scale: Scale, loaded: dict[Variant, _Loaded]) -> Result:
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    rounds: dict[str, list[float]] = {}
    for variant, each in loaded.items():
        bare = [spent.wall_rate for spent in each.bare]
        rates = [spent.wall_rate for spent in each.monitor]
        ratio = paired_ratio(rates, bare)
        rows.append([f"bare consumption: {variant.name}", median(bare), min(bare), max(bare), *_costs(each.bare), None])
        rows.append(
            [f"to stored slices: {variant.name}", median(rates), min(rates), max(rates), *_costs(each.monitor), ratio]
        )
        rounds |= {f"bare, {variant.key}": bare, variant.key: rates}
        figures[f"{variant.key}: predictions/s"] = median(rates) / (2 if variant.with_outcomes else 1)
        figures[f"{variant.key}: x bare"] = ratio
        figures[f"{variant.key}: us an event"] = _costs(each.monitor)[1]
    for columns, single in COMPARED:
        if columns in loaded and single in loaded:
            figures[f"{columns.key}: x single"] = paired_ratio(rounds[columns.key], rounds[single.key])
    return Result(
        name="stream",
        title="Kafka to stored slices, one monitor",
        columns=[
            Column("what"),
            Column("events/s", "rate"),
            Column("lowest", "rate"),
            Column("highest", "rate"),
            Column("events/s of processor time", "rate"),
            Column("processor time an event", "us"),
            Column("to bare consumption", "ratio"),
        ],
        rows=rows,
        figures=figures,
        notes=[
            f"{scale.predictions:,} predictions and their outcomes in {PARTITIONS} partitions of each topic, 12 "
            "features; the monitor begins with nothing stored and is measured by the clock from the first slices that "
            "it stored and published to the last; an event is a prediction or an outcome. A message of columns has "
            f"{ROWS:,} rows.",
            f"{scale.rounds} rounds in turn; the ratio is the median of the rounds' own. Bare consumption: aiokafka "
            "with the loop's settings, in a process of its own, doing nothing with what it reads.",
        ],
        workload=location()[1],
        rounds=rounds,
    )


def _costs(runs: list[Spent]) -> tuple[float, float]:
    return median([spent.rate for spent in runs]), median([spent.cpu_us for spent in runs])
