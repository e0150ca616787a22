"""From a candidate to a verdict."""

from __future__ import annotations

import logging
from itertools import compress

import msgspec
import pyarrow as pa

from driftline.core.gate import Reason
from driftline.errors import DriftlineError
from driftline.events.admin import Deployment
from driftline.events.inputs import Label, Score
from driftline.events.retraining import Candidate, Verdict
from driftline.events.topics import Topic
from driftline.platform.archive_rows import logged_predictions, training_rows
from driftline.platform.comparing import NotCompared, compared, verdict_id, verdict_on
from driftline.platform.held_out import HeldOutRows, Question, keep
from driftline.platform.kafka import read_deployment
from driftline.platform.lookups import (
    answer_record,
    answered,
    champion_artifact,
    read_event,
    request_named,
    spec_named,
)
from driftline.platform.records import Outgoing, Record
from driftline.platform.settings import Settings
from driftline.platform.worker import SERVER_FAULTS, Turn, Work
from driftline.spec.model import MonitorSpec, millis
from driftline.spec.plain import to_plain

log = logging.getLogger("driftline.gate")

SOURCE = "driftline/gate"


def make_work(settings: Settings) -> Work:
    """What the worker does with each record of `candidates`: failed ones need no verdict."""
    deployment = read_deployment(settings)

    def work(record: Record, _turn: Turn) -> list[Outgoing]:
        candidate = read_event(record, Candidate)
        asked = candidate.written_at
        if candidate.error is not None or answered(
            settings, deployment, Topic.VERDICTS, candidate.model, verdict_id(candidate), asked
        ):
            return []
        verdict = judged(settings, deployment, candidate)
        log.info("candidate %s of model %s: %s, %s", verdict.version, verdict.model, verdict.decision, verdict.reason)
        return [answer_record(deployment, Topic.VERDICTS, verdict, SOURCE)]

    return work


def judged(settings: Settings, deployment: Deployment, candidate: Candidate) -> Verdict:
    """Compare candidate and champion on the held-out rows, and keep these. What cannot be compared says why."""
    champion = ""
    try:
        question = _question(settings, candidate)
        champion = question.request.champion
        rows = held_out_rows(settings, deployment, question)
        found = compared(settings, question, rows)
        return msgspec.structs.replace(found.verdict, kept=keep(settings, question, rows, found.answers))
    except NotCompared as error:
        return verdict_on(candidate, champion, str(error))
    except SERVER_FAULTS:
        raise
    except Exception as error:  # whatever went wrong is the answer: a candidate never stays without a verdict
        log.exception("candidate %s could not be compared", candidate.id)
        text = str(error) if isinstance(error, DriftlineError) else f"{type(error).__name__}: {error}"
        return verdict_on(candidate, champion, f"{Reason.NOT_COMPARED}: {text}")


def held_out_rows(settings: Settings, deployment: Deployment, question: Question) -> HeldOutRows:
    """The rows of the request's holdout outside excluded periods; if the champion has no artifact, those it answered.

    The trainer waited until the archive held all that the request knows of, so the rows stand there already.
    """
    archive, slice_ms, spec = settings.archive_dir, millis(deployment.slice), question.resolved
    recipe = question.request.recipe
    rows = training_rows(archive, slice_ms, spec, recipe.holdout, recipe.known_by, recipe.exclude)
    about, features, attributes = rows.about, rows.features, rows.attributes
    said = None
    if question.champion is None:
        version = question.request.champion
        logged = _by_id(spec, logged_predictions(archive, slice_ms, spec, version, recipe.holdout, recipe.known_by))
        taken = [row_id in logged for row_id in about["id"].to_pylist()]
        about, features = (table.filter(pa.array(taken, pa.bool_())) for table in (about, features))
        attributes = list(compress(attributes, taken))
        said = [logged[row_id] for row_id in about["id"].to_pylist()]
    return HeldOutRows(
        ids=about["id"].to_pylist(),
        times=about["time"].to_pylist(),
        outcomes=about["outcome"].to_pylist(),
        features=features.to_pydict(),
        attributes=attributes,
        said=said,
    )


def _question(settings: Settings, candidate: Candidate) -> Question:
    request = request_named(settings, candidate.request)
    return Question(
        candidate=candidate,
        request=request,
        spec=to_plain(spec_named(settings, request.spec)),
        champion=champion_artifact(settings, request.model, request.champion),
    )


def _by_id(spec: MonitorSpec, said: pa.Table) -> dict[str, tuple[Label, Score]]:
    """Logged answers that can be scored: a label without a score cannot."""
    scores = [dict(score) if isinstance(score, list) else score for score in said["score"].to_pylist()]
    found = zip(said["id"].to_pylist(), said["prediction"].to_pylist(), scores, strict=True)
    return {i: (value, score) for i, value, score in found if score is not None or spec.task == "regression"}
