"""Intervals for metrics of a window: panes are blocks, because neighbours in time are not independent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np

from driftline.core.metrics import Draws, compute, resampled
from driftline.core.pane import Layout, Pane, Totals
from driftline.events.reports import MetricValue

MIN_BLOCKS = 10
MAX_BLOCKS = 40
RESAMPLES = 400
Z95 = 1.959963984540054


def metrics_of_window(
    totals: Totals, panes: Sequence[Pane], names: Sequence[str], seed_parts: Sequence[object]
) -> dict[str, MetricValue]:
    """Every metric of a window with its 95 % interval; `panes` in time order, `totals` their sum.

    From ten panes with labels on: block bootstrap (Kuensch, Annals of Statistics 17, 1989, here with adjoining blocks
    of whole panes), percentile interval, seeded by `seed_parts` so that a replay gives the same interval. Below: a
    closed form for accuracy (Wilson) and AUC (Hanley and McNeil), none for the others.
    """
    points = {name: compute(totals, name) for name in names}
    labelled = [pane for pane in panes if pane.has_labels]
    if len(labelled) < MIN_BLOCKS:
        return {name: _closed_form(name, point, totals) for name, point in points.items()}
    draws = _drawn(totals.layout, labelled, _seed(seed_parts))
    found = {}
    for name, point in points.items():
        values = resampled(name, draws)
        values = values[~np.isnan(values)]
        if point.value is None or values.size < RESAMPLES // 2:
            found[name] = point
            continue
        low, high = np.quantile(values, [0.025, 0.975])
        found[name] = msgspec.structs.replace(
            point, low=min(float(low), point.value), high=max(float(high), point.value), method="block-bootstrap"
        )
    return found


def _drawn(layout: Layout, panes: Sequence[Pane], seed: int) -> Draws:
    """`RESAMPLES` draws of blocks with replacement."""
    size = min(MAX_BLOCKS, len(panes))
    block_of = [number for number, part in enumerate(np.array_split(np.arange(len(panes)), size)) for _ in part]
    weights = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=RESAMPLES)
    return Draws(Totals.of_parts(layout, panes, block_of, size), weights.astype(np.float64))


def _closed_form(name: str, point: MetricValue, totals: Totals) -> MetricValue:
    if point.value is None or not point.n:
        return point
    if name == "accuracy":
        low, high = wilson(point.value, point.n)
        return msgspec.structs.replace(point, low=low, high=high, method="wilson")
    if name == "auc":
        negative = int(totals.histogram("score|neg")[:-1].sum())
        low, high = hanley_mcneil(point.value, point.n - negative, negative)
        return msgspec.structs.replace(point, low=low, high=high, method="hanley-mcneil")
    return point


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % score interval of a share of `n` (Wilson, JASA 22, 1927)."""
    z2 = Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5 / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def hanley_mcneil(auc: float, positive: int, negative: int) -> tuple[float, float]:
    """95 % interval of an AUC, normal approximation (Hanley and McNeil, Radiology 143, 1982)."""
    q1, q2 = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    square = auc * auc
    variance = (auc * (1 - auc) + (positive - 1) * (q1 - square) + (negative - 1) * (q2 - square)) / (
        positive * negative
    )
    half = Z95 * max(variance, 0.0) ** 0.5
    return max(0.0, auc - half), min(1.0, auc + half)


def _seed(parts: Sequence[object]) -> int:
    return int.from_bytes(hashlib.sha256(repr([str(part) for part in parts]).encode()).digest()[:8], "big")
