"""How far a window's values are from the baseline's, per feature and for the score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftline.core.pane import Totals
from driftline.events.baselines import Baseline, CategoryBins, NumberBins
from driftline.events.reports import Drift

IntArray = NDArray[np.int64]

PRIOR = 0.5
"""Added to every cell of both sides (Jeffreys' prior), so that an empty cell does not make the index infinite."""


def psi(counts: IntArray, reference: IntArray) -> float | None:
    """Population stability index: sum of (p - q) ln(p / q) over the cells, in nats; None where either side is empty.

    It is the symmetric Kullback-Leibler divergence (Jeffreys, Proc. R. Soc. A 186, 1946) of the two smoothed shares.
    """
    n, m = int(counts.sum()), int(reference.sum())
    if not n or not m:
        return None
    p = (counts + PRIOR) / (n + PRIOR * counts.size)
    q = (reference + PRIOR) / (m + PRIOR * counts.size)
    return float(((p - q) * np.log(p / q)).sum())


def drift_of(totals: Totals, baseline: Baseline | None) -> dict[str, Drift]:
    """The drift of every feature, and of the score or the prediction, against `baseline` (None: only the shares)."""
    found = {
        name: _drift(totals, f"feature:{name}", bins, baseline) for name, bins in totals.layout.bins.features.items()
    }
    if "score" in totals.layout.cells:
        found["score"] = _drift(totals, "score", None, baseline)
    elif totals.layout.bins.prediction is not None:
        found["prediction"] = _drift(totals, "prediction", totals.layout.bins.prediction, baseline)
    return found


def _drift(totals: Totals, histogram: str, bins: NumberBins | CategoryBins | None, baseline: Baseline | None) -> Drift:
    counts = totals.histogram(histogram)
    n = int(counts.sum())
    reference = None if baseline is None else baseline.counts.get(histogram)
    value = None if reference is None else _score_or_feature_psi(counts, np.array(reference), bins)
    outside = int(counts[-3] + counts[-2]) if isinstance(bins, NumberBins) else 0
    unseen = int(counts[-2]) if isinstance(bins, CategoryBins) else 0
    return Drift(
        psi=value,
        n=n,
        missing=int(counts[-1]) / n if n else 0.0,
        out_of_range=outside / n if n else 0.0,
        unseen=unseen / n if n else 0.0,
    )


def _score_or_feature_psi(
    counts: IntArray, reference: IntArray, bins: NumberBins | CategoryBins | None
) -> float | None:
    """A score has a thousand bins, on which the index would be mostly noise: adjoining ones are put together first."""
    if bins is not None:
        return psi(counts, reference)
    edges = _twentieths(reference[:-1])
    grouped = [np.append(np.add.reduceat(side[:-1], edges), side[-1]) for side in (counts, reference)]
    return psi(grouped[0], grouped[1])


def _twentieths(reference: IntArray) -> IntArray:
    """Where to cut a fine histogram so that each part holds about a twentieth of the reference.

    A bin that alone holds more than that is cut off on both sides, so that leaving it is seen.
    """
    cumulated = np.cumsum(reference)
    if not cumulated.size or cumulated[-1] == 0:
        return np.array([0])
    bins, times = np.unique(np.searchsorted(cumulated, cumulated[-1] * np.arange(1, 20) / 20), return_counts=True)
    cuts = np.unique(np.concatenate([[0], bins[times > 1], bins + 1]))
    return cuts[cuts < reference.size]
