"""What every contender must say about the same events, and the figures that it is checked against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.watched import RANGES, SCORE_RANGE
from benchmarks.workload import Workload

EPS = float(np.finfo(np.float64).eps)
RIVER_EPS = 1e-15
"""Where River holds a score away from 0 and 1 before it takes the logarithm."""


@dataclass(frozen=True)
class Answer:
    """What a contender found. `breaches`: values outside their declared range."""

    n: int
    labelled: int
    breaches: int
    accuracy: float
    f1: float
    auc: float
    log_loss: float


class WrongAnswer(Exception):
    """A contender does not do the job that it is timed at."""


def expected(workload: Workload, eps: float = EPS) -> Answer:
    """The figures from the raw events, all at once, with `eps` as the least distance of a score from 0 and 1."""
    events = [orjson.loads(value) for value in workload.predictions]
    truths = {o["id"]: o["outcome"] for o in map(orjson.loads, workload.outcomes)}
    breaches = sum(
        not low <= event["features"][name] <= high for event in events for name, (low, high) in RANGES.items()
    ) + sum(not SCORE_RANGE[0] <= event["score"] <= SCORE_RANGE[1] for event in events)
    labelled = [event for event in events if event["id"] in truths]
    truth = np.array([truths[event["id"]] for event in labelled], dtype=bool)
    called = np.array([event["prediction"] for event in labelled], dtype=bool)
    score = np.array([event["score"] for event in labelled], dtype=np.float64)
    p = np.clip(score, eps, 1 - eps)
    return Answer(
        n=len(events),
        labelled=len(labelled),
        breaches=breaches,
        accuracy=float((truth == called).mean()),
        f1=float(2 * (truth & called).sum() / (truth.sum() + called.sum())),
        auc=_auc(truth, score),
        log_loss=float(np.where(truth, -np.log(p), -np.log1p(-p)).mean()),
    )


def check(who: str, found: Answer, wanted: Answer, auc_within: float) -> None:
    """Raises `WrongAnswer` where `found` differs: counts and accuracy not at all, F1 and log loss by 1e-9."""
    for name in ("n", "labelled", "breaches", "accuracy", "f1", "log_loss"):
        mine, right = getattr(found, name), getattr(wanted, name)
        if abs(mine - right) > (0 if isinstance(right, int) else 1e-9):
            raise WrongAnswer(f"{who} says {name} {mine}, the raw events {right}: it does not do the same job")
    if abs(found.auc - wanted.auc) > auc_within:
        raise WrongAnswer(f"{who} says AUC {found.auc}, the raw events {wanted.auc}: more than {auc_within} apart")


def _auc(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    positives, negatives = int(truth.sum()), int((~truth).sum())
    ranks = rankdata(score)[truth].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))
