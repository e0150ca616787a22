"""What all events share: identity, time, and their bytes."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

Millis = int
"""An instant: milliseconds since 1970-01-01T00:00:00Z. Durations in a spec are timedeltas; instants are these."""

T = TypeVar("T")


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Base of every event that Driftline writes.

    `id` follows from what the event is about (see `digest_id`), never from a moment of reading, so that a repeat after
    a crash is recognised. `caused_by` lists the ids that led to it.
    """

    id: str
    caused_by: tuple[str, ...] = ()


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A decision's place in the chain of its model.

    `number` counts from 1; `previous` is the SHA-256, in hex, of the value of the record before it, empty at the first.
    `inputs`: by id the same of each command, candidate and verdict among its causes that arrived in its slice.
    """

    number: int = 1
    previous: str = ""
    inputs: dict[str, str] = {}

    def after(self, value: bytes) -> Link:
        """The place behind the decision that stands at this one; `value`: its record's."""
        return Link(number=self.number + 1, previous=value_digest(value))


class Decision(Event, frozen=True, kw_only=True):
    """What control decides about a model, with all that is needed to understand it alone.

    `spec` is the revision in force ("flight-delay@2"), empty where there is none; `code` the version of Driftline that
    decided. The decision rests on all that had arrived by its time, in every partition, and on nothing else. `link` is
    null where it is about no model, stands in `baselines`, or was told before its slice: when that is, is no function
    of what stands in the inputs.
    """

    model: str
    spec: str = ""
    code: str = ""
    link: Link | None = None


def value_digest(value: bytes) -> str:
    """What a chain names a record's value by: its SHA-256, 64 hex digits."""
    return hashlib.sha256(value).hexdigest()


def digest_id(*about: object) -> str:
    """32 hex digits that follow from `about` alone (SHA-256 of its JSON, shortened to 128 bits)."""
    return hashlib.sha256(msgspec.json.encode([str(part) for part in about])).hexdigest()[:32]


def encode(event: msgspec.Struct) -> bytes:
    """The event's bytes: compact UTF-8 JSON, fields in the order of the type, so equal events are equal bytes."""
    return msgspec.json.encode(event)


def decode(data: bytes, kind: type[T]) -> T:
    """Read an event that Driftline wrote. Raises `msgspec.ValidationError` where `data` is not one."""
    return msgspec.json.decode(data, type=kind)


def to_millis(time: int | datetime) -> Millis:
    """An event's `time` as epoch milliseconds. A datetime must carry its offset."""
    if isinstance(time, int):
        return time
    if time.tzinfo is None:
        raise ValueError("a time needs its offset from UTC")
    delta = time - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def iso(time: Millis) -> str:
    """`time` for people: 2013-03-01T00:00:00Z."""
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

JsonObject = dict[str, Any]
