"""How strict a preset must be to find a change for nothing no more often than a budget allows.

What `core.budget` does with windows and thresholds, with the values that a detector was fed and its main argument. The
figure of a value is the strictest setting, on a scale where greater is stricter, by which the detector finds a change
there, after it has seen the whole baseline; it stays for as long as further changes belong to the same alert.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import ks_2samp

from driftline.core.alerts import SETTLED_AFTER
from driftline.core.budget import Calibrated, Course, FloatArray, calibrate
from driftline.core.detectors import Detector
from driftline.spec.detectors import MAIN, PRESETS

FEWEST = 500
"""Values that a baseline must have, at least."""
MOST = 20_000
"""The last values of a baseline that are played: more would hold up control and tell little more."""
AT_ONCE = 1_000
NOTICEABLE = 0.1
"""The least distance of two samples that River's KSWIN takes for a change, whatever its chance."""
UNLIKELIEST = 300.0
"""Decimal places of the smallest chance that is told apart from none."""


class Scale(NamedTuple):
    """How strict a preset can be: the settings that are tried, and the argument that each is.

    The first is the least strict that is taken. `step`: a detector that is stricter than a setting by less than this
    may still find what that one finds.
    """

    levels: tuple[float, ...]
    argument: Callable[[float], float]
    step: float


def _chance(level: float) -> float:
    return float(10.0**-level)


SCALES = {
    "adwin": Scale(tuple(k / 2 for k in range(1, 21)), _chance, 0.5),
    "page_hinkley": Scale(tuple(5.0 * k for k in range(1, 21)), float, 5.0),
    "kswin": Scale((1.0,), _chance, 1e-6),  # what is found at others follows from the chance
}


def calibrate_preset(name: str, values: FloatArray, days: float, alarms: float, seed: int) -> tuple[Calibrated, float]:
    """The main argument of a preset that finds `alarms` changes a value in a baseline of these values, which took so
    many `days`. It is 0 where the baseline is not able to say.
    """
    if values.size < FEWEST:
        return Calibrated(values.size, reason=f"it has {values.size} values, {FEWEST} are needed"), 0.0
    a_day = round(values.size / days) if days >= 1 else 0
    played = values[-min(values.size, MOST) :]
    if a_day > 1 and played.size >= a_day:
        played = played[-(played.size // a_day * a_day) :]
    course = Course(panes=played.size, span=1, every=1, day=a_day, longest=played.size)
    found = calibrate([partial(_figures, name, played)], course, alarms, seed, flat=True)
    scale = SCALES[name]
    if found.bar is None:
        return found, 0.0
    return found, scale.argument(max(found.bar.threshold + scale.step, scale.levels[0]))


def _figures(name: str, values: FloatArray, windows: csr_array, _: FloatArray, known: FloatArray) -> FloatArray:
    """See `core.budget.FiguresOf`: a window is a single value."""
    history, series = values[known > 0], values[windows.indices]
    if name == "kswin":
        found = _by_chance(history, series)
    else:
        found = np.zeros(series.size)
        for level in SCALES[name].levels:
            found[_changes(name, level, history, series)] = level
    padded = np.concatenate([np.zeros(SETTLED_AFTER - 1), found])
    lately: FloatArray = np.lib.stride_tricks.sliding_window_view(padded, SETTLED_AFTER).max(axis=1)
    return lately


def _changes(name: str, level: float, history: FloatArray, series: FloatArray) -> list[int]:
    """Where a detector as strict as that finds changes in a series."""
    detector = Detector(name, {MAIN[name]: SCALES[name].argument(level)}, -np.inf, np.inf)
    detector.restore(history, None)
    return [place for place, value in enumerate(series.tolist()) if detector.update(value)]


def _by_chance(history: FloatArray, series: FloatArray) -> FloatArray:
    """How unlikely KSWIN finds each value of a series, as the decimal places of the chance.

    It begins anew after a change, which matters for those alone that belong to the same alert.
    """
    half = int(PRESETS["kswin"][1]["stat_size"])
    values = np.concatenate([history, series])[-(series.size + 2 * half - 1) :]
    found = np.zeros(values.size)
    if values.size >= 2 * half:
        views = np.lib.stride_tricks.sliding_window_view(values, 2 * half)
        apart = [_apart(views[start : start + AT_ONCE], half) for start in range(0, len(views), AT_ONCE)]
        found[2 * half - 1 :] = _unlikely(half)[np.concatenate(apart)]
    return found[-series.size :]


def _apart(windows: FloatArray, half: int) -> NDArray[np.int64]:
    """How far the two halves of each window lie apart: the distance of Kolmogorov and Smirnov, times a half's size."""
    order = np.argsort(windows, axis=1)
    ordered = np.take_along_axis(windows, order, axis=1)
    steps = np.cumsum(np.where(order < half, 1, -1), axis=1)
    counted = np.ones(ordered.shape, np.bool_)
    counted[:, :-1] = ordered[:, 1:] != ordered[:, :-1]
    found: NDArray[np.int64] = np.abs(steps * counted).max(axis=1)
    return found


@lru_cache(maxsize=1)
def _unlikely(half: int) -> FloatArray:
    """The decimal places of the chance of each distance, as River's KSWIN finds it."""
    newer, found = np.ones(half), np.zeros(half + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=RuntimeWarning)  # where it cannot be exact it is not, as with River
        for apart in range(int(NOTICEABLE * half) + 1, half + 1):
            chance = ks_2samp(np.repeat([0.0, 1.0], [apart, half - apart]), newer, method="auto").pvalue
            found[apart] = min(UNLIKELIEST, -np.log10(max(chance, 10.0**-UNLIKELIEST)))
    return found
