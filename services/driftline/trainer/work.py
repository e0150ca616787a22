"""From a retrain request to a candidate."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from driftline.errors import DriftlineError
from driftline.events.admin import Deployment
from driftline.events.base import digest_id, encode
from driftline.events.retraining import Candidate, RetrainRequest, TrainedOn
from driftline.events.topics import Topic
from driftline.platform.archive import dead_letters_end, wait_until_reached
from driftline.platform.archive_rows import training_rows
from driftline.platform.artifacts import load
from driftline.platform.kafka import read_deployment
from driftline.platform.leases import Lease, RedisLeases
from driftline.platform.lookups import answer_record, answered, read_event, rows_digest, spec_named
from driftline.platform.paths import name_for
from driftline.platform.records import Outgoing, Record
from driftline.platform.settings import Settings
from driftline.platform.worker import SERVER_FAULTS, Turn, Work, slot
from driftline.spec.model import MonitorSpec, millis
from driftline.spec.plain import to_plain
from driftline.trainer.job import ABOUT, FEATURES, JOB, Job, Result
from driftline.trainer.process import Cancelled, Child

log = logging.getLogger("driftline.trainer")

SOURCE = "driftline/trainer"
WAIT_S = 1.0


def make_work(settings: Settings) -> Work:
    """What the worker does with each record of `retrain-requests`."""
    deployment, leases = read_deployment(settings), RedisLeases(settings)

    def work(record: Record, turn: Turn) -> list[Outgoing]:
        """Train unless there is an answer, and only while nobody else does: the lease lasts until it is written."""
        request = read_event(record, RetrainRequest)
        while not turn.is_set():
            lease = Lease(leases, f"{request.case}:{request.attempt}")
            if not lease.take():
                turn.note = f"waiting for another trainer, which works on request {request.id}"
                turn.wait(WAIT_S)
                continue
            turn.held.enter_context(lease)
            if answered(settings, deployment, Topic.CANDIDATES, request.model, candidate_id(request), record.timestamp):
                log.info("request %s is answered already", request.id)
                return []
            records = _Training(settings, deployment, request, turn, lease).answer()
            if records:
                return records
            turn.held.close()
        return []

    return work


@dataclass(frozen=True)
class _Training:
    """One request being answered, under a lease."""

    settings: Settings
    deployment: Deployment
    request: RetrainRequest
    turn: Turn
    lease: Lease

    def answer(self) -> list[Outgoing]:
        """A baseline and its candidate, or a failed candidate with the error; nothing where it was cancelled."""
        started, request = time.monotonic(), self.request
        log.info("request %s of model %s: attempt %d (%s)", request.id, request.model, request.attempt, request.reason)
        records = []
        try:
            result, trained_on = self._train()
            candidate = _candidate(request, started, result, trained_on)
            stored = load(self.settings, result.artifact)
            if stored.baseline is None or stored.baseline.id != result.baseline:
                raise DriftlineError(f"the artifact {result.artifact.uri} came without its baseline")
            key = f"{request.model}/{candidate.version}".encode()
            records.append(Outgoing(Topic.BASELINES, key, encode(stored.baseline), 0))
        except Cancelled as why:
            log.warning("request %s: %s", request.id, why)
            return []  # nothing is written: the request comes again, or is another trainer's
        except SERVER_FAULTS:
            raise
        except Exception as error:  # whatever went wrong is the answer: a request never stays without one
            log.warning("request %s failed", request.id, exc_info=not isinstance(error, DriftlineError))
            text = str(error) if isinstance(error, DriftlineError) else f"{type(error).__name__}: {error}"
            candidate = _candidate(request, started, error=text)
        log.info("request %s: %s", request.id, candidate.error or f"candidate {candidate.version}")
        records.append(answer_record(self.deployment, Topic.CANDIDATES, candidate, SOURCE))
        return records

    def _train(self) -> tuple[Result, TrainedOn]:
        spec = spec_named(self.settings, self.request.spec)
        if spec.retrain is None:
            raise DriftlineError(f"spec {self.request.spec} declares no retrain")
        recipe, directory = self.request.recipe, _job(self.settings, self.request, spec)
        archive, slice_ms = self.settings.archive_dir, millis(self.deployment.slice)
        with Child(directory) as child:
            self._tell("waiting for the archive")
            self._await_archive(spec.retrain.time_limit.total_seconds())
            rows = training_rows(archive, slice_ms, spec, recipe.training, recipe.known_by, recipe.exclude)
            n = rows.about.num_rows
            if not n:
                raise DriftlineError(
                    "the archive holds no predictions with outcomes in the training span of the request"
                )
            log.info("request %s: training on %d rows", self.request.id, n)
            pq.write_table(rows.features, directory / FEATURES)
            pq.write_table(rows.about, directory / ABOUT)
            self._tell(f"training on {n} rows")
            result = child.train(spec.retrain, self._cancelled, lambda said: self._tell(f"training, {said}"))
        for name in (FEATURES, ABOUT):
            (directory / name).unlink()  # the artifact has them; the job, the result and the log stay
        digest = rows_digest(rows.about["id"].to_pylist(), rows.about["outcome"].to_pylist())
        return result, TrainedOn(n=n, span=recipe.training, digest=digest)

    def _await_archive(self, limit_s: float) -> None:
        """Wait in short turns, so that a worker that stops is not held up."""
        deadline = time.monotonic() + limit_s
        ends = dead_letters_end(self.settings)
        until, partitions = self.request.recipe.known_by, self.deployment.partitions
        while True:
            try:
                return wait_until_reached(self.settings.archive_dir, partitions, until, WAIT_S, ends)
            except DriftlineError as error:
                if time.monotonic() > deadline:
                    raise DriftlineError(f"waited {limit_s:g} s for the archive in vain; at last: {error}") from error
            if self._cancelled():
                raise Cancelled("the wait for the archive was ended with its worker")

    def _cancelled(self) -> bool:
        return self.turn.is_set() or self.lease.lost

    def _tell(self, what: str) -> None:
        self.turn.note = f"{self.request.model} {version_of(self.request)}: {what}"


def candidate_id(request: RetrainRequest) -> str:
    """The id of the one candidate of a request."""
    return digest_id("candidate", request.id)


def version_of(request: RetrainRequest) -> str:
    """A name that people can read and that follows from the request: `v20130401-1f2e3d`."""
    day = datetime.fromtimestamp(request.recipe.known_by / 1000, UTC)
    return f"v{day:%Y%m%d}-{request.id[:6]}"


def _job(settings: Settings, request: RetrainRequest, spec: MonitorSpec) -> Path:
    """The directory of a training, with its job. Each worker has its own: two may come to train the same."""
    directory = settings.state_dir / "trainings" / name_for(f"{request.id}-{slot()}")
    directory.mkdir(parents=True, exist_ok=True)
    job = Job(
        spec=to_plain(spec),
        version=version_of(request),
        candidate=candidate_id(request),
        source=f"training rows of request {request.id}",
        start=request.recipe.training.start,
        artifact_dir=str(settings.artifact_dir),
        key_dir=str(settings.keys),
    )
    (directory / JOB).write_bytes(encode(job))
    return directory


def _candidate(
    request: RetrainRequest,
    started: float,
    result: Result | None = None,
    trained_on: TrainedOn | None = None,
    error: str | None = None,
) -> Candidate:
    return Candidate(
        id=candidate_id(request),
        caused_by=(request.id,),
        case=request.case,
        request=request.id,
        model=request.model,
        attempt=request.attempt,
        version=version_of(request),
        artifact=result.artifact if result else None,
        baseline=result.baseline if result else None,
        trained_on=trained_on,
        validation=result.validation if result else {},
        recipe=request.recipe,
        checks=result.checks if result else (),
        error=error,
        duration_s=round(time.monotonic() - started, 3),
        written_at=int(time.time() * 1000),
    )
