"""A unit's place in the store: each write moves it on, under the fence, and what it has to send is sent from there."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence

import msgspec
from aiokafka import AIOKafkaProducer

from driftline.events.base import Millis
from driftline.platform.changes import Changes
from driftline.platform.inbox import Position
from driftline.platform.records import Outgoing
from driftline.platform.settings import Settings
from driftline.platform.store import Store, Stored
from driftline.platform.telemetry import UnitWatch

Named = list[tuple[bytes, Outgoing]]
"""Records to send, in order, under the names by which they are cleared. No two lives share a name, so whoever was
paused after sending clears nothing that its successor has stored."""


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


class Sender:
    """Writes records to Kafka."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self._settings = settings
        self._producer = producer

    async def hand_over(self, record: Outgoing) -> asyncio.Future[object]:
        """Hand one record to the producer; the future is its acknowledgement."""
        return await send(self._producer, self._settings, record)

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Send in order and wait until all are acknowledged. See `Step` for where it waits in between."""
        sent: list[asyncio.Future[object]] = []
        topic = None
        for record in records:
            if record.topic is not topic:
                await asyncio.gather(*sent)
                sent, topic = [], record.topic
            sent.append(await self.hand_over(record))
        await asyncio.gather(*sent)


class Checkpoint:
    """Where one life of a unit stands in the store.

    `position`: what it started from or wrote last; `fence`: the same as it is stored.
    """

    def __init__(self, store: Store, unit: str, stored: Stored, sender: Sender, watch: UnitWatch) -> None:
        self._store = store
        self._sender = sender
        self._watch = watch
        self._life = uuid.uuid4().hex[:8]
        self.unit = unit
        self.fence = stored.position
        self.position = msgspec.json.decode(stored.position, type=Position) if stored.position else None
        self._turn = self.position.turn if self.position else 0
        self.left: Named = [(name, msgspec.msgpack.decode(value, type=Outgoing)) for name, value in stored.outbox]

    async def write(
        self, sources: Mapping[str, tuple[int, Millis]], changes: Changes, outbox: Sequence[Outgoing]
    ) -> Named:
        """One atomic write of state, outbox and position. Raises `Fenced`."""
        self._turn += 1
        named = [(f"{self._turn:016d}:{self._life}:{k:06d}".encode(), record) for k, record in enumerate(outbox)]
        position = Position(self._turn, dict(sources))
        moved = msgspec.json.encode(position)
        packed = {name: msgspec.msgpack.encode(record) for name, record in named}
        with self._watch.timings.write.time():
            await self._store.write(self.unit, self.fence, moved, changes, packed)
        self.fence, self.position = moved, position
        return named

    async def relay(self, outbox: Named) -> None:
        """Send in order, wait for the acknowledgements, clear just these."""
        self._watch.outbox = len(outbox)
        with self._watch.timings.relay.time():
            await self._sender.send([record for _, record in outbox])
        await self._store.clear(self.unit, [name for name, _ in outbox])
        self._watch.outbox = 0
