"""An open-addressing index from (128-bit key, series) to a row number, looked up many at a time.

The table holds row numbers only, four bytes each; the keys themselves stand in the rows. Linear probing, at most
`FULL` of the table in use (live or removed). Every call takes arrays and works in rounds: in each round all look-ups
that are still open probe one place, so the cost is that of a few numpy operations, not of a Python loop.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

FULL = 0.8
"""In use at most; beyond, the table is made anew with `AFTER` of it in use: 5 to 6.5 bytes a live row."""
AFTER = 0.62
SMALLEST = 64
_EMPTY, _REMOVED, _FIRST = 0, 1, 2
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio (Knuth, TAOCP 3, 6.4): spreads what `series` adds
_HALF = np.uint64(32)


class Rows(Protocol):
    """Where the keys stand, by row number."""

    low: U64
    high: U64
    series: U32


class Index:
    """See the module. `rows` is read at the row numbers that were put in, so these must be filled before `put`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._table: U32 = np.zeros(SMALLEST, np.uint32)
        self._used = 0
        self._live = 0

    def __len__(self) -> int:
        return self._live

    @property
    def size_bytes(self) -> int:
        """Memory of the table."""
        return self._table.nbytes

    def find(self, low: U64, high: U64, series: U32) -> tuple[I64, I64]:
        """Row and place in the table of each key, -1 and -1 where it is not there. Shapes as `low`."""
        found = np.full(low.size, -1, np.int64)
        where = np.full(low.size, -1, np.int64)
        open_ = np.arange(low.size)
        place = self._home(low, series)
        rows = self._rows
        while open_.size:
            entry = self._table[place].astype(np.int64)
            number = entry - _FIRST
            number[entry < _FIRST] = 0
            hit = (rows.low[number] == low[open_]) & (rows.high[number] == high[open_])
            hit &= (rows.series[number] == series[open_]) & (entry >= _FIRST)
            found[open_[hit]] = number[hit]
            where[open_[hit]] = place[hit]
            going_on = ~hit & (entry != _EMPTY)
            open_, place = open_[going_on], self._next(place[going_on])
        return found, where

    def find_all(self, low: int, high: int, series: int) -> list[int]:
        """All rows of one key: `find` gives one of them."""
        found = []
        place = int(self._home(np.array([low], np.uint64), np.array([series], np.uint32))[0])
        rows = self._rows
        while (entry := int(self._table[place])) != _EMPTY:
            number = entry - _FIRST
            if number >= 0 and (rows.low[number], rows.high[number], rows.series[number]) == (low, high, series):
                found.append(number)
            place = (place + 1) % self._table.size
        return found

    def put(self, numbers: I64) -> None:
        """Enter rows. Their keys are all different; one that is in the index already has several rows then."""
        self._make_room(numbers.size)
        self._enter(numbers)
        self._live += numbers.size

    def move(self, where: I64, numbers: I64) -> None:
        """Let the entries at places `where` (from `find`, nothing put in between) name other rows of the same keys."""
        self._table[where] = (numbers + _FIRST).astype(np.uint32)

    def remove(self, numbers: I64) -> None:
        """Take rows out; a row that another has taken the place of is not there any more, and that is no mistake."""
        rows = self._rows
        open_, place = numbers, self._home(rows.low[numbers], rows.series[numbers])
        while open_.size:
            entry = self._table[place].astype(np.int64)
            hit = entry == open_ + _FIRST
            self._table[place[hit]] = _REMOVED
            self._live -= int(hit.sum())
            going_on = ~hit & (entry != _EMPTY)
            open_, place = open_[going_on], self._next(place[going_on])

    def _home(self, low: U64, series: U32) -> I64:
        mixed = ((low ^ (series.astype(np.uint64) * _MIX)) * _MIX) >> _HALF
        return ((mixed * np.uint64(self._table.size)) >> _HALF).astype(np.int64)

    def _next(self, place: I64) -> I64:
        after = place + 1
        after[after == self._table.size] = 0
        return after

    def _enter(self, numbers: I64) -> None:
        rows = self._rows
        open_, place = numbers, self._home(rows.low[numbers], rows.series[numbers])
        while open_.size:
            entry = self._table[place]
            free = entry < _FIRST
            # of several that want one place the last gets it: reading back tells which
            self._table[place[free]] = (open_[free] + _FIRST).astype(np.uint32)
            got = free & (self._table[place] == open_ + _FIRST)
            self._used += int((entry[got] == _EMPTY).sum())
            open_, place = open_[~got], self._next(place[~got])

    def _make_room(self, more: int) -> None:
        if self._used + more <= FULL * self._table.size:
            return
        live = self._table[self._table >= _FIRST].astype(np.int64) - _FIRST
        self._table = np.zeros(max(SMALLEST, int((live.size + more) / AFTER)), np.uint32)
        self._used = 0
        for part in np.array_split(live, live.size // 65_536 + 1):  # parts that stay in the processor's cache
            self._enter(part)
