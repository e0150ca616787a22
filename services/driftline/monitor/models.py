"""The models whose specs are in force: what checks on whole columns need of each, by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.core.columns import told_shares
from driftline.core.validation import LATEST
from driftline.events.base import to_millis
from driftline.events.inputs import label_name
from driftline.spec.model import LARGEST, MOST_LABELS, MonitorSpec, millis, told

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


class Models:
    """Models by number; of each the `code` of its outcomes, how many features, how many of them numbers, and so on.

    Columns may be asked for number -1, a model that is not there, and for number 0 where there is none at all.
    """

    def __init__(self, specs: Mapping[str, MonitorSpec], codes: Mapping[str, int]) -> None:
        self.specs = list(specs.values())
        self.number = {model: i for i, model in enumerate(specs)}
        kinds = [[feature.type for feature in spec.features.values()] for spec in self.specs]
        self.features = _column([len(each) for each in kinds])
        self.numbers = _column([each.count("number") for each in kinds])
        self.pane = _column([millis(spec.pane) for spec in self.specs], 1)
        self.code = _column([codes[model] for model in specs]).astype(np.uint32)
        self.numeric = _column([spec.task == "regression" for spec in self.specs]).astype(np.bool_)
        self.shares = _column([len(told(spec.labels)) * (spec.task == "multiclass") for spec in self.specs])
        """Of each model, how many labels have probabilities."""
        self._horizon = _column([millis(spec.horizon) for spec in self.specs])
        self._ahead = _column([millis(spec.max_ahead) for spec in self.specs])
        self._labels = [_spellings(spec.labels) for spec in self.specs] or [{}]

    def labelled(self, model: I64, answers: Sequence[Any]) -> tuple[F64, NDArray[np.bool_]]:
        """Answers as numbers: a label's, or the number itself; and which of them are allowed.

        Labels that are told as one have one number.
        """
        if bool in set(map(type, answers)):
            answers = [label_name(answer) if type(answer) is bool else answer for answer in answers]
        numeric = self.numeric[model]
        found = np.full(len(answers), -1.0)
        if not numeric.all():
            codes = [self._labels[m].get(answer, -1) for m, answer in zip(model.tolist(), answers, strict=True)]
            found = np.array(codes, np.float64)
        fine = found >= 0
        if numeric.any():
            given = np.array([_number(answers[i]) for i in np.flatnonzero(numeric).tolist()], np.float64)
            found[numeric] = given
            with np.errstate(invalid="ignore"):
                fine[numeric] = np.abs(given) <= LARGEST
        return found, fine

    def shares_of(self, model: I64, scores: Sequence[Sequence[float] | None], label: F64) -> tuple[F64, F64]:
        """The probabilities of labels, of all rows one after the other, and that of each row's own label.

        `scores`: of the labels in the order of the spec, None where they were not told: these are NaN, and so are those
        of models that have none. What is told of labels that are told as one is added up.
        """
        per_row = self.shares[model]
        flat, said = np.full(int(per_row.sum()), np.nan), np.full(model.size, np.nan)
        starts = np.cumsum(per_row) - per_row
        for number in np.unique(model[per_row > 0]).tolist():
            rows = np.flatnonzero(model == number)
            rows = rows[[scores[row] is not None for row in rows.tolist()]]
            if not rows.size:
                continue
            given = told_shares(np.array([scores[row] for row in rows.tolist()], np.float64))
            flat[starts[rows][:, None] + np.arange(given.shape[1])] = given
            said[rows] = given[np.arange(rows.size), label[rows].astype(np.int64)]
        return flat, said

    def timely(self, model: I64, time: I64, arrival: I64) -> NDArray[np.bool_]:
        """Which event times lie between the horizon before their arrival and `max_ahead` after it."""
        fine: NDArray[np.bool_] = (time >= 0) & (time <= LATEST)
        fine &= arrival - time <= self._horizon[model]
        fine &= time - arrival <= self._ahead[model]
        return fine


def _column(values: Sequence[int], default: int = 0) -> I64:
    """As an array, never empty."""
    return np.array(values or [default], np.int64)


def _spellings(labels: Sequence[str]) -> dict[object, int]:
    """Every way to write each label but for booleans, which Python takes for 0 and 1."""
    numbered = [(min(i, MOST_LABELS), label) for i, label in enumerate(labels)]
    found: dict[object, int] = {label: i for i, label in numbered}
    for i, label in numbered:
        for kind in (int, float):
            try:
                value = kind(label)
            except (ValueError, OverflowError):
                continue
            if label_name(value) == label:
                found[value] = i
    return found


def times_of(times: Sequence[Any]) -> I64:
    """As epoch milliseconds; -1 for what is none."""
    try:
        return np.array(times, np.int64)
    except (TypeError, ValueError, OverflowError):
        found = [to_millis(time) for time in times]
        return np.array([time if 0 <= time <= LATEST else -1 for time in found], np.int64)


def _number(value: Any) -> float:
    """A number as a float; NaN for what is none."""
    if type(value) is float:
        return value
    if type(value) is not int:
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return float("nan")
