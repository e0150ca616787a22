"""Quantiles out of histograms."""

from __future__ import annotations

import numpy as np

from driftline.core.metrics.formula import FloatArray


def quantiles(counts: FloatArray, edges: FloatArray, share: FloatArray | float) -> tuple[FloatArray, FloatArray]:
    """The smallest value that `share` of the rows do not exceed, and how far each can be off, for histograms (m, k).

    `edges` are the k - 1 inner ones of bins from 0 on; the last bin has no end, so a quantile within it is NaN, as it
    is where there are no rows. Within a bin rows are taken to lie evenly.
    """
    sums = np.cumsum(counts, axis=1)
    n = sums[:, -1]
    target = np.clip(share, 0, 1) * n
    bins = np.minimum((sums < target[:, None]).sum(axis=1), counts.shape[1] - 1)
    bins = np.where(target > 0, bins, (counts > 0).argmax(axis=1))
    each = np.arange(n.size)
    inside = counts[each, bins]
    ends = np.append(edges, np.nan)
    low, high = np.append(0.0, edges)[bins], ends[bins]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.clip((target - sums[each, bins] + inside) / inside, 0, 1)
        value = np.where(n > 0, low + (high - low) * part, np.nan)
        return value, np.maximum(value - low, high - value)
