"""What the trainer hands to its child process, and what comes back: files in one directory a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from driftline.client.training import Trained, TrainingData
from driftline.events.base import Millis
from driftline.events.retraining import Artifact, Figure, Told

JOB, FEATURES, ABOUT, RESULT, LOG = "job.json", "features.parquet", "about.parquet", "result.json", "log.txt"
BEGIN = b"\n"
"""Said on the child's standard input when its rows are there."""

Plugin = Callable[[Path, TrainingData], Trained]
"""How a model is made of rows, which stand in the directory and in memory alike. Raises whatever goes wrong."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One training. `spec` is the resolved spec as plain JSON, whose `retrain` says who trains; `start`: of its rows.

    `candidate` is the id of what it is to become; `source` says where its rows are from.
    """

    spec: dict[str, Any]
    version: str
    candidate: str
    source: str
    start: Millis
    artifact_dir: str
    key_dir: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a training made: a stored artifact, whose `baseline.json` has the id `baseline`.

    `validation` is what the plug-in says of its model, `checks` what the model scores on its own rows.
    """

    artifact: Artifact
    baseline: str
    validation: dict[str, Told]
    checks: tuple[Figure, ...]
