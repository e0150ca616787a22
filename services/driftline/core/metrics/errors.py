"""Metrics of a regression: means of errors, R^2, and quantiles of the absolute error."""

from __future__ import annotations

from functools import partial

import numpy as np

from driftline.core.metrics.closed_forms import Z95, around_mean
from driftline.core.metrics.formula import Closed, Draws, FloatArray, Formula, Interval, mean_of, ratio
from driftline.core.metrics.quantiles import quantiles
from driftline.core.pane import FINE, Totals
from driftline.events.reports import MetricValue

Array = FloatArray


def _mean(name: str, rows: str = "labelled", closed: Closed | None = None) -> Formula:
    """The sum `name` over the rows that the cell `rows` counts."""

    def resampled(draws: Draws) -> FloatArray:
        return ratio(draws.sum(name), draws.counts(rows)[:, 0])

    return Formula(lambda totals: mean_of(totals, name, int(totals.histogram(rows)[0])), resampled, closed)


def _root(mean: Formula) -> Formula:
    def point(totals: Totals) -> MetricValue:
        found = mean.point(totals)
        return MetricValue(value=None if found.value is None else found.value**0.5, n=found.n)

    def resampled(draws: Draws) -> FloatArray:
        root: FloatArray = np.sqrt(mean.resampled(draws))
        return root

    return Formula(point, resampled)


def _t(totals: Totals, value: MetricValue, _: float) -> Interval | None:
    """Of a mean whose squares are the squared errors."""
    assert value.value is not None, "asked only where there is a value"
    square = totals.total("squared_error") / (FINE * value.n)
    return around_mean(value.value, (square - value.value**2) * value.n / max(value.n - 1, 1), value.n)


_OF_R2 = ("squared_error", "truth", "squared_truth")


def _r2(n: Array, squared_error: Array, truth: Array, squared_truth: Array, grain: float) -> tuple[Array, Array]:
    """1 - sum of squared errors / sum of squared deviations of the truth, and what rounding can add to it.

    `truth` and its squares are counted from the layout's `centre`, so that their difference keeps its digits. Terms
    are rounded to `grain`, and squares to the precision of a double: a variance below that is none.
    """
    mean = ratio(truth, n)
    square = ratio(squared_truth, n)
    variance = square - mean**2
    rounding = (1 + 2 * np.abs(mean)) * grain + 4 * np.finfo(np.float64).eps * square
    with np.errstate(invalid="ignore", over="ignore"):
        known = variance > rounding
        lost = ratio(ratio(squared_error, n), np.where(known, variance, np.nan))
        return 1 - lost, lost * rounding / np.where(known, variance - rounding, np.nan)


def _r2_of(totals: Totals) -> MetricValue:
    n = totals.labelled
    error, truth, square = (np.array([totals.total(name) / FINE]) for name in _OF_R2)
    value, bound = _r2(np.array([float(n)]), error, truth, square, totals.grain("squared_truth"))
    if not np.isfinite([value[0], bound[0]]).all():
        return MetricValue(value=None, n=n)
    return MetricValue(value=float(value[0]), n=n, error_bound=float(bound[0]))


def _many_r2(draws: Draws) -> FloatArray:
    error, truth, square = (draws.sum(name) for name in _OF_R2)
    return _r2(draws.counts("labelled")[:, 0], error, truth, square, draws.grain("squared_truth"))[0]


def _quantile(share: float, totals: Totals) -> MetricValue:
    counts = totals.histogram("absolute_error")[None].astype(np.float64)
    (value,), (bound,) = quantiles(counts, totals.layout.error_edges, share)
    if np.isnan(value):
        return MetricValue(value=None, n=totals.labelled)
    return MetricValue(value=float(value), n=totals.labelled, error_bound=float(bound))


def _quantile_interval(share: float, totals: Totals, *_: object) -> Interval | None:
    """The order statistics that a quantile lies between, by the normal approximation of their ranks; None where even
    the largest may lie below it.
    """
    half = Z95 * (share * (1 - share) / totals.labelled) ** 0.5
    if share + half > 1:
        return None
    counts = np.repeat(totals.histogram("absolute_error")[None].astype(np.float64), 2, axis=0)
    (low, high), _bounds = quantiles(counts, totals.layout.error_edges, np.array([share - half, share + half]))
    return None if np.isnan(high) else Interval(float(low), float(high), "order-statistics")


def _error_quantile(share: float) -> Formula:
    return Formula(
        partial(_quantile, share),
        lambda draws: quantiles(draws.counts("absolute_error"), draws.layout.error_edges, share)[0],
        partial(_quantile_interval, share),
        lambda totals: min(share, 1 - share) * totals.labelled,
    )


ERRORS: dict[str, Formula] = {
    "mae": _mean("absolute_error", closed=_t),
    "rmse": _root(_mean("squared_error")),
    "bias": _mean("error", closed=_t),
    "r2": Formula(_r2_of, _many_r2),
    "rmsle": _root(_mean("squared_log_error", "not_negative")),
    "mape": _mean("relative_error", "nonzero_truth"),
    "smape": _mean("symmetric_error"),
    "absolute_error_p50": _error_quantile(0.50),
    "absolute_error_p90": _error_quantile(0.90),
    "absolute_error_p95": _error_quantile(0.95),
    "absolute_error_p99": _error_quantile(0.99),
}
