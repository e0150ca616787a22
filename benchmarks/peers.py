"""The same job by other means: River used naively, and a loop written by hand in an afternoon.

Both decode, check ranges, count 12 features into the bins that Driftline uses, join outcomes to predictions through a
dictionary and keep accuracy, F1, AUC and log loss. Neither looks at time (no panes, no windows, no forgetting), knows
a repeat, a conflict or a correction, tells a bad event from a good one, or could go on after a crash.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray
from river import drift as river_drift
from river import metrics as river_metrics

from benchmarks.answers import EPS, Answer
from benchmarks.watched import RANGES, SCORE_RANGE
from benchmarks.workload import CATEGORIES, NUMBERS
from driftline.events.baselines import Bins, CategoryBins, NumberBins

Chunk = tuple[Sequence[bytes], Sequence[bytes]]
"""Predictions, then the outcomes that arrived up to the same moment."""
SCORE_BINS = 1000
drift: Any = river_drift  # River has no types
metrics: Any = river_metrics


def number_edges(bins: Bins) -> dict[str, list[float]]:
    """The inner edges of the numeric features."""
    return {name: list(each.edges) for name, each in bins.features.items() if isinstance(each, NumberBins)}


def river_naive(chunks: Sequence[Chunk], bins: Bins, adwin: bool = False) -> Answer:
    """River's metrics, updated event by event as its manual shows.

    Drift: a running histogram a feature, in plain Python, the cheapest that could be thought of; with `adwin` River's
    own detector a number instead.
    """
    accuracy, f1, auc, log_loss = metrics.Accuracy(), metrics.F1(), metrics.ROCAUC(), metrics.LogLoss()
    edges = number_edges(bins)
    histograms = {name: [0] * (len(inner) + 1) for name, inner in edges.items()}
    seen: dict[str, Counter[str]] = {name: Counter() for name in CATEGORIES}
    detectors = {name: drift.ADWIN() for name in NUMBERS} if adwin else {}
    kept: dict[str, tuple[bool, float]] = {}
    n = labelled = breaches = 0
    low_score, high_score = SCORE_RANGE
    for predictions, outcomes in chunks:
        for value in predictions:
            event = orjson.loads(value)
            features = event["features"]
            for name, (low, high) in RANGES.items():
                number = features[name]
                if not low <= number <= high:
                    breaches += 1
                if adwin:
                    detectors[name].update(number)
                else:
                    histograms[name][bisect_right(edges[name], number)] += 1
            for name in CATEGORIES:
                seen[name][features[name]] += 1
            score = event["score"]
            if not low_score <= score <= high_score:
                breaches += 1
            kept[event["id"]] = (bool(event["prediction"]), score)
            n += 1
        for value in outcomes:
            event = orjson.loads(value)
            found = kept.pop(event["id"], None)
            if found is None:
                continue
            called, score = found
            truth = bool(event["outcome"])
            accuracy.update(truth, called)
            f1.update(truth, called)
            auc.update(truth, score)
            log_loss.update(truth, score)
            labelled += 1
    return Answer(n, labelled, breaches, *(float(metric.get()) for metric in (accuracy, f1, auc, log_loss)))


class _Features(msgspec.Struct, gc=False):
    f0: float
    f1: float
    f2: float
    f3: float
    f4: float
    f5: float
    f6: float
    f7: float
    f8: float
    f9: float
    c0: str
    c1: str


class _Prediction(msgspec.Struct, gc=False):
    id: str
    features: _Features
    prediction: int
    score: float


class _Outcome(msgspec.Struct, gc=False):
    id: str
    outcome: int


class ByHand:
    """What a good engineer would write for one model in an afternoon: typed decoding, a dictionary, numpy counters."""

    def __init__(self, bins: Bins) -> None:
        self._edges = {name: np.array(inner) for name, inner in number_edges(bins).items()}
        self._histograms = {name: np.zeros(inner.size + 1, np.int64) for name, inner in self._edges.items()}
        self._codes: dict[str, dict[str, int]] = {}
        self._seen: dict[str, NDArray[np.int64]] = {}
        for name, each in bins.features.items():
            if isinstance(each, CategoryBins):
                self._codes[name] = {value: code for code, value in enumerate(each.values)}
                self._seen[name] = np.zeros(len(each.values) + 1, np.int64)
        self._predictions = msgspec.json.Decoder(_Prediction).decode
        self._outcomes = msgspec.json.Decoder(_Outcome).decode
        self._kept: dict[str, tuple[int, float]] = {}
        self._confusion = np.zeros(4, np.int64)
        self._scores = np.zeros((2, SCORE_BINS), np.int64)
        self._log_loss = 0.0
        self.n = self.labelled = self.breaches = 0

    def run(self, chunks: Sequence[Chunk]) -> Answer:
        """Everything, chunk by chunk."""
        for predictions, outcomes in chunks:
            if predictions:
                self._take_predictions(list(map(self._predictions, predictions)))
            if outcomes:
                self._take_outcomes(list(map(self._outcomes, outcomes)))
        return self._answer()

    def _take_predictions(self, events: list[_Prediction]) -> None:
        n = len(events)
        features = [event.features for event in events]
        for name, inner in self._edges.items():
            values = np.fromiter(map(attrgetter(name), features), np.float64, n)
            low, high = RANGES[name]
            self.breaches += int(((values < low) | (values > high)).sum())
            cells = np.searchsorted(inner, values, side="right")
            self._histograms[name] += np.bincount(cells, minlength=inner.size + 1)
        for name, codes in self._codes.items():
            unseen, code_of = len(codes), codes.get
            cells = np.fromiter((code_of(v, unseen) for v in map(attrgetter(name), features)), np.int64, n)
            self._seen[name] += np.bincount(cells, minlength=unseen + 1)
        scores = [event.score for event in events]
        array = np.array(scores)
        self.breaches += int(((array < SCORE_RANGE[0]) | (array > SCORE_RANGE[1])).sum())
        answers = zip(map(attrgetter("prediction"), events), scores, strict=True)
        self._kept.update(zip(map(attrgetter("id"), events), answers, strict=True))
        self.n += n

    def _take_outcomes(self, events: list[_Outcome]) -> None:
        pop = self._kept.pop
        found = [(event.outcome, kept) for event in events if (kept := pop(event.id, None)) is not None]
        truth = np.array([outcome for outcome, _ in found], np.int64)
        called = np.array([kept[0] for _, kept in found], np.int64)
        score = np.array([kept[1] for _, kept in found])
        self._confusion += np.bincount(2 * truth + called, minlength=4)
        cells = np.clip(score * SCORE_BINS, 0, SCORE_BINS - 1).astype(np.int64)
        self._scores += np.bincount(truth * SCORE_BINS + cells, minlength=2 * SCORE_BINS).reshape(2, SCORE_BINS)
        p = np.clip(score, EPS, 1 - EPS)
        self._log_loss += float(np.where(truth == 1, -np.log(p), -np.log1p(-p)).sum())
        self.labelled += len(found)

    def _answer(self) -> Answer:
        right_no, false_yes, missed, right_yes = self._confusion.tolist()
        negative, positive = self._scores
        pairs = int(negative.sum()) * int(positive.sum())
        below = np.cumsum(negative) - negative / 2
        return Answer(
            self.n,
            self.labelled,
            self.breaches,
            (right_no + right_yes) / self.labelled,
            2 * right_yes / (2 * right_yes + false_yes + missed),
            float((positive * below).sum() / pairs),
            self._log_loss / self.labelled,
        )
