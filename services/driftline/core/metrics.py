"""Metrics out of panes.

Each metric exists twice, on purpose: the reported value, exact from integers (River's metrics fed with the cells of the
confusion matrix as weights, or a closed formula), and a vectorised form over many resampled totals for intervals. A
test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from river import metrics as river_metrics

from driftline.core.pane import SCALE, Totals
from driftline.events.reports import MetricValue

FloatArray = NDArray[np.float64]


def compute(totals: Totals, name: str) -> MetricValue:
    """The metric `name` of a sum of panes; `value` is None where it is not defined (no labels, one class)."""
    return _POINT[name](totals)


class Draws:
    """Many totals at once, each a weighted sum of the same `blocks`: `weights` is (draws, blocks)."""

    def __init__(self, blocks: Sequence[Totals], weights: FloatArray) -> None:
        self.layout, self.weights = blocks[0].layout, weights
        self._blocks = blocks
        self._vectors = np.array([block.vector for block in blocks], dtype=np.float64)

    def blocks(self, name: str) -> FloatArray:
        """A histogram in each block: (blocks, cells)."""
        cells = self.layout.cells[name]
        return self._vectors[:, cells.start : cells.stop]

    def counts(self, name: str) -> FloatArray:
        """A histogram in each draw: (draws, cells)."""
        counts: FloatArray = self.weights @ self.blocks(name)
        return counts

    def sum(self, name: str) -> FloatArray:
        """A sum in each draw: (draws,)."""
        total: FloatArray = self.weights @ np.array([block.sums.get(name, 0) / SCALE for block in self._blocks])
        return total


def resampled(name: str, draws: Draws) -> FloatArray:
    """The metric `name` of each draw; NaN where it is not defined."""
    return _RESAMPLED[name](draws)


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


def _many_accuracy(draws: Draws) -> FloatArray:
    matrix = _confusions(draws)
    return _ratio(np.trace(matrix, axis1=1, axis2=2), matrix.sum(axis=(1, 2)))


def _many_f1(draws: Draws) -> FloatArray:
    matrix = _confusions(draws)
    p = draws.layout.bins.labels.index(str(draws.layout.bins.positive))
    hits = matrix[:, p, p]
    found = _ratio(2 * hits, matrix[:, p, :].sum(axis=1) + matrix[:, :, p].sum(axis=1))
    return np.where(np.isnan(found) & (matrix.sum(axis=(1, 2)) > 0), 0.0, found)


def _many_auc(draws: Draws) -> FloatArray:
    """Pairs that are in order are counted between each two blocks once; how often a draw has them is w' pairs w."""
    negative, positive = draws.blocks("score|neg")[:, :-1], draws.blocks("score|pos")[:, :-1]
    below = np.cumsum(negative, axis=1) - negative / 2
    in_order = np.einsum("di,di->d", draws.weights @ (positive @ below.T), draws.weights)
    return _ratio(in_order, (draws.weights @ negative.sum(axis=1)) * (draws.weights @ positive.sum(axis=1)))


def _many_log_loss(draws: Draws) -> FloatArray:
    scored = draws.blocks("score|neg")[:, :-1].sum(axis=1) + draws.blocks("score|pos")[:, :-1].sum(axis=1)
    return _ratio(draws.sum("log_loss"), draws.weights @ scored)


def _many_mae(draws: Draws) -> FloatArray:
    return _ratio(draws.sum("absolute_error"), draws.counts("labelled")[:, 0])


def _many_rmse(draws: Draws) -> FloatArray:
    mean: FloatArray = _ratio(draws.sum("squared_error"), draws.counts("labelled")[:, 0])
    root: FloatArray = np.sqrt(mean)
    return root


def _confusions(draws: Draws) -> FloatArray:
    size = len(draws.layout.bins.labels)
    return draws.counts("confusion").reshape(-1, size, size)


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
_RESAMPLED: dict[str, Callable[[Draws], FloatArray]] = {
    "accuracy": _many_accuracy,
    "auc": _many_auc,
    "log_loss": _many_log_loss,
    "f1": _many_f1,
    "mae": _many_mae,
    "rmse": _many_rmse,
}
