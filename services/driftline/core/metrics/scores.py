"""Metrics of scores: from the score histograms of either class, and sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from driftline.core.counting import log_losses
from driftline.core.metrics.closed_forms import around_mean, hanley_mcneil, wilson, worth
from driftline.core.metrics.formula import Draws, FloatArray, Formula, Interval, mean_of, ratio
from driftline.core.pane import Layout, Totals
from driftline.events.reports import CalibrationBin, MetricValue
from driftline.spec.metrics import CALIBRATION_BINS

I64 = NDArray[np.int64]

_AT_ONCE = 25
"""Draws."""


def by_class(totals: Totals) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Scores of labelled rows, (negatives, positives) by bin; the cell of missing scores left out."""
    return totals.histogram("score|neg")[:-1], totals.histogram("score|pos")[:-1]


def _edges(layout: Layout) -> FloatArray:
    """All edges of the score's bins, 0 and 1 included."""
    return np.concatenate([[0.0], np.array(layout.bins.score or (), np.float64), [1.0]])


def orderless(inner: Sequence[float]) -> NDArray[np.bool_]:
    """Which bins hold several scores, so that the order of their rows is not known; in the others all are ties."""
    low = np.array([0.0, *inner], np.float64)
    several: NDArray[np.bool_] = np.nextafter(low, 2) < np.append(low[1:], 2)
    return several


def _orderless(layout: Layout) -> NDArray[np.bool_]:
    return orderless(layout.bins.score or ())


def _auc(totals: Totals) -> MetricValue:
    return auc_of(*by_class(totals), _orderless(totals.layout))


def auc_of(negative: I64, positive: I64, several: NDArray[np.bool_]) -> MetricValue:
    """Mann-Whitney: the share of (positive, negative) pairs in which the positive scores higher, ties half.

    Within a bin all pairs are ties, so the exact figure differs by at most half the share of such pairs
    (Hanley & McNeil, Radiology 143, 1982, for the identity with the area under the ROC curve).
    """
    n, pairs = int(negative.sum() + positive.sum()), int(negative.sum()) * int(positive.sum())
    if not pairs:
        return MetricValue(value=None, n=n)
    below = np.concatenate([[0], np.cumsum(negative)[:-1]])
    tied = positive.astype(object) * negative  # Python's integers: a product of two counts may not fit into 64 bits
    in_order = 2 * int((positive.astype(object) * below).sum()) + int(tied.sum())
    unknown = int(tied[several].sum())
    return MetricValue(value=in_order / (2 * pairs), n=n, error_bound=unknown / (2 * pairs))


def _many_auc(draws: Draws) -> FloatArray:
    return many_aucs(draws.weights, draws.blocks("score|neg")[:, :-1], draws.blocks("score|pos")[:, :-1])


def many_aucs(weights: FloatArray, negative: FloatArray, positive: FloatArray) -> FloatArray:
    """The AUC in each draw, of scores by bin in each block: (blocks, bins) both.

    Pairs that are in order are counted between each two blocks once; how often a draw has them is w' pairs w.
    """
    below = np.cumsum(negative, axis=1) - negative / 2
    in_order = np.einsum("di,di->d", weights @ (positive @ below.T), weights)
    return ratio(in_order, (weights @ negative.sum(axis=1)) * (weights @ positive.sum(axis=1)))


def _auc_interval(totals: Totals, value: MetricValue, spread: float) -> Interval:
    assert value.value is not None, "asked only where there is a value"
    negative, positive = (int(counts.sum()) for counts in by_class(totals))
    return Interval(*hanley_mcneil(value.value, positive, negative, spread), "hanley-mcneil")


def rarer_class(value: MetricValue, negative: int, positive: int) -> float:
    """On how many rows a figure of a ranking hangs: those of the rarer class, and few of them where it is near 1."""
    return min(negative, positive) * min(1.0, 20 * (1 - (value.value or 0.0)))


def _auc_scarce(totals: Totals) -> float:
    return rarer_class(_auc(totals), *(int(counts.sum()) for counts in by_class(totals)))


def _average_precision_scarce(totals: Totals) -> float:
    """The positives at the top weigh more than the others: half of all."""
    return rarer_class(_average_precision(totals), *(int(counts.sum()) for counts in by_class(totals))) / 2


def _precisions(layout: Layout, negative: FloatArray, positive: FloatArray) -> FloatArray:
    """The sum over a bin's positives of the precision at each: (..., bins), the highest scores first.

    With P positives and N negatives above a bin of p and q, the precision at its i-th positive is
    (P + i) / (P + i + N + what of q lies above it), and i q / (p + 1) of q do where the order is left to chance. The
    sum over i = 1 .. p has a closed form in the digamma function. Where a bin is one value, all of it is a tie.
    """
    p, q = positive[..., ::-1], negative[..., ::-1]
    return _sums_of_precisions(_orderless(layout)[::-1], p, q, np.cumsum(p, axis=-1) - p, np.cumsum(q, axis=-1) - q)


def _sums_of_precisions(
    several: NDArray[np.bool_], p: FloatArray, q: FloatArray, above: FloatArray, negatives: FloatArray
) -> FloatArray:
    """See `_precisions`. `above`, `negatives`: rows of either class in the bins above."""
    all_above = above + negatives
    each = 1 + q / (p + 1)
    start = all_above / each
    by_chance = (p + (above - start) * _harmonic(start, p)) / each
    tied = p * (above + p) / np.maximum(all_above + p + q, 1)
    return np.where(several, by_chance, tied)


def _harmonic(start: FloatArray, count: FloatArray) -> FloatArray:
    """1 / (start + 1) + ... + 1 / (start + count): a difference of digammas, of which far out few terms are enough."""
    middle = start + 0.5
    found = np.log1p(count / middle) + (1 / (middle + count) / (middle + count) - 1 / middle / middle) / 24
    near = (start < 50) & (count > 0)  # beyond, the next term is less than 1e-9
    found[near] = digamma(start[near] + count[near] + 1) - digamma(start[near] + 1)
    return found


def _average_precision(totals: Totals) -> MetricValue:
    """Its bound: within a bin of which the order is not known, positives may all stand below or above the negatives."""
    negative, positive = (counts.astype(np.float64) for counts in by_class(totals))
    n, positives = int(negative.sum() + positive.sum()), positive.sum()
    if not positives:
        return MetricValue(value=None, n=n)
    found = _precisions(totals.layout, negative, positive)
    p, q = positive[::-1], negative[::-1]
    above, others = np.cumsum(p) - p, np.cumsum(q)
    least = p - others * _harmonic(above + others, p)
    most = p * (above + p) / np.maximum(above + p + others - q, 1)
    open_bins = _orderless(totals.layout)[::-1] & (p > 0) & (p + q > 1)
    bound = max(float((found - least)[open_bins].sum()), float((most - found)[open_bins].sum()), 0.0)
    return MetricValue(value=min(1.0, float(found.sum() / positives)), n=n, error_bound=bound / float(positives))


def _many_average_precision(draws: Draws) -> FloatArray:
    """Only bins with a positive count. Few draws at a time, so that what is worked on stays near the processor."""
    negative, positive = (draws.blocks(name)[:, -2::-1] for name in ("score|neg", "score|pos"))
    some = positive.any(axis=0)
    several = _orderless(draws.layout)[::-1][some]
    parts = [each[:, some] for each in (positive, negative, *(np.cumsum(e, axis=1) - e for e in (positive, negative)))]
    sums = np.empty(len(draws.weights))
    for start in range(0, sums.size, _AT_ONCE):
        weights = draws.weights[start : start + _AT_ONCE]
        found = _sums_of_precisions(several, *(weights @ part for part in parts))
        sums[start : start + _AT_ONCE] = found.sum(axis=1)
    return np.minimum(ratio(sums, draws.weights @ positive.sum(axis=1)), 1.0)


def _average_precision_interval(totals: Totals, value: MetricValue, spread: float) -> Interval:
    """As if it were a share of the positives, which varies more."""
    assert value.value is not None, "asked only where there is a value"
    return Interval(*wilson(value.value, worth(value.value, float(by_class(totals)[1].sum()), spread)), "wilson")


def _scored(totals: Totals) -> int:
    return int(sum(counts.sum() for counts in by_class(totals)))


def _many_scored(draws: Draws) -> FloatArray:
    rows = sum(draws.blocks(name)[:, :-1].sum(axis=1) for name in ("score|neg", "score|pos"))
    scored: FloatArray = draws.weights @ rows
    return scored


def _many_mean(name: str, draws: Draws) -> FloatArray:
    return ratio(draws.sum(name), _many_scored(draws))


def _middles(layout: Layout) -> FloatArray:
    edges = _edges(layout)
    return (edges[1:] + edges[:-1]) / 2


def _loss_interval(name: str, totals: Totals, value: MetricValue, _: float) -> Interval | None:
    """The spread of losses is that of the middles of the score's bins."""
    assert value.value is not None, "asked only where there is a value"
    losses, n = list(_losses(name, totals)), value.n
    mean = sum(float(loss @ counts) for loss, counts in losses) / n
    variance = sum(float((loss - mean) ** 2 @ counts) for loss, counts in losses) / max(n - 1, 1)
    return around_mean(value.value, variance, n)


def _losses(name: str, totals: Totals) -> Iterator[tuple[FloatArray, I64]]:
    """What rows lose by bin, and how many there are."""
    layout = totals.layout
    for place, inner in enumerate(layout.bins.scores):
        edges = np.array([0.0, *inner, 1.0])
        middles = (edges[1:] + edges[:-1]) / 2
        begin = place * layout.label_bins
        yield (
            log_losses(middles, np.ones(middles.size, np.bool_)),
            totals.histogram("scores|pos")[begin:][: middles.size],
        )
    if layout.bins.scores:
        return
    middles = _middles(layout)
    for outcome, counts in zip((False, True), by_class(totals), strict=True):
        same = np.full(middles.size, outcome)
        yield log_losses(middles, same) if name == "log_loss" else (middles - same) ** 2, counts


def _mean_loss(name: str) -> Formula:
    return Formula(
        lambda totals: mean_of(totals, name, _scored(totals)), partial(_many_mean, name), partial(_loss_interval, name)
    )


def _gaps(layout: Layout, negative: FloatArray, positive: FloatArray) -> FloatArray:
    """By calibration bin, the sum of scores less the positives, scores at the middles of their bins."""
    starts = np.searchsorted(_edges(layout)[:-1], np.arange(CALIBRATION_BINS) / CALIBRATION_BINS)
    gaps: FloatArray = np.add.reduceat((negative + positive) * _middles(layout) - positive, starts, axis=-1)
    return gaps


def _ece(totals: Totals) -> MetricValue:
    negative, positive = (counts.astype(np.float64) for counts in by_class(totals))
    rows = negative + positive
    n = int(rows.sum())
    if not n:
        return MetricValue(value=None)
    bound = float(rows @ np.diff(_edges(totals.layout))) / 2 / n
    value = float(np.abs(_gaps(totals.layout, negative, positive)).sum()) / n
    return MetricValue(value=value, n=n, error_bound=bound)


def _many_ece(draws: Draws) -> FloatArray:
    """The gaps of a draw are sums of its blocks' gaps."""
    negative, positive = draws.blocks("score|neg")[:, :-1], draws.blocks("score|pos")[:, :-1]
    gaps = np.abs(draws.weights @ _gaps(draws.layout, negative, positive)).sum(axis=1)
    return ratio(gaps, _many_scored(draws))


def calibration_of(totals: Totals) -> tuple[CalibrationBin, ...]:
    """What scores meant, in `CALIBRATION_BINS` bins of equal width; each score stands at the middle of its fine bin."""
    layout = totals.layout
    if "score|pos" not in layout.cells:
        return ()
    negative, positive = by_class(totals)
    starts = np.searchsorted(_edges(layout)[:-1], np.arange(CALIBRATION_BINS) / CALIBRATION_BINS)
    rows, hits = (np.add.reduceat(counts, starts) for counts in (negative + positive, positive))
    scores = np.add.reduceat((negative + positive) * _middles(layout), starts)
    return tuple(
        CalibrationBin(
            low=i / CALIBRATION_BINS,
            high=(i + 1) / CALIBRATION_BINS,
            n=int(rows[i]),
            score=float(scores[i] / rows[i]),
            positives=int(hits[i]),
        )
        for i in np.flatnonzero(rows).tolist()
    )


SCORES: dict[str, Formula] = {
    "auc": Formula(_auc, _many_auc, _auc_interval, _auc_scarce),
    "average_precision": Formula(
        _average_precision, _many_average_precision, _average_precision_interval, _average_precision_scarce
    ),
    "log_loss": _mean_loss("log_loss"),
    "brier": _mean_loss("brier"),
    "ece": Formula(_ece, _many_ece),
}
