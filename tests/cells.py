"""Which cell of a histogram each value falls into, one histogram at a time: the engine bins many at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from driftline.core.binning import category_name
from driftline.events.baselines import CategoryBins, NumberBins
from driftline.events.inputs import Value

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def cells_of_numbers(bins: NumberBins, values: FloatArray) -> IntArray:
    """The cell of each value: `0..k` the bins, then below, above, missing (NaN). Shape as `values`."""
    regular = len(bins.edges) + 1
    cells = np.searchsorted(np.array(bins.edges), values, side="right").astype(np.int64)
    with np.errstate(invalid="ignore"):
        if bins.low is not None:
            cells[values < bins.low] = regular
        if bins.high is not None:
            cells[values > bins.high] = regular + 1
    cells[np.isnan(values)] = regular + 2
    return cells


def cells_of_categories(bins: CategoryBins, values: Sequence[Value]) -> IntArray:
    """The cell of each value: `0..k-1` those told by themselves, then the others, buckets, unseen, missing."""
    return np.array([_cell_of_category(bins, category_name(value)) for value in values], dtype=np.int64)


def _cell_of_category(bins: CategoryBins, name: str | None) -> int:
    told, others = len(bins.values), int(len(bins.others) > 0)
    if name is None:
        return told + others + bins.buckets + 1
    if name in bins.values:
        return bins.values.index(name)
    if name in bins.others:
        return told
    return told + others + (xxhash.xxh3_64_intdigest(name.encode()) % bins.buckets if bins.buckets else 0)


def cells_of_scores(edges: Sequence[float], scores: FloatArray) -> IntArray:
    """The cell of each score: `0..k` the bins, then missing (NaN)."""
    cells = np.searchsorted(np.array(edges), scores, side="right").astype(np.int64)
    cells[np.isnan(scores)] = len(edges) + 1
    return cells
