"""Metrics of the confusion matrix: each one function of many matrices at once, (..., outcome, prediction)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from driftline.core.metrics.closed_forms import score_of_table, wilson, worth
from driftline.core.metrics.formula import Costs, Draws, FloatArray, Formula, Interval, ratio
from driftline.core.pane import Layout, Totals
from driftline.events.reports import MetricValue

Of = Callable[[FloatArray], FloatArray]
"""(m, labels, labels), of two labels the positive one last -> (m,): NaN where it is not defined."""


def matrix_of(totals: Totals) -> dict[str, dict[str, int]]:
    """Labelled predictions by outcome, then prediction; of more than two labels, what did not come is left out."""
    labels = totals.layout.bins.labels
    matrix = totals.histogram("confusion").reshape(len(labels), len(labels)).tolist()
    told = {outcome: dict(zip(labels, row, strict=True)) for outcome, row in zip(labels, matrix, strict=True)}
    if len(labels) <= 2:
        return told
    some = {outcome: {label: n for label, n in row.items() if n} for outcome, row in told.items()}
    return {outcome: row for outcome, row in some.items() if row}


def _matrices(layout: Layout, counts: FloatArray) -> FloatArray:
    """Histograms of (outcome, prediction) as matrices, the positive label last."""
    labels, positive = layout.bins.labels, str(layout.bins.positive)
    order = sorted(range(len(labels)), key=lambda i: labels[i] == positive)
    matrices: FloatArray = counts.reshape(-1, len(labels), len(labels))[:, order][:, :, order]
    return matrices


def _matrix(totals: Totals) -> FloatArray:
    return _matrices(totals.layout, totals.histogram("confusion").astype(np.float64))


def _value(of: Of, matrix: FloatArray) -> float | None:
    found = float(of(matrix)[0])
    return None if np.isnan(found) else found


def _formula(of: Of, ends: tuple[float, float] = (0.0, 1.0), scarce: Of | None = None) -> Formula:
    """A metric of all rows that lies between two ends. `scarce`: see `Formula`."""

    def closed(totals: Totals, _: MetricValue, spread: float) -> Interval:
        return score_of_table(of, _matrix(totals), ends, spread)

    def point(totals: Totals) -> MetricValue:
        return MetricValue(value=_value(of, _matrix(totals)), n=totals.labelled)

    rarest = scarce or _rarest
    return Formula(
        point,
        lambda draws: of(_matrices(draws.layout, draws.counts("confusion"))),
        closed,
        lambda totals: float(rarest(_matrix(totals))[0]),
    )


def _share(hits: Of, rows: Of) -> Formula:
    """A share of rows with a denominator of its own, which is its `n`."""

    def of(m: FloatArray) -> FloatArray:
        return ratio(hits(m), rows(m))

    def point(totals: Totals) -> MetricValue:
        matrix = _matrix(totals)
        return MetricValue(value=_value(of, matrix), n=int(rows(matrix)[0]))

    def scarce(totals: Totals) -> float:
        matrix = _matrix(totals)
        return float(np.minimum(hits(matrix), rows(matrix) - hits(matrix))[0])

    return Formula(point, lambda draws: of(_matrices(draws.layout, draws.counts("confusion"))), by_score, scarce)


def by_score(_: Totals, value: MetricValue, spread: float) -> Interval:
    """The interval of a share of `value.n` rows."""
    assert value.value is not None, "asked only where there is a value"
    return Interval(*wilson(value.value, worth(value.value, value.n, spread)), "wilson")


def _rarest(m: FloatArray) -> FloatArray:
    """Rows of the rarest kind: of two labels the smallest cell, else those that are right, or wrong."""
    if m.shape[-1] == 2:
        smallest: FloatArray = m.min(axis=(-2, -1))
        return smallest
    return np.minimum(_right(m), _all(m) - _right(m))


def _found_or_not(m: FloatArray) -> FloatArray:
    """What an F-measure hangs on: hits, or misses and false alarms."""
    return np.minimum(_hits(m), _actual(m) + _predicted(m) - 2 * _hits(m))


def _all(m: FloatArray) -> FloatArray:
    total: FloatArray = m.sum(axis=(-2, -1))
    return total


def _actual(m: FloatArray) -> FloatArray:
    total: FloatArray = m[:, 1, :].sum(axis=-1)
    return total


def _predicted(m: FloatArray) -> FloatArray:
    total: FloatArray = m[:, :, 1].sum(axis=-1)
    return total


def _hits(m: FloatArray) -> FloatArray:
    return m[:, 1, 1]


def _right(m: FloatArray) -> FloatArray:
    right: FloatArray = np.trace(m, axis1=-2, axis2=-1)
    return right


def _balanced_accuracy(m: FloatArray) -> FloatArray:
    return (ratio(m[:, 0, 0], m[:, 0].sum(axis=-1)) + ratio(m[:, 1, 1], m[:, 1].sum(axis=-1))) / 2


def f_beta(beta: float) -> Formula:
    """The F-measure of a binary model."""
    return _formula(_f(beta), scarce=_found_or_not)


def _f(beta: float) -> Of:
    """(1 + beta^2) TP / ((1 + beta^2) TP + beta^2 FN + FP); 0 where none is positive and none was called so."""

    def of(m: FloatArray) -> FloatArray:
        found = ratio((1 + beta**2) * _hits(m), beta**2 * _actual(m) + _predicted(m))
        return np.where(np.isnan(found) & (_all(m) > 0), 0.0, found)

    return of


def _mcc(m: FloatArray) -> FloatArray:
    """How prediction and outcome go together, over how each varies (Matthews, BBA 405, 1975, for two labels; Gorodkin,
    Computational Biology and Chemistry 28, 2004, for any number).
    """
    n = _all(m)
    p = m / np.where(n > 0, n, 1.0)[:, None, None]  # as shares: the products of counts could overflow
    actual, predicted = p.sum(axis=-1), p.sum(axis=-2)
    spread = (actual * (1 - actual)).sum(axis=-1) * (predicted * (1 - predicted)).sum(axis=-1)
    found = ratio(_right(p) - (actual * predicted).sum(axis=-1), np.sqrt(spread))
    return np.where(np.isnan(found) & (n > 0), 0.0, np.clip(found, -1, 1))


def _kappa(m: FloatArray) -> FloatArray:
    """(observed - expected) / (1 - expected) agreement (Cohen, Educ. Psychol. Meas. 20, 1960)."""
    n = _all(m)
    by_chance = (m.sum(axis=-1) * m.sum(axis=-2)).sum(axis=-1)
    return ratio(n * _right(m) - by_chance, n * n - by_chance)


def expected_cost(costs: Costs) -> Formula:
    """The mean cost of a labelled prediction."""

    def table(layout: Layout) -> FloatArray:
        labels = layout.bins.labels
        return np.array([[costs.get(outcome, {}).get(label, 0.0) for label in labels] for outcome in labels])

    def of(layout: Layout) -> Of:
        (cost,) = _matrices(layout, table(layout))
        return lambda m: ratio((m * cost).sum(axis=(-2, -1)), _all(m))

    def closed(totals: Totals, _: MetricValue, spread: float) -> Interval:
        prices = table(totals.layout)
        ends = float(prices.min()), float(prices.max())
        if ends[0] == ends[1]:
            return Interval(*ends, "delta")
        return score_of_table(of(totals.layout), _matrix(totals), ends, spread)

    return Formula(
        lambda totals: MetricValue(value=_value(of(totals.layout), _matrix(totals)), n=totals.labelled),
        lambda draws: of(draws.layout)(_matrices(draws.layout, draws.counts("confusion"))),
        closed,
        lambda totals: float(_rarest(_matrix(totals))[0]),
    )


def _predicted_positive_rate() -> Formula:
    """Of all predictions, labelled or not."""

    def point(totals: Totals) -> MetricValue:
        counts = totals.histogram("prediction")
        n = int(counts.sum())
        return MetricValue(value=int(counts[_positive(totals.layout)]) / n if n else None, n=n)

    def resampled(draws: Draws) -> FloatArray:
        counts = draws.counts("prediction")
        return ratio(counts[:, _positive(draws.layout)], counts.sum(axis=1))

    def scarce(totals: Totals) -> float:
        counts = totals.histogram("prediction")
        hits = int(counts[_positive(totals.layout)])
        return min(hits, int(counts.sum()) - hits)

    return Formula(point, resampled, by_score, scarce)


def _positive(layout: Layout) -> int:
    return layout.bins.labels.index(str(layout.bins.positive))


CONFUSION: dict[str, Formula] = {
    "accuracy": _share(_right, _all),
    "balanced_accuracy": _formula(_balanced_accuracy),
    "precision": _share(_hits, _predicted),
    "recall": _share(_hits, _actual),
    "specificity": _share(lambda m: m[:, 0, 0], lambda m: m[:, 0].sum(axis=-1)),
    "f1": f_beta(1.0),
    "f2": f_beta(2.0),
    "f0.5": f_beta(0.5),
    "mcc": _formula(_mcc, (-1.0, 1.0)),
    "kappa": _formula(_kappa, (-1.0, 1.0)),
    "predicted_positive_rate": _predicted_positive_rate(),
    "actual_positive_rate": _share(_actual, _all),
}
