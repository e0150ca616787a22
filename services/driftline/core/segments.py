"""Which segments a prediction belongs to: one of each way to cut, written as a byte that stays with its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from driftline.core.binning import category_name
from driftline.core.columns import PredictionColumns
from driftline.core.plans import UNTOLD, Plans
from driftline.events.inputs import Value
from driftline.spec.model import Cut, SegmentSpec

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

OWN = 250
"""Segments of one way to cut that a version has in a partition: those seen first; all others are one."""
LONGEST = 200
"""Characters of a segment's name; one that is longer counts among the others."""
MISSING, OTHER = "(missing)", "(other)"

Names = dict[str, list[str]]
"""By way to cut, the segments of one version, each at the place of its code."""


class SegmentCodes:
    """The codes of segments by series of predictions. `known` is what a partition remembers of them.

    A version is cut as the spec says at its first sight: like its bins, that never changes.
    """

    def __init__(self, plans: Plans) -> None:
        self._plans = plans
        self._cuts: dict[int, tuple[SegmentSpec, ...]] = {}
        self._first: dict[int, int] = {}
        self._names: dict[int, Names] = {}
        self._codes: dict[int, list[dict[str, int]]] = {}
        self._tables: tuple[I64, I64] | None = None

    def add(self, series: int, cuts: Sequence[SegmentSpec], first: int, names: Names) -> None:
        """A version, how it is cut, the first byte of its rows' tails that is a code, and its segments so far."""
        self._cuts[series], self._first[series], self._names[series] = tuple(cuts), first, names
        every = [names.setdefault(cut.name, []) for cut in cuts]
        self._codes[series] = [{name: code for code, name in enumerate(each)} for each in every]
        self._tables = None

    @property
    def most(self) -> int:
        """Ways to cut of the version that has most."""
        return max(map(len, self._cuts.values()), default=0)

    def write(self, new: PredictionColumns, tails: U8) -> None:
        """Put the codes of predictions into their rows' tails."""
        if not self.most:
            return
        for number in np.unique(new.plan).tolist():
            rows = np.flatnonzero(new.plan == number)
            for series in np.unique(new.series[rows]).tolist():
                own = rows[new.series[rows] == series]
                for place, cut in enumerate(self._cuts.get(series, ())):
                    names = self._named(cut, number, new, own)
                    tails[own, self._first[series] + place] = self._coded(series, place, cut.name, names)

    def of(self, series: NDArray[np.uint32], tails: U8, place: int) -> I64:
        """The segment of each row among those of the `place`-th way to cut, -1 for none."""
        cuts, first = self._arrays()
        has = np.flatnonzero(cuts[series] > place)
        found = np.full(series.size, -1, np.int64)
        codes = tails[has, first[series[has]] + place]
        found[has] = np.where(codes == UNTOLD, -1, codes)
        return found

    def told(self, series: int, place: int, code: int) -> tuple[str, str]:
        """What a segment is cut by, and its name."""
        cut = self._cuts[series][place].name
        return cut, f"{cut}={OTHER}" if code == OWN else self._names[series][cut][code]

    def _arrays(self) -> tuple[I64, I64]:
        if self._tables is None:
            size = max(self._cuts, default=0) + 1
            cuts, first = np.zeros(size, np.int64), np.zeros(size, np.int64)
            for series, every in self._cuts.items():
                cuts[series], first[series] = len(every), self._first[series]
            self._tables = cuts, first
        return self._tables

    def _coded(self, series: int, place: int, cut: str, names: Sequence[str | None]) -> list[int]:
        known, listed = self._codes[series][place], self._names[series][cut]
        for name in dict.fromkeys(names):
            if name is not None and name not in known and len(known) < OWN and len(name) <= LONGEST:
                known[name] = len(listed)
                listed.append(name)
        return [UNTOLD if name is None else known.get(name, OWN) for name in names]

    def _named(self, cut: SegmentSpec, plan: int, new: PredictionColumns, rows: I64) -> Sequence[str | None]:
        parts = [self._values(each, plan, new, rows) for each in cut.cuts]
        if len(parts) == 1:
            return parts[0]
        return [None if None in pair else ", ".join(pair) for pair in zip(*parts, strict=True)]

    def _values(self, cut: Cut, plan: int, new: PredictionColumns, rows: I64) -> list[str | None]:
        """The name of each row's part, as in `origin=EWR`; None where its feature is not declared any more."""
        if cut.source == "attribute":
            told = (
                [new.attributes[row].get(cut.name) for row in rows.tolist()] if new.attributes else [None] * rows.size
            )
            values = _numbers(told) if cut.edges else [category_name(value) for value in told]
        else:
            known, tables = self._plans[plan], self._plans.tables
            if cut.name in known.numbers and cut.edges:
                starts = np.cumsum(tables.numbers_per_row[new.plan]) - tables.numbers_per_row[new.plan]
                values = new.numbers[starts[rows] + known.numbers.index(cut.name)]
            elif cut.name in known.categories and not cut.edges:
                starts = np.cumsum(tables.categories_per_row[new.plan]) - tables.categories_per_row[new.plan]
                places = starts[rows] + known.categories.index(cut.name)
                values = [new.categories[at] for at in places.tolist()]
            else:
                return [None] * rows.size
        if isinstance(values, np.ndarray):
            return _buckets(cut, values)
        return [f"{cut.name}={MISSING if value is None else value}" for value in values]


def segments_of(way: SegmentSpec, columns: Mapping[str, Sequence[Value]]) -> list[str]:
    """The segment of each row, as in `origin=EWR, carrier=UA`. `columns`: of all features and attributes, by name.

    What no column is there for is missing in every row. A segment whose name is too long is one of the others.
    """
    size = len(next(iter(columns.values()), ()))
    parts: list[list[str | None]] = []
    for cut in way.cuts:
        values = columns.get(cut.name) or [None] * size
        if cut.edges:
            parts.append(_buckets(cut, _numbers(values)))
        else:
            names = (category_name(value) for value in values)
            parts.append([f"{cut.name}={MISSING if name is None else name}" for name in names])
    joined = (", ".join(str(part) for part in row) for row in zip(*parts, strict=True))
    return [name if len(name) <= LONGEST else f"{way.name}={OTHER}" for name in joined]


def _numbers(values: Sequence[Value]) -> NDArray[np.float64]:
    """As numbers, NaN for what is none."""
    return np.array([_number(value) for value in values], np.float64)


def _number(value: Value) -> float:
    if value is None or isinstance(value, str | bool):
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _buckets(cut: Cut, values: NDArray[np.float64]) -> list[str | None]:
    edges = cut.edges
    inner = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    named = [f"{cut.name}={label}" for label in (f"<{edges[0]:g}", *inner, f">={edges[-1]:g}", MISSING)]
    found = np.searchsorted(np.array(edges), values, side="right")
    found[np.isnan(values)] = len(named) - 1
    return [named[place] for place in found.tolist()]


def largest(sizes: Mapping[str, int], cut: str, most: int) -> dict[str, str]:
    """Which segments of a way to cut are told by themselves: the `most` largest; the rest are told as one.

    `sizes`: predictions by segment. Returns under which name each is told.
    """
    rest = f"{cut}={OTHER}"
    ranked = sorted(sizes.keys() - {rest}, key=lambda name: (-sizes[name], name))
    return {name: name if place < most else rest for place, name in enumerate(ranked)} | {rest: rest}
