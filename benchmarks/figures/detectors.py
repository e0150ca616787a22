"""What detectors miss and cry out for nothing: the presets, River's own settings, and an alarm every so often."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Progress, median
from benchmarks.results import Cell, Column, Result
from benchmarks.workload import BESIDE
from driftline.core.detectors import Detector
from driftline.spec.detectors import PRESETS

BATCH = 30
"""Outcomes in one value, as a rule asks for if it says nothing."""
SHARE, BEFORE, AFTER = 0.1, 500, 1_500
"""Share of errors before a shift, values before and after it."""
SHIFTS = (0.02, 0.05, 0.1)
EVERY = 1_000
CAR_LOAN_DROPS = 25_000
"""The served row from which on car_loan's model is known to do worse."""


@dataclass(frozen=True)
class Scale:
    """Values of noise, and repetitions of each shift."""

    noise: int
    rounds: int


FULL, QUICK = Scale(10_000, 7), Scale(600, 1)

Alarms = Callable[[Sequence[float]], list[int]]


def measure(scale: Scale, progress: Progress) -> Result:
    """Every contender on the same streams."""
    contenders = _contenders()
    progress.expect(len(contenders))
    rng = np.random.default_rng(7)
    noise = [_batches(rng, np.full(scale.noise, share)) for share in (SHARE, 3 * SHARE)]
    shifted = {shift: [_shifted(rng, shift) for _ in range(scale.rounds)] for shift in SHIFTS}
    loans = _car_loan()
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    for name, alarms in contenders.items():
        progress(name)
        false = sum(len(alarms(each)) for each in noise) * 10_000 / (len(noise) * scale.noise)
        delays = {
            shift: median([_delay(alarms(each), BEFORE, len(each)) for each in shifted[shift]]) for shift in SHIFTS
        }
        figures |= {f"{name}: false alarms": false} | {f"{name}: delay at +{s:g}": d for s, d in delays.items()}
        rows.append([name, false, *delays.values(), *_on_loans(alarms, loans)])
    return Result(
        name="detectors",
        title=f"Detectors on shares of errors, each of {BATCH} outcomes",
        columns=[
            Column("detector"),
            Column("alarms in 10,000 values of noise", "figure"),
            *(Column(f"values until +{shift:g} is found", "figure") for shift in SHIFTS),
            Column("car_loan: alarms before it drops", "figure"),
            Column("values until it is found", "figure"),
        ],
        rows=rows,
        figures=figures,
        notes=[
            f"Noise: the share of errors is {SHARE:g} or {3 * SHARE:g} throughout. Shifts: from {SHARE:g} up after "
            f"{BEFORE} values, median of {scale.rounds}; {AFTER:,} means that it was not found.",
            "car_loan: errors in the order of predictions; its model is known to be worse from the middle on."
            if loans
            else "car_loan is not beside the project.",
        ],
    )


def _contenders() -> dict[str, Alarms]:
    def alarms(name: str) -> Alarms:
        def found(values: Sequence[float]) -> list[int]:
            detector = Detector(name, {"seed": 42} if name == "KSWIN" else {})
            return [i for i, value in enumerate(values) if detector.update(value)]

        return found

    rivers = {f"River's {name}, its own settings": alarms(name) for name in ("ADWIN", "PageHinkley", "KSWIN")}
    dummy = {f"an alarm every {EVERY:,} values": lambda values: list(range(EVERY - 1, len(values), EVERY))}
    return {name: alarms(name) for name in PRESETS} | rivers | dummy


def _batches(rng: np.random.Generator, share: NDArray[np.float64]) -> list[float]:
    found: list[float] = (rng.binomial(BATCH, share) / BATCH).tolist()
    return found


def _shifted(rng: np.random.Generator, shift: float) -> list[float]:
    return _batches(rng, np.repeat([SHARE, SHARE + shift], [BEFORE, AFTER]))


def _delay(alarms: Sequence[int], at: int, end: int) -> float:
    return float(next((i for i in alarms if i >= at), end) - at)


def _car_loan() -> list[float]:
    """Shares of errors of car_loan's model, if the stream is there."""
    directory = BESIDE.parents[1] / "data" / "car_loan"
    if not directory.is_dir():
        return []

    def column(file: str, name: str) -> dict[str, str]:
        with gzip.open(directory / f"{file}.csv.gz", "rt", encoding="utf-8") as text:
            return {row["id"]: row[name] for row in csv.DictReader(text)}

    truth = column("outcomes_complete", "label")
    wrong = [float(truth[name]) != float(told) for name, told in column("predictions", "pred_a").items()]
    shares: list[float] = np.array(wrong[: len(wrong) // BATCH * BATCH]).reshape(-1, BATCH).mean(axis=1).tolist()
    return shares


def _on_loans(alarms: Alarms, loans: Sequence[float]) -> list[Cell]:
    if not loans:
        return [None, None]
    drops, found = CAR_LOAN_DROPS // BATCH, alarms(loans)
    return [float(sum(i < drops for i in found)), _delay(found, drops, len(loans))]
