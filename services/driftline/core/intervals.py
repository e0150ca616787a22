"""Intervals for metrics of a window: panes are blocks, because neighbours in time are not independent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from driftline.core.metrics import Draws, Formula
from driftline.core.metrics.formula import Interval
from driftline.core.pane import Layout, Pane, Totals
from driftline.events.reports import MetricValue
from driftline.spec.metrics import metric_of

FloatArray = NDArray[np.float64]

MIN_BLOCKS = 10
MAX_BLOCKS = 40  # more would narrow an interval by less than 3 %
RESAMPLES = 1000  # fewer would move the ends of an interval by chance: 400 lose 0.3 % of what it covers
ENOUGH = 5  # rows of the rarer kind a block: with half as many, an AUC is covered 88 times in a hundred
MIN_PANES = 3  # with two panes a jackknife knows one difference


@np.errstate(over="ignore", invalid="ignore")  # of numbers near the largest
def metrics_of_window(
    totals: Totals,
    panes: Sequence[Pane],
    formulas: Mapping[str, Formula],
    seed_parts: Sequence[object],
    *,
    need_labels: bool = True,
) -> dict[str, MetricValue]:
    """Every metric of a window with its 95 % interval; `panes` in time order, `totals` their sum.

    `need_labels`: whether only panes with labels say anything about these metrics.

    * From ten panes with labels on: block bootstrap (Kuensch, Annals of Statistics 17, 1989, here with adjoining
      blocks of whole panes), seeded by `seed_parts` so that a replay gives the same interval. See `_bootstrap`.
    * Below: a closed form, as if rows were independent, where the metric has one.
    * Else, from three panes on: the delete-one-pane jackknife with Student's t (Tukey, Annals of Mathematical
      Statistics 29, 1958; Miller, Biometrika 61, 1974).
    """
    labelled = [pane for pane in panes if pane.has_labels or not need_labels]
    points = {name: formula.point(totals) for name, formula in formulas.items()}
    if len(labelled) >= MIN_BLOCKS:
        weights = drawn_weights(len(labelled), seed_parts)
        draws = Draws(blocks_of(totals.layout, labelled, weights.shape[1]), weights)
        return {
            name: _with(name, point, _of_blocks(formulas[name], totals, point, draws)) for name, point in points.items()
        }
    left_out: Draws | None = None
    found = {}
    for name, point in points.items():
        formula = formulas[name]
        interval = None
        if point.value is not None and formula.closed is not None:
            interval = formula.closed(totals, point, 0.0)
        elif point.value is not None and len(labelled) >= MIN_PANES:
            left_out = left_out or _left_out(totals.layout, labelled)
            interval = _jackknife(formula, point.value, left_out)
        found[name] = _with(name, point, interval)
    return found


def _with(name: str, point: MetricValue, interval: Interval | None) -> MetricValue:
    """A value with its interval, which contains it and does not leave the metric's range; one that is not finite says
    nothing.
    """
    metric = metric_of(name)
    if interval is None or point.value is None or not metric.interval:
        return point
    low, high = max(interval.low, metric.low), min(interval.high, metric.high)
    if not np.isfinite([low, high]).all():
        return point
    return msgspec.structs.replace(
        point, low=min(low, point.value), high=max(high, point.value), method=interval.method
    )


def drawn_weights(panes: int, seed_parts: Sequence[object]) -> FloatArray:
    """`RESAMPLES` draws with replacement of as many blocks as the root of the panes, so of as many panes each.

    A block must outlast what neighbours share, and there must be enough of them to know their spread. In a stream
    whose panes are correlated as 0.7^distance, blocks of ten panes show 86 % of the true standard error of a mean,
    those of twenty 93 %; Student's t makes up for it (`_bootstrap`).
    """
    size = min(MAX_BLOCKS, max(MIN_BLOCKS, round(panes**0.5)))
    weights = np.random.default_rng(_seed(seed_parts)).multinomial(size, np.full(size, 1 / size), size=RESAMPLES)
    return weights.astype(np.float64)


def _left_out(layout: Layout, panes: Sequence[Pane]) -> Draws:
    """All panes but one, in turn."""
    return Draws(blocks_of(layout, panes, len(panes)), 1.0 - np.eye(len(panes)))


def blocks_of(layout: Layout, panes: Sequence[Pane], size: int) -> list[Totals]:
    """Panes in time order, added up to blocks of adjoining ones."""
    block_of = [number for number, part in enumerate(np.array_split(np.arange(len(panes)), size)) for _ in part]
    return Totals.of_parts(layout, panes, block_of, size)


def _of_blocks(formula: Formula, totals: Totals, point: MetricValue, draws: Draws) -> Interval | None:
    """Resampled where blocks have enough of the rows that the figure hangs on; else the closed form, as far apart as
    the blocks lie.
    """
    if point.value is None:
        return None
    values = formula.resampled(draws)
    known, blocks = values[~np.isnan(values)], draws.weights.shape[1]
    if formula.closed is None or formula.scarce is None or formula.scarce(totals) >= ENOUGH * blocks:
        return stretched(point.value, known, blocks)
    spread = float(known.var()) * _stretch(blocks, 0.025) ** 2 if known.size else 0.0
    return formula.closed(totals, point, spread)


def stretched(value: float, drawn: FloatArray, blocks: int) -> Interval | None:
    """The 95 % interval around `value`, see `stretched_ends`; None where too few resamples are defined."""
    if drawn.size < RESAMPLES // 2:
        return None
    return Interval(*stretched_ends(value, drawn, blocks, 0.025), "block-bootstrap")


def stretched_ends(value: float, drawn: FloatArray, blocks: int, tail: float) -> tuple[float, float]:
    """The percentile interval that leaves `tail` out on either side, stretched around the value as far as few blocks
    need.

    Resamples of b blocks vary by (b - 1) / b of what samples do, and their spread is known from b - 1 differences only:
    so its ends are moved away by t(b - 1) / z * sqrt(b / (b - 1)), which for a mean of equal blocks gives Student's
    interval over the blocks' means.
    """
    stretch = _stretch(blocks, tail)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return value + stretch * (float(low) - value), value + stretch * (float(high) - value)


def _stretch(blocks: int, tail: float) -> float:
    return float(stdtrit(blocks - 1, tail) / ndtri(tail) * np.sqrt(blocks / (blocks - 1)))


def _jackknife(formula: Formula, value: float, left_out: Draws) -> Interval | None:
    values, panes = formula.resampled(left_out), left_out.weights.shape[1]
    if np.isnan(values).any():
        return None
    error = float(np.sqrt((panes - 1) / panes * ((values - values.mean()) ** 2).sum()))
    half = float(stdtrit(panes - 1, 0.975)) * error
    return Interval(value - half, value + half, "jackknife-t")


def _seed(parts: Sequence[object]) -> int:
    return int.from_bytes(hashlib.sha256(repr([str(part) for part in parts]).encode()).digest()[:8], "big")
