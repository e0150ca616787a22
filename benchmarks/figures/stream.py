"""Kafka to stored slices: one monitor on a real Kafka and a real Redis, beside bare consumption of the same topics."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

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
FORMS: tuple[Form, ...] = ("single", "columns")
NAMES = {"single": "single JSON", "columns": "predictions in JSON columns, 1,000 rows a batch"}


@dataclass(frozen=True)
class Scale:
    """Predictions, the slice, rounds."""

    predictions: int
    slice: timedelta
    rounds: int


FULL = Scale(400_000, timedelta(seconds=100), 3)
QUICK = Scale(4_000, timedelta(seconds=5), 1)


@dataclass
class _Loaded:
    """One form of the workload in its topics."""

    settings: Settings
    records: int
    monitor: list[Spent] = field(default_factory=list)
    bare: list[Spent] = field(default_factory=list)
    skipped: str = ""


def measure(scale: Scale, progress: Progress, addresses: LocalServers, state: Path) -> Result:
    """Bare consumer, monitor, bare consumer, monitor, ...: each reads the same records from the beginning."""
    progress.expect(1 + len(FORMS) * (1 + 2 * scale.rounds))
    progress("making the workload")
    workload = generate(scale.predictions)
    timing = Timing(slice=scale.slice, horizon=HORIZON)
    spread = Spread.of(workload, timing.slice_ms)
    loaded: dict[Form, _Loaded] = {}
    for form in FORMS:
        progress(f"loading {NAMES[form]}")
        loaded[form] = _load(new_settings(addresses, state), workload, timing, spread, form)
    for number in range(scale.rounds):
        for form, each in loaded.items():
            progress(f"round {number + 1} of {scale.rounds}: bare consumption, {NAMES[form]}")
            each.bare.append(_bare(each, spread))
            progress(f"round {number + 1} of {scale.rounds}: the monitor, {NAMES[form]}")
            if not each.skipped:
                _round(each, spread, timing, form)
    return _result(scale, loaded)


def _load(settings: Settings, workload: Workload, timing: Timing, spread: Spread, form: Form) -> _Loaded:
    declare(settings, workload, timing)
    return _Loaded(settings, send(settings, spread, form))


def _bare(each: _Loaded, spread: Spread) -> Spent:
    """In events, of which a record of columns holds many."""
    found = consume(each.settings, PARTITIONS)
    return Spent(round(found.records * spread.events / each.records), found.wall_s, found.cpu_s)


def _round(each: _Loaded, spread: Spread, timing: Timing, form: Form) -> None:
    """A monitor that has nothing stored begins at the first record."""
    forget(each.settings)
    watch = Watch(each.settings, timing.slice_ms)
    try:
        with worker(each.settings, "monitor") as process:
            spent, _ = run_until(watch, spread, [process], log_of(each.settings, "monitor"))
    finally:
        watch.close()
    reasons = dead_letters(each.settings)
    if reasons:
        each.skipped = f"{len(reasons):,} dead letters ({reasons[0]})"
        if form == "single":
            raise AssertionError(f"the workload's events became dead letters: {each.skipped}")
        return
    each.monitor.append(spent)


def _result(scale: Scale, loaded: dict[Form, _Loaded]) -> Result:
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    rounds: dict[str, list[float]] = {}
    for form, each in loaded.items():
        name = NAMES[form]
        bare = [spent.wall_rate for spent in each.bare]
        rounds[f"bare, {name}"] = bare
        rows.append([f"bare consumption, {name}", median(bare), min(bare), max(bare), *_costs(each.bare), None, ""])
        if each.skipped:
            rows.append([f"Kafka to stored slices, {name}", *[None] * 6, each.skipped])
            continue
        rates = [spent.wall_rate for spent in each.monitor]
        ratio = paired_ratio(rates, bare)
        rounds[name] = rates
        costs = _costs(each.monitor)
        rows.append([f"Kafka to stored slices, {name}", median(rates), min(rates), max(rates), *costs, ratio, ""])
        figures[f"{form}: events/s"] = median(rates)
        figures[f"{form}: predictions/s"] = median(rates) / 2
        figures[f"{form}: x bare"] = ratio
        figures[f"{form}: us an event"] = costs[1]
    if "columns: events/s" in figures:
        both = [[spent.wall_rate for spent in loaded[form].monitor] for form in ("columns", "single")]
        figures["columns: x single"] = paired_ratio(*both)
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
            Column("", "text"),
        ],
        rows=rows,
        figures=figures,
        notes=[
            f"{scale.predictions:,} predictions and their outcomes in {PARTITIONS} partitions of each topic, 12 "
            "features; the monitor begins with nothing stored and is measured by the clock from the first slices that "
            "it stored and published to the last; an event is a prediction or an outcome.",
            f"{scale.rounds} rounds in turn; the ratio is the median of the rounds' own. Bare consumption: aiokafka "
            "with the loop's settings, in a process of its own, doing nothing with what it reads.",
        ],
        workload=location()[1],
        quick=scale is not FULL,
        rounds=rounds,
    )


def _costs(runs: list[Spent]) -> tuple[float, float]:
    return median([spent.rate for spent in runs]), median([spent.cpu_us for spent in runs])
