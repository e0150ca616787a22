"""Champion against candidate on the same rows: metrics of both, the paired gain, its interval, the decision.

Days are blocks, because rows of one day share their weather: the rows of a day enter or leave a resample together.

* Under ten days: the delete-one-day jackknife with Student's t at (days - 1) degrees of freedom (Tukey, Annals of
  Mathematical Statistics 29, 1958; Miller, Biometrika 61, 1974). It weighs days by their rows, as the metric itself
  does; for days of equal size and a metric that is a mean it is exactly the t interval over the daily means.
* From ten days on: block bootstrap over days, percentile interval, seeded by the comparison's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from driftline.core.counting import log_losses
from driftline.events.retraining import Comparison
from driftline.spec.metrics import USUAL, higher_is_better
from driftline.spec.model import MonitorSpec, PromotionSpec

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

DAY_MS = 86_400_000
MIN_ROWS = 100
MIN_BLOCKS = 3  # with two days one of them decides alone
BOOTSTRAP_BLOCKS = 10
RESAMPLES = 1000


class Reason(StrEnum):
    """Why a candidate is promoted (the first) or refused (all others)."""

    BETTER = "better"
    GAIN_TOO_SMALL = "gain-too-small"  # the gain is below `min_effect`
    GAIN_UNCERTAIN = "gain-uncertain"  # the gain is large enough, but its lower bound is not above 0
    TOO_FEW_ROWS = "too-few-rows"
    TOO_FEW_BLOCKS = "too-few-blocks"
    METRIC_UNDEFINED = "metric-undefined"  # such as AUC where only one class came true
    CANDIDATE_OUT_OF_RANGE = "candidate-out-of-range"  # it answers with what the spec's `outputs` forbid, or with NaN


@dataclass(frozen=True)
class Side:
    """One model's answers, a row each. Binary: `predictions` is 1.0 for the positive label, else 0.0, `scores` its
    probability. Multiclass: `predictions` are numbers of labels, `scores` the probability of each, (rows, labels).
    Regression: `predictions` are numbers and `scores` is None.
    """

    predictions: FloatArray
    scores: FloatArray | None


@dataclass(frozen=True)
class HeldOut:
    """What came true, a row each (as `Side.predictions`), and each row's day (0, 1, ...)."""

    truth: FloatArray
    days: IntArray


@dataclass(frozen=True)
class Judgement:
    """A decision with its evidence."""

    reason: Reason
    metrics: tuple[Comparison, ...]
    blocks: int
    method: str

    @property
    def promote(self) -> bool:
        """Whether the candidate becomes champion."""
        return self.reason is Reason.BETTER


def days_of(times: Sequence[int], start: int) -> IntArray:
    """The day of each event time, counted in 24 hours from the holdout's `start`, so that all days are equally long."""
    return (np.asarray(times, dtype=np.int64) - start) // DAY_MS


def judge(spec: MonitorSpec, held_out: HeldOut, champion: Side, candidate: Side, name: str) -> Judgement:
    """Compare and decide. Pure: `name` (the candidate's id) seeds the bootstrap, so a repeat decides the same."""
    rows, blocks = held_out.truth.size, int(np.unique(held_out.days).size)
    method = "block-bootstrap" if blocks >= BOOTSTRAP_BLOCKS else "jackknife-t"
    short = Reason.TOO_FEW_ROWS if rows < MIN_ROWS else Reason.TOO_FEW_BLOCKS if blocks < MIN_BLOCKS else None
    if short is not None:
        return Judgement(short, (), blocks, method)
    if not in_range(spec, candidate):
        return Judgement(Reason.CANDIDATE_OUT_OF_RANGE, (), blocks, method)
    names = sorted(USUAL[spec.task], key=lambda metric: metric != spec.promotion.metric)  # what decides comes first
    metrics = compare(names, held_out, champion, candidate, spec.promotion.confidence, name)
    return Judgement(decide(spec.promotion, metrics), metrics, blocks, method)


def decide(promotion: PromotionSpec, metrics: Sequence[Comparison]) -> Reason:
    """`better` if and only if the gain in the promotion metric reaches `min_effect` and its lower bound is above 0."""
    found = next((metric for metric in metrics if metric.name == promotion.metric), None)
    if found is None:
        return Reason.METRIC_UNDEFINED
    if found.difference < promotion.min_effect:
        return Reason.GAIN_TOO_SMALL
    if found.low is None or found.low <= 0:
        return Reason.GAIN_UNCERTAIN
    return Reason.BETTER


def in_range(spec: MonitorSpec, side: Side) -> bool:
    """Whether every answer is finite and within the declared outputs; a probability is never outside [0, 1]."""
    outputs = {"prediction": side.predictions} if spec.task == "regression" else {"score": side.scores}
    for name, values in outputs.items():
        if values is None or not np.isfinite(values).all():
            return False
        declared = spec.outputs.get(name)
        low, high = declared.range if declared else (-np.inf, np.inf)
        if name == "score":
            low, high = max(low, 0.0), min(high, 1.0)
        if ((values < low) | (values > high)).any():
            return False
    return True


def compare(
    names: Sequence[str], held_out: HeldOut, champion: Side, candidate: Side, confidence: float, name: str
) -> tuple[Comparison, ...]:
    """Every metric of `names` that is defined on these rows. `difference` is the gain: positive is better.

    `low` and `high` bound it at `confidence`, two-sided; they are None where it cannot be resampled.
    """
    numbers, days = np.unique(held_out.days, return_inverse=True)
    everything = np.ones(days.size)
    found = []
    for metric in names:
        of_champion, of_candidate = _METRICS[metric](champion, held_out), _METRICS[metric](candidate, held_out)
        a, b = of_champion(everything), of_candidate(everything)
        if np.isnan(a) or np.isnan(b):
            continue
        sign = 1.0 if higher_is_better(metric) else -1.0
        gain = sign * (b - a)
        draws = _draws(numbers.size, name)
        gains = np.array([sign * (of_candidate(w[days]) - of_champion(w[days])) for w in draws])
        bounds = _bootstrap if numbers.size >= BOOTSTRAP_BLOCKS else _jackknife
        low, high, p_value = bounds(gain, gains[~np.isnan(gains)], numbers.size, confidence)
        found.append(
            Comparison(name=metric, champion=a, candidate=b, difference=gain, low=low, high=high, p_value=p_value)
        )
    return tuple(found)


def _draws(blocks: int, name: str) -> FloatArray:
    """Weights of the blocks, a row a resample: each block left out once, or drawn with replacement."""
    if blocks < BOOTSTRAP_BLOCKS:
        return 1.0 - np.eye(blocks)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    drawn = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=RESAMPLES)
    return drawn.astype(np.float64)


Bounds = tuple[float | None, float | None, float | None]


def _jackknife(gain: float, left_out: FloatArray, blocks: int, confidence: float) -> Bounds:
    """`left_out`: the gain without each block in turn."""
    if left_out.size < blocks or blocks < MIN_BLOCKS:
        return None, None, None
    error = float(np.sqrt((blocks - 1) / blocks * ((left_out - left_out.mean()) ** 2).sum()))
    half = float(stats.t.ppf((1 + confidence) / 2, blocks - 1)) * error
    p_value = float(2 * stats.t.sf(abs(gain) / error, blocks - 1)) if error > 0 else None
    return gain - half, gain + half, p_value


def _bootstrap(gain: float, gains: FloatArray, _blocks: int, confidence: float) -> Bounds:
    if gains.size < RESAMPLES // 2:
        return None, None, None
    low, high = np.quantile(gains, [(1 - confidence) / 2, (1 + confidence) / 2])
    p_value = min(1.0, 2 * min(float((gains <= 0).mean()), float((gains >= 0).mean())))
    return min(float(low), gain), max(float(high), gain), p_value


Metric = Callable[[FloatArray], float]
"""A metric as a function of the rows' weights; NaN where it is not defined."""


def _mean(losses: FloatArray) -> Metric:
    return lambda weights: _ratio(float(losses @ weights), float(weights.sum()))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else float("nan")


def _log_loss(side: Side, held_out: HeldOut) -> Metric:
    scores = _scores(side)
    if scores.ndim == 1:
        return _mean(log_losses(scores, held_out.truth == 1))
    chances = scores[np.arange(len(scores)), held_out.truth.astype(np.int64)]
    return _mean(log_losses(chances, np.ones(chances.size, np.bool_)))


def _accuracy(side: Side, held_out: HeldOut) -> Metric:
    return _mean((side.predictions == held_out.truth).astype(np.float64))


def _f1(side: Side, held_out: HeldOut) -> Metric:
    """2 TP / (predicted positives + actual positives); 0 where there is neither, as scikit-learn has it."""
    hits, either = side.predictions * held_out.truth, side.predictions + held_out.truth
    return lambda weights: float(2 * (hits @ weights) / total) if (total := float(either @ weights)) > 0 else 0.0


def _auc(side: Side, held_out: HeldOut) -> Metric:
    return _mann_whitney(_scores(side), held_out.truth)


def _mann_whitney(scores: FloatArray, positive: FloatArray) -> Metric:
    """The share of (positive, negative) pairs in which the positive scores higher, ties half."""
    _, groups = np.unique(scores, return_inverse=True)

    def value(weights: FloatArray) -> float:
        hits = np.bincount(groups, weights * positive)
        others = np.bincount(groups, weights * (1 - positive))
        below = np.cumsum(others) - others / 2
        return _ratio(float(hits @ below), float(hits.sum() * others.sum()))

    return value


def _auc_ovr(side: Side, held_out: HeldOut) -> Metric:
    """The mean of the AUC of each label against the rest, of the labels that came and that others than they came."""
    each = [_mann_whitney(scores, (held_out.truth == i).astype(np.float64)) for i, scores in enumerate(_scores(side).T)]

    def value(weights: FloatArray) -> float:
        found = np.array([of(weights) for of in each])
        known = found[~np.isnan(found)]
        return float(known.mean()) if known.size else float("nan")

    return value


def _f1_macro(side: Side, held_out: HeldOut) -> Metric:
    """The mean of F1 over the labels that came or were predicted, as scikit-learn has it."""
    truth, said = held_out.truth.astype(np.int64), side.predictions.astype(np.int64)
    size = _scores(side).shape[1]

    def value(weights: FloatArray) -> float:
        either = np.bincount(truth, weights, size) + np.bincount(said, weights, size)
        hits = np.bincount(truth, weights * (truth == said), size)
        return float((2 * hits[either > 0] / either[either > 0]).mean()) if either.any() else float("nan")

    return value


def _mae(side: Side, held_out: HeldOut) -> Metric:
    return _mean(np.abs(side.predictions - held_out.truth))


def _rmse(side: Side, held_out: HeldOut) -> Metric:
    mean = _mean((side.predictions - held_out.truth) ** 2)
    return lambda weights: float(np.sqrt(mean(weights)))


def _scores(side: Side) -> FloatArray:
    assert side.scores is not None, "classification has scores"
    return side.scores


_METRICS: dict[str, Callable[[Side, HeldOut], Metric]] = {
    "accuracy": _accuracy,
    "auc": _auc,
    "log_loss": _log_loss,
    "f1": _f1,
    "auc_ovr": _auc_ovr,
    "f1_macro": _f1_macro,
    "mae": _mae,
    "rmse": _rmse,
}
