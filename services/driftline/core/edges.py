"""Many histograms' bin edges as flat tables, so that values of many features are binned at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from driftline.events.baselines import NumberBins

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class EdgeTable:
    """One histogram: its inner edges, where its cells begin in a pane, and which values fall outside.

    The cells: the bins; with a `declared` histogram below and above its range; missing.
    """

    edges: Sequence[float]
    base: int
    low: float = -np.inf
    high: float = np.inf
    declared: bool = False

    @classmethod
    def of_numbers(cls, bins: NumberBins, base: int) -> EdgeTable:
        """The table of a numeric feature or a predicted number."""
        low = -np.inf if bins.low is None else bins.low
        high = np.inf if bins.high is None else bins.high
        return cls(bins.edges, base, low, high, declared=True)


class EdgeTables:
    """Tables by number."""

    def __init__(self, tables: Sequence[EdgeTable]) -> None:
        sizes = np.array([len(table.edges) for table in tables], np.int64)
        self._edges = np.array([*chain.from_iterable(table.edges for table in tables), 0.0], np.float64)
        self._stop = np.cumsum(sizes)
        self._start = self._stop - sizes
        self._base = np.array([table.base for table in tables], np.int64)
        self._low = np.array([table.low for table in tables], np.float64)
        self._high = np.array([table.high for table in tables], np.float64)
        self._missing = sizes + 1 + np.array([2 * table.declared for table in tables], np.int64)
        self._rounds = int(sizes.max(initial=0)).bit_length()

    def cells(self, table: I64 | int, values: F64) -> I64:
        """The cell of each value; `table`: one for all, or each value's own. NaN is a missing value."""
        if isinstance(table, int):
            edges = self._edges[self._start[table] : self._stop[table]]
            cells = np.searchsorted(edges, values, side="right").astype(np.int64)
        else:
            cells = self._search(table, values)
        regular = self._stop[table] - self._start[table] + 1
        cells = np.where(values < self._low[table], regular, cells)
        cells = np.where(values > self._high[table], regular + 1, cells)
        return np.where(np.isnan(values), self._missing[table], cells) + self._base[table]

    def _search(self, table: I64, values: F64) -> I64:
        """A binary search of all values at once, each between the edges of its own table."""
        start = self._start[table]
        low, high = start, self._stop[table]
        for _ in range(self._rounds):
            middle = (low + high) >> 1
            right = (low < high) & (self._edges[middle] <= values)
            low, high = np.where(right, middle + 1, low), np.where(right, high, np.maximum(low, middle))
        return low - start
