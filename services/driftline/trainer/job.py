"""What the trainer hands to its child process, and what comes back: files in one directory a request."""

from __future__ import annotations

from typing import Any

import msgspec

from driftline.events.retraining import Artifact

JOB, FEATURES, ABOUT, RESULT, LOG = "job.json", "features.parquet", "about.parquet", "result.json", "log.txt"
BEGIN = b"\n"
"""Said on the child's standard input when its rows are there."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One training. `spec` is the resolved spec as plain JSON; `trainer` its `package.module:function`."""

    trainer: str
    spec: dict[str, Any]
    version: str
    source: str
    artifact_dir: str
    key_dir: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a training made: a stored artifact, whose `baseline.json` has the id `baseline`."""

    artifact: Artifact
    baseline: str
    validation: dict[str, float]
