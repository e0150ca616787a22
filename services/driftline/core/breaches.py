"""Values that the spec does not allow: outside a declared range, outside a declared set, or missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftline.core.columns import PredictionColumns
from driftline.core.plans import Plan, Plans, PlanTables
from driftline.core.series import SeriesTable
from driftline.events.slices import Breach, BreachReason

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

SAMPLES = 5
"""Sample prediction ids that a breach carries."""


class _Bad(NamedTuple):
    """One value that is not allowed. `order`: features come in the order of the spec, then outputs."""

    row: int
    order: int
    reason: BreachReason
    value: float | str | None


def breaches(table: SeriesTable, plans: Plans, new: PredictionColumns) -> dict[int, list[Breach]]:
    """By slice, the breaches of each version, feature and reason, with sample ids in the order of arrival."""
    tables = plans.tables
    bad = sorted([*_numbers(plans, tables, new), *_categories(plans, tables, new), *_outputs(plans, tables, new)])
    groups: dict[tuple[int, str, str, int, BreachReason], list[_Bad]] = {}
    for one in bad:
        series = table[int(new.series[one.row])]
        key = int(new.slice[one.row]), series.model, series.version or "", one.order, one.reason
        groups.setdefault(key, []).append(one)
    found: dict[int, list[Breach]] = {}
    for (number, _, version, _, _), ones in sorted(groups.items()):
        plan = plans[int(new.plan[ones[0].row])]
        found.setdefault(number, []).append(_breach(plan, version, ones, new.ids))
    return found


def _numbers(plans: Plans, tables: PlanTables, new: PredictionColumns) -> Iterator[_Bad]:
    rows, place = tables.places(new.plan, tables.numbers_per_row)
    plan = new.plan[rows]
    outside = (new.numbers < tables.low[plan, place]) | (new.numbers > tables.high[plan, place])
    for i in np.flatnonzero(outside | np.isnan(new.numbers)).tolist():
        row, known = int(rows[i]), plans[int(plan[i])]
        name = known.numbers[int(place[i])]
        if outside[i]:
            yield _Bad(row, known.order[name], BreachReason.OUT_OF_RANGE, float(new.numbers[i]))
        elif known.spec.features[name].missing == "forbidden":
            yield _Bad(row, known.order[name], BreachReason.MISSING, None)


def _categories(plans: Plans, tables: PlanTables, new: PredictionColumns) -> Iterator[_Bad]:
    suspects = _suspects(tables, new)
    if not suspects:
        return
    rows, place = tables.places(new.plan, tables.categories_per_row)
    for i in suspects:
        row, known, value = int(rows[i]), plans[int(new.plan[rows[i]])], new.categories[i]
        name = known.categories[int(place[i])]
        feature = known.spec.features[name]
        if value is None:
            if feature.missing == "forbidden":
                yield _Bad(row, known.order[name], BreachReason.MISSING, None)
        elif feature.allowed is not None and value not in feature.allowed:
            yield _Bad(row, known.order[name], BreachReason.NOT_ALLOWED, value)


def _suspects(tables: PlanTables, new: PredictionColumns) -> list[int]:
    """Places in `new.categories` to look at: gaps, and what a declared set could forbid."""
    found = {i for i, value in enumerate(new.categories) if value is None} if None in new.categories else set()
    restricted = tables.allowed
    if restricted.any():
        rows, place = tables.places(new.plan, tables.categories_per_row)
        found |= set(np.flatnonzero(restricted[new.plan[rows], place]).tolist())
    return sorted(found)


def _outputs(plans: Plans, tables: PlanTables, new: PredictionColumns) -> Iterator[_Bad]:
    for number in np.unique(new.plan).tolist():
        known, rows = plans[number], np.flatnonzero(new.plan == number)
        for name, output in known.spec.outputs.items():
            low, high = output.range
            answers = new.answer[rows]
            if known.spec.task == "multiclass":
                answers = _farthest_of(tables.shares(number, new.plan, new.shares), low, high)
            for place in np.flatnonzero((answers < low) | (answers > high)).tolist():
                yield _Bad(int(rows[place]), known.order[name], BreachReason.OUT_OF_RANGE, float(answers[place]))


def _farthest_of(shares: F64, low: float, high: float) -> F64:
    """Of each row's probabilities, the one that is farthest outside, or least inside, the range."""
    beyond = np.maximum(low - shares, shares - high)
    farthest: F64 = shares[np.arange(len(shares)), beyond.argmax(axis=1)]
    return farthest


def _breach(plan: Plan, version: str, ones: Sequence[_Bad], ids: Sequence[str]) -> Breach:
    name, reason = plan.named[ones[0].order], ones[0].reason
    worst, low, high = ones[0].value, None, None
    if reason is BreachReason.OUT_OF_RANGE:
        declared = plan.declared(name)
        assert declared is not None, "what is out of range has one"
        low, high = declared
        worst = _farthest((float(one.value) for one in ones if isinstance(one.value, float)), low, high)
    return Breach(
        model=plan.spec.model,
        version=version,
        name=name,
        reason=reason,
        n=len(ones),
        low=low,
        high=high,
        worst=worst,
        samples=tuple(ids[one.row] for one in ones[:SAMPLES]),
    )


def _farthest(values: Iterable[float], low: float, high: float) -> float:
    """The value farthest outside the range, the first of several."""
    return max(values, key=lambda value: max(low - value, value - high))
