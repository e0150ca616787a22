"""How far two histograms over the same bins are apart. None where either side is empty; never NaN, never infinite."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

PRIOR = 0.5
"""Added to every cell of both sides (Jeffreys' prior), so that an empty cell does not make the index infinite."""


def psi(counts: IntArray, reference: IntArray) -> float | None:
    """Population stability index: sum of (p - q) ln(p / q) over the cells, in nats; None where either side is empty.

    It is the symmetric Kullback-Leibler divergence (Jeffreys, Proc. R. Soc. A 186, 1946) of the two smoothed shares.
    """
    n, m = int(counts.sum()), int(reference.sum())
    if not n or not m:
        return None
    p = (counts + PRIOR) / (n + PRIOR * counts.size)
    q = (reference + PRIOR) / (m + PRIOR * counts.size)
    return float(((p - q) * np.log(p / q)).sum())


def jensen_shannon(counts: IntArray, reference: IntArray) -> float | None:
    """Root of the divergence of both shares from their mean, base 2 (Endres, Schindelin, IEEE Trans. IT 49, 2003)."""

    def of(p: FloatArray, q: FloatArray) -> float:
        middle = (p + q) / 2
        parts = [side[side > 0] * np.log2(side[side > 0] / middle[side > 0]) for side in (p, q)]
        return float(min(1.0, max(0.0, (parts[0].sum() + parts[1].sum()) / 2) ** 0.5))

    return _of_shares(of, counts, reference)


def hellinger(counts: IntArray, reference: IntArray) -> float | None:
    """Euclidean distance of the roots of the shares by the root of 2 (Hellinger, J. reine angew. Math. 136, 1909)."""
    return _of_shares(lambda p, q: float((((p**0.5 - q**0.5) ** 2).sum() / 2) ** 0.5), counts, reference)


def total_variation(counts: IntArray, reference: IntArray) -> float | None:
    """Half the sum of the differences of the shares."""
    return _of_shares(lambda p, q: float(np.abs(p - q).sum() / 2), counts, reference)


def _of_shares(of: Callable[[FloatArray, FloatArray], float], counts: IntArray, reference: IntArray) -> float | None:
    n, m = int(counts.sum()), int(reference.sum())
    return of(counts / n, reference / m) if n and m else None


def chi_squared(counts: IntArray, reference: IntArray) -> tuple[float, float, float] | None:
    """Pearson's statistic of the two rows as a contingency table, its effect size and its p-value.

    Cells that are empty on both sides are left out. The effect size is Cramer's V (Mathematical Methods of Statistics,
    1946): the root of the statistic by all rows, which for two samples lies in [0, 1] whatever the cells.
    """
    some = (counts > 0) | (reference > 0)
    table = np.array([counts[some], reference[some]], np.float64)
    rows, total = table.sum(axis=1), table.sum()
    if not rows.all():
        return None
    expected = np.outer(rows, table.sum(axis=0)) / total
    statistic = float(((table - expected) ** 2 / expected).sum())
    freedom = int(some.sum()) - 1
    p_value = float(chdtrc(freedom, statistic)) if freedom else 1.0
    return statistic, float(min(1.0, (statistic / total) ** 0.5)), p_value


def kolmogorov_smirnov(counts: IntArray, reference: IntArray, single: NDArray[np.bool_]) -> tuple[float, float] | None:
    """The largest difference of the shares below any edge, of cells in order; and how much more that of rows can be.

    Inside a cell either side may rise first; not in one of a `single` value, where all rise at once.
    """
    n, m = int(counts.sum()), int(reference.sum())
    if not n or not m:
        return None
    below, above = (np.array([np.append(0, np.cumsum(side)[:-1]), np.cumsum(side)]) for side in (counts, reference))
    (f0, f1), (g0, g1) = below / n, above / m
    found = float(np.abs(f1 - g1).max())
    most = float(np.where(single, 0.0, np.maximum(f1 - g0, g1 - f0)).max())
    return found, max(0.0, most - found)


def wasserstein(counts: IntArray, reference: IntArray, positions: FloatArray) -> tuple[float, float] | None:
    """The area between the shares below each value (Vallender, Theory Probab. Appl. 18, 1974), and its error bound.

    Cells are in order, the first and the last all at the first and the last of `positions`, the k cells between them
    between its k + 1 edges: there rows are taken to lie evenly, and the bound is that they may lie anywhere.
    """
    n, m = int(counts.sum()), int(reference.sum())
    if not n or not m:
        return None
    f, g = np.cumsum(counts[:-1]) / n, np.cumsum(reference[:-1]) / m
    half_width, start, end = np.diff(positions / 2), (f - g)[:-1], (f - g)[1:]  # halves, as a whole could overflow
    sizes = np.abs(start) + np.abs(end)
    crossed = np.divide(start**2 + end**2, 2 * sizes, out=np.zeros(sizes.size), where=sizes > 0)
    area = np.where(start * end >= 0, sizes / 2, crossed)
    most = np.maximum(f[1:] - g[:-1], g[1:] - f[:-1])
    least = np.maximum(np.maximum(f[:-1] - g[1:], g[:-1] - f[1:]), 0)
    bound = np.maximum(most - area, area - least)
    found, off = 2 * float(area @ half_width), 2 * float(bound @ half_width)
    return (found, off) if np.isfinite([found, off]).all() else None


def discoveries(p_values: Sequence[float]) -> list[float]:
    """P-values that hold the false discovery rate over all of them (Benjamini, Hochberg, JRSS B 57, 1995)."""
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values)[::-1]
    scaled = values[order] * values.size / np.arange(values.size, 0, -1)
    found = np.empty(values.size)
    found[order] = np.minimum.accumulate(np.minimum(scaled, 1.0))
    return [float(each) for each in found]
