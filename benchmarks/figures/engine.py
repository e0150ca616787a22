"""The engine in memory, one core, beside River used naively and a loop written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from benchmarks import engine, feeding
from benchmarks.answers import RIVER_EPS, Answer, check, expected
from benchmarks.measure import Progress, Spent, Stopwatch, median, paired_ratio, rounds, settled
from benchmarks.peers import ByHand, Chunk, river_naive
from benchmarks.results import Cell, Column, Result
from benchmarks.watched import MemoryCatalog, Timing, catalog_of
from benchmarks.workload import PREDICTIONS_A_SECOND, Workload, generate, location
from driftline.events.baselines import Bins

TITLE = "Engine in memory, one core: predictions a second, each with its outcome"
SIZES = (1_000, 5_000, 20_000)
HORIZON = timedelta(seconds=500)
"""Of the workload's clock: a quarter of the run, so that the ledger forgets as fast as it learns."""
RIVER_AUC_WITHIN = 0.05
"""River keeps ten thresholds by default."""
RIVER, RIVER_ADWIN, BY_HAND = "River naive", "River naive, ADWIN a feature", "by hand"


@dataclass(frozen=True)
class Scale:
    """How much: predictions and rounds."""

    predictions: int
    rounds: int


FULL, QUICK = Scale(200_000, 5), Scale(3_000, 1)


def timing_of(size: int, horizon: timedelta = HORIZON) -> Timing:
    """Slices that hold `size` records: half of them predictions."""
    return Timing(slice=timedelta(seconds=size / 2 / PREDICTIONS_A_SECOND), horizon=horizon)


def measure(scale: Scale, progress: Progress) -> Result:
    """Every contender is first held to the right answer, then timed."""
    progress.expect(1 + len(SIZES) + 2 + scale.rounds * (2 * len(SIZES) + 2))
    progress("making the workload")
    workload = generate(scale.predictions)
    wanted = expected(workload)
    contenders: dict[str, Callable[[], Spent]] = {}
    answers: dict[str, Answer] = {"all at once (exact)": wanted}
    predictions, outcomes = workload.records()
    for size in SIZES:
        timing = timing_of(size)
        catalog, marks = catalog_of(workload, timing)
        batches = feeding.batches(predictions, outcomes, timing.slice_ms)
        chunks: list[Chunk] = [
            ([r.value or b"" for r in batch.predictions], [r.value or b"" for r in batch.outcomes]) for batch in batches
        ]
        (baseline,) = catalog.baselines.values()
        name = f"Driftline, batches of {size:,}"
        progress(f"checking {name}")
        answers[name] = _checked(name, engine.run(catalog, marks, batches).answer, wanted)
        contenders[name] = _driftline(catalog, marks, batches)
        other = f"{BY_HAND}, batches of {size:,}"
        answers[other] = _checked(other, ByHand(baseline.bins).run(chunks), wanted)
        contenders[other] = _timed(workload, lambda c=chunks, b=baseline.bins: ByHand(b).run(c))  # type: ignore[misc]  # defaults bind now
    _add_river(contenders, answers, workload, chunks, baseline.bins, progress)
    with settled():
        found = rounds(contenders, scale.rounds, progress)
    return _result(scale, found, answers)


def _add_river(
    contenders: dict[str, Callable[[], Spent]],
    answers: dict[str, Answer],
    workload: Workload,
    chunks: list[Chunk],
    bins: Bins,
    progress: Progress,
) -> None:
    """River works event by event, so batches make no difference to it."""
    wanted = expected(workload, RIVER_EPS)
    for name, adwin in ((RIVER, False), (RIVER_ADWIN, True)):
        progress(f"checking {name}")
        answers[name] = _checked(name, river_naive(chunks, bins, adwin), wanted, RIVER_AUC_WITHIN)
        contenders[name] = _timed(workload, lambda a=adwin: river_naive(chunks, bins, a))  # type: ignore[misc]  # as above


def _driftline(catalog: MemoryCatalog, marks: list[str], batches: list[feeding.Batch]) -> Callable[[], Spent]:
    return lambda: engine.run(catalog, marks, batches).whole


def _timed(workload: Workload, work: Callable[[], Answer]) -> Callable[[], Spent]:
    def run() -> Spent:
        watch = Stopwatch()
        work()
        return watch.spent(workload.events)

    return run


def _checked(who: str, found: Answer, wanted: Answer, auc_within: float = 0.001) -> Answer:
    check(who, found, wanted, auc_within)
    return found


def _result(scale: Scale, found: dict[str, list[Spent]], answers: dict[str, Answer]) -> Result:
    river = [spent.rate for spent in found[RIVER]]
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    for name, runs in found.items():
        rates = [spent.rate / 2 for spent in runs]  # an event is a prediction or an outcome
        ratio = paired_ratio([spent.rate for spent in runs], river)
        wall = median([spent.wall_rate / 2 for spent in runs])
        rows.append([name, median(rates), min(rates), max(rates), wall, ratio, answers[name].auc])
        figures[f"{name}: predictions/s"] = median(rates)
        figures[f"{name}: x River"] = ratio
    exact = answers["all at once (exact)"]
    return Result(
        name="engine",
        title=TITLE,
        columns=[
            Column("contender"),
            Column("median", "rate"),
            Column("lowest", "rate"),
            Column("highest", "rate"),
            Column("by the clock", "rate"),
            Column("to River naive", "ratio"),
            Column("AUC found", "figure"),
        ],
        rows=rows,
        figures=figures,
        notes=[
            f"{scale.predictions:,} predictions and their outcomes, {scale.rounds} rounds in turn, a second is one of "
            "processor time; the ratio is the median of the rounds' own.",
            f"All give accuracy {exact.accuracy:.6f}, F1 {exact.f1:.6f} and log loss {exact.log_loss:.6f} (River's own "
            f"bound of 1e-15 aside), checked to 1e-9 before timing; the exact AUC is {exact.auc:.6f}.",
        ],
        rounds={name: [spent.rate / 2 for spent in runs] for name, runs in found.items()},
        workload=location()[1],
    )
