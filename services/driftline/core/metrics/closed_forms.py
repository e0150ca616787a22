"""95 % intervals from sums alone, as if rows were independent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from driftline.core.metrics.formula import Interval

FloatArray = NDArray[np.float64]

Z95 = 1.959963984540054


def wilson(share: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Score interval of a share of `n` (Wilson, JASA 22, 1927)."""
    z2 = z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5 / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def worth(share: float, n: float, spread: float) -> float:
    """As how many independent rows the `n` of a share count, of which blocks show the variance `spread`; 0: unknown.

    (The effective sample size of Korn and Graubard, Survey Methodology 24, 1998.)
    """
    own = share * (1 - share)
    return min(n, own / spread) if spread > 0 and own > 0 else n


def hanley_mcneil(auc: float, positive: int, negative: int, spread: float = 0.0) -> tuple[float, float]:
    """Score interval of an AUC: those that it is not too far from, by the variance that each of them would have.

    That holds where positives are few too, and at 1 (Hanley and McNeil, Radiology 143, 1982; made even and turned round
    by Newcombe, Statistics in Medicine 25, 2006, method 5). `spread` as in `worth`.
    """
    own = _auc_variance(auc, positive, negative)
    times = Z95**2 * max(1.0, spread / own if own > 0 else 1.0)
    ends = []
    for far in (0.0, 1.0):
        near = auc
        for _ in range(50):  # halving
            middle = (near + far) / 2
            inside = (auc - middle) ** 2 <= times * _auc_variance(middle, positive, negative)
            near, far = (middle, far) if inside else (near, middle)
        ends.append(far)
    return ends[0], ends[1]


def _auc_variance(auc: float, positive: int, negative: int) -> float:
    others = (positive + negative) / 2 - 1  # of either class: which one spreads more is not known
    each = 1 + others * ((1 - auc) / (2 - auc) + auc / (1 + auc))
    return auc * (1 - auc) * each / (positive * negative)


def score_of_table(
    of: Callable[[FloatArray], FloatArray], matrix: FloatArray, ends: tuple[float, float], spread: float
) -> Interval:
    """Interval of a figure between two `ends` of a table of counts, `matrix` (1, k, k): the score interval of a share
    that varies as much.

    The variance is that of the delta method, with half a row more in each cell, so that a cell without any does not
    make a figure certain (Agresti and Coull, The American Statistician 52, 1998). Of two labels, as much is known of it
    as there are rows of the rarer one: Student's t. `spread` as in `worth`.
    """
    low, width = ends[0], ends[1] - ends[0]
    cells = matrix[0].size
    filled = np.repeat(matrix + 0.5, 2 * cells + 1, axis=0)
    step = 0.01
    filled.reshape(len(filled), -1)[:cells] += step * np.eye(cells)
    filled.reshape(len(filled), -1)[cells:-1] -= step * np.eye(cells)
    found = (of(filled) - low) / width
    slopes = (found[:cells] - found[cells:-1]) / (2 * step)
    outcomes = matrix[0].sum(axis=1)
    z = float(stdtrit(max(1.0, outcomes[outcomes > 0].min() - 1), 0.975)) if len(outcomes) == 2 else Z95
    variance, middle = float(slopes**2 @ filled[-1].ravel()), float(found[-1])
    rows = middle * (1 - middle) / variance if variance > 0 else float(matrix.sum())
    share = (float(of(matrix)[0]) - low) / width
    ours = wilson(share, worth(share, rows, spread / width**2), z)
    return Interval(low + width * ours[0], low + width * ours[1], "delta")


def around_mean(mean: float, variance: float, n: int) -> Interval | None:
    """Student's t interval of a mean of `n` rows; None for a single row."""
    if n < 2:
        return None
    half = float(stdtrit(n - 1, 0.975)) * (max(variance, 0.0) / n) ** 0.5
    return Interval(mean - half, mean + half, "t")


def left_out_rows(value: float, without: FloatArray, times: FloatArray) -> Interval | None:
    """Interval of a figure from what it is without a row of each sort, of which there are `times` (Tukey, Annals of
    Mathematical Statistics 29, 1958).
    """
    n = times.sum()
    if n < 2 or np.isnan(without).any():
        return None
    centre = float(without @ times / n)
    half = float(stdtrit(n - 1, 0.975) * np.sqrt((n - 1) / n * ((without - centre) ** 2 @ times)))
    return Interval(value - half, value + half, "jackknife")
