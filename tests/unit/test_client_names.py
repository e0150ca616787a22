"""The public names of `driftline.client`."""

from __future__ import annotations

import subprocess
import sys

import driftline.client

PUBLIC = {
    "Alert",
    "AlertState",
    "Alerts",
    "Answer",
    "Champion",
    "Delivery",
    "Outcome",
    "Outcomes",
    "Prediction",
    "PredictionBatch",
    "Predictions",
    "Replay",
    "Stretch",
    "Wait",
    "WaitReason",
}


def test_the_public_names_are_these_and_each_explains_itself():
    assert set(driftline.client.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(driftline.client, name).__doc__


def test_an_application_that_only_publishes_imports_no_model_library_and_no_service():
    heavy = "sklearn|pandas|skops|pyarrow|duckdb|river|faust|redis|driftline.monitor|driftline.control"
    code = f"import driftline.client, sys; print([m for m in '{heavy}'.split('|') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
