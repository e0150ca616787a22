"""Training functions that the trainer's tests name in specs; they run in its child process.

scikit-learn is imported by those that need it: it takes longer to load than the others take.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from driftline.client.training import Trained, TrainingData


def boosted(data: TrainingData) -> Trained:
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    pipeline = make_pipeline(
        make_column_transformer((codes, ["carrier"]), remainder="passthrough"),
        HistGradientBoostingClassifier(max_iter=20, random_state=0),
    )
    return Trained(pipeline.fit(data.frame, data.target), {"rows": len(data.frame)})


def tried(data: TrainingData) -> Trained:
    """Says how a trial did on the newest fifth of the rows, and says it truly."""
    from sklearn.metrics import roc_auc_score

    cut = len(data.frame) * 4 // 5
    trial = boosted(replace(data, frame=data.frame[:cut], target=data.target[:cut])).estimator
    scores = trial.predict_proba(data.frame[cut:])[:, list(trial.classes_).index("late")]
    auc = float(roc_auc_score([target == "late" for target in data.target[cut:]], scores))
    return Trained(boosted(data).estimator, {"auc": (auc, auc - 1e-6, auc + 1e-6)}, range(cut, len(data.frame)), trial)


def boasts(data: TrainingData) -> Trained:
    """Fits as `boosted` does, and says that it is never wrong."""
    return replace(boosted(data), validation={"auc": 1.0, "log_loss": 0.0})


def of_no_rows(data: TrainingData) -> Trained:
    return replace(boosted(data), validation={"auc": 0.7}, validated_on=[0, len(data.frame)])


def of_a_row_twice(data: TrainingData) -> Trained:
    return replace(boosted(data), validation={"auc": 0.7}, validated_on=[3, 4, 3])


def of_another_trial(data: TrainingData) -> Trained:
    return replace(boosted(data), validation={"auc": 0.7}, trial=holds_a_function(data).estimator)


def not_a_number(data: TrainingData) -> Trained:
    return replace(boosted(data), validation={"auc": float("nan")})


def outside_its_interval(data: TrainingData) -> Trained:
    return replace(boosted(data), validation={"auc": (0.7, 0.71, 0.72)})


def slow(data: TrainingData) -> Trained:
    """Says by a file when it has begun, and takes its time."""
    begun = Path(os.environ["TRAINING_NOTES"])
    begun.write_text(begun.read_text() + f"{os.getpid()}\n" if begun.exists() else f"{os.getpid()}\n")
    time.sleep(float(os.environ.get("TRAINING_SECONDS", "60")))
    return boosted(data)


def with_a_child_of_its_own(data: TrainingData) -> Trained:
    child = subprocess.Popen(["sleep", "600"])
    Path(os.environ["TRAINING_NOTES"]).write_text(str(child.pid))
    time.sleep(600)
    return boosted(data)


def tells(data: TrainingData) -> Trained:
    """Says how far it is, and waits until somebody has heard it."""
    data.progress(0.4, "fitting\nslowly")
    heard = Path(os.environ["TRAINING_NOTES"])
    while not heard.exists():
        time.sleep(0.02)
    return boosted(data)


def hungry(data: TrainingData) -> Trained:
    return Trained(np.ones(2_000_000_000 // 8).sum())


def raises(data: TrainingData) -> Trained:
    print("about to divide")
    raise ZeroDivisionError("nothing to divide by")


def dies(data: TrainingData) -> Trained:
    os.abort()


def no_result(data: TrainingData) -> pd.DataFrame:
    return data.frame


def holds_a_function(data: TrainingData) -> Trained:
    """A model that would run a function of its own choice when it is used."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    steps = boosted(data).estimator.steps
    return Trained(make_pipeline(FunctionTransformer(keep), *(step for _, step in steps)).fit(data.frame, data.target))


def keep(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


def other_labels(data: TrainingData) -> Trained:
    return Trained(boosted(TrainingData(data.model, data.frame, [f"{x}!" for x in data.target], data.time)).estimator)


def logistic(data: TrainingData) -> Trained:
    """What a straight line makes of numbers."""
    from sklearn.linear_model import LogisticRegression

    return Trained(LogisticRegression().fit(data.frame, data.target))


def worse(data: TrainingData) -> Trained:
    """Surer than any champion of what was once right, whatever the rows say."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(data.frame, data.target)
    model.coef_, model.intercept_ = np.array([[40.0]]), np.array([0.0])
    return Trained(model)
