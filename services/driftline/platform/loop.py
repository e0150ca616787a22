"""The checkpointed loop: the one way in which a service that holds state reads, decides, stores and writes."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from driftline.errors import DeploymentError
from driftline.events.base import Millis
from driftline.platform.changes import Changes, Step
from driftline.platform.kafka import from_kafka, tick
from driftline.platform.records import Outgoing, Record, Source
from driftline.platform.settings import Settings
from driftline.platform.store import Fenced, Store

__all__ = ["AtOnce", "Changes", "Hashes", "Loop", "ReadToEnd", "Step", "Work"]

log = logging.getLogger("driftline.loop")

Hashes = Mapping[str, Mapping[bytes, bytes]]
"""Stored state: named hashes of field -> value."""

POLL_MS = 200
FETCH_RECORDS = 5_000
WAITING_RECORDS = 50_000
"""A source that is ahead of the others is paused while this many of its records wait."""
BACK_OFF_S = 1.0
HINT_S = 1.0


class Work(Protocol):
    """One unit of a service: a source partition of monitor, a shard of control. No I/O but in `start` and `prepare`."""

    name: str
    """Names the unit's stored state, e.g. `monitor:3`."""
    sources: tuple[Source, ...]
    """What it reads."""
    ticked: tuple[Source, ...]
    """Those of its sources in which it lets time pass while nothing comes (`clock: live`)."""

    async def start(self, stored: Hashes, fresh: bool) -> None:
        """Take over the stored state; `fresh`: there is none, reading begins at the earliest record kept."""

    def cut(
        self, waiting: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]
    ) -> dict[Source, int] | None:
        """How many of the waiting records of each source the next step takes; None: wait for more.

        `reached` is the highest arrival seen of each source, waiting records included (-1: none yet).
        """

    async def prepare(self, taken: Mapping[Source, Sequence[Record]]) -> None:
        """Look up what the step will need (specs, baselines)."""

    def step(self, taken: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]) -> Step:
        """The pure step. It may change this object's memory: on any failure the loop throws the object away."""

    async def stored_and_relayed(self) -> None:
        """Called when the step's state is stored and its outbox acknowledged."""


@runtime_checkable
class AtOnce(Protocol):
    """A work that answers some records before they are cut: what it returns is sent and acknowledged at once.

    It is pure: nothing that is stored may change here, and what it returns is no part of the stored step. Records come
    again after a restart, so it must give a repeat the same id.
    """

    def at_once(self, records: Sequence[Record]) -> list[Outgoing]:
        """What newly fetched records ask for at once. They come by source in the order of its log."""


@runtime_checkable
class ReadToEnd(Protocol):
    """A work that wants to know which of its sources hold nothing more."""

    def read_to_end(self, sources: Collection[Source]) -> None:
        """Told after each fetch: everything in these sources has been fetched by now."""


class _Position(msgspec.Struct, frozen=True):
    """Where a unit stands: by source the next offset and the highest arrival taken. `turn` counts the writes."""

    turn: int
    sources: dict[str, tuple[int, Millis]]


class Loop:
    """Runs one unit until it is cancelled.

    `committed` is told the offsets reached, as a hint for lag tools. `tick_every` is None where no clock of ours may
    move time (`clock: events`).
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        producer: AIOKafkaProducer,
        make_work: Callable[[], Work],
        committed: Callable[[Mapping[Source, int]], Awaitable[None]],
        tick_every: float | None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._producer = producer
        self._make_work = make_work
        self._committed = committed
        self._tick_every = tick_every

    async def run(self) -> None:
        """Live again and again: what is in memory is thrown away whenever it may differ from what is stored."""
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._settings.bootstrap,
                enable_auto_commit=False,
                auto_offset_reset="none",
                fetch_min_bytes=1,
                max_partition_fetch_bytes=1 << 20,
            )
            try:
                await consumer.start()
                await self._live(self._make_work(), consumer)
            except Fenced as fenced:
                log.warning("unit %s is now another worker's, or Redis has gone back: loading what is stored", fenced)
            except (KafkaError, RedisError, OSError) as error:
                log.warning("a server does not answer (%s: %s): trying again", type(error).__name__, error)
                await asyncio.sleep(BACK_OFF_S)
            finally:
                await consumer.stop()

    async def _live(self, work: Work, consumer: AIOKafkaConsumer) -> None:
        stored = await self._store.load(work.name)
        position = msgspec.json.decode(stored.position, type=_Position) if stored.position else None
        await work.start(stored.hashes, fresh=position is None)
        await self._relay(work.name, [(name, _decode_outgoing(value)) for name, value in stored.outbox])
        inbox = _Inbox(self._settings, work, consumer)
        turn = await inbox.open(position)
        fence, life = stored.position, uuid.uuid4().hex[:8]
        hint_at = 0.0
        ticking = asyncio.create_task(self._tick(work, inbox)) if self._tick_every else None
        try:
            while True:
                # 1 fetch. A crash here: nothing has happened.
                await self._at_once(work, await inbox.fetch())
                if isinstance(work, ReadToEnd):
                    work.read_to_end(inbox.ended())
                while (counts := work.cut(inbox.waiting, inbox.reached)) is not None:
                    # 2 cut. 3 decode, 4 step: only memory changes, and a crash throws it away.
                    taken = inbox.take(counts)
                    await work.prepare(taken)
                    step = await asyncio.to_thread(work.step, taken, dict(inbox.reached))
                    # 5 write. Not done: as before 1. Done but not known to be: the fence tells on the next write, or
                    # a restart goes on from it. Refused (Fenced): somebody else went on; memory is thrown away.
                    turn += 1
                    outbox = {
                        f"{turn:016d}:{life}:{k:06d}".encode(): msgspec.msgpack.encode(o)
                        for k, o in enumerate(step.outbox)
                    }
                    moved = msgspec.json.encode(_Position(turn, inbox.taken))
                    await self._store.write(work.name, fence, moved, step.changes, outbox)
                    fence = moved
                    # 6 relay, then clear just what was acknowledged. A crash between: the outbox is relayed again on
                    # the next start, under the same ids; readers know a repeat by its id (slices: by their number).
                    await self._relay(work.name, list(zip(outbox, step.outbox, strict=True)))
                    await work.stored_and_relayed()
                # 7 hint, once a second. Lost or wrong, it misleads a lag tool and nobody else.
                if time.monotonic() >= hint_at:
                    hint_at = time.monotonic() + HINT_S
                    await self._committed(inbox.offsets())
                if ticking is not None and ticking.done():
                    ticking.result()
        finally:
            if ticking is not None:
                ticking.cancel()

    async def _at_once(self, work: Work, records: Sequence[Record]) -> None:
        if records and isinstance(work, AtOnce):
            await asyncio.gather(*[await send(self._producer, self._settings, o) for o in work.at_once(records)])

    async def _relay(self, unit: str, outbox: list[tuple[bytes, Outgoing]]) -> None:
        """Send in order, wait for the acknowledgements, clear. See `Step` for where it waits in between."""
        sent: list[asyncio.Future[object]] = []
        topic = None
        for _, record in outbox:
            if record.topic is not topic:
                await asyncio.gather(*sent)
                sent, topic = [], record.topic
            sent.append(await send(self._producer, self._settings, record))
        await asyncio.gather(*sent)
        await self._store.clear(unit, [name for name, _ in outbox])

    async def _tick(self, work: Work, inbox: _Inbox) -> None:
        assert self._tick_every is not None
        while True:
            await asyncio.sleep(self._tick_every)
            for source in work.ticked:
                if inbox.quiet(source):
                    await send(self._producer, self._settings, tick(source.topic, source.partition, None))


class _Inbox:
    """The waiting records of a unit's sources, and how far each has been read and taken."""

    def __init__(self, settings: Settings, work: Work, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._sources = {TopicPartition(settings.topic(s.topic), s.partition): s for s in work.sources}
        self._partitions = {source: partition for partition, source in self._sources.items()}
        self.waiting: dict[Source, deque[Record]] = {source: deque() for source in work.sources}
        self.reached: dict[Source, Millis] = dict.fromkeys(work.sources, -1)
        self.taken: dict[str, tuple[int, Millis]] = {}
        self._heard: set[Source] = set()
        self._next: dict[Source, int] = {}

    async def open(self, position: _Position | None) -> int:
        """Go to the stored position, or the earliest record kept; returns the turn to count on from.

        Raises `DeploymentError` where Kafka no longer holds what comes next.
        """
        partitions = list(self._sources)
        self._consumer.assign(partitions)
        earliest = await self._consumer.beginning_offsets(partitions)
        for partition, source in self._sources.items():
            known = position.sources.get(_name(source)) if position else None
            offset, arrival = known if known is not None else (earliest[partition], -1)
            if offset < earliest[partition]:
                raise DeploymentError(
                    f"{partition.topic}-{partition.partition}: records {offset} to {earliest[partition] - 1} are gone "
                    "from Kafka before they were read; its retention is too short for how long this worker was away"
                )
            self._consumer.seek(partition, offset)
            self._next[source] = offset
            self.reached[source] = arrival
            self.taken[_name(source)] = (offset, arrival)
        return position.turn if position else 0

    async def fetch(self) -> list[Record]:
        """Wait a moment for records; pause those sources that are ahead of the others. Returns what has come."""
        self._balance()
        fetched = []
        batches = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=FETCH_RECORDS)
        for partition, records in batches.items():
            source = self._sources[partition]
            self._heard.add(source)
            arrival = self.reached[source]
            queue = self.waiting[source]
            for record in records:
                arrival = max(arrival, record.timestamp)
                ours = from_kafka(source.topic, record, arrival)
                queue.append(ours)
                fetched.append(ours)
                self._next[source] = ours.next_offset
            self.reached[source] = arrival
        return fetched

    def ended(self) -> set[Source]:
        """Sources of which everything has been fetched, as far as the last answers of Kafka tell."""
        ends = {source: self._consumer.highwater(partition) for source, partition in self._partitions.items()}
        return {source for source, end in ends.items() if end is not None and self._next[source] >= end}

    def take(self, counts: Mapping[Source, int]) -> dict[Source, list[Record]]:
        """Remove the first records of each source and note the position after them."""
        taken = {}
        for source, count in counts.items():
            records = [self.waiting[source].popleft() for _ in range(count)]
            taken[source] = records
            if records:
                self.taken[_name(source)] = (records[-1].next_offset, records[-1].arrival)
        return taken

    def offsets(self) -> dict[Source, int]:
        """The next offset to take, by source."""
        return {source: self.taken[_name(source)][0] for source in self._partitions}

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


async def send(producer: AIOKafkaProducer, settings: Settings, record: Outgoing) -> asyncio.Future[object]:
    """Hand one record to the producer; the future is its acknowledgement."""
    future: asyncio.Future[object] = await producer.send(
        settings.topic(record.topic),
        key=record.key,
        value=record.value,
        partition=record.partition,
        headers=list(record.headers),
        timestamp_ms=record.timestamp,
    )
    return future


def _decode_outgoing(value: bytes) -> Outgoing:
    return msgspec.msgpack.decode(value, type=Outgoing)


def _name(source: Source) -> str:
    return f"{source.topic.value}/{source.partition}"
