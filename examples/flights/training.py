"""How a model of flight delays is trained; the trainer calls `train` for every retrain request."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from driftline.client.training import Trained, TrainingData

LEARNT_UNTIL = datetime(2013, 2, 15, tzinfo=UTC)
"""The first model learns from the flights before this."""
CATEGORIES = ["carrier", "origin", "dest"]


def make_model() -> Pipeline:
    """Boosted trees; categories by number, those never seen before as missing."""
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    columns = ColumnTransformer([("categories", encoder, CATEGORIES)], remainder="passthrough")
    trees = HistGradientBoostingClassifier(
        max_iter=120, learning_rate=0.08, min_samples_leaf=60, l2_regularization=1.0, random_state=7
    )
    return Pipeline([("columns", columns), ("trees", trees)])


def train(data: TrainingData) -> Trained:
    """Fit on all rows; the validation figures come from a trial fitted without the last fifth and scored on it."""
    target = np.asarray(data.target)
    cut = len(target) * 4 // 5
    trial = make_model().fit(data.frame.iloc[:cut], target[:cut])
    late = list(trial.classes_).index(data.positive)
    scores = trial.predict_proba(data.frame.iloc[cut:])[:, late]
    truth = target[cut:] == data.positive
    validation = {"auc": float(roc_auc_score(truth, scores)), "log_loss": float(log_loss(truth, scores))}
    return Trained(make_model().fit(data.frame, target), validation, range(cut, len(target)), trial)
