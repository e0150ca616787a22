"""An open-addressing index from (128-bit key, series) to a row number, looked up many at a time.

The table holds row numbers only, four bytes each; the keys themselves stand in the rows. A key's places to try follow
from its hash, each as good as independent of the one before (uniform probing): look-ups are short even in a full table,
and none is much longer than the others. At most `FULL` of the table is in use (live or removed).

Every call takes arrays and works in rounds: in each all look-ups that are still open try their next place, or several
where few are open, so the cost is that of a few numpy operations, not of a Python loop.
"""

from __future__ import annotations

import itertools
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

FULL = 0.75
"""In use at most; beyond, the table is made anew with `AFTER` of it in use: 5.3 to 6.5 bytes a live row."""
AFTER = 0.62
SMALLEST = 64
WIDEST, AT_ONCE = 16, 2_048
"""A look-up tries so many places in one round at most, and all together about so many at least."""
_EMPTY, _REMOVED, _FIRST = 0, 1, 2
# 2^64 / golden ratio (Knuth, TAOCP 3, 6.4), and a multiplier of splitmix64: they spread what `series` and `k` add
_STEP, _MIX, _HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(32)


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
        open_, seed = np.arange(low.size), _seed(low, series)
        rows, k = self._rows, 0
        while open_.size:
            width = _width(open_.size)
            asked = np.repeat(open_, width)
            place = self._place(seed[:, None], np.arange(k, k + width, dtype=np.uint64)).ravel()
            entry = self._table[place].astype(np.int64)
            number = np.maximum(entry - _FIRST, 0)
            hit = (rows.low[number] == low[asked]) & (rows.high[number] == high[asked])
            hit &= (rows.series[number] == series[asked]) & (entry >= _FIRST)
            ends = _firsts(np.flatnonzero(hit | (entry == _EMPTY)), width)
            met = ends[hit[ends]]
            found[asked[met]], where[asked[met]] = number[met], place[met]
            going_on = np.delete(np.arange(open_.size), ends // width)
            open_, seed, k = open_[going_on], seed[going_on], k + width
        return found, where

    def find_all(self, low: int, high: int, series: int) -> list[int]:
        """All rows of one key: `find` gives one of them."""
        found: list[int] = []
        seed = _seed(np.array([low], np.uint64), np.array([series], np.uint32))
        rows = self._rows
        for k in itertools.count():
            entry = int(self._table[self._place(seed, np.array([k], np.uint64))][0])
            number = entry - _FIRST
            if entry == _EMPTY:
                break
            if number >= 0 and (rows.low[number], rows.high[number], rows.series[number]) == (low, high, series):
                found.append(number)
        return list(dict.fromkeys(found))  # a place can come twice

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
        open_, seed = numbers, _seed(rows.low[numbers], rows.series[numbers])
        for k in itertools.count():
            place = self._place(seed, np.array([k], np.uint64))
            entry = self._table[place].astype(np.int64)
            hit = entry == open_ + _FIRST
            self._table[place[hit]] = _REMOVED
            self._live -= int(hit.sum())
            going_on = np.flatnonzero(~hit & (entry != _EMPTY))
            if not going_on.size:
                return
            open_, seed = open_[going_on], seed[going_on]

    def _place(self, seed: U64, k: U64) -> I64:
        """Where keys are looked for in round `k`, or in several."""
        mixed = ((seed + k * _STEP) * _MIX) >> _HALF
        return ((mixed * np.uint64(self._table.size)) >> _HALF).astype(np.int64)

    def _enter(self, numbers: I64) -> None:
        rows = self._rows
        open_, seed = numbers, _seed(rows.low[numbers], rows.series[numbers])
        k = np.zeros(numbers.size, np.int64)
        while open_.size:
            width = _width(open_.size)
            tries = (k[:, None] + np.arange(width)).astype(np.uint64)
            place = self._place(seed[:, None], tries).ravel()
            free = _firsts(np.flatnonzero(self._table[place] < _FIRST), width)
            wanted, who = place[free], free // width
            entry = self._table[wanted]
            # of several that want one place the last gets it: reading back tells which
            self._table[wanted] = (open_[who] + _FIRST).astype(np.uint32)
            got = self._table[wanted] == open_[who] + _FIRST
            self._used += int((entry[got] == _EMPTY).sum())
            tried = np.full(open_.size, width)
            tried[who] = free % width
            left = np.delete(np.arange(open_.size), who[got])
            open_, seed, k = open_[left], seed[left], k[left] + tried[left]

    def _make_room(self, more: int) -> None:
        if self._used + more <= FULL * self._table.size:
            return
        live = self._table[self._table >= _FIRST].astype(np.int64) - _FIRST
        self._table = np.zeros(max(SMALLEST, int((live.size + more) / AFTER)), np.uint32)
        self._used = 0
        for part in np.array_split(live, live.size // 65_536 + 1):  # parts that stay in the processor's cache
            self._enter(part)


def _width(keys: int) -> int:
    """In how many places to look at once: what a round costs does not depend on the number of keys, if they are few."""
    return min(WIDEST, 1 + AT_ONCE // keys)


def _firsts(places: I64, width: int) -> I64:
    """Of places in rising order, `width` a key, the first one of each key."""
    if width == 1:
        return places
    keys = places // width
    first: Bools = np.append(True, keys[1:] != keys[:-1])[: places.size]
    return places[first]


def _seed(low: U64, series: U32) -> U64:
    """What a key's places follow from. The halves are swapped, so that the product below spreads the lower one too."""
    mixed = low ^ (series.astype(np.uint64) * _STEP)
    return (mixed >> _HALF) ^ (mixed << _HALF)
