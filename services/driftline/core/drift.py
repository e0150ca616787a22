"""How far a window's values are from the baseline's, per feature, for the score and the prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.core import many_distances
from driftline.core.distances import (
    chi_squared,
    discoveries,
    hellinger,
    jensen_shannon,
    kolmogorov_smirnov,
    psi,
    total_variation,
    wasserstein,
)
from driftline.core.pane import Layout, Totals
from driftline.events.baselines import Baseline, CategoryBins, NumberBins
from driftline.events.reports import Drift

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Counts = TypeVar("Counts", IntArray, FloatArray)


def drift_of(totals: Totals, baseline: Baseline | None) -> dict[str, Drift]:
    """The drift of every feature, of the score and of the prediction, against `baseline` (None: only the shares).

    P-values are those of each test by itself: see `held_together`.
    """
    bins = totals.layout.bins
    names = (*bins.features, *(() if bins.score is None else ("score",)), "prediction")
    return {name: _drift(totals, *histogram_of(totals.layout, name), baseline) for name in names}


def histogram_of(layout: Layout, name: str) -> tuple[str, NumberBins | CategoryBins | None]:
    """Where a feature, the `score` or the `prediction` is counted, and in which bins; those of a score are its own."""
    bins = layout.bins
    if name in bins.features:
        return f"feature:{name}", bins.features[name]
    if name == "score":
        return name, None
    return name, bins.prediction or CategoryBins(values=bins.labels)


def many(layout: Layout, name: str, measure: str, counts: FloatArray, reference: FloatArray) -> FloatArray:
    """One measure of one feature, score or prediction in many windows: (windows,), NaN where it is not defined.

    `counts`: (windows, cells) of its histogram; `reference`: (cells,). It is what `drift_of` says of each.
    """
    _, bins = histogram_of(layout, name)
    if measure in many_distances.OF_SHARES:
        sides = _coarse(counts, reference) if bins is None else _without_empty_buckets(bins, counts, reference)
        return many_distances.OF_SHARES[measure](*sides)
    if isinstance(bins, CategoryBins):
        return np.full(len(counts), np.nan)
    ordered = _score_bins(layout) if bins is None else bins
    if bins is None:
        counts, reference = _like_numbers(counts), _like_numbers(reference)
    a, b = _in_order(counts), _in_order(reference)
    if measure == "ks":
        return many_distances.kolmogorov_smirnov(a, b)
    positions = _positions(ordered)
    return np.full(len(a), np.nan) if positions is None else many_distances.wasserstein(a, b, positions)


def held_together(several: Sequence[Mapping[str, Drift]]) -> list[dict[str, Drift]]:
    """The drifts of all segments of a report, their p-values held to one false discovery rate."""
    p_values = [drift.p_value for found in several for drift in found.values() if drift.p_value is not None]
    held = iter(discoveries(p_values))
    return [
        {
            name: drift if drift.p_value is None else msgspec.structs.replace(drift, p_value=next(held))
            for name, drift in found.items()
        }
        for found in several
    ]


def _drift(totals: Totals, histogram: str, bins: NumberBins | CategoryBins | None, baseline: Baseline | None) -> Drift:
    counts = totals.histogram(histogram)
    n = int(counts.sum())
    outside = int(counts[-3] + counts[-2]) if isinstance(bins, NumberBins) else 0
    unseen = int(counts[-2]) if isinstance(bins, CategoryBins) else 0
    shares = Drift(
        psi=None,
        n=n,
        missing=int(counts[-1]) / n if n else 0.0,
        out_of_range=outside / n if n else 0.0,
        unseen=unseen / n if n else 0.0,
    )
    told = None if baseline is None else baseline.counts.get(histogram)
    if told is None:
        return shares
    reference = np.array(told, np.int64)
    if isinstance(bins, CategoryBins):
        return _of_shares(shares, *_without_empty_buckets(bins, counts, reference))
    if bins is not None:
        return _of_order(_of_shares(shares, counts, reference), counts, reference, bins)
    fine = _score_bins(totals.layout)
    a, b = _like_numbers(counts), _like_numbers(reference)
    return _of_order(_of_shares(shares, *_coarse(counts, reference)), a, b, fine)


def _score_bins(layout: Layout) -> NumberBins:
    return NumberBins(edges=layout.bins.score or (), least=0.0, most=1.0)


def _like_numbers(counts: Counts) -> Counts:
    """A score has no cells below and above."""
    return np.insert(counts, -1, [[0], [0]] if counts.ndim > 1 else [0, 0], axis=-1)


def _in_order(counts: Counts) -> Counts:
    """The cells bins, below, above, missing in order; what is missing has no place in it."""
    return np.concatenate([counts[..., -3:-2], counts[..., :-3], counts[..., -2:-1]], axis=-1)


def _positions(bins: NumberBins) -> FloatArray | None:
    """The ends of the cells between below and above; None where they have none."""
    if bins.least is None or bins.most is None:
        return None
    edges = np.array([bins.least, *bins.edges, bins.most], np.float64)
    return edges.clip(bins.least, bins.most)


def _of_shares(drift: Drift, counts: IntArray, reference: IntArray) -> Drift:
    """With what needs no order of the cells."""
    test = chi_squared(counts, reference)
    statistic, effect, p_value = (None, None, None) if test is None else test
    return msgspec.structs.replace(
        drift,
        psi=psi(counts, reference),
        jensen_shannon=jensen_shannon(counts, reference),
        hellinger=hellinger(counts, reference),
        total_variation=total_variation(counts, reference),
        cramers_v=effect,
        chi_squared=statistic,
        p_value=p_value,
    )


def _of_order(drift: Drift, counts: IntArray, reference: IntArray, bins: NumberBins) -> Drift:
    """With what needs an order."""
    a, b = _in_order(counts), _in_order(reference)
    edges = np.array(bins.edges, np.float64)
    single = np.zeros(a.size, np.bool_)
    single[2:-2] = np.nextafter(edges[:-1], np.inf) >= edges[1:]
    bounds = {}
    if (smirnov := kolmogorov_smirnov(a, b, single)) is not None:
        bounds["ks"] = smirnov[1]
    positions = _positions(bins)
    way = None if positions is None else wasserstein(a, b, positions)
    if way is not None:
        bounds["wasserstein"] = way[1]
    return msgspec.structs.replace(
        drift,
        ks=None if smirnov is None else smirnov[0],
        wasserstein=None if way is None else way[0],
        error_bounds=bounds,
    )


def _without_empty_buckets(bins: NumberBins | CategoryBins, counts: Counts, reference: Counts) -> tuple[Counts, Counts]:
    """Those that are empty in the reference as one cell: most are of no value, and each would count as a prior does."""
    if isinstance(bins, NumberBins) or not bins.buckets:
        return counts, reference
    empty = reference == 0
    empty[: -2 - bins.buckets], empty[-2:] = False, False
    a, b = (
        np.concatenate([side[..., ~empty], side[..., empty].sum(axis=-1, keepdims=True)], axis=-1)
        for side in (counts, reference)
    )
    return a, b


def _coarse(counts: Counts, reference: Counts) -> tuple[Counts, Counts]:
    """A score has a thousand bins, on which shares would be mostly noise: adjoining ones are put together first."""
    edges = _twentieths(reference[:-1])
    a, b = (
        np.concatenate([np.add.reduceat(side[..., :-1], edges, axis=-1), side[..., -1:]], axis=-1)
        for side in (counts, reference)
    )
    return a, b


def _twentieths(reference: Counts) -> IntArray:
    """Where to cut a fine histogram so that each part holds about a twentieth of the reference.

    A bin that alone holds more than that is cut off on both sides, so that leaving it is seen.
    """
    cumulated = np.cumsum(reference)
    if not cumulated.size or cumulated[-1] == 0:
        return np.array([0])
    bins, times = np.unique(np.searchsorted(cumulated, cumulated[-1] * np.arange(1, 20) / 20), return_counts=True)
    cuts = np.unique(np.concatenate([[0], bins[times > 1], bins + 1]))
    return cuts[cuts < reference.size]
