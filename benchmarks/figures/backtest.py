"""A whole backtest from files, beside the engine in memory, and the memory that files of two sizes take."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec

from benchmarks import engine, feeding, files
from benchmarks.answers import Answer, check, expected
from benchmarks.backtesting import Job, Peak, backtested
from benchmarks.figures.engine import timing_of
from benchmarks.measure import Progress, Spent, median, paired_ratio, rounds, settled
from benchmarks.results import Cell, Column, Result
from benchmarks.servers import Failed
from benchmarks.watched import Timing, catalog_of
from benchmarks.workload import generate, location
from driftline.backtesting.findings import Findings

ENGINE = "engine, JSON in memory, batches of 20,000"
BATCH = 20_000
LARGER = 4
"""How many times the second file of the memory's measurement is as large as the first."""
MEMORY_BATCH = 2_000
"""Records of a slice there: a pane, which is a backtest's slice, holds ten times as many."""
MEMORY_HORIZON = timedelta(seconds=250)


@dataclass(frozen=True)
class Scale:
    """Predictions and rounds of the speed's measurement; predictions of the smaller file of the memory's."""

    predictions: int
    rounds: int
    small: int


FULL, QUICK = Scale(200_000, 3, 200_000), Scale(3_000, 1, 2_000)


def measure(scale: Scale, progress: Progress) -> Result:
    """Both are held to the right answer before they are timed."""
    progress.expect(3 + scale.rounds * (1 + len(files.FORMS)) + 2 * len(files.FORMS))
    with tempfile.TemporaryDirectory(prefix="driftline-benchmark-") as directory:
        found, first = _speed(scale, progress, Path(directory))
    peaks = _memory(scale, progress)
    return _result(scale, found, first, peaks)


def _speed(scale: Scale, progress: Progress, directory: Path) -> tuple[dict[str, list[Spent]], Answer]:
    progress("writing the workload to files")
    workload = generate(scale.predictions)
    files.write(workload, directory)
    timing = timing_of(BATCH)
    progress("checking the answers")
    wanted = expected(workload)
    contenders: dict[str, Callable[[], Spent]] = {}
    catalog, marks = catalog_of(workload, timing)
    batches = feeding.batches(*workload.records(), timing.slice_ms)
    check(ENGINE, engine.run(catalog, marks, batches).answer, wanted, 0.001)
    contenders[ENGINE] = lambda: engine.run(catalog, marks, batches).whole
    for form in files.FORMS:
        _check(form, backtested(directory, form, timing), wanted)
        contenders[_name(form)] = _timed(workload.events, directory, form, timing)
    with settled():
        return rounds(contenders, scale.rounds, progress), wanted


def _name(form: str) -> str:
    return f"backtest, {form.upper() if form == 'csv' else form.title()}"


def _timed(events: int, directory: Path, form: str, timing: Timing) -> Callable[[], Spent]:
    def once() -> Spent:
        # of the whole process: reading uses threads of its own
        wall, cpu = time.perf_counter(), time.process_time()
        backtested(directory, form, timing)
        return Spent(events, time.perf_counter() - wall, time.process_time() - cpu)

    return once


def _check(form: str, found: Findings, wanted: Answer) -> None:
    """One window holds everything. Its breaches are not told in a report; those of the engine are checked."""
    (report,) = found.reports.values()
    told = {name: figure.value or 0.0 for name, figure in report.segments[0].metrics.items()}
    answer = Answer(
        n=found.predictions, labelled=found.joined, breaches=wanted.breaches, **{n: told[n] for n in _METRICS}
    )
    check(_name(form), answer, wanted, 0.001)


_METRICS = ("accuracy", "f1", "auc", "log_loss")


def _memory(scale: Scale, progress: Progress) -> dict[str, list[Peak]]:
    peaks: dict[str, list[Peak]] = {form: [] for form in files.FORMS}
    progress("writing files of two sizes")
    with tempfile.TemporaryDirectory(prefix="driftline-benchmark-") as root:
        for times in (1, LARGER):
            directory = Path(root) / str(times)
            directory.mkdir()
            files.write(generate(times * scale.small), directory)
            for form in files.FORMS:
                progress(f"memory, {form}, {times} x")
                timing = timing_of(MEMORY_BATCH, MEMORY_HORIZON)
                peaks[form].append(_run(Job(directory=str(directory), form=form, timing=timing)))
    return peaks


def _run(job: Job) -> Peak:
    command = [sys.executable, "-m", "benchmarks.backtesting", msgspec.json.encode(job).decode()]
    ended = subprocess.run(command, capture_output=True, check=False)
    if ended.returncode:
        raise Failed(f"the process that backtests failed:\n{ended.stderr.decode()[-2000:]}")
    return msgspec.json.decode(ended.stdout, type=Peak)


def _result(scale: Scale, found: dict[str, list[Spent]], wanted: Answer, peaks: dict[str, list[Peak]]) -> Result:
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    for name, runs in found.items():
        rates = [spent.rate / 2 for spent in runs]  # an event is a prediction or an outcome
        ratio = paired_ratio([spent.rate for spent in runs], [spent.rate for spent in found[ENGINE]])
        wall = median([spent.wall_rate / 2 for spent in runs])
        memory: list[Cell] = [None, None]
        for form in files.FORMS:
            if name == _name(form):
                memory = [float(peak.peak) for peak in peaks[form]]
                grown = [float(peak.peak - peak.before) for peak in peaks[form]]
                figures[f"{name}: memory of {LARGER} x"] = peaks[form][1].peak / peaks[form][0].peak
                figures[f"{name}: bytes beside the code"] = grown[1]
        rows.append([name, median(rates), min(rates), max(rates), wall, ratio, *memory])
        figures[f"{name}: predictions/s"] = median(rates)
        figures[f"{name}: x engine"] = ratio
    small, large = scale.small, LARGER * scale.small
    return Result(
        name="backtest",
        title="A backtest from files: predictions a second, each with its outcome, and memory",
        columns=[
            Column("contender"),
            Column("median", "rate"),
            Column("lowest", "rate"),
            Column("highest", "rate"),
            Column("by the clock", "rate"),
            Column("to the engine", "ratio"),
            Column(f"peak, {small:,} predictions", "bytes"),
            Column(f"peak, {large:,}", "bytes"),
        ],
        rows=rows,
        figures=figures,
        notes=[
            f"{scale.predictions:,} predictions and their outcomes, {scale.rounds} rounds in turn, a second is one of "
            "processor time. The backtest reads its files twice, makes a baseline of 10,000 reference rows, and goes "
            "on to control: windows, intervals, alerts. The engine ends at the sum of the panes.",
            f"All give accuracy {wanted.accuracy:.6f}, F1 {wanted.f1:.6f} and log loss {wanted.log_loss:.6f}, checked "
            "to 1e-9 before timing.",
            "Memory: the largest resident size of a process that does nothing else, its code and libraries included.",
        ],
        rounds={name: [spent.rate / 2 for spent in runs] for name, runs in found.items()},
        workload=location()[1],
    )
