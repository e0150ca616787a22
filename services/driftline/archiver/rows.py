"""From a record to a row of the archive: its bytes as text, and what can be said of it without trusting it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from driftline.events.base import Millis, to_millis
from driftline.events.columns import COLUMNS, single_rows
from driftline.events.inputs import Outcome, Prediction, content_digest
from driftline.events.topics import Topic
from driftline.platform.archive_files import text_of
from driftline.platform.records import Record


class Row(NamedTuple):
    """A row, in the order of the archive's columns."""

    topic: str
    partition: int
    offset: int
    row: int
    arrival: Millis
    timestamp: Millis
    key: str | None
    model: str | None
    id: str | None
    version: str | None
    role: str | None
    time: Millis | None
    digest: int | None
    value: str | None
    headers: str | None


class _About(msgspec.Struct, gc=False):
    """What most events have in common; anything may be missing or of another type, for this is any JSON object."""

    id: Any = None
    model: Any = None
    version: Any = None
    role: Any = None
    time: Any = None
    at: Any = None
    requested_at: Any = None
    written_at: Any = None
    revision: Any = None


class _Found(NamedTuple):
    """What a record says of itself."""

    model: str | None = None
    id: str | None = None
    version: str | None = None
    role: str | None = None
    time: Millis | None = None


_ABOUT = msgspec.json.Decoder(_About).decode
_INPUT: dict[Topic, Callable[[bytes], Prediction | Outcome]] = {
    Topic.PREDICTIONS: msgspec.json.Decoder(Prediction).decode,
    Topic.OUTCOMES: msgspec.json.Decoder(Outcome).decode,
}
_ENCODE = msgspec.json.Encoder().encode
_INT64 = range(-(2**63), 2**63)


def rows_of(record: Record) -> list[Row]:
    """The record's rows: one, but for a message of columns, whose rows become rows as if each had come by itself."""
    if record.source.topic is Topic.PREDICTIONS and record.header("content-type") == COLUMNS:
        try:
            singles = single_rows(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return [row_of(record)]
        headers = tuple(pair for pair in record.headers if pair[0] != "content-type")
        each = (record._replace(key=key, value=value, headers=headers) for key, value in singles)
        return [row_of(single)._replace(row=i) for i, single in enumerate(each)]
    return [row_of(record)]


def row_of(record: Record) -> Row:
    """The record's row. Whatever it holds, nothing is raised and no byte of it is lost.

    `digest` is set for predictions and outcomes that can be read; `id` of a dead letter is where the record stood:
    `topic/partition/offset/row`.
    """
    topic = record.source.topic
    decode = _INPUT.get(topic)
    if decode is not None and record.value:
        try:
            event = decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _row(record, _guess(record.value, topic))
        time = _fitting(to_millis(event.time))
        if isinstance(event, Prediction):
            found = _Found(event.model, event.id, event.version, event.role, time)
        else:
            found = _Found(event.model, event.id, None, None, time)
        return _row(record, found, content_digest(event))
    found = _guess(record.value or b"", topic)
    if topic is Topic.DEAD_LETTERS:
        place = (_last(record, f"driftline.{part}") for part in ("topic", "partition", "offset", "row"))
        found = found._replace(id="/".join(place))
    return _row(record, found)


def _row(record: Record, found: _Found, digest: int | None = None) -> Row:
    return Row(
        record.source.topic,
        record.source.partition,
        record.offset,
        0,
        record.arrival,
        record.timestamp,
        None if record.key is None else text_of(record.key),
        *found,
        digest,
        None if record.value is None else text_of(record.value),
        _ENCODE([(text, text_of(value)) for text, value in record.headers]).decode() if record.headers else None,
    )


def _guess(value: bytes, topic: Topic) -> _Found:
    """What can be told of any bytes."""
    try:
        about = _ABOUT(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Found()
    # a report's revision is its decision time; a spec's is a number
    revision = about.revision if topic is Topic.METRICS else None
    times = (about.time, about.at, about.requested_at, about.written_at, revision)
    time = next((_fitting(time) for time in times if isinstance(time, int) and not isinstance(time, bool)), None)
    return _Found(_text(about.model), _text(about.id), _text(about.version), _text(about.role), time)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _fitting(time: int) -> Millis | None:
    return time if time in _INT64 else None


def _last(record: Record, name: str) -> str:
    """The last header of a name: Driftline's own come after those that the record had."""
    return next((value.decode("utf-8", "replace") for key, value in reversed(record.headers) if key == name), "")
