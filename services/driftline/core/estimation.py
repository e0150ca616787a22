"""What a model's figures are expected to be before outcomes are known, from its calibrated scores.

Confidence-based estimation: a score that means "70 % likely" adds 0.7 of a hit and 0.3 of a miss. What a score means is
learnt from a baseline with outcomes, by isotonic regression over the bins of the scores, of each of many labels
against the rest. It holds while that stays so: where the relation of scores and outcomes changes, the estimate is
wrong, which shows as outcomes come (`failed`).
(The idea as in Garg et al., "Leveraging unlabeled data to predict out-of-distribution performance", ICLR 2022.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from driftline.core.metrics import Formula, ratio
from driftline.core.metrics.labels import Margins, f1, macro, precision, recall
from driftline.core.pane import Totals
from driftline.events.reports import MetricValue

FloatArray = NDArray[np.float64]

FEWEST = 100
"""Labelled rows of the baseline from which what a score means is learnt, at least."""


def calibration(baseline: Totals) -> FloatArray | None:
    """The share of positives that a score in each bin stands for, not decreasing: (bins,); multiclass: (labels, bins)
    of each label's probability and the share that is of this label. None: too few outcomes.
    """
    layout = baseline.layout
    if "score|pos" not in layout.cells:
        return None
    negative, positive = (baseline.histogram(name)[:-1] for name in ("score|neg", "score|pos"))
    if (negative + positive).sum() < FEWEST:
        return None
    if layout.bins.scores:
        rows = (baseline.histogram(name).reshape(-1, layout.label_bins) for name in ("scores|neg", "scores|pos"))
        return np.stack([_shares(*of_label) for of_label in zip(*rows, strict=True)])
    return _shares(negative, positive) if positive.any() and negative.any() else None


def _shares(negative: NDArray[np.int64], positive: NDArray[np.int64]) -> FloatArray:
    """A bin without a labelled row has the share of the bins around it."""
    rows = negative + positive
    known = np.flatnonzero(rows)
    shares = isotonic_regression(positive[known] / rows[known], weights=rows[known].astype(np.float64)).x
    found: FloatArray = np.interp(np.arange(rows.size), known, shares)
    return found


def estimates(meaning: FloatArray) -> dict[str, Formula]:
    """The expected figures of all predictions that have a score, by the names of `spec.metrics`.

    `meaning`: see `calibration`.
    """
    many = meaning.ndim > 1
    scores, said = ("scores", "scores|said") if many else ("score", "score|said")

    def expected(figure: Figure, of: Callable[[str], NDArray[np.generic]]) -> FloatArray:
        """Sums are rounded, so what is 1 may come out a little above."""
        if many:
            return np.minimum(figure(_ManyExpected(of(scores), of(said), meaning)), 1.0)
        return np.minimum(figure(_Expected(of(scores)[:, :-1], of(said)[:, :-1], meaning)), 1.0)

    def formula(figure: Figure) -> Formula:
        def point(totals: Totals) -> MetricValue:
            value = float(expected(figure, lambda name: totals.histogram(name)[None])[0])
            n = int(totals.histogram("score")[:-1].sum())
            return MetricValue(value=None if np.isnan(value) else value, n=n)

        return Formula(point, lambda draws: expected(figure, draws.counts))

    return {name: formula(figure) for name, figure in (MANY_ESTIMATES if many else ESTIMATES).items()}


class _Expected:
    """Expected confusion matrices, (draws,) each, and what a ROC curve follows from."""

    def __init__(self, scores: NDArray[np.generic], said: NDArray[np.generic], meaning: FloatArray) -> None:
        every, yes = scores.astype(np.float64), said.astype(np.float64)
        self.positive, self.negative = every * meaning, every * (1 - meaning)
        self.hits, self.false_alarms = yes @ meaning, yes @ (1 - meaning)
        self.misses = self.positive.sum(axis=1) - self.hits
        self.rows = every.sum(axis=1)


class _ManyExpected:
    """The margins of expected confusion matrices of many labels, (draws, labels) each, and each label's ROC curve."""

    def __init__(self, scores: NDArray[np.generic], said: NDArray[np.generic], meaning: FloatArray) -> None:
        every, own = (each.astype(np.float64).reshape(-1, *meaning.shape) for each in (scores, said))
        self.positive, self.negative = every * meaning, every * (1 - meaning)
        self.margins = Margins(
            hits=(own * meaning).sum(axis=2), actual=self.positive.sum(axis=2), predicted=own.sum(axis=2)
        )


Figure = Callable[[Any], FloatArray]
"""A figure of `_Expected`, or of `_ManyExpected`."""


def _accuracy(of: _Expected) -> FloatArray:
    return ratio(of.rows - of.misses - of.false_alarms, of.rows)


def _precision(of: _Expected) -> FloatArray:
    return ratio(of.hits, of.hits + of.false_alarms)


def _recall(of: _Expected) -> FloatArray:
    return ratio(of.hits, of.hits + of.misses)


def _f1(of: _Expected) -> FloatArray:
    return ratio(2 * of.hits, 2 * of.hits + of.false_alarms + of.misses)


def _auc(of: _Expected | _ManyExpected) -> FloatArray:
    """As `core.metrics.scores`, each row being a positive and a negative in the shares that its score means."""
    below = np.cumsum(of.negative, axis=-1) - of.negative / 2
    return ratio((of.positive * below).sum(axis=-1), of.positive.sum(axis=-1) * of.negative.sum(axis=-1))


def _auc_ovr(of: _ManyExpected) -> FloatArray:
    each = _auc(of)
    return ratio(np.nan_to_num(each).sum(axis=1), (~np.isnan(each)).sum(axis=1))


ESTIMATES: dict[str, Figure] = {
    "accuracy": _accuracy,
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
    "auc": _auc,
}
MANY_ESTIMATES: dict[str, Figure] = {
    "accuracy": lambda of: ratio(of.margins.hits.sum(axis=1), of.margins.predicted.sum(axis=1)),
    "precision_macro": lambda of: macro(precision)(of.margins),
    "recall_macro": lambda of: macro(recall)(of.margins),
    "f1_macro": lambda of: macro(f1)(of.margins),
    "auc_ovr": _auc_ovr,
}
"""The figures that can be estimated, by the names of `spec.metrics`."""


def failed(estimated: Mapping[str, MetricValue], realised: Mapping[str, MetricValue]) -> bool | None:
    """Whether estimates turned out wrong: what came true lies apart from one of them, by both intervals.

    None where none can be compared.
    """
    pairs = [(estimated[name], realised[name]) for name in estimated.keys() & realised.keys()]
    known = [(told, true) for told, true in pairs if told.low is not None and true.low is not None]
    return any(_apart(told, true) for told, true in known) if known else None


def _apart(told: MetricValue, true: MetricValue) -> bool:
    lower, upper = sorted((told, true), key=lambda one: one.value or 0.0)
    return (lower.high or 0.0) < (upper.low or 0.0)


def withdrawn(failures: Sequence[bool]) -> bool:
    """Whether estimates are not to be relied on: two of the last three windows that could be checked failed."""
    return sum(failures[-3:]) >= 2
