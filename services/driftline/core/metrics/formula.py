"""What a metric consists of: its value, its values over resamples, and an interval for rows that are independent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftline.core.pane import FINE, Totals
from driftline.events.reports import MetricValue

FloatArray = NDArray[np.float64]
Costs = Mapping[str, Mapping[str, float]]
"""What a prediction costs, by outcome, then prediction."""


class Draws:
    """Many totals at once, each a weighted sum of the same `blocks`: `weights` is (draws, blocks)."""

    def __init__(self, blocks: Sequence[Totals], weights: FloatArray) -> None:
        self.layout, self.weights = blocks[0].layout, weights
        self._blocks = blocks
        self._vectors = np.array([block.vector for block in blocks], dtype=np.float64)

    def blocks(self, name: str) -> FloatArray:
        """A histogram in each block: (blocks, cells)."""
        cells = self.layout.cells[name]
        return self._vectors[:, cells.start : cells.stop]

    def counts(self, name: str) -> FloatArray:
        """A histogram in each draw: (draws, cells)."""
        counts: FloatArray = self.weights @ self.blocks(name)
        return counts

    def sum(self, name: str) -> FloatArray:
        """A sum in each draw: (draws,)."""
        total: FloatArray = self.weights @ np.array([block.total(name) / FINE for block in self._blocks])
        return total

    def grain(self, name: str) -> float:
        """What the parts of a sum were rounded to, at the coarsest."""
        return max(block.grain(name) for block in self._blocks)


class Interval(NamedTuple):
    """A 95 % interval and how it was made."""

    low: float
    high: float
    method: str


Closed = Callable[[Totals, MetricValue, float], Interval | None]


class Formula(NamedTuple):
    """A metric. `resampled`: its value in each draw, (draws,), NaN where it is not defined.

    `closed`: an interval from the sum alone, as if rows were independent, but not narrower than the variance `spread`
    asks for; None where it has none. It is asked only where `point` has a value. `scarce`: on how many rows of the
    rarer kind the figure hangs, where resamples say nothing as long as these are few; None where it hangs on all.
    """

    point: Callable[[Totals], MetricValue]
    resampled: Callable[[Draws], FloatArray]
    closed: Closed | None = None
    scarce: Callable[[Totals], float] | None = None


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """The quotient, NaN where the denominator is not positive."""
    found: FloatArray = np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)
    return found


def mean_of(totals: Totals, name: str, n: int) -> MetricValue:
    """A sum over `n` rows as their mean; the quotient of two integers is rounded once."""
    return MetricValue(value=totals.total(name) / (FINE * n) if n else None, n=n)
