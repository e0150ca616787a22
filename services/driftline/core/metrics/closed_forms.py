"""95 % intervals from sums alone, as if rows were independent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from driftline.core.metrics.formula import Interval

FloatArray = NDArray[np.float64]

Z95 = 1.959963984540054


def wilson(share: float, n: int) -> tuple[float, float]:
    """Score interval of a share of `n` (Wilson, JASA 22, 1927)."""
    z2 = Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5 / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def hanley_mcneil(auc: float, positive: int, negative: int) -> tuple[float, float]:
    """Interval of an AUC, normal approximation (Hanley and McNeil, Radiology 143, 1982)."""
    q1, q2 = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    square = auc * auc
    variance = (auc * (1 - auc) + (positive - 1) * (q1 - square) + (negative - 1) * (q2 - square)) / (
        positive * negative
    )
    half = Z95 * max(variance, 0.0) ** 0.5
    return max(0.0, auc - half), min(1.0, auc + half)


def logit_interval(share: float, n: int) -> tuple[float, float]:
    """Interval of an average precision over `n` positives (Boyd, Eng, Page, ECML 2013); all there is at 0 and 1."""
    if not 0 < share < 1:
        return 0.0, 1.0
    logit, half = np.log(share / (1 - share)), Z95 / (n * share * (1 - share)) ** 0.5
    return float(1 / (1 + np.exp(half - logit))), float(1 / (1 + np.exp(-half - logit)))


def around_mean(mean: float, variance: float, n: int) -> Interval | None:
    """Student's t interval of a mean of `n` rows; None for a single row."""
    if n < 2:
        return None
    half = float(stdtrit(n - 1, 0.975)) * (max(variance, 0.0) / n) ** 0.5
    return Interval(mean - half, mean + half, "t")


def row_jackknife(of: Callable[[FloatArray], FloatArray], matrix: FloatArray) -> Interval | None:
    """Interval of a figure of a table of counts, `matrix` (1, k, k), by leaving out each row in turn.

    Rows of one cell are alike, so a cell is asked once (Tukey, Annals of Mathematical Statistics 29, 1958).
    """
    cells = np.argwhere(matrix[0] > 0)
    without = np.repeat(matrix, len(cells), axis=0)
    without[np.arange(len(cells)), cells[:, 0], cells[:, 1]] -= 1
    return left_out_rows(float(of(matrix)[0]), of(without), matrix[0][tuple(cells.T)])


def left_out_rows(value: float, without: FloatArray, times: FloatArray) -> Interval | None:
    """Interval of a figure from what it is without a row of each sort, of which there are `times`."""
    n = times.sum()
    if n < 2 or np.isnan(without).any():
        return None
    centre = float(without @ times / n)
    half = float(stdtrit(n - 1, 0.975) * np.sqrt((n - 1) / n * ((without - centre) ** 2 @ times)))
    return Interval(value - half, value + half, "jackknife")
