"""How the values of a model version are counted: which cell of its panes each feature's value falls into.

A plan belongs to a spec (which features, in which order, with which declared ranges) and a layout (which bins). All
plans share flat tables, so that one search serves the rows of any number of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.core.binning import category_name
from driftline.core.edges import EdgeTable, EdgeTables
from driftline.core.pane import Layout
from driftline.events.baselines import CategoryBins, NumberBins
from driftline.spec.model import MonitorSpec

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

NOWHERE = -1
"""A feature without bins: it was declared, or its type was changed, after the version's bins were made."""


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
        self.low = _matrix(self.numbers_per_row, -np.inf, np.float64)
        self.high = _matrix(self.numbers_per_row, np.inf, np.float64)
        self._number_table = _matrix(self.numbers_per_row, NOWHERE, np.int64)
        self._category_table = _matrix(self.categories_per_row, NOWHERE, np.int64)
        self.allowed = _matrix(self.categories_per_row, 0, np.bool_)
        """Which categories have a declared set, by plan and place."""
        self._known: list[dict[str | None, int]] = []
        self._unseen: list[int] = []
        edges: list[EdgeTable] = []
        for p, plan in enumerate(plans):
            bins, cells = plan.layout.bins.features, plan.layout.cells
            for j, name in enumerate(plan.numbers):
                declared = plan.spec.features[name].range
                if declared is not None:
                    self.low[p, j], self.high[p, j] = declared
                found = bins.get(name)
                if isinstance(found, NumberBins):
                    self._number_table[p, j] = len(edges)
                    edges.append(EdgeTable.of_numbers(found, cells[f"feature:{name}"].start))
            for j, name in enumerate(plan.categories):
                self.allowed[p, j] = plan.spec.features[name].allowed is not None
                found = bins.get(name)
                if isinstance(found, CategoryBins):
                    self._category_table[p, j] = len(self._known)
                    start, size = cells[f"feature:{name}"].start, len(found.values)
                    self._known.append({value: start + i for i, value in enumerate(found.values)})
                    self._known[-1][None] = start + size + 1
                    self._unseen.append(start + size)
        self._edges = EdgeTables(edges)

    def number_cells(self, plan: I64, values: F64) -> tuple[I64, I64]:
        """Row and cell of each value that has a cell. As `binning.cells_of_numbers`.

        `values` stand row after row, those of row i in the order of plan `plan[i]`.
        """
        if plan.size and (plan == plan[0]).all():  # one plan: a column at a time is quicker
            tables = self._number_table[plan[0], : self.numbers_per_row[plan[0]]].tolist()
            columns = enumerate(values.reshape(plan.size, len(tables)).T)
            found = [self._edges.cells(tables[j], column) for j, column in columns if tables[j] != NOWHERE]
            return np.tile(np.arange(plan.size), len(found)), np.concatenate([np.empty(0, np.int64), *found])
        rows, place = self.places(plan, self.numbers_per_row)
        table = self._number_table[plan[rows], place]
        here = table != NOWHERE
        return rows[here], self._edges.cells(table[here], values[here])

    def category_cells(self, plan: I64, values: Sequence[str | None]) -> tuple[I64, I64]:
        """Row and cell of each value that has a cell. As `binning.cells_of_categories`."""
        known, unseen = self._known, self._unseen
        if plan.size and (plan == plan[0]).all():
            tables = self._category_table[plan[0], : self.categories_per_row[plan[0]]].tolist()
            columns = [(t, values[j :: len(tables)]) for j, t in enumerate(tables) if t != NOWHERE]
            lists = [[known[t].get(v, unseen[t]) for v in column] for t, column in columns]
            found = np.array([cell for each in lists for cell in each], np.int64)
            return np.tile(np.arange(plan.size), len(lists)), found
        rows, place = self.places(plan, self.categories_per_row)
        table = self._category_table[plan[rows], place]
        cells = [NOWHERE if t < 0 else known[t].get(v, unseen[t]) for t, v in zip(table.tolist(), values, strict=True)]
        found = np.array(cells, np.int64)
        return rows[found != NOWHERE], found[found != NOWHERE]

    def places(self, plan: I64, per_plan: I64) -> tuple[I64, I64]:
        """For values that stand row after row, `per_plan` of them in each: the row, and the place in it, of each."""
        per_row = per_plan[plan]
        rows = np.repeat(np.arange(plan.size), per_row)
        starts = np.cumsum(per_row) - per_row
        return rows, np.arange(rows.size) - starts[rows]


def _matrix(widths: I64, fill: float, kind: type) -> NDArray[Any]:
    return np.full((widths.size, int(widths.max(initial=0))), fill, kind)


def names_of(values: Sequence[object]) -> Sequence[str | None]:
    """Categories as they are spelled (`binning.category_name`); only texts and gaps, as usual, stay as they are."""
    if set(map(type, values)) <= {str, type(None)}:
        return values  # type: ignore[return-value]  # just checked
    return [category_name(value) for value in values]  # type: ignore[arg-type]  # decoded as categories
