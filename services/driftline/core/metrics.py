"""Metrics out of panes.

Each metric exists twice, on purpose: the reported value, exact from integers (River's metrics fed with the cells of the
confusion matrix as weights, or a closed formula), and a vectorised form over many resampled totals for intervals. A
test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from river import metrics as river_metrics

from driftline.core.pane import SCALE, Layout, Totals
from driftline.events.reports import MetricValue

FloatArray = NDArray[np.float64]


def compute(totals: Totals, name: str) -> MetricValue:
    """The metric `name` of a sum of panes; `value` is None where it is not defined (no labels, one class)."""
    return _POINT[name](totals)


def resampled(layout: Layout, name: str, counts: FloatArray, sums: Mapping[str, FloatArray]) -> FloatArray:
    """The metric of many totals at once: `counts` is (totals, cells), each sum is (totals,). NaN: undefined."""
    return _RESAMPLED[name](layout, counts, sums)


def _accuracy(totals: Totals) -> MetricValue:
    return _from_confusion(totals, river_metrics.Accuracy())  # type: ignore[no-untyped-call]  # River has no types


def _f1(totals: Totals) -> MetricValue:
    return _from_confusion(totals, river_metrics.F1())  # type: ignore[no-untyped-call]  # as above


def _from_confusion(totals: Totals, metric: river_metrics.base.ClassificationMetric) -> MetricValue:
    if not totals.labelled:
        return MetricValue(value=None)
    labels, positive = totals.layout.bins.labels, totals.layout.bins.positive
    matrix = totals.histogram("confusion").reshape(len(labels), len(labels))
    for row, actual in enumerate(labels):
        for column, predicted in enumerate(labels):
            if matrix[row, column]:
                # as booleans: River 0.26 counts a `pos_val` that is a string in other cells than it reads
                metric.update(actual == positive, predicted == positive, w=int(matrix[row, column]))
    return MetricValue(value=float(metric.get()), n=totals.labelled)


def _auc(totals: Totals) -> MetricValue:
    """Mann-Whitney: the share of (positive, negative) pairs in which the positive scores higher, ties half.

    Within a bin all pairs are ties, so the exact figure differs by at most half the share of such pairs
    (Hanley & McNeil, Radiology 143, 1982, for the identity with the area under the ROC curve).
    """
    negative, positive = _by_class(totals)
    pairs = int(negative.sum()) * int(positive.sum())
    if not pairs:
        return MetricValue(value=None, n=int(negative.sum() + positive.sum()))
    below = np.concatenate([[0], np.cumsum(negative)[:-1]])
    tied = int((positive * negative).sum())
    value = (2 * int((positive * below).sum()) + tied) / (2 * pairs)
    return MetricValue(value=value, n=int(negative.sum() + positive.sum()), error_bound=tied / (2 * pairs))


def _by_class(totals: Totals) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Scores of labelled rows by class, the cell of missing scores left out."""
    return totals.histogram("score|neg")[:-1], totals.histogram("score|pos")[:-1]


def _log_loss(totals: Totals) -> MetricValue:
    negative, positive = _by_class(totals)
    return _mean(totals, "log_loss", int(negative.sum() + positive.sum()))


def _mae(totals: Totals) -> MetricValue:
    return _mean(totals, "absolute_error", totals.labelled)


def _rmse(totals: Totals) -> MetricValue:
    mean = _mean(totals, "squared_error", totals.labelled)
    return MetricValue(value=None if mean.value is None else mean.value**0.5, n=mean.n)


def _mean(totals: Totals, name: str, n: int) -> MetricValue:
    return MetricValue(value=totals.sums.get(name, 0) / (SCALE * n) if n else None, n=n)


def _many_accuracy(layout: Layout, counts: FloatArray, _sums: Mapping[str, FloatArray]) -> FloatArray:
    matrix = _confusions(layout, counts)
    return _ratio(np.trace(matrix, axis1=1, axis2=2), matrix.sum(axis=(1, 2)))


def _many_f1(layout: Layout, counts: FloatArray, _sums: Mapping[str, FloatArray]) -> FloatArray:
    matrix = _confusions(layout, counts)
    p = layout.bins.labels.index(str(layout.bins.positive))
    hits = matrix[:, p, p]
    found = _ratio(2 * hits, matrix[:, p, :].sum(axis=1) + matrix[:, :, p].sum(axis=1))
    return np.where(np.isnan(found) & (matrix.sum(axis=(1, 2)) > 0), 0.0, found)


def _many_auc(layout: Layout, counts: FloatArray, _sums: Mapping[str, FloatArray]) -> FloatArray:
    negative, positive = _part(layout, counts, "score|neg")[:, :-1], _part(layout, counts, "score|pos")[:, :-1]
    below = np.cumsum(negative, axis=1) - negative / 2
    return _ratio((positive * below).sum(axis=1), negative.sum(axis=1) * positive.sum(axis=1))


def _many_log_loss(layout: Layout, counts: FloatArray, sums: Mapping[str, FloatArray]) -> FloatArray:
    scored = sum(_part(layout, counts, name)[:, :-1].sum(axis=1) for name in ("score|neg", "score|pos"))
    return _ratio(sums["log_loss"], np.asarray(scored))


def _many_mae(layout: Layout, counts: FloatArray, sums: Mapping[str, FloatArray]) -> FloatArray:
    return _ratio(sums["absolute_error"], _part(layout, counts, "labelled")[:, 0])


def _many_rmse(layout: Layout, counts: FloatArray, sums: Mapping[str, FloatArray]) -> FloatArray:
    mean: FloatArray = _ratio(sums["squared_error"], _part(layout, counts, "labelled")[:, 0])
    root: FloatArray = np.sqrt(mean)
    return root


def _part(layout: Layout, counts: FloatArray, name: str) -> FloatArray:
    cells = layout.cells[name]
    return counts[:, cells.start : cells.stop]


def _confusions(layout: Layout, counts: FloatArray) -> FloatArray:
    size = len(layout.bins.labels)
    return _part(layout, counts, "confusion").reshape(-1, size, size)


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    found: FloatArray = np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)
    return found


_POINT: dict[str, Callable[[Totals], MetricValue]] = {
    "accuracy": _accuracy,
    "auc": _auc,
    "log_loss": _log_loss,
    "f1": _f1,
    "mae": _mae,
    "rmse": _rmse,
}
_RESAMPLED: dict[str, Callable[[Layout, FloatArray, Mapping[str, FloatArray]], FloatArray]] = {
    "accuracy": _many_accuracy,
    "auc": _many_auc,
    "log_loss": _many_log_loss,
    "f1": _many_f1,
    "mae": _many_mae,
    "rmse": _many_rmse,
}
