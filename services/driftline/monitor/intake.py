"""From a record to a valid arrival, or to a dead letter with a named reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from driftline.core.arrivals import ArrivedOutcome, ArrivedPrediction
from driftline.core.validation import check_outcome, check_prediction
from driftline.errors import InvalidRecord
from driftline.events.inputs import Outcome, Prediction
from driftline.events.topics import DeadLetterReason, Topic
from driftline.platform.records import Record
from driftline.spec.model import MonitorSpec

_DECODE: dict[Topic, Callable[[bytes], Prediction | Outcome]] = {
    Topic.PREDICTIONS: msgspec.json.Decoder(Prediction).decode,
    Topic.OUTCOMES: msgspec.json.Decoder(Outcome).decode,
}


@dataclass(frozen=True)
class Arrived:
    """A valid arrival of a model."""

    model: str
    event: ArrivedPrediction | ArrivedOutcome


def take_in(record: Record, specs: dict[str, MonitorSpec], slice_number: int) -> Arrived:
    """Decode and validate one record under the specs in force. Raises `InvalidRecord`."""
    content_type = record.header("content-type")
    if content_type not in (None, "application/json"):
        raise InvalidRecord(DeadLetterReason.UNKNOWN_CONTENT_TYPE, f"content-type {content_type!r}")
    event = _decode(record)
    if record.key != event.id.encode():
        raise InvalidRecord(DeadLetterReason.KEY_MISMATCH, "the record's key must be the event's id")
    spec = specs.get(event.model)
    if spec is None:
        raise InvalidRecord(DeadLetterReason.UNKNOWN_MODEL, f"no spec of model {event.model!r} is in force here")
    if isinstance(event, Prediction):
        return Arrived(event.model, check_prediction(event, spec, slice_number, record.arrival))
    return Arrived(event.model, check_outcome(event, spec, slice_number, record.arrival, record.offset))


def _decode(record: Record) -> Prediction | Outcome:
    try:
        return _DECODE[record.source.topic](record.value or b"")
    except msgspec.ValidationError as error:
        raise InvalidRecord(DeadLetterReason.NOT_AN_EVENT, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRecord(DeadLetterReason.NOT_JSON, str(error)) from error
