"""What one model scores on known rows, with intervals: how a candidate describes itself, for the gate to find again.

The metrics, the days as blocks and the seeded resamples are those of `core.comparison`, of one side in place of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from driftline.core.baseline import numbers_of_labels
from driftline.core.columns import scores_of
from driftline.core.comparison import (
    _METRICS,
    BOOTSTRAP_BLOCKS,
    FloatArray,
    HeldOut,
    IntArray,
    Side,
    _bootstrap,
    _draws,
    _jackknife,
)
from driftline.events.inputs import Label, Score
from driftline.events.retraining import Figure
from driftline.spec.metrics import USUAL
from driftline.spec.model import MonitorSpec

CONFIDENCE = 0.95


def figures_of(spec: MonitorSpec, truth: FloatArray, side: Side, days: IntArray, name: str) -> tuple[Figure, ...]:
    """The usual metrics of the task on these rows, of those that are defined on them.

    `truth` as in `HeldOut`, `days` numbers the day of each row; `name` seeds the resamples, so a repeat finds the same.
    """
    rows = HeldOut(truth, days)
    numbers, block = np.unique(days, return_inverse=True)
    draws = _draws(numbers.size, name)
    bounds = _bootstrap if numbers.size >= BOOTSTRAP_BLOCKS else _jackknife
    found = []
    for metric in USUAL[spec.task]:
        of_side = _METRICS[metric](side, rows)
        value = of_side(np.ones(truth.size))
        if np.isnan(value):
            continue
        again = np.array([of_side(weights[block]) for weights in draws])
        low, high, _ = bounds(value, again[~np.isnan(again)], numbers.size, CONFIDENCE)
        found.append(Figure(name=metric, value=value, low=low, high=high, n=truth.size))
    return tuple(found)


def side_of(spec: MonitorSpec, answers: Sequence[tuple[Label, Score]]) -> Side:
    """A model's answers, a row each, as they are compared."""
    return Side(truth_of(spec, [label for label, _ in answers]), scores_of(spec, [score for _, score in answers]))


def truth_of(spec: MonitorSpec, values: Sequence[Any]) -> FloatArray:
    """Labels or numbers as they are compared: see `Side.predictions`."""
    if spec.task == "regression":
        return np.array(values, dtype=np.float64)
    if spec.task == "multiclass":
        return numbers_of_labels(spec, values)
    return np.array([float(value == spec.positive) for value in values])
