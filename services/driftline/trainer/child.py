"""The process in which a model is made: `python -m driftline.trainer.child DIRECTORY`.

Whatever a user's function or command does (allocate, crash, hang) ends with this process. It ends too when the trainer
does.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from driftline.client.training import Trained, TrainingData
from driftline.core.baseline import make_baseline
from driftline.core.checks import figures_of, side_of, truth_of
from driftline.core.columns import scores_of
from driftline.core.comparison import days_of
from driftline.errors import DriftlineError
from driftline.events.base import decode, encode
from driftline.platform import settings as settings_module
from driftline.platform.artifacts import Manifest, StoredModel, frame_of, load, store
from driftline.platform.kept_rows import ROWS, KeptRows, pack_rows
from driftline.platform.registering import manifest_of
from driftline.platform.writing import write
from driftline.spec.model import MonitorSpec, RetrainSpec
from driftline.spec.plain import from_plain
from driftline.trainer.command import command_plugin
from driftline.trainer.function import function_plugin
from driftline.trainer.job import ABOUT, FEATURES, JOB, RESULT, Job, Plugin, Result
from driftline.trainer.progress import report
from driftline.trainer.reported import validation_of

CHECKED_ROWS = 1000


def train(directory: Path, rows_are_there: Callable[[], object] = lambda: None) -> None:
    """Do the job that stands in `directory` and write its result there, whole or not at all.

    What can be got ready before its rows are there is: `rows_are_there` returns then.
    """
    job = decode((directory / JOB).read_bytes(), Job)
    spec = from_plain(job.spec)
    make = _plugin(_retrain(spec))
    rows_are_there()
    columns = pq.read_table(directory / FEATURES).to_pydict()
    about = pq.read_table(directory / ABOUT).to_pydict()
    manifest = manifest_of(spec, job.version)
    frame = frame_of(manifest, columns)
    trained = make(
        directory,
        TrainingData(spec.model, frame, about["outcome"], about["time"], spec.labels, spec.positive, report),
    )
    report(1, "storing")
    rows = KeptRows(about["id"], about["time"], about["outcome"], columns)
    result = _stored(job, spec, manifest, trained, rows)
    write(directory / RESULT, encode(result))


def _plugin(retrain: RetrainSpec) -> Plugin:
    return function_plugin(retrain.trainer) if retrain.trainer is not None else command_plugin(retrain.command)


def _retrain(spec: MonitorSpec) -> RetrainSpec:
    assert spec.retrain is not None, "the trainer makes jobs of specs that declare it"
    return spec.retrain


def _stored(job: Job, spec: MonitorSpec, manifest: Manifest, trained: Trained, rows: KeptRows) -> Result:
    """Store the model with its training rows and their profile, and see that it comes back the same."""
    frame = frame_of(manifest, rows.features)  # a new one: the plug-in may have changed the one that it got
    for estimator in (trained.estimator, trained.trial):
        if estimator is not None:
            _check_classes(spec, estimator)
    validation, tried = validation_of(trained, len(rows.outcomes))
    answers = StoredModel(manifest, trained.estimator, None).answers_to(frame)
    scores = scores_of(spec, [score for _, score in answers])
    told = [value for value, _ in answers]
    outcomes: list[Any] = list(rows.outcomes)
    baseline = make_baseline(spec, rows.features, scores, told, job.version, job.source, outcomes, trained_on=True)
    settings = replace(settings_module.load(), artifact_dir=Path(job.artifact_dir), key_dir=Path(job.key_dir))
    artifact = store(settings, manifest, trained.estimator, baseline, {ROWS: pack_rows(spec, rows), **tried})
    if load(settings, artifact).answers_to(frame.head(CHECKED_ROWS)) != answers[:CHECKED_ROWS]:
        raise DriftlineError("the stored model does not answer as the trained one does")
    days = days_of([time for time in rows.times if time is not None], job.start)
    return Result(
        artifact=artifact,
        baseline=baseline.id,
        validation=validation,
        checks=figures_of(spec, truth_of(spec, outcomes), side_of(spec, answers), days, job.candidate),
    )


def _check_classes(spec: MonitorSpec, estimator: Any) -> None:
    classes = [str(name) for name in getattr(estimator, "classes_", ())]
    # of many labels some may not have come in the training rows
    unlike = {"binary": set(classes) != set(spec.labels), "multiclass": not set(classes) <= set(spec.labels)}
    if unlike.get(spec.task):
        raise DriftlineError(f"the estimator knows the classes {classes}; the labels are {', '.join(spec.labels)}")


def _limit_memory(directory: Path) -> None:
    """What this process, and each that it starts, may take of memory to write into.

    Not of address space: libraries reserve much of that and never touch it.
    """
    limit = _retrain(from_plain(decode((directory / JOB).read_bytes(), Job).spec)).memory_limit
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY or limit < most:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


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
        _limit_memory(Path(sys.argv[1]))
        train(Path(sys.argv[1]), begun.wait)
    except (DriftlineError, msgspec.ValidationError) as problem:
        print(problem, file=sys.stderr)
        sys.exit(1)
