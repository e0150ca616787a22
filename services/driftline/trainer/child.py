"""The process in which a user's training function runs: `python -m driftline.trainer.child DIRECTORY`.

Whatever the function does (allocate, crash, hang) ends with this process. It ends too when the trainer does.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from driftline.client.training import Trained, TrainingData
from driftline.core.baseline import make_baseline
from driftline.core.columns import scores_of
from driftline.errors import DriftlineError
from driftline.events.base import decode, encode
from driftline.platform import settings as settings_module
from driftline.platform.artifacts import Manifest, StoredModel, frame_of, load, store
from driftline.platform.registering import manifest_of
from driftline.spec.model import MonitorSpec
from driftline.spec.plain import from_plain
from driftline.trainer.job import ABOUT, FEATURES, JOB, RESULT, Job, Result

CHECKED_ROWS = 1000


def train(directory: Path, rows_are_there: Callable[[], object] = lambda: None) -> None:
    """Do the job that stands in `directory` and write its result there, whole or not at all.

    What can be got ready before its rows are there is: `rows_are_there` returns then.
    """
    job = decode((directory / JOB).read_bytes(), Job)
    function = function_named(job.trainer)
    rows_are_there()
    spec = from_plain(job.spec)
    manifest = manifest_of(spec, job.version)
    columns = pq.read_table(directory / FEATURES).to_pydict()
    about = pq.read_table(directory / ABOUT).to_pydict()
    frame = frame_of(manifest, columns)
    data = TrainingData(spec.model, frame, about["outcome"], about["time"], spec.labels, spec.positive)
    trained = function(data)
    if not isinstance(trained, Trained):
        raise DriftlineError(f"{job.trainer} returned {type(trained).__name__}, not driftline.client.training.Trained")
    result = _stored(job, spec, manifest, trained, columns, about["outcome"])
    aside = directory / f"{RESULT}.part"
    aside.write_bytes(encode(result))
    os.replace(aside, directory / RESULT)


def function_named(name: str) -> Callable[[TrainingData], Any]:
    """The function that `package.module:function` names. Raises `DriftlineError` where there is none."""
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise DriftlineError(
            f"no training function {name!r} ({error}); the trainer finds it from where it was started, or by PYTHONPATH"
        ) from error
    if not callable(function):
        raise DriftlineError(f"{name} is no function")
    found: Callable[[TrainingData], Any] = function
    return found


def _stored(
    job: Job,
    spec: MonitorSpec,
    manifest: Manifest,
    trained: Trained,
    columns: dict[str, list[Any]],
    outcomes: Sequence[Any],
) -> Result:
    """Store the model with the profile of its training rows, and see that it comes back the same."""
    frame = frame_of(manifest, columns)
    classes = [str(name) for name in getattr(trained.estimator, "classes_", ())]
    # of many labels some may not have come in the training rows
    unlike = {"binary": set(classes) != set(spec.labels), "multiclass": not set(classes) <= set(spec.labels)}
    if unlike.get(spec.task):
        raise DriftlineError(f"the estimator knows the classes {classes}; the labels are {', '.join(spec.labels)}")
    answers = StoredModel(manifest, trained.estimator, None).answers_to(frame)
    scores = scores_of(spec, [score for _, score in answers])
    told = [value for value, _ in answers]
    baseline = make_baseline(spec, columns, scores, told, job.version, job.source, outcomes, trained_on=True)
    settings = replace(settings_module.load(), artifact_dir=Path(job.artifact_dir), key_dir=Path(job.key_dir))
    artifact = store(settings, manifest, trained.estimator, baseline)
    if load(settings, artifact).answers_to(frame.head(CHECKED_ROWS)) != answers[:CHECKED_ROWS]:
        raise DriftlineError("the stored model does not answer as the trained one does")
    validation = {name: float(value) for name, value in trained.validation.items()}
    return Result(artifact=artifact, baseline=baseline.id, validation=validation)


def _end_with_the_trainer() -> threading.Event:
    """Standard input is a pipe that the trainer holds open: its end is the trainer's end. The event: `BEGIN` came."""
    begin = threading.Event()

    def watch() -> None:
        while os.read(0, 4096):  # not sys.stdin: a thread that holds its lock keeps Python from ending
            begin.set()
        if os.getpgrp() == os.getpid():  # what the function has started ends as well
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="end with the trainer", daemon=True).start()
    return begin


if __name__ == "__main__":
    begun = _end_with_the_trainer()
    try:
        train(Path(sys.argv[1]), begun.wait)
    except (DriftlineError, msgspec.ValidationError) as problem:
        print(problem, file=sys.stderr)
        sys.exit(1)
