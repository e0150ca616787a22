"""Two versions by what they said live: both answered the same predictions, so their panes are compared in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from driftline.core.intervals import blocks_of, drawn_weights, stretched
from driftline.core.metrics import Draws, Formula, formula_of
from driftline.core.pane import Layout, Pane, Totals
from driftline.events.retraining import Comparison
from driftline.spec.metrics import higher_is_better

FEWEST_PANES, FEWEST_ROWS = 10, 100
"""Panes in which both versions have outcomes, and outcomes of each: fewer say nothing."""


class Side(NamedTuple):
    """What one version said: its panes by number, counted in its own bins."""

    layout: Layout
    panes: Mapping[int, Pane]


def compare_live(metric: str, champion: Side, other: Side, seed_parts: tuple[object, ...]) -> Comparison | None:
    """The gain of `other` over the champion in `metric`, with its 95 % interval; None where too little is known.

    Panes are blocks, as in window reports (`core.intervals`), and the same ones are drawn of both.
    """
    common = sorted(n for n in champion.panes.keys() & other.panes.keys() if _labelled(champion, other, n))
    if len(common) < FEWEST_PANES:
        return None
    formula = formula_of(metric)
    sides = [Totals.of(side.layout, [side.panes[n] for n in common]) for side in (champion, other)]
    if min(totals.labelled for totals in sides) < FEWEST_ROWS:
        return None
    a, b = (formula.point(totals).value for totals in sides)
    if a is None or b is None:
        return None
    sign = 1.0 if higher_is_better(metric) else -1.0
    weights = drawn_weights(len(common), seed_parts)
    values = sign * (_resampled(formula, other, common, weights) - _resampled(formula, champion, common, weights))
    interval = stretched(sign * (b - a), values[~np.isnan(values)], weights.shape[1])
    if interval is None:
        return None
    return Comparison(
        name=metric, champion=a, candidate=b, difference=sign * (b - a), low=interval.low, high=interval.high
    )


def _labelled(champion: Side, other: Side, number: int) -> bool:
    return champion.panes[number].has_labels and other.panes[number].has_labels


def _resampled(
    formula: Formula, side: Side, numbers: list[int], weights: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    blocks = blocks_of(side.layout, [side.panes[n] for n in numbers], weights.shape[1])
    return formula.resampled(Draws(blocks, weights))
