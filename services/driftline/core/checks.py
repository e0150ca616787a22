"""What one model scores on known rows, with intervals: how a candidate describes itself, for the gate to find again.

The metrics, the days as blocks and the seeded resamples are those of `core.comparison`, of one side in place of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from driftline.core.baseline import numbers_of_labels
from driftline.core.columns import scores_of
from driftline.core.comparison import HeldOut, figures
from driftline.core.paired_metrics import FloatArray, IntArray, Side
from driftline.events.inputs import Label, Score
from driftline.events.retraining import Figure
from driftline.spec.metrics import USUAL
from driftline.spec.model import MonitorSpec


def figures_of(spec: MonitorSpec, truth: FloatArray, side: Side, days: IntArray, name: str) -> tuple[Figure, ...]:
    """The usual metrics of the task on these rows, of those that are defined on them.

    `truth` as in `HeldOut`, `days` numbers the day of each row; `name` seeds the resamples, so a repeat finds the same.
    """
    return figures(USUAL[spec.task], HeldOut(truth, days), side, name)


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
