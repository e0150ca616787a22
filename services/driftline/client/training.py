"""What a training function gets and what it gives back.

def train(data: TrainingData) -> Trained:
    estimator = make_pipeline(...).fit(data.frame, data.target)
    return Trained(estimator)

A spec names it as `retrain: {trainer: package.module:train}`; the trainer calls it in a process of its own, and
`driftline status` shows what it reports by `data.progress(0.4, "fitting")`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from driftline.events.retraining import Told

if TYPE_CHECKING:
    import pandas as pd


def _to_nobody(fraction: float, message: str) -> None:
    """Where a function is tried out by hand."""


@dataclass(frozen=True)
class TrainingData:
    """Labelled rows of `model`, oldest first.

    `frame` has the spec's features in the spec's order: numbers as float64 with NaN for missing, categories as objects
    with None for missing. `target` has a label (one of `labels`) a row, or a number for regression; `time` is when each
    was predicted, in milliseconds since 1970. No row of the holdout, on which the candidate will be judged, is in it.
    `progress(fraction, message)` tells how far the training is, from 0 to 1.
    """

    model: str
    frame: pd.DataFrame
    target: Sequence[str] | Sequence[float]
    time: Sequence[int]
    labels: tuple[str, ...] = ()
    positive: str | None = None
    progress: Callable[[float, str], None] = field(default=_to_nobody, repr=False, compare=False)


@dataclass(frozen=True)
class Trained:
    """A fitted scikit-learn estimator that takes frames like `TrainingData.frame`, and its own validation figures.

    For classification it has `predict_proba` and its `classes_` are the labels; of a multiclass model they may be some
    of them, where others did not come.

    A figure is a value, or `(value, low, high)`. The gate computes each figure whose metric it knows again, and refuses
    a model whose figures it does not find. So it must know what they are of: the rows at the positions `validated_on`
    (all rows, unless said), and `estimator`, unless they are of a `trial` that was fitted without these rows.
    """

    estimator: Any
    validation: Mapping[str, Told] = field(default_factory=dict)
    validated_on: Sequence[int] | None = None
    trial: Any = None
