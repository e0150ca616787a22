"""Every metric by name: the one table from which the spec, the reports and the reference follow.

What computes them stands in `core.metrics`, by the same names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

Task = Literal["binary", "multiclass", "regression"]

BINARY: tuple[Task, ...] = ("binary",)
LABELS: tuple[Task, ...] = ("binary", "multiclass")
MULTICLASS: tuple[Task, ...] = ("multiclass",)
REGRESSION: tuple[Task, ...] = ("regression",)
LEAST_BETA, MOST_BETA = 0.1, 10.0
CALIBRATION_BINS = 16  # a power of two: their edges are edges of the score histogram's grid too


ESTIMATED: dict[str, tuple[str, ...]] = {
    "binary": ("accuracy", "precision", "recall", "f1", "auc"),
    "multiclass": ("accuracy", "precision_macro", "recall_macro", "f1_macro", "auc_ovr"),
    "regression": (),
}
"""The metrics that can be estimated before outcomes are known, by task."""
OF_LABEL = ("precision", "recall", "f1", "auc")
"""The metrics of a binary model that each label of a multiclass model has too, against the rest: `recall:cat`."""


class Metric(NamedTuple):
    """A figure of labelled predictions. `low` and `high` are its range, infinite where it has no end.

    `higher_is_better` is None where neither end is good. `undefined`: when the value is null. `bound`: how far the
    value can be from that of the single rows; empty where it is the same to 1e-9. `usual`: reported where a spec lists
    no metrics, and told of champion and candidate where a gate compares them. `interval`: whether it has one.
    """

    name: str
    tasks: tuple[Task, ...]
    unit: str
    low: float
    high: float
    higher_is_better: bool | None
    sentence: str
    source: str
    undefined: str = "no outcomes"
    bound: str = ""
    usual: bool = False
    interval: bool = True


_HISTOGRAM = "the report's `error_bound`, from the pairs that share a bin of the score histogram"
_USUAL_SIZE = "the usual size of a prediction (1,000 where neither a reference nor a declared range tells it)"
_QUANTILE = f"`error_bound`, at most 20 % of it, or a millionth of {_USUAL_SIZE}"
_ANY_UNIT = "1e-9 of the size of the errors, or 1e-24 where they are smaller"
_INF = math.inf


def _of_confusion(
    name: str,
    sentence: str,
    source: str,
    undefined: str,
    low: float = 0.0,
    *,
    tasks: tuple[Task, ...] = BINARY,
    usual: bool = False,
) -> Metric:
    return Metric(name, tasks, "share", low, 1.0, True, sentence, source, undefined, usual=usual)


def _averages() -> tuple[Metric, ...]:
    """Each of three metrics over the labels in three ways."""
    ways = {
        "macro": "Mean over the labels that were predicted or came true of each one's {}, 0 where it has none.",
        "micro": "The {} of all labels together, each prediction being one: the same as `accuracy`.",
        "weighted": "As `{}_macro`, labels weighed by how often they came true.",
    }
    return tuple(
        _of_confusion(
            f"{name}_{way}",
            said.format(name),
            "Sokolova and Lapalme 2009",
            "no outcomes",
            tasks=MULTICLASS,
            usual=(name, way) == ("f1", "macro"),
        )
        for name in ("precision", "recall", "f1")
        for way, said in ways.items()
    )


def _share(name: str, sentence: str) -> Metric:
    return Metric(name, BINARY, "share", 0.0, 1.0, None, sentence, "by definition", "no rows to take a share of")


def _error_quantile(percent: int) -> Metric:
    return Metric(
        f"absolute_error_p{percent}",
        REGRESSION,
        "the unit of the prediction",
        0.0,
        _INF,
        higher_is_better=False,
        sentence=f"The absolute error that {percent} % of the predictions do not exceed.",
        source="by definition",
        undefined=f"no outcomes, or it is beyond 6,600 times {_USUAL_SIZE}",
        bound=_QUANTILE,
    )


_TABLE = (
    _of_confusion(
        "accuracy", "Share of predictions that came true.", "by definition", "no outcomes", tasks=LABELS, usual=True
    ),
    _of_confusion("balanced_accuracy", "Mean of recall and specificity.", "Brodersen et al. 2010", "one class only"),
    _of_confusion("precision", "Share of predicted positives that came true.", "by definition", "none predicted"),
    _of_confusion("recall", "Share of actual positives that were predicted.", "by definition", "no actual positive"),
    _of_confusion(
        "specificity", "Share of actual negatives that were predicted.", "by definition", "no actual negative"
    ),
    _of_confusion(
        "f1",
        "Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN); 0 where there is nothing positive.",
        "van Rijsbergen 1979",
        "no outcomes",
        usual=True,
    ),
    _of_confusion(
        "f2",
        "As `f1` with recall weighed twice (beta = 2): (1 + beta^2) TP / ((1 + beta^2) TP + beta^2 FN + FP). Any other "
        f"beta from {LEAST_BETA:g} to {MOST_BETA:g} goes by its own name: `f3`, `f1.5`.",
        "van Rijsbergen 1979",
        "no outcomes",
    ),
    _of_confusion("f0.5", "As `f1` with recall weighed half (beta = 0.5).", "van Rijsbergen 1979", "no outcomes"),
    _of_confusion(
        "mcc",
        "Correlation of prediction and outcome; 0 where either is always the same.",
        "Matthews 1975, Gorodkin 2004",
        "no outcomes",
        -1.0,
        tasks=LABELS,
    ),
    _of_confusion(
        "kappa",
        "Agreement beyond that of chance.",
        "Cohen 1960",
        "all outcomes and predictions are one label",
        -1.0,
        tasks=LABELS,
    ),
    *_averages(),
    Metric(
        "auc_ovr",
        MULTICLASS,
        "share",
        0.0,
        1.0,
        higher_is_better=True,
        sentence="Mean over the labels of the AUC of each one's probability, for it against the rest.",
        source="Hand and Till 2001",
        undefined="no scored outcome, or one label only",
        bound=_HISTOGRAM,
        usual=True,
    ),
    Metric(
        "auc",
        BINARY,
        "share",
        0.0,
        1.0,
        higher_is_better=True,
        sentence="Share of (positive, negative) pairs in which the positive scores higher, ties half.",
        source="Hanley and McNeil 1982",
        undefined="one class only",
        bound=_HISTOGRAM,
        usual=True,
    ),
    Metric(
        "average_precision",
        BINARY,
        "share",
        0.0,
        1.0,
        higher_is_better=True,
        sentence="Mean over the positives of the precision at each one's score.",
        source="Manning et al. 2008, 8.4",
        undefined="no actual positive",
        bound=_HISTOGRAM,
    ),
    Metric(
        "log_loss",
        LABELS,
        "nats",
        0.0,
        _INF,
        higher_is_better=False,
        sentence="Mean of -ln of the probability of what came true, held 2.2e-16 away from 0 and 1.",
        source="Good 1952",
        undefined="no scored outcome",
        usual=True,
    ),
    Metric(
        "brier",
        BINARY,
        "squared probability",
        0.0,
        1.0,
        higher_is_better=False,
        sentence="Mean of (score - outcome)^2; a score outside [0, 1] counts as the nearer end.",
        source="Brier 1950",
        undefined="no scored outcome",
    ),
    Metric(
        "ece",
        LABELS,
        "probability",
        0.0,
        1.0,
        higher_is_better=False,
        sentence=f"Mean over {CALIBRATION_BINS} equal bins of score, by rows, of |mean score - share of positives|; "
        "multiclass: of the answer's probability, and the share of answers that came true. Chance alone makes gaps, so "
        "it is too large where rows are few, and has no interval.",
        source="Naeini et al. 2015",
        undefined="no scored outcome",
        bound="`error_bound`, at most 1/512: half the width of a score bin",
        interval=False,
    ),
    _share("predicted_positive_rate", "Share of all predictions, labelled or not, that are positive."),
    _share("actual_positive_rate", "Share of outcomes that are positive."),
    Metric(
        "expected_cost",
        LABELS,
        "the unit of `costs`",
        -_INF,
        _INF,
        higher_is_better=False,
        sentence="Mean cost of a prediction under the spec's `costs`; what is not said there costs 0.",
        source="Elkan 2001",
    ),
    Metric(
        "mae",
        REGRESSION,
        "the unit of the prediction",
        0.0,
        _INF,
        higher_is_better=False,
        sentence="Mean absolute error.",
        source="by definition",
        usual=True,
        bound=_ANY_UNIT,
    ),
    Metric(
        "rmse",
        REGRESSION,
        "the unit of the prediction",
        0.0,
        _INF,
        higher_is_better=False,
        sentence="Root of the mean squared error.",
        source="by definition",
        usual=True,
        bound=_ANY_UNIT,
    ),
    Metric(
        "bias",
        REGRESSION,
        "the unit of the prediction",
        -_INF,
        _INF,
        higher_is_better=None,
        sentence="Mean of prediction - outcome: above 0 where too much is predicted.",
        source="by definition",
        bound=_ANY_UNIT,
    ),
    Metric(
        "r2",
        REGRESSION,
        "share of variance",
        -_INF,
        1.0,
        higher_is_better=True,
        sentence="1 - squared errors / squared deviations of the outcomes from their mean.",
        source="Wright 1921",
        undefined="no outcomes, or they are all the same up to rounding",
        bound="`error_bound`, from rounding: it shows where outcomes hardly differ",
    ),
    Metric(
        "rmsle",
        REGRESSION,
        "log ratio",
        0.0,
        _INF,
        higher_is_better=False,
        sentence="Root mean square of ln(1 + prediction) - ln(1 + outcome), of rows where neither is below 0: its n.",
        source="by definition",
        undefined="no row without a negative number",
        bound=_ANY_UNIT,
    ),
    Metric(
        "mape",
        REGRESSION,
        "share of the outcome",
        0.0,
        _INF,
        higher_is_better=False,
        sentence="Mean of |error| / |outcome|, each held to 1e9, of rows whose outcome is not 0: its n.",
        source="by definition",
        undefined="no outcome but 0",
    ),
    Metric(
        "smape",
        REGRESSION,
        "share",
        0.0,
        2.0,
        higher_is_better=False,
        sentence="Mean of 2 |error| / (|prediction| + |outcome|); 0 where both are 0.",
        source="Makridakis 1993",
    ),
    *map(_error_quantile, (50, 90, 95, 99)),
)

METRIC_TABLE: dict[str, Metric] = {metric.name: metric for metric in _TABLE}
"""By name, in the order in which they are told."""

TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")
METRICS: dict[str, tuple[str, ...]] = {task: tuple(m.name for m in _TABLE if task in m.tasks) for task in TASKS}
"""The metrics of each task, without those of single labels."""
USUAL: dict[str, tuple[str, ...]] = {
    task: tuple(m.name for m in _TABLE if task in m.tasks and m.usual) for task in TASKS
}
"""Those that are reported where a spec lists none, and of which one decides a promotion."""


def beta_of(name: str) -> float | None:
    """The beta of an F-measure by its name, `f0.5` or `f3`, written as short as can be; None for all else, `f1` too."""
    try:
        beta = float(name.removeprefix("f"))
    except ValueError:
        return None
    return beta if f"f{beta:g}" == name != "f1" and LEAST_BETA <= beta <= MOST_BETA else None


class MetricNames(tuple[str, ...]):
    """Names of metrics. Where `f2` is among them, so is that of every other beta."""

    __slots__ = ()

    def __contains__(self, name: object) -> bool:
        any_beta = isinstance(name, str) and beta_of(name) is not None and super().__contains__("f2")
        return any_beta or super().__contains__(name)


def metric_of(name: str) -> Metric:
    """The metric that `name` names: `recall`, and `recall:cat` likewise, are the one called `recall`."""
    if name not in METRIC_TABLE and beta_of(name) is not None:
        return METRIC_TABLE["f2"]
    return METRIC_TABLE[name.partition(":")[0]]


def higher_is_better(name: str) -> bool | None:
    """Which end of a metric is good; None where neither is."""
    return metric_of(name).higher_is_better


def of_labels(name: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The metric `name` of each label."""
    return tuple(f"{name}:{label}" for label in labels)
