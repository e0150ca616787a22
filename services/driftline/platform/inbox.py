"""What a unit has read and not yet taken, and where it stands in each of its sources."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from driftline.events.base import Millis
from driftline.events.slices import Gap
from driftline.platform.kafka import from_kafka
from driftline.platform.records import Record, Source
from driftline.platform.settings import Settings

log = logging.getLogger("driftline.inbox")

POLL_MS = 200
FETCH_RECORDS = 20_000
"""At most so many at once: who catches up does it in large steps; by 5,000 an event was seen to cost twice as much."""
FETCH_BYTES = 4 << 20
"""And at most so much of one partition."""
WAITING_RECORDS = 50_000
"""A source that is ahead of the others is paused while this many of its records wait."""
LOOKS = 5
LOOK_AGAIN_S = 1.0
"""A topic is said to be made anew when it has ended before our position at every look: a broker that has only just
started may not yet know its end."""


class Position(msgspec.Struct, frozen=True):
    """Where a unit stands: by source the next offset and the highest arrival taken. `turn` counts the writes."""

    turn: int
    sources: dict[str, tuple[int, Millis]]


class Missing(msgspec.Struct, frozen=True):
    """Records of `source` that Kafka no longer holds, from our position on.

    `gap` is None where the topic was made anew: it ends before our position, and nobody knows what it held after it.
    `read_before`: whether we have a position in it; else what is missing is what came before we began.
    """

    source: Source
    detail: str
    gap: Gap | None
    read_before: bool


class Inbox:
    """The waiting records of a unit's sources, and how far each has been read and taken."""

    def __init__(self, settings: Settings, sources: Iterable[Source], consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._sources = {TopicPartition(settings.topic(s.topic), s.partition): s for s in sources}
        self._partitions = {source: partition for partition, source in self._sources.items()}
        self.waiting: dict[Source, deque[Record]] = {source: deque() for source in self._partitions}
        self.reached: dict[Source, Millis] = dict.fromkeys(self._partitions, -1)
        self.taken: dict[str, tuple[int, Millis]] = {}
        self._heard: set[Source] = set()
        self._next: dict[Source, int] = {}
        self._asked_again: dict[Source, int] = {}

    async def open(self, position: Position | None) -> list[Missing]:
        """Go to the stored position, or the earliest record kept; returns what is gone before it could be read.

        A source of which something is gone is at the earliest record that Kafka keeps.
        """
        partitions = list(self._sources)
        self._consumer.assign(partitions)
        wanted = dict(position.sources) if position else {}
        earliest, ends = await self._bounds(wanted)
        missing = []
        for partition, source in self._sources.items():
            # without a position, what Kafka keeps from its beginning on should be there
            name = name_of(source)
            offset, arrival = wanted.get(name, (0, -1))
            if (gone := _missing(source, offset, earliest[partition], ends[partition], name in wanted)) is not None:
                missing.append(gone)
                offset = earliest[partition]
            self._consumer.seek(partition, offset)
            self._next[source] = offset
            self.reached[source] = arrival
            self.taken[name] = (offset, arrival)
        return missing

    async def _bounds(self, wanted: Mapping[str, tuple[int, Millis]]) -> tuple[dict[Any, int], dict[Any, int]]:
        """The earliest offsets and the ends, looked at again while a topic ends before our position."""
        partitions = list(self._sources)
        for look in range(LOOKS):
            earliest = await self._consumer.beginning_offsets(partitions)
            ends = await self._consumer.end_offsets(partitions)
            if all(wanted.get(name_of(s), (0, -1))[0] <= ends[p] for p, s in self._sources.items()):
                break
            if look < LOOKS - 1:
                await asyncio.sleep(LOOK_AGAIN_S)
        return earliest, ends

    async def fetch(self) -> list[Record]:
        """Wait a moment for records; pause those sources that are ahead of the others. Returns what has come."""
        self._balance()
        fetched: list[Record] = []
        batches = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=FETCH_RECORDS)
        for partition, records in batches.items():
            source = self._sources[partition]
            self._heard.add(source)
            found = from_kafka(source, self._following(source, records), self.reached[source])
            if found:
                fetched += found
                self.waiting[source].extend(found)
                self._next[source], self.reached[source] = found[-1].next_offset, found[-1].arrival
        return fetched

    def _following(self, source: Source, records: list[Any]) -> list[Any]:
        """Those records that follow on what has been read.

        A batch that begins later is dropped and asked for again; where Kafka answers the same twice, the log itself has
        a hole there, as the markers of a transaction leave.
        """
        expected, first = self._next[source], records[0].offset
        if first == expected:
            return records
        if first > expected and self._asked_again.get(source) != expected:
            log.warning("%s: a batch begins at %d instead of %d: asking again", name_of(source), first, expected)
            self._asked_again[source] = expected
            self._consumer.seek(self._partitions[source], expected)
            return []
        following = [record for record in records if record.offset >= expected]
        if len(following) < len(records):
            log.warning("%s: a batch begins at %d instead of %d: what is known", name_of(source), first, expected)
            if not following:
                self._consumer.seek(self._partitions[source], expected)
        return following

    def ended(self) -> set[Source]:
        """Sources of which everything has been fetched, as far as the last answers of Kafka tell."""
        return {source for source, end in self._ends().items() if self._next[source] >= end}

    def lag(self) -> dict[Source, int]:
        """Records that stand in Kafka and have not been taken, by source, as far as the last answers of Kafka tell."""
        return {source: max(0, end - self.taken[name_of(source)][0]) for source, end in self._ends().items()}

    async def lag_from(self, position: Position | None) -> dict[Source, int]:
        """The same of a unit that stands at `position` and reads nothing."""
        ends = await self._consumer.end_offsets(list(self._sources))
        stands = position.sources if position else {}
        return {s: max(0, ends[p] - stands.get(name_of(s), (0, -1))[0]) for p, s in self._sources.items()}

    def arrival(self) -> Millis:
        """The highest arrival taken."""
        return max((arrival for _, arrival in self.taken.values()), default=-1)

    def _ends(self) -> dict[Source, int]:
        ends = {source: self._consumer.highwater(partition) for source, partition in self._partitions.items()}
        return {source: end for source, end in ends.items() if end is not None}

    def take(self, counts: Mapping[Source, int]) -> dict[Source, list[Record]]:
        """Remove the first records of each source and note the position after them."""
        taken = {}
        for source, count in counts.items():
            records = [self.waiting[source].popleft() for _ in range(count)]
            taken[source] = records
            if records:
                self.taken[name_of(source)] = (records[-1].next_offset, records[-1].arrival)
        return taken

    def give_back(self, taken: Mapping[Source, list[Record]]) -> None:
        """Put what was taken last before what waits. The position stays noted: only a trial may follow."""
        for source, records in taken.items():
            self.waiting[source].extendleft(reversed(records))

    def offsets(self) -> dict[Source, int]:
        """The next offset to take, by source."""
        return {source: self.taken[name_of(source)][0] for source in self._partitions}

    def quiet(self, source: Source) -> bool:
        """Whether nothing has come from `source` since the last call, though all that is there has been read."""
        heard = source in self._heard
        self._heard.discard(source)
        return not heard and not self.waiting_is_long(source)

    def waiting_is_long(self, source: Source) -> bool:
        """Whether so much waits that no more of it is fetched."""
        return len(self.waiting[source]) >= WAITING_RECORDS

    def _balance(self) -> None:
        slowest = min(self.reached.values())
        for source, partition in self._partitions.items():
            ahead = self.waiting_is_long(source) and self.reached[source] > slowest
            if ahead and partition not in self._consumer.paused():
                self._consumer.pause(partition)
            elif not ahead and partition in self._consumer.paused():
                self._consumer.resume(partition)


def _missing(source: Source, offset: int, earliest: int, end: int, read_before: bool) -> Missing | None:
    if offset < earliest:
        gap = Gap(topic=source.topic.value, first=offset, last=earliest - 1)
        said = f"records {gap.first} to {gap.last} of {source.topic.value}-{source.partition} are gone from Kafka"
        return Missing(source, f"{said} before they were read", gap, read_before)
    if offset > end:
        place = f"{source.topic.value}-{source.partition}"
        said = f"{place} ends at {end}, but was already read up to {offset}: the topic has been made anew"
        return Missing(source, said, None, read_before)
    return None


def name_of(source: Source) -> str:
    """How a source is named in what is stored."""
    return f"{source.topic.value}/{source.partition}"


def records_of(taken: Mapping[Source, list[Record]]) -> list[Record]:
    """All records of a step, source by source."""
    return list(chain.from_iterable(taken.values()))
