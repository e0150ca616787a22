"""A live deployment under load: predictions and outcomes at a steady rate, and probes that leave their range."""

from __future__ import annotations

import asyncio
import time
import uuid
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer

from benchmarks.loading import PARTITIONS
from benchmarks.watched import spec_text
from benchmarks.workload import PREDICTIONS_A_SECOND, START_MS, Workload
from driftline.events.admin import Placed, SpecRevision
from driftline.events.base import Millis, digest_id, encode
from driftline.events.partitioning import partition_of
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform import topics
from driftline.platform.bulk import BATCH_BYTES, BulkSender
from driftline.platform.records import Outgoing
from driftline.platform.settings import Settings
from driftline.spec.plain import to_plain
from driftline.spec.reader import parse_spec

TICK_S = 0.01
"""The load goes out in pieces of this length."""
SLICE, PANE, HORIZON, WINDOW = timedelta(seconds=1), timedelta(seconds=10), timedelta(hours=1), timedelta(minutes=1)

Place = tuple[Topic, int]


def declare_models(settings: Settings, models: Sequence[str]) -> None:
    """Topics of a deployment with a live clock and slices of a second, and all models' specs with their marks."""
    topics.create(settings, clock="live", slice_length=SLICE, partitions=PARTITIONS)
    specs = {name: parse_spec(spec_text(name, PANE, HORIZON, {"w": WINDOW}), "benchmark.yaml") for name in models}
    sender = BulkSender(settings)
    try:
        for name, spec in specs.items():
            event = SpecRevision(
                id=digest_id("spec", name, 1),
                model=name,
                revision=1,
                author="benchmark",
                written_at=0,
                spec=to_plain(spec),
            )
            sender.add(Outgoing(Topic.SPECS, f"{name}@1".encode(), encode(event), 0))
        sender.acknowledged()
        for name in specs:
            for number in range(PARTITIONS):
                mark = ((MARK_HEADER, f"spec {name}@1".encode()),)
                sender.add(Outgoing(Topic.PREDICTIONS, None, b"", number, mark))
        sender.acknowledged()
        for place, name in enumerate(specs):
            offsets = dict.fromkeys(range(PARTITIONS), place)  # the topics are new: each model's mark follows the last
            placed = Placed(id=digest_id("placed", name, 1), model=name, revision=1, offsets=offsets)
            sender.add(Outgoing(Topic.SPECS, f"{name}@1".encode(), encode(placed), 0))
    finally:
        sender.close()


@dataclass
class Event:
    """One record to come: when, on the workload's clock, where, and its bytes around the time that is put in."""

    due: Millis
    place: Place
    key: bytes
    before: bytes
    after: bytes


def events_of(workload: Workload) -> list[Event]:
    """Everything in order of arrival, its time to be filled in when it is sent."""
    found = []
    for records in workload.records():
        for record in records:
            key = record.key or b""
            before, after = (record.value or b"").split(str(record.arrival).encode(), 1)
            place = (record.source.topic, partition_of(key.decode(), PARTITIONS))
            found.append(Event(record.arrival, place, key, before, after))
    found.sort(key=lambda event: event.due)
    return found


def probe(model: str, template: bytes, due: Millis) -> Event:
    """A prediction of `model` with f5 out of its range."""
    event = orjson.loads(template)
    name = str(uuid.uuid4())
    event |= {"id": name, "model": model, "time": 0, "features": event["features"] | {"f5": 1e4}, "score": 0.5}
    before, after = orjson.dumps(event).split(b'"time":0', 1)
    place = (Topic.PREDICTIONS, partition_of(name, PARTITIONS))
    return Event(due, place, name.encode(), before + b'"time":', after)


@dataclass
class Load:
    """What was sent: `appended` by probe is when the broker appended it (its own clock)."""

    events: int = 0
    seconds: float = 0.0
    appended: dict[str, Millis] = field(default_factory=dict)


class Sender:
    """Sends events when they are due, in batches that leave every few milliseconds, without waiting for answers."""

    def __init__(self, settings: Settings, probes: dict[bytes, str]) -> None:
        self._settings = settings
        self._probes = probes
        self._open: dict[Place, Any] = {}
        self._in_batch: dict[Place, list[str]] = {}
        self._answers: list[tuple[asyncio.Future[Any], list[str]]] = []

    async def run(self, events: Sequence[Event], rate: float) -> Load:
        """`rate` predictions a second."""
        load = Load(events=len(events))
        dues = [event.due for event in events]
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.bootstrap, acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
        )
        await self._producer.start()
        try:
            began, sent = time.perf_counter(), 0
            while sent < len(events):
                passed = time.perf_counter() - began
                upto = bisect_right(dues, START_MS + passed * rate / PREDICTIONS_A_SECOND * 1000)
                for event in events[sent:upto]:
                    await self._add(event)
                for place in list(self._open):
                    await self._hand_over(place)
                sent = upto
                await asyncio.sleep(max(0.0, TICK_S - (time.perf_counter() - began - passed)))
            load.seconds = time.perf_counter() - began
            for answer, models in self._answers:
                metadata = await answer
                load.appended |= dict.fromkeys(models, metadata.timestamp)
        finally:
            await self._producer.stop()
        return load

    async def _add(self, event: Event) -> None:
        value = event.before + str(int(time.time() * 1000)).encode() + event.after
        while True:
            batch = self._open.get(event.place)
            if batch is None:
                batch = self._open[event.place] = self._producer.create_batch()
            if batch.append(timestamp=None, key=event.key, value=value) is not None:
                break
            await self._hand_over(event.place)
        if event.key in self._probes:
            self._in_batch.setdefault(event.place, []).append(self._probes[event.key])

    async def _hand_over(self, place: Place) -> None:
        batch = self._open.pop(place)
        batch.close()
        topic, number = place
        answer = await self._producer.send_batch(batch, self._settings.topic(topic), partition=number)
        self._answers.append((answer, self._in_batch.pop(place, [])))
