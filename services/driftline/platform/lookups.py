"""What trainer and gate look up before they answer: the spec, the request, the champion's artifact, old answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from kafka import TopicPartition

from driftline.errors import DeploymentError, InvalidRecord
from driftline.events.admin import Deployment, SpecRevision, decode_specs_record
from driftline.events.base import Millis, decode, encode
from driftline.events.cloudevents import headers
from driftline.events.partitioning import partition_of
from driftline.events.retraining import Artifact, Candidate, ModelState, RetrainRequest, Verdict
from driftline.events.topics import MARK_HEADER, DeadLetterReason, Topic
from driftline.platform.code import CODE
from driftline.platform.kafka import consumer, read_all
from driftline.platform.records import Outgoing, Record
from driftline.platform.settings import Settings
from driftline.spec.model import MonitorSpec
from driftline.spec.plain import from_plain

T = TypeVar("T")

CLOCK_SKEW_MS = 3_600_000
"""How far the broker's clock may lag behind that of the service that wrote a question."""


def spec_named(settings: Settings, name: str) -> MonitorSpec:
    """The spec that a request names ("flight-delay@2"). Raises `DeploymentError` where topic `specs` lacks it."""
    for record in read_all(settings, Topic.SPECS):
        event = decode_specs_record(record.value) if record.value else None
        if isinstance(event, SpecRevision) and f"{event.model}@{event.revision}" == name:
            return from_plain(event.spec)
    raise DeploymentError(f"spec {name} stands nowhere in {settings.topic(Topic.SPECS)}")


def request_named(settings: Settings, request: str) -> RetrainRequest:
    """A retrain request by its id. Raises `DeploymentError` where there is none."""
    for record in read_all(settings, Topic.RETRAIN_REQUESTS):
        event = _event_or_none(record, RetrainRequest)
        if event is not None and event.id == request:
            return event
    raise DeploymentError(f"request {request} stands nowhere in {settings.topic(Topic.RETRAIN_REQUESTS)}")


def champion_artifact(settings: Settings, model: str, version: str) -> Artifact | None:
    """The artifact under which `version` became champion; None where it was registered without one."""
    found = None
    for record in read_all(settings, Topic.MODELS):
        event = _event_or_none(record, ModelState) if record.value else None
        if event is not None and event.model == model and event.champion.version == version:
            found = event.champion.artifact
    return found


def answered(settings: Settings, deployment: Deployment, topic: Topic, model: str, answer: str, asked: Millis) -> bool:
    """Whether an event of this id stands in the model's partition of `topic`; `asked`: Kafka's stamp of the question.

    With the broker's clock, reading begins shortly before the question: the topic is full of ticks. A replay's answers
    are stamped 0, so there it begins at the beginning.
    """
    place = TopicPartition(settings.topic(topic), partition_of(model, deployment.shards))
    reader = consumer(settings)
    try:
        reader.assign([place])
        end = reader.end_offsets([place])[place]
        since = max(0, asked - CLOCK_SKEW_MS) if deployment.clock == "live" else 0
        first = reader.offsets_for_times({place: since})[place]
        reader.seek(place, end if first is None else first.offset)
        while reader.position(place) < end:
            for record in reader.poll(timeout_ms=500).get(place, ()):
                marked = any(key == MARK_HEADER for key, _ in record.headers or ())
                if record.value and not marked and _id_of(record.value) == answer:
                    return True
        return False
    finally:
        reader.close()


def read_event(record: Record, kind: type[T]) -> T:
    """The event that a record holds. Raises `InvalidRecord` where it holds none."""
    try:
        return decode(record.value or b"", kind)
    except msgspec.ValidationError as error:
        raise InvalidRecord(DeadLetterReason.NOT_AN_EVENT, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRecord(DeadLetterReason.NOT_JSON, str(error)) from error


def answer_record(deployment: Deployment, topic: Topic, event: Candidate | Verdict, source: str) -> Outgoing:
    """The record of an answer that control reads: it says which Driftline gave it, and stands in the model's shard. In
    a replay it is placed by what comes before.
    """
    event = msgspec.structs.replace(event, code=CODE)
    timestamp = 0 if deployment.clock == "events" else None
    shard = partition_of(event.model, deployment.shards)
    return Outgoing(topic, event.model.encode(), encode(event), shard, headers(event, source), timestamp)


def _event_or_none(record: Record, kind: type[T]) -> T | None:
    """Of topics in which others may have written: what cannot be read is nobody's answer."""
    try:
        return read_event(record, kind)
    except InvalidRecord:
        return None


def _id_of(value: bytes) -> object:
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found.get("id") if isinstance(found, dict) else None


def rows_digest(ids: Sequence[str | None], outcomes: Sequence[object]) -> str:
    """SHA-256 over rows' ids and labels, in order: whoever chooses the same rows finds the same digest."""
    digest = hashlib.sha256()
    for pair in zip(ids, outcomes, strict=True):
        digest.update(msgspec.json.encode(pair) + b"\n")
    return digest.hexdigest()
