"""One record by itself: a valid event, or a dead letter with a named reason. The slow way, which is the rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from driftline.core.validation import check_outcome, check_prediction
from driftline.errors import InvalidRecord
from driftline.events.columns import single_rows
from driftline.events.inputs import Outcome, Prediction
from driftline.events.topics import DeadLetterReason, Topic
from driftline.platform.records import Record
from driftline.spec.model import MonitorSpec

T = TypeVar("T")

read_prediction_bytes: Callable[[bytes], Prediction] = msgspec.json.Decoder(Prediction).decode
_READ: dict[Topic, Callable[[bytes], Prediction | Outcome]] = {
    Topic.PREDICTIONS: read_prediction_bytes,
    Topic.OUTCOMES: msgspec.json.Decoder(Outcome).decode,
}


def take_in(record: Record, specs: Mapping[str, MonitorSpec]) -> None:
    """Check one record under the specs in force. Raises `InvalidRecord` if anything is wrong with it."""
    content_type = record.header("content-type")
    if content_type not in (None, "application/json"):
        raise InvalidRecord(DeadLetterReason.UNKNOWN_CONTENT_TYPE, f"content-type {content_type!r}")
    event = _decoded(_READ[record.source.topic], record)
    if record.key != event.id.encode():
        raise InvalidRecord(DeadLetterReason.KEY_MISMATCH, "the record's key must be the event's id")
    spec = specs.get(event.model)
    if spec is None:
        raise InvalidRecord(DeadLetterReason.UNKNOWN_MODEL, f"no spec of model {event.model!r} is in force here")
    if isinstance(event, Prediction):
        check_prediction(event, spec, record.arrival)
    else:
        check_outcome(event, spec, record.arrival)


def read_prediction(record: Record) -> Prediction:
    """A prediction that `take_in` has found valid."""
    return read_prediction_bytes(record.value or b"")


def read_rows(record: Record) -> list[Record]:
    """The rows of a message of columns as records of their own. Raises `InvalidRecord` if it has none to be told."""
    headers = tuple(pair for pair in record.headers if pair[0] != "content-type")
    rows = _decoded(single_rows, record)
    return [record._replace(key=key, value=value, headers=headers) for key, value in rows]


def _decoded(read: Callable[[bytes], T], record: Record) -> T:
    try:
        return read(record.value or b"")
    except msgspec.ValidationError as error:
        raise InvalidRecord(DeadLetterReason.NOT_AN_EVENT, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRecord(DeadLetterReason.NOT_JSON, str(error)) from error
