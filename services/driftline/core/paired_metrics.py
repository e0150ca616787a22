"""Metrics of one model on held-out rows as functions of how much each block of them weighs.

So a metric is taken apart into sums by block once, and a thousand resamples of blocks cost one product of matrices: a
mean is a sum and a count a block; AUC is how many pairs of a positive and a negative row are in order, by the blocks
of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline.core.counting import log_losses

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Weighed = Callable[[FloatArray], FloatArray]
"""From the weights of the blocks, (draws, blocks), to the metric of each draw; NaN where it is not defined."""


@dataclass(frozen=True)
class Side:
    """One model's answers, a row each. Binary: `predictions` is 1.0 for the positive label, else 0.0, `scores` its
    probability. Multiclass: `predictions` are numbers of labels, `scores` the probability of each, (rows, labels).
    Regression: `predictions` are numbers and `scores` is None.
    """

    predictions: FloatArray
    scores: FloatArray | None

    def of_rows(self, rows: NDArray[np.bool_]) -> Side:
        """The answers to some of the rows."""
        return Side(self.predictions[rows], None if self.scores is None else self.scores[rows])


@dataclass(frozen=True)
class Rows:
    """What came true, a row each (as `Side.predictions`), and the number of each row's block, of `blocks`."""

    truth: FloatArray
    block: IntArray
    blocks: int

    def sums(self, values: FloatArray) -> FloatArray:
        """The sum of a value a row, by block."""
        return np.bincount(self.block, values, self.blocks).astype(np.float64)


def weighed(metric: str, side: Side, rows: Rows) -> Weighed:
    """The metric `metric` (one of `spec.metrics.USUAL`) of one side."""
    return _METRICS[metric](side, rows)


def _ratio(numerators: FloatArray, denominators: FloatArray) -> FloatArray:
    known = denominators > 0
    return np.where(known, numerators / np.where(known, denominators, 1.0), np.nan)


def _mean(losses: FloatArray, rows: Rows) -> Weighed:
    sums, counts = rows.sums(losses), rows.sums(np.ones(losses.size))
    return lambda weights: _ratio(weights @ sums, weights @ counts)


def _log_loss(side: Side, rows: Rows) -> Weighed:
    scores = _scores(side)
    if scores.ndim == 1:
        return _mean(log_losses(scores, rows.truth == 1), rows)
    chances = scores[np.arange(len(scores)), rows.truth.astype(np.int64)]
    return _mean(log_losses(chances, np.ones(chances.size, np.bool_)), rows)


def _accuracy(side: Side, rows: Rows) -> Weighed:
    return _mean((side.predictions == rows.truth).astype(np.float64), rows)


def _f1(side: Side, rows: Rows) -> Weighed:
    """2 TP / (predicted positives + actual positives); 0 where there is neither, as scikit-learn has it."""
    hits, either = rows.sums(side.predictions * rows.truth), rows.sums(side.predictions + rows.truth)
    return lambda weights: np.nan_to_num(_ratio(2 * (weights @ hits), weights @ either))


def _f1_macro(side: Side, rows: Rows) -> Weighed:
    """The mean of F1 over the labels that came or were predicted, as scikit-learn has it."""
    truth, said = rows.truth.astype(np.int64), side.predictions.astype(np.int64)
    labels = range(_scores(side).shape[1])
    came = np.stack([rows.sums((truth == i).astype(np.float64)) for i in labels], axis=1)
    told = np.stack([rows.sums((said == i).astype(np.float64)) for i in labels], axis=1)
    hits = np.stack([rows.sums(((truth == i) & (said == i)).astype(np.float64)) for i in labels], axis=1)
    return lambda weights: _mean_of_known(_ratio(2 * (weights @ hits), weights @ (came + told)))


def _auc(side: Side, rows: Rows) -> Weighed:
    return _mann_whitney(_scores(side), rows.truth == 1, rows)


def _auc_ovr(side: Side, rows: Rows) -> Weighed:
    """The mean of the AUC of each label against the rest, of the labels that came and that others than they came."""
    each = [_mann_whitney(scores, rows.truth == i, rows) for i, scores in enumerate(_scores(side).T)]
    return lambda weights: _mean_of_known(np.stack([of(weights) for of in each], axis=1))


def _mann_whitney(scores: FloatArray, positive: NDArray[np.bool_], rows: Rows) -> Weighed:
    """The share of (positive, negative) pairs in which the positive scores higher, ties half."""
    hits, others = rows.sums(positive.astype(np.float64)), rows.sums((~positive).astype(np.float64))
    in_order = np.zeros((rows.blocks, rows.blocks))
    for block in range(rows.blocks):
        below = np.sort(scores[~positive & (rows.block == block)])
        found = np.searchsorted(below, scores[positive], "left") + np.searchsorted(below, scores[positive], "right")
        in_order[:, block] = np.bincount(rows.block[positive], found / 2, rows.blocks)
    return lambda weights: _ratio(((weights @ in_order) * weights).sum(axis=1), (weights @ hits) * (weights @ others))


def _mean_of_known(values: FloatArray) -> FloatArray:
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def _mae(side: Side, rows: Rows) -> Weighed:
    return _mean(np.abs(side.predictions - rows.truth), rows)


def _rmse(side: Side, rows: Rows) -> Weighed:
    mean = _mean((side.predictions - rows.truth) ** 2, rows)
    return lambda weights: np.sqrt(mean(weights))


def _scores(side: Side) -> FloatArray:
    assert side.scores is not None, "classification has scores"
    return side.scores


_METRICS: dict[str, Callable[[Side, Rows], Weighed]] = {
    "accuracy": _accuracy,
    "auc": _auc,
    "log_loss": _log_loss,
    "f1": _f1,
    "auc_ovr": _auc_ovr,
    "f1_macro": _f1_macro,
    "mae": _mae,
    "rmse": _rmse,
}


def numbered(blocks: Sequence[int] | IntArray) -> tuple[IntArray, int]:
    """The blocks of rows numbered without gaps, and how many there are."""
    numbers, block = np.unique(np.asarray(blocks, np.int64), return_inverse=True)
    return block, int(numbers.size)
