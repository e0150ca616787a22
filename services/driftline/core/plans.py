"""How the values of a model version are counted: which cell of its panes each feature's value falls into.

A plan belongs to a spec (which features, in which order, with which declared ranges) and a layout (which bins). All
plans share flat tables, so that one search serves the rows of any number of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftline.core.binning import bucket_of, category_name
from driftline.core.edges import EdgeTable, EdgeTables
from driftline.core.pane import Layout, histogram_size
from driftline.events.baselines import CategoryBins, NumberBins
from driftline.spec.model import MonitorSpec

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

NOWHERE = -1
"""A feature without bins: it was declared, or its type was changed, after the version's bins were made."""
UNTOLD = 255
"""Stands in a tail for a feature that has bins and is not declared any more; no histogram has so many cells."""


class FeatureCells(NamedTuple):
    """Values of features in their cells: row and cell of each; and for each row a byte a feature of its bins.

    `tails` is (rows, the widest): the number of the cell in its own histogram, in the order of the bins, or `UNTOLD`.
    """

    rows: I64
    cells: I64
    tails: NDArray[np.uint8]

    def of_rows(self, chosen: I64) -> FeatureCells:
        """Those of some rows, which are numbered anew."""
        if chosen.size == len(self.tails):
            return self
        number = np.full(len(self.tails), NOWHERE, np.int64)
        number[chosen] = np.arange(chosen.size)
        rows = number[self.rows]
        return FeatureCells(rows[rows >= 0], self.cells[rows >= 0], self.tails[chosen])


@dataclass(frozen=True)
class Plan:
    """The features of a spec in two groups, numbers and categories, each in the order of the spec."""

    spec: MonitorSpec
    layout: Layout

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """The numeric features."""
        return tuple(name for name, feature in self.spec.features.items() if feature.type == "number")

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The others."""
        return tuple(name for name, feature in self.spec.features.items() if feature.type == "category")

    @cached_property
    def named(self) -> tuple[str, ...]:
        """Features in the order of the spec, then outputs."""
        return (*self.spec.features, *self.spec.outputs)

    @cached_property
    def order(self) -> dict[str, int]:
        """The place of each in `named`; an output stands in for a feature of the same name."""
        return {name: i for i, name in enumerate(self.named)}

    def declared(self, name: str) -> tuple[float, float] | None:
        """The declared range of a feature or output."""
        return self.spec.outputs[name].range if name in self.spec.outputs else self.spec.features[name].range


class Plans:
    """Plans by number, and their tables, which are made when first needed after a plan has come."""

    def __init__(self) -> None:
        self._plans: list[Plan] = []
        self._tables: PlanTables | None = None

    def __getitem__(self, number: int) -> Plan:
        return self._plans[number]

    def add(self, spec: MonitorSpec, layout: Layout) -> int:
        """The number of a new plan."""
        self._plans.append(Plan(spec, layout))
        self._tables = None
        return len(self._plans) - 1

    @property
    def tables(self) -> PlanTables:
        """The tables of all plans."""
        if self._tables is None:
            self._tables = PlanTables(self._plans)
        return self._tables


class PlanTables:
    """Arrays over all plans; `low[p, j]` and `high[p, j]` are the declared range of plan p's j-th number."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self.numbers_per_row = np.array([len(plan.numbers) for plan in plans], np.int64)
        self.categories_per_row = np.array([len(plan.categories) for plan in plans], np.int64)
        self.shares_per_row = np.array([len(plan.layout.bins.scores) for plan in plans], np.int64)
        self._shares_at = [len(plan.layout.bins.features) for plan in plans]
        self.low = _matrix(self.numbers_per_row, -np.inf, np.float64)
        self.high = _matrix(self.numbers_per_row, np.inf, np.float64)
        self._number_table = _matrix(self.numbers_per_row, NOWHERE, np.int64)
        self._category_table = _matrix(self.categories_per_row, NOWHERE, np.int64)
        self.allowed = _matrix(self.categories_per_row, 0, np.bool_)
        """Which categories have a declared set, by plan and place."""
        self._known: list[dict[str | None, int]] = []
        unseen, buckets = list[int](), list[int]()
        edges: list[EdgeTable] = []
        numbers_at: list[tuple[int, int]] = []
        categories_at: list[tuple[int, int]] = []
        for p, plan in enumerate(plans):
            bins, cells = plan.layout.bins.features, plan.layout.cells
            place_of = {name: place for place, name in enumerate(bins)}
            for j, name in enumerate(plan.numbers):
                declared = plan.spec.features[name].range
                if declared is not None:
                    self.low[p, j], self.high[p, j] = declared
                found = bins.get(name)
                if isinstance(found, NumberBins):
                    self._number_table[p, j] = len(edges)
                    start = cells[f"feature:{name}"].start
                    edges.append(EdgeTable.of_numbers(found, start))
                    numbers_at.append((start, place_of[name]))
            for j, name in enumerate(plan.categories):
                self.allowed[p, j] = plan.spec.features[name].allowed is not None
                found = bins.get(name)
                if isinstance(found, CategoryBins):
                    self._category_table[p, j] = len(self._known)
                    start = cells[f"feature:{name}"].start
                    self._known.append(_known(found, start))
                    unseen.append(start + histogram_size(found) - 2)
                    buckets.append(found.buckets)
                    categories_at.append((start, place_of[name]))
        self._edges = EdgeTables(edges)
        self._unseen, self._buckets = np.array([*unseen, NOWHERE]), np.array([*buckets, 0])
        """The cell of what a table does not know, and how many before it are buckets; the last: of no table."""
        self._numbers_at = np.array(numbers_at, np.int64).reshape(-1, 2)
        """Where the cells of each table begin, and which byte of a row's tail they go to."""
        self._categories_at = np.array(categories_at, np.int64).reshape(-1, 2)

    def features(self, plan: I64, numbers: F64, categories: Sequence[str | None], width: int) -> FeatureCells:
        """The cell of each feature's value that has one.

        `numbers` and `categories` stand row after row, those of row i in the order of plan `plan[i]`; `width` is that
        of the tails.
        """
        tails = np.full((plan.size, width), UNTOLD, np.uint8)
        if plan.size and (plan == plan[0]).all():  # one plan: a column at a time is quicker
            only = int(plan[0])
            found = [*self._columns_of_numbers(only, numbers), *self._columns_of_categories(only, categories)]
            for begin, byte, column in found:
                tails[:, byte] = column - begin
            rows = np.tile(np.arange(plan.size), len(found))
            return FeatureCells(rows, np.concatenate([np.empty(0, np.int64), *(cells for *_, cells in found)]), tails)
        parts = self._mixed_numbers(plan, numbers), self._mixed_categories(plan, categories)
        for rows, cells, start, place in parts:
            tails[rows, place] = cells - start
        rows, cells = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        return FeatureCells(rows, cells, tails)

    def write_shares(self, plan: I64, shares: F64, tails: NDArray[np.uint8]) -> None:
        """Put the probabilities of labels, which stand row after row as in `features`, into the rows' tails."""
        for number in np.unique(plan[self.shares_per_row[plan] > 0]).tolist():
            values, at = self.shares(number, plan, shares).view(np.uint8), self._shares_at[number]
            tails[plan == number, at : at + values.shape[1]] = values

    def shares(self, number: int, plan: I64, shares: F64) -> F64:
        """The probabilities of labels in the rows of plan `number`: (its rows, labels)."""
        per_row = self.shares_per_row[plan]
        starts = np.cumsum(per_row) - per_row
        values: F64 = shares[starts[plan == number][:, None] + np.arange(self.shares_per_row[number])]
        return values

    def _columns_of_numbers(self, plan: int, values: F64) -> Iterator[tuple[int, int, I64]]:
        tables = self._number_table[plan, : self.numbers_per_row[plan]].tolist()
        for table, column in zip(tables, values.reshape(-1, max(1, len(tables))).T, strict=False):
            if table != NOWHERE:
                start, place = self._numbers_at[table].tolist()
                yield start, place, self._edges.cells(table, column)

    def _columns_of_categories(self, plan: int, values: Sequence[str | None]) -> Iterator[tuple[int, int, I64]]:
        tables = self._category_table[plan, : self.categories_per_row[plan]].tolist()
        for j, table in enumerate(tables):
            if table != NOWHERE:
                known, unseen = self._known[table], int(self._unseen[table])
                start, place = self._categories_at[table].tolist()
                column = values[j :: len(tables)]
                cells = np.array([known.get(value, unseen) for value in column], np.int64)
                yield start, place, self._spread(table, cells, column)

    def _mixed_numbers(self, plan: I64, values: F64) -> tuple[I64, I64, I64, I64]:
        rows, place = self.places(plan, self.numbers_per_row)
        table = self._number_table[plan[rows], place]
        here = table != NOWHERE
        table = table[here]
        return rows[here], self._edges.cells(table, values[here]), *self._numbers_at[table].T

    def _mixed_categories(self, plan: I64, values: Sequence[str | None]) -> tuple[I64, I64, I64, I64]:
        rows, place = self.places(plan, self.categories_per_row)
        table = self._category_table[plan[rows], place]
        known, unseen = self._known, self._unseen.tolist()
        cells = [NOWHERE if t < 0 else known[t].get(v, unseen[t]) for t, v in zip(table.tolist(), values, strict=True)]
        here = table != NOWHERE
        found = self._spread(table, np.array(cells, np.int64), values)
        return rows[here], found[here], *self._categories_at[table[here]].T

    def _spread(self, table: I64 | int, cells: I64, values: Sequence[str | None]) -> I64:
        """The cells with what is not known in its bucket, where there are buckets."""
        lost = np.flatnonzero(cells == self._unseen[table])
        if lost.size and self._buckets.any():
            buckets = np.broadcast_to(self._buckets[table], cells.shape)[lost]
            names = [values[at] for at in lost.tolist()]
            cells[lost] += np.fromiter(map(bucket_of, names, buckets.tolist()), np.int64, lost.size) - buckets
        return cells

    def places(self, plan: I64, per_plan: I64) -> tuple[I64, I64]:
        """For values that stand row after row, `per_plan` of them in each: the row, and the place in it, of each."""
        per_row = per_plan[plan]
        rows = np.repeat(np.arange(plan.size), per_row)
        starts = np.cumsum(per_row) - per_row
        return rows, np.arange(rows.size) - starts[rows]


def _known(bins: CategoryBins, start: int) -> dict[str | None, int]:
    """The cell of each known value, and of a missing one."""
    others = start + len(bins.values)
    found: dict[str | None, int] = dict.fromkeys(bins.others, others)
    found |= {value: start + i for i, value in enumerate(bins.values)}
    return found | {None: start + histogram_size(bins) - 1}


def _matrix(widths: I64, fill: float, kind: type) -> NDArray[Any]:
    return np.full((widths.size, int(widths.max(initial=0))), fill, kind)


def names_of(values: Sequence[object]) -> Sequence[str | None]:
    """Categories as they are spelled (`binning.category_name`); only texts and gaps, as usual, stay as they are."""
    if set(map(type, values)) <= {str, type(None)}:
        return values  # type: ignore[return-value]  # just checked
    return [category_name(value) for value in values]  # type: ignore[arg-type]  # decoded as categories
