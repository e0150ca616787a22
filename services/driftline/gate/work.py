"""From a candidate to a verdict."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa

from driftline.core.baseline import numbers_of_labels
from driftline.core.columns import scores_of
from driftline.core.comparison import HeldOut, Judgement, Side, days_of, judge
from driftline.errors import ArtifactError, DriftlineError
from driftline.events.admin import Deployment
from driftline.events.base import digest_id
from driftline.events.inputs import Label, Score
from driftline.events.retraining import Artifact, Candidate, RetrainRequest, Rows, Verdict
from driftline.events.topics import Topic
from driftline.platform.archive_rows import logged_predictions, training_rows
from driftline.platform.artifacts import StoredModel, frame_of, load
from driftline.platform.kafka import read_deployment
from driftline.platform.lookups import (
    answer_record,
    answered,
    champion_artifact,
    read_event,
    request_named,
    rows_digest,
    spec_named,
)
from driftline.platform.records import Outgoing, Record
from driftline.platform.settings import Settings
from driftline.platform.worker import SERVER_FAULTS, Work
from driftline.spec.model import MonitorSpec, millis

log = logging.getLogger("driftline.gate")

SOURCE = "driftline/gate"


class Refusal(StrEnum):
    """Why nothing could be compared; `core.comparison.Reason` says what came of a comparison."""

    CANDIDATE_UNUSABLE = "candidate-unusable"  # its artifact cannot be loaded, or fails on the held-out rows
    CHAMPION_UNUSABLE = "champion-unusable"
    NO_ROWS = "no-rows"  # no held-out row has an outcome, and an answer of the champion
    NOT_COMPARED = "not-compared"  # anything else, with its error


class NotCompared(DriftlineError):
    """The comparison could not be made."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(f"{refusal}: {detail}")


def make_work(settings: Settings) -> Work:
    """What the worker does with each record of `candidates`: failed ones need no verdict."""
    deployment = read_deployment(settings)

    def work(record: Record, _cancel: threading.Event) -> list[Outgoing]:
        candidate = read_event(record, Candidate)
        asked = candidate.written_at
        if candidate.error is not None or answered(
            settings, deployment, Topic.VERDICTS, candidate.model, verdict_id(candidate), asked
        ):
            return []
        verdict = verdict_on(settings, deployment, candidate)
        log.info("candidate %s of model %s: %s, %s", verdict.version, verdict.model, verdict.decision, verdict.reason)
        return [answer_record(deployment, Topic.VERDICTS, verdict, candidate.model, SOURCE)]

    return work


def verdict_id(candidate: Candidate) -> str:
    """The id of the one verdict on a candidate."""
    return digest_id("verdict", candidate.id)


def verdict_on(settings: Settings, deployment: Deployment, candidate: Candidate) -> Verdict:
    """Compare candidate and champion on the held-out rows. What cannot be compared is refused, with the reason."""
    champion = ""
    try:
        request = request_named(settings, candidate.request)
        champion = request.champion
        spec = spec_named(settings, request.spec)
        artifact = champion_artifact(settings, request.model, champion)
        judgement, rows = compared(settings, deployment, candidate, request, spec, artifact)
    except NotCompared as error:
        return _verdict(candidate, champion, "refuse", str(error))
    except SERVER_FAULTS:
        raise
    except Exception as error:  # whatever went wrong is the answer: a candidate never stays without a verdict
        log.exception("candidate %s could not be compared", candidate.id)
        text = str(error) if isinstance(error, DriftlineError) else f"{type(error).__name__}: {error}"
        return _verdict(candidate, champion, "refuse", f"{Refusal.NOT_COMPARED}: {text}")
    method = judgement.method if artifact else f"{judgement.method}, champion by its logged predictions"
    decision = "promote" if judgement.promote else "refuse"
    return _verdict(candidate, champion, decision, judgement.reason.value, judgement, rows, method)


def compared(
    settings: Settings,
    deployment: Deployment,
    candidate: Candidate,
    request: RetrainRequest,
    spec: MonitorSpec,
    artifact: Artifact | None,
) -> tuple[Judgement, Rows]:
    """Both sides on the same rows: the champion by its artifact, else by its logged predictions of those rows.

    The trainer waited until the archive held all that the request knows of, so the rows stand there already. Raises
    `NotCompared`.
    """
    archive, slice_ms, recipe = settings.archive_dir, millis(deployment.slice), request.recipe
    if candidate.artifact is None:
        raise NotCompared(Refusal.CANDIDATE_UNUSABLE, "it has no artifact")
    challenger = _loaded(settings, candidate.artifact, Refusal.CANDIDATE_UNUSABLE)
    rows = training_rows(archive, slice_ms, spec, recipe.holdout, recipe.known_by, recipe.exclude)
    logged: Mapping[str, tuple[Label, Score]] = {}
    if artifact is None:
        said = logged_predictions(archive, slice_ms, spec, request.champion, recipe.holdout, recipe.known_by)
        logged = _by_id(spec, said)
        answered_rows = pa.array([row_id in logged for row_id in rows.about["id"].to_pylist()], pa.bool_())
        rows = type(rows)(rows.about.filter(answered_rows), rows.features.filter(answered_rows))
    ids, outcomes = rows.about["id"].to_pylist(), rows.about["outcome"].to_pylist()
    if not ids:
        raise NotCompared(Refusal.NO_ROWS, f"none in the archive that version {request.champion} has answered")
    columns = rows.features.to_pydict()
    if artifact is None:
        of_champion = _side(spec, [logged[row_id] for row_id in ids])
    else:
        of_champion = _scored(spec, _loaded(settings, artifact, Refusal.CHAMPION_UNUSABLE), columns)
    of_candidate = _scored(spec, challenger, columns, Refusal.CANDIDATE_UNUSABLE)
    held_out = HeldOut(_truth(spec, outcomes), days_of(rows.about["time"].to_pylist(), recipe.holdout.start))
    judgement = judge(spec, held_out, of_champion, of_candidate, candidate.id)
    found = Rows(span=recipe.holdout, n=len(ids), blocks=judgement.blocks, digest=rows_digest(ids, outcomes))
    return judgement, found


def _loaded(settings: Settings, artifact: Artifact, refusal: Refusal) -> StoredModel:
    try:
        return load(settings, artifact)
    except ArtifactError as error:
        raise NotCompared(refusal, str(error)) from error


def _scored(
    spec: MonitorSpec,
    model: StoredModel,
    columns: Mapping[str, Sequence[Any]],
    refusal: Refusal = Refusal.CHAMPION_UNUSABLE,
) -> Side:
    try:
        return _side(spec, model.answers_to(frame_of(model.manifest, columns)))
    except Exception as error:  # the model's own code: anything may come out of it
        raise NotCompared(refusal, f"it fails on the held-out rows ({type(error).__name__}: {error})") from error


def _side(spec: MonitorSpec, answers: Sequence[tuple[Label, Score]]) -> Side:
    return Side(_truth(spec, [label for label, _ in answers]), scores_of(spec, [score for _, score in answers]))


def _truth(spec: MonitorSpec, values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    if spec.task == "regression":
        return np.array(values, dtype=np.float64)
    if spec.task == "multiclass":
        return numbers_of_labels(spec, values)
    return np.array([float(value == spec.positive) for value in values])


def _by_id(spec: MonitorSpec, said: pa.Table) -> dict[str, tuple[Label, Score]]:
    """Logged answers that can be scored: a label without a score cannot."""
    scores = [dict(score) if isinstance(score, list) else score for score in said["score"].to_pylist()]
    found = zip(said["id"].to_pylist(), said["prediction"].to_pylist(), scores, strict=True)
    return {i: (value, score) for i, value, score in found if score is not None or spec.task == "regression"}


def _verdict(
    candidate: Candidate,
    champion: str,
    decision: str,
    reason: str,
    judgement: Judgement | None = None,
    rows: Rows | None = None,
    method: str = "",
) -> Verdict:
    return Verdict(
        id=verdict_id(candidate),
        caused_by=(candidate.id,),
        case=candidate.case,
        candidate=candidate.id,
        model=candidate.model,
        version=candidate.version,
        champion=champion,
        artifact_sha256=candidate.artifact.sha256 if candidate.artifact else "",
        decision="promote" if decision == "promote" else "refuse",
        reason=reason,
        rows=rows,
        metrics=judgement.metrics if judgement else (),
        method=method,
        written_at=int(time.time() * 1000),
    )
