"""What comes from Kafka and what goes to it, free of any client library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from driftline.events.base import Millis
from driftline.events.topics import Topic


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
