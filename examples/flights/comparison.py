"""The honest comparison at the end: the flights that were served with promotions, and by the first model alone.

Computed from the raw topics with scikit-learn, not from what Driftline reported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import log_loss, roc_auc_score

from driftline.client import Outcome, Prediction
from driftline.events.base import decode
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.kafka import read_all
from driftline.platform.settings import Settings
from examples.flights.serving import FIRST


def compare(settings: Settings, since: int) -> dict[str, dict[str, float]]:
    """AUC, log loss and missed delays of both sides, over the labelled flights predicted from `since` on."""
    served: dict[str, Prediction] = {}
    alone: dict[str, Prediction] = {}
    for prediction in _events(settings, Topic.PREDICTIONS, Prediction):
        if isinstance(prediction.time, int) and prediction.time >= since:
            if prediction.role == "champion":
                served[prediction.id] = prediction
            if prediction.version == FIRST:
                alone[prediction.id] = prediction
    outcomes = {outcome.id: outcome.outcome for outcome in _events(settings, Topic.OUTCOMES, Outcome)}
    ids = [name for name in served if name in alone and name in outcomes]
    truth = np.array([outcomes[name] == "late" for name in ids])
    return {
        "with Driftline": _figures([served[name] for name in ids], truth),
        "first model alone": _figures([alone[name] for name in ids], truth),
    }


def _figures(predictions: list[Prediction], truth: np.ndarray) -> dict[str, float]:
    scores = np.array([prediction.score for prediction in predictions], dtype=float)
    called_late = np.array([prediction.prediction == "late" for prediction in predictions])
    return {
        "flights": float(truth.size),
        "auc": float(roc_auc_score(truth, scores)),
        "log_loss": float(log_loss(truth, scores)),
        "missed_delays": float((truth & ~called_late).sum()),
        "false_alarms": float((~truth & called_late).sum()),
    }


def _events(settings: Settings, topic: Topic, kind: Any) -> Any:
    for record in read_all(settings, topic):
        if record.value and record.header(MARK_HEADER) is None:
            yield decode(record.value, kind)
