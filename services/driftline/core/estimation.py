"""What a model's figures are expected to be before outcomes are known, from its calibrated scores.

Confidence-based estimation: a score that means "70 % likely" adds 0.7 of a hit and 0.3 of a miss. What a score means is
learnt from a baseline with outcomes, by isotonic regression over the bins of the scores. It holds while that stays so:
where the relation of scores and outcomes changes, the estimate is wrong, which shows as outcomes come (`failed`).
(The idea as in Garg et al., "Leveraging unlabeled data to predict out-of-distribution performance", ICLR 2022.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from driftline.core.metrics import Draws, Formula, ratio
from driftline.core.pane import Totals
from driftline.events.reports import MetricValue

FloatArray = NDArray[np.float64]

FEWEST = 100
"""Labelled rows of the baseline from which what a score means is learnt, at least."""


def calibration(baseline: Totals) -> FloatArray | None:
    """The share of positives that a score in each bin stands for: (bins,), not decreasing. None: too few outcomes.

    A bin without a labelled row has that of the bins around it.
    """
    if "score|pos" not in baseline.layout.cells:
        return None
    negative, positive = (baseline.histogram(name)[:-1] for name in ("score|neg", "score|pos"))
    rows = negative + positive
    known = np.flatnonzero(rows)
    if rows.sum() < FEWEST or not positive.any() or not negative.any():
        return None
    shares = isotonic_regression(positive[known] / rows[known], weights=rows[known].astype(np.float64)).x
    found: FloatArray = np.interp(np.arange(rows.size), known, shares)
    return found


def estimates(meaning: FloatArray) -> dict[str, Formula]:
    """The expected figures of all predictions that have a score, by the names of `spec.metrics`.

    `meaning`: see `calibration`.
    """

    def formula(figure: Callable[[_Expected], FloatArray]) -> Formula:
        def point(totals: Totals) -> MetricValue:
            scores, said = (totals.histogram(name)[None, :-1] for name in ("score", "score|said"))
            value = float(np.minimum(figure(_Expected(scores, said, meaning)), 1.0)[0])  # sums are rounded
            return MetricValue(value=None if np.isnan(value) else value, n=int(scores.sum()))

        def resampled(draws: Draws) -> FloatArray:
            scores, said = (draws.counts(name)[:, :-1] for name in ("score", "score|said"))
            return np.minimum(figure(_Expected(scores, said, meaning)), 1.0)

        return Formula(point, resampled)

    return {name: formula(figure) for name, figure in ESTIMATES.items()}


class _Expected:
    """Expected confusion matrices, (draws,) each, and what a ROC curve follows from."""

    def __init__(self, scores: NDArray[np.generic], said: NDArray[np.generic], meaning: FloatArray) -> None:
        every, yes = scores.astype(np.float64), said.astype(np.float64)
        self.positive, self.negative = every * meaning, every * (1 - meaning)
        self.hits, self.false_alarms = yes @ meaning, yes @ (1 - meaning)
        self.misses = self.positive.sum(axis=1) - self.hits
        self.rows = every.sum(axis=1)


def _accuracy(of: _Expected) -> FloatArray:
    return ratio(of.rows - of.misses - of.false_alarms, of.rows)


def _precision(of: _Expected) -> FloatArray:
    return ratio(of.hits, of.hits + of.false_alarms)


def _recall(of: _Expected) -> FloatArray:
    return ratio(of.hits, of.hits + of.misses)


def _f1(of: _Expected) -> FloatArray:
    return ratio(2 * of.hits, 2 * of.hits + of.false_alarms + of.misses)


def _auc(of: _Expected) -> FloatArray:
    """As `core.metrics.scores`, each row being a positive and a negative in the shares that its score means."""
    below = np.cumsum(of.negative, axis=1) - of.negative / 2
    return ratio((of.positive * below).sum(axis=1), of.positive.sum(axis=1) * of.negative.sum(axis=1))


ESTIMATES: dict[str, Callable[[_Expected], FloatArray]] = {
    "accuracy": _accuracy,
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
    "auc": _auc,
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
