"""Values that the spec does not allow: outside a declared range, outside a declared set, or missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from driftline.core.arrivals import ArrivedPrediction
from driftline.core.binning import category_name, to_numbers
from driftline.events.inputs import Value
from driftline.events.slices import Breach, BreachReason
from driftline.spec.model import MonitorSpec

SAMPLES = 5
"""Sample prediction ids that a breach carries."""


def breaches_of(spec: MonitorSpec, version: str, rows: Sequence[ArrivedPrediction]) -> list[tuple[int, Breach]]:
    """(slice, breach) for each slice and each feature or output whose values break its declaration."""
    if not rows:
        return []
    finder = _Finder(spec.model, version, rows)
    for column, (name, feature) in enumerate(spec.features.items()):
        values = [a.values[column] for a in rows]
        if feature.range is not None:
            finder.out_of_range(name, to_numbers(values), feature.range)
        if feature.allowed is not None:
            finder.not_allowed(name, values, feature.allowed)
        if feature.missing == "forbidden":
            finder.missing(name, values)
    for name, output in spec.outputs.items():
        answers = [a.score if name == "score" else a.value for a in rows]
        finder.out_of_range(name, to_numbers(answers), output.range)
    return finder.found


class _Finder:
    """Collects the breaches of one version's rows."""

    def __init__(self, model: str, version: str, rows: Sequence[ArrivedPrediction]) -> None:
        self.found: list[tuple[int, Breach]] = []
        self._model, self._version, self._rows = model, version, rows

    def out_of_range(self, name: str, values: NDArray[np.float64], declared: tuple[float, float]) -> None:
        low, high = declared
        with np.errstate(invalid="ignore"):
            outside = np.flatnonzero((values < low) | (values > high)).tolist()
        for number, where in self._by_slice(outside):
            worst = max(where, key=lambda i: (max(low - values[i], values[i] - high), -i))
            self._add(number, name, BreachReason.OUT_OF_RANGE, where, float(values[worst]), low, high)

    def not_allowed(self, name: str, values: Sequence[Value], allowed: tuple[str, ...]) -> None:
        known = {None, *allowed}
        names = [category_name(value) for value in values]
        for number, where in self._by_slice([i for i, value in enumerate(names) if value not in known]):
            self._add(number, name, BreachReason.NOT_ALLOWED, where, names[where[0]])

    def missing(self, name: str, values: Sequence[Value]) -> None:
        for number, where in self._by_slice([i for i, value in enumerate(values) if value is None]):
            self._add(number, name, BreachReason.MISSING, where, None)

    def _by_slice(self, where: Sequence[int]) -> list[tuple[int, list[int]]]:
        groups: dict[int, list[int]] = {}
        for i in where:
            groups.setdefault(self._rows[i].slice, []).append(i)
        return sorted(groups.items())

    def _add(
        self,
        number: int,
        name: str,
        reason: BreachReason,
        where: Sequence[int],
        worst: float | str | None,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        breach = Breach(
            model=self._model,
            version=self._version,
            name=name,
            reason=reason,
            n=len(where),
            low=low,
            high=high,
            worst=worst,
            samples=tuple(self._rows[i].id for i in where[:SAMPLES]),
        )
        self.found.append((number, breach))
