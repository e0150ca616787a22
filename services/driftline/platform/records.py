"""What comes from Kafka and what goes to it, free of any client library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from driftline.errors import InvalidRecord
from driftline.events.base import Millis, iso
from driftline.events.topics import Topic

LARGEST_LETTER = 4 << 20
"""A dead letter may be so large, well within what topics take (8 MiB). What came may be larger: it may have been
compressed, which what we write is not.
"""
BEGINNING = 64 << 10
"""So much is left of one that is larger."""


class Source(NamedTuple):
    """A topic partition, by Driftline's own topic name (without prefix)."""

    topic: Topic
    partition: int


class Record(NamedTuple):
    """One record as read. `arrival` is its Kafka timestamp made monotone within its source."""

    source: Source
    offset: int
    timestamp: Millis
    arrival: Millis
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def next_offset(self) -> int:
        """Where reading goes on after this record."""
        return self.offset + 1

    def header(self, name: str) -> str | None:
        """The first header of this name, as text."""
        for key, value in self.headers:
            if key == name:
                return value.decode("utf-8", "replace")
        return None


@dataclass(frozen=True)
class Outgoing:
    """One record to write. `partition` None: by key (murmur2, as Java and kafka-python do)."""

    topic: Topic
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: Millis | None = None


LETTER_PREFIX = "driftline."
"""Begins the headers that a dead letter has beside those of its record."""


def dead_letter(record: Record, why: InvalidRecord, row: int = 0) -> Outgoing:
    """The record as it came, with where it stood (`row` in a message of several) and why it could not be used.

    Its key becomes a header. Of one that is too large to be written down once more there is the beginning, and
    `driftline.size`, the bytes that it had: a letter that Kafka refuses would stop its partition for ever.
    """
    source = f"{record.source.topic.value}-{record.source.partition}"
    headers = {
        "driftline.reason": why.reason,
        "driftline.detail": why.detail[:500],
        "driftline.topic": record.source.topic.value,
        "driftline.partition": str(record.source.partition),
        "driftline.offset": str(record.offset),
        "driftline.row": str(row),
        "driftline.at": iso(record.arrival),
    }
    value, theirs = record.value, record.headers
    if len(value or b"") + _size(theirs) > LARGEST_LETTER:
        headers["driftline.size"] = str(len(value or b""))
        value = (value or b"")[:BEGINNING]
        theirs = theirs if _size(theirs) <= BEGINNING else ()
    ours = tuple((name, text.encode()) for name, text in headers.items())
    if record.key is not None:
        ours += (("driftline.key", record.key),)
    return Outgoing(Topic.DEAD_LETTERS, source.encode(), value, 0, (*theirs, *ours))


def _size(headers: tuple[tuple[str, bytes], ...]) -> int:
    return sum(len(name.encode()) + len(value) for name, value in headers)
