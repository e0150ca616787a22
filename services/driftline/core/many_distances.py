"""How far many histograms are from one reference, at once: the measures of `core.distances`, which say what each is.

Counts are (windows, cells), the reference (cells,); found are (windows,), NaN where either side is empty. A test holds
both forms equal.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from driftline.core.distances import PRIOR

FloatArray = NDArray[np.float64]


def _shares(counts: FloatArray) -> FloatArray:
    total = counts.sum(axis=-1, keepdims=True)
    found: FloatArray = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    return found


def _psi(counts: FloatArray, reference: FloatArray) -> FloatArray:
    cells = reference.size
    p, q = ((side + PRIOR) / (side.sum(axis=-1, keepdims=True) + PRIOR * cells) for side in (counts, reference))
    found: FloatArray = ((p - q) * np.log(p / q)).sum(axis=-1)
    return np.where((counts.sum(axis=-1) > 0) & (reference.sum() > 0), found, np.nan)


def _jensen_shannon(counts: FloatArray, reference: FloatArray) -> FloatArray:
    p, q = _shares(counts), _shares(reference)
    middle = (p + q) / 2
    nats: FloatArray = (rel_entr(p, middle) + rel_entr(q, middle)).sum(axis=-1) / 2
    found: FloatArray = np.clip(nats / np.log(2), 0.0, 1.0) ** 0.5
    return found


def _hellinger(counts: FloatArray, reference: FloatArray) -> FloatArray:
    found: FloatArray = (((_shares(counts) ** 0.5 - _shares(reference) ** 0.5) ** 2).sum(axis=-1) / 2) ** 0.5
    return found


def _total_variation(counts: FloatArray, reference: FloatArray) -> FloatArray:
    found: FloatArray = np.abs(_shares(counts) - _shares(reference)).sum(axis=-1) / 2
    return found


def _cramers_v(counts: FloatArray, reference: FloatArray) -> FloatArray:
    shares, rows = _shares(counts + reference), counts.sum(axis=-1)
    statistic = np.where((rows > 0) & (reference.sum() > 0), 0.0, np.nan)
    for side in (counts, reference):
        expected = shares * side.sum(axis=-1, keepdims=True)
        off = (side - expected) ** 2
        statistic = statistic + np.divide(off, expected, out=np.zeros(off.shape), where=expected > 0).sum(axis=-1)
    found: FloatArray = np.minimum(1.0, (statistic / (rows + reference.sum())) ** 0.5)
    return found


def kolmogorov_smirnov(counts: FloatArray, reference: FloatArray) -> FloatArray:
    """Of cells in order."""
    found: FloatArray = np.abs(_below(counts) - _below(reference)).max(axis=-1)
    return found


def wasserstein(counts: FloatArray, reference: FloatArray, positions: FloatArray) -> FloatArray:
    """Of cells in order between `positions`; NaN also where it is too large for a number."""
    apart = (_below(counts) - _below(reference))[:, :-1]
    start, end = apart[:, :-1], apart[:, 1:]
    sizes = np.abs(start) + np.abs(end)
    crossed = np.divide(start**2 + end**2, 2 * sizes, out=np.zeros(sizes.shape), where=sizes > 0)
    area = np.where(start * end < 0, crossed, sizes / 2)
    found: FloatArray = 2 * (area @ np.diff(positions / 2))  # halves, as a whole could overflow
    return np.where(np.isfinite(found), found, np.nan)


def _below(counts: FloatArray) -> FloatArray:
    """The share up to the end of each cell."""
    found: FloatArray = np.cumsum(_shares(counts), axis=-1)
    return found


OF_SHARES: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "psi": _psi,
    "jensen_shannon": _jensen_shannon,
    "hellinger": _hellinger,
    "total_variation": _total_variation,
    "cramers_v": _cramers_v,
}
"""The measures that need no order of the cells, by the names of `spec.measures`."""
