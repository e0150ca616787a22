"""Two versions by what they said live: both answered the same predictions, so their panes are compared in pairs.

Rows of one day share their weather, and a few hours cannot show how much two versions differ from day to day. The gate
has seen it: the interval of its verdict, over blocks of held-out rows, tells the spread of the gain between blocks.
What panes say by themselves and that spread together are the error of a live gain (`LiveGain.error`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from driftline.core.intervals import blocks_of, drawn_weights, stretched
from driftline.core.metrics import Draws, Formula, formula_of
from driftline.core.pane import Layout, Pane, Totals
from driftline.events.retraining import Verdict
from driftline.spec.metrics import higher_is_better

ALPHA = 0.05
NORMAL = -float(ndtri(ALPHA / 2))
"""So many standard errors lie between an estimate and either end of its interval, where it is normal."""
TIGHTEST = 50
"""The number of panes at which `certain_at_any_look` asks for the least."""
FEWEST_PANES, FEWEST_ROWS = 10, 100
"""Panes in which both versions have outcomes, and outcomes of each: fewer say nothing."""


class Side(NamedTuple):
    """What one version said: its panes by number, counted in its own bins."""

    layout: Layout
    panes: Mapping[int, Pane]


class LiveGain(NamedTuple):
    """The gain of `other` over the champion (positive is better), its standard error, and over how many panes."""

    champion: float
    other: float
    gain: float
    error: float
    panes: int

    @property
    def certain(self) -> bool:
        """Whether it is above 0 with 95 % certainty, two-sided, for somebody who looks once."""
        return self.gain > NORMAL * self.error

    @property
    def certain_at_any_look(self) -> bool:
        """The same for somebody who looks again and again and acts the first time: a confidence sequence.

        Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
        sequences", Annals of Statistics 52 (2024), theorem 2.2: it holds at all looks together.
        """
        spread = self.panes * (-2 * math.log(ALPHA) + math.log(-2 * math.log(ALPHA)) + 1) / TIGHTEST
        width = math.sqrt(2 * (spread + 1) / spread * math.log(math.sqrt(spread + 1) / ALPHA))
        return self.gain > width * self.error


def spread_of(verdict: Verdict) -> float:
    """How much the gain differs from block to block of the held-out rows (standard deviation); 0: nobody knows."""
    found, rows = next(iter(verdict.metrics), None), verdict.rows
    if found is None or rows is None or found.low is None or found.high is None or verdict.confidence is None:
        return 0.0
    half = (found.high - found.low) / 2
    return half * math.sqrt(rows.blocks) / -float(stdtrit(rows.blocks - 1, (1 - verdict.confidence) / 2))


def compare_live(
    metric: str, champion: Side, other: Side, spread: float, blocks: float, seed_parts: tuple[object, ...]
) -> LiveGain | None:
    """The gain of `other` over the champion in `metric`; None where too little is known.

    Panes are resampled as in window reports (`core.intervals`), the same ones of both. `spread`: see `spread_of`;
    `blocks`: how many such blocks the panes span, of which a part counts as one.
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
    of_panes = (interval.high - interval.low) / 2 / NORMAL
    error = math.hypot(of_panes, spread / math.sqrt(max(1.0, blocks)))
    return LiveGain(a, b, sign * (b - a), error, len(common))


def _labelled(champion: Side, other: Side, number: int) -> bool:
    return champion.panes[number].has_labels and other.panes[number].has_labels


def _resampled(
    formula: Formula, side: Side, numbers: list[int], weights: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    blocks = blocks_of(side.layout, [side.panes[n] for n in numbers], weights.shape[1])
    return formula.resampled(Draws(blocks, weights))
