"""What detectors miss and cry out for nothing: the presets, River's own settings, and an alarm every so often."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Progress, median
from benchmarks.results import Cell, Column, Result
from benchmarks.workload import BESIDE
from driftline.core.detectors import Detector
from driftline.spec.detectors import PRESETS

BATCH = 30
"""Outcomes in one value, as a rule asks for if it says nothing."""
SHARE, BEFORE, AFTER = 0.1, 1_500, 1_500
"""Share of errors before a shift, values before and after it."""
SHIFTS = (0.02, 0.05, 0.1)
EVERY = 1_000


@dataclass(frozen=True)
class Stream:
    """A real stream: the outcomes in one value, the served row from which on it is known to differ, and how."""

    name: str
    batch: int
    at: int
    how: str


STREAMS = (
    Stream("car_loan", BATCH, 25_000, "its model does worse"),
    Stream("elec2", 10, 8_352, "three features begin to vary"),
    Stream("bike", 10, 4_395, "a year of growth begins, 2012"),
)
"""Of the two short ones 30 outcomes in a value would leave too few values."""


class Shares(NamedTuple):
    """Shares of errors in the order of predictions, and from which on the stream is known to differ."""

    values: list[float]
    at: int


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
    real = {stream: found for stream in STREAMS if (found := _shares(stream))}
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    for name, alarms in contenders.items():
        progress(name)
        false = sum(len(alarms(each)) for each in noise) * 10_000 / (len(noise) * scale.noise)
        delays = {
            shift: median([_delay(alarms(each), BEFORE, len(each)) for each in shifted[shift]]) for shift in SHIFTS
        }
        figures |= {f"{name}: false alarms": false} | {f"{name}: delay at +{s:g}": d for s, d in delays.items()}
        rows.append(
            [name, false, *delays.values(), *(cell for each in STREAMS for cell in _on(alarms, real.get(each)))]
        )
    return Result(
        name="detectors",
        title=f"Detectors on shares of errors, each of {BATCH} outcomes",
        columns=[
            Column("detector"),
            Column("alarms in 10,000 values of noise", "figure"),
            *(Column(f"values until +{shift:g} is found", "figure") for shift in SHIFTS),
            *(
                Column(f"{stream.name}: {what}", "figure")
                for stream in STREAMS
                for what in ("alarms before", "values until found")
            ),
        ],
        rows=rows,
        figures=figures,
        notes=[
            f"Noise: the share of errors is {SHARE:g} or {3 * SHARE:g} throughout. Shifts: from {SHARE:g} up after "
            f"{BEFORE} values, median of {scale.rounds}; {AFTER:,} means that it was not found.",
            "On a real stream it is chance how soon the next alarm of so many values comes: 500 values in the mean.",
            f"The preset kswin says nothing before its {int(PRESETS['kswin'][1]['window_size'])} values are full.",
            *(_about(stream, real.get(stream)) for stream in STREAMS),
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


def _shares(stream: Stream) -> Shares | None:
    """Of the stream's model in the order of predictions, if it is there; of numbers, of large errors: over the median
    of the reference's.
    """
    directory = BESIDE.parents[1] / "data" / stream.name
    if not directory.is_dir():
        return None

    def columns(file: str, *names: str) -> dict[str, list[float]]:
        with gzip.open(directory / f"{file}.csv.gz", "rt", encoding="utf-8") as text:
            return {row["id"]: [float(row[name]) for name in names] for row in csv.DictReader(text)}

    known = [abs(said - true) for said, true in columns("reference", "pred_a", "label").values()]
    large = float(np.median(known)) if stream.name == "bike" else 0.0
    truth = columns("outcomes", "label")
    told = columns("predictions", "pred_a")
    came = [(row, name) for row, name in enumerate(told) if name in truth]
    wrong = [abs(told[name][0] - truth[name][0]) > large for _, name in came]
    whole = len(wrong) // stream.batch * stream.batch
    shares: list[float] = np.array(wrong[:whole], np.float64).reshape(-1, stream.batch).mean(axis=1).tolist()
    return Shares(shares, sum(row < stream.at for row, _ in came) // stream.batch)


def _on(alarms: Alarms, shares: Shares | None) -> list[Cell]:
    if shares is None:
        return [None, None]
    found = alarms(shares.values)
    return [float(sum(i < shares.at for i in found)), _delay(found, shares.at, len(shares.values))]


def _about(stream: Stream, shares: Shares | None) -> str:
    if shares is None:
        return f"{stream.name} is not beside the project."
    n, at = len(shares.values), shares.at
    return (
        f"{stream.name}: {n:,} shares of {stream.batch} errors each, in the order of predictions; from value {at:,} on "
        f"{stream.how}. {n - at:,} means that it was not found."
    )
