"""A loop that can be watched: a broker in memory, a work that tallies what it is given, runs until something is so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import msgspec
from aiokafka import TopicPartition

from driftline.errors import UnitStopped
from driftline.events.base import encode
from driftline.events.slices import Notice, NoticeKind, notice, notice_headers
from driftline.events.topics import Topic
from driftline.platform import loop as loop_module
from driftline.platform.changes import Changes, Step
from driftline.platform.loop import Loop
from driftline.platform.records import Outgoing, Source
from driftline.platform.settings import Settings
from driftline.platform.store import MemoryStore, Stored
from driftline.platform.telemetry import UnitWatch
from driftline.platform.work import refused_letters, usable

P, OUT = Source(Topic.PREDICTIONS, 0), Source(Topic.OUTCOMES, 0)
SETTINGS = Settings("nowhere:1", "redis://nowhere", "t.", None, None, None)


class Broker:
    """Topics in memory. `first` of a partition is the earliest offset that it keeps; `meddle` may change an answer."""

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, list] = {}
        self.first: dict[TopicPartition, int] = {}
        self.meddle: Callable = lambda consumer, batches: batches
        self.time = 1_000

    def add(self, source: Source, *values: bytes, headers=()) -> None:
        """Append records; time passes by a millisecond each."""
        for value in values:
            self.time += 1
            log = self.logs.setdefault(partition_of(source), [])
            log.append(SimpleNamespace(offset=len(log), timestamp=self.time, key=None, value=value, headers=headers))
            log[-1].partition, log[-1].topic = source.partition, SETTINGS.topic(source.topic)

    def forget(self, source: Source, before: int) -> None:
        """Retention: what stands before this offset is gone."""
        self.first[partition_of(source)] = before

    def make_anew(self, source: Source) -> None:
        """Somebody deletes the topic and makes it again."""
        self.logs[partition_of(source)] = []
        self.first.pop(partition_of(source), None)

    def values(self, topic: Topic, partition: int = 0) -> list[bytes]:
        """What was written to a topic."""
        return [record.value for record in self.logs.get(partition_of(Source(topic, partition)), [])]

    def headers(self, topic: Topic) -> list[dict[str, bytes]]:
        """The headers of what was written to it."""
        return [dict(record.headers) for record in self.logs.get(partition_of(Source(topic, 0)), [])]


class Consumer:
    """As much of aiokafka's consumer as a loop uses."""

    def __init__(self, broker: Broker, **options) -> None:
        assert options["auto_offset_reset"] == "none"
        self.broker = broker
        self.positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def assign(self, partitions) -> None:
        self.partitions = partitions

    async def beginning_offsets(self, partitions):
        return {p: self.broker.first.get(p, 0) for p in partitions}

    async def end_offsets(self, partitions):
        return {p: len(self.broker.logs.get(p, [])) for p in partitions}

    def seek(self, partition, offset) -> None:
        self.positions[partition] = offset

    def highwater(self, partition):
        return len(self.broker.logs.get(partition, []))

    def pause(self, *partitions) -> None:
        self._paused |= set(partitions)

    def resume(self, *partitions) -> None:
        self._paused -= set(partitions)

    def paused(self):
        return self._paused

    async def getmany(self, timeout_ms, max_records):
        batches = {}
        for partition, position in self.positions.items():
            if partition not in self._paused and (found := self.broker.logs.get(partition, [])[position:]):
                batches[partition] = found[:max_records]
                self.positions[partition] = batches[partition][-1].offset + 1
        if not batches:
            await asyncio.sleep(0.005)
        return self.broker.meddle(self, batches)


class Producer:
    """As much of aiokafka's producer as a loop uses: it writes into the broker at once."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    async def send(self, topic, key, value, partition, headers, timestamp_ms):
        source = Source(Topic(topic.removeprefix(SETTINGS.prefix)), partition or 0)
        self.broker.add(source, value, headers=tuple(headers))
        acknowledged = asyncio.get_running_loop().create_future()
        acknowledged.set_result(None)
        return acknowledged


class Tally:
    """Adds up the numbers that it reads, and repeats each on topic `metrics`.

    `poison` makes a step raise; `pair` does so only after `mate`; `halt` stops the unit on purpose.
    """

    def __init__(self, number: int = 0) -> None:
        self.name, self.ticked, self._number = f"tally:{number}", (), number
        self.sources = (Source(Topic.PREDICTIONS, number), Source(Topic.OUTCOMES, number))
        self.total, self.mates, self.pardoned = 0, 0, False
        self.refused: dict = {}

    async def start(self, stored: Stored) -> None:
        if not stored.fresh:
            self.total, self.mates, self.pardoned = map(int, stored.hashes["tally"][b"state"].split())

    def refuse(self, records) -> None:
        self.refused = records

    def cut(self, waiting, reached):
        counts = {source: len(waiting[source]) for source in self.sources}
        return counts if any(counts.values()) else None

    async def prepare(self, taken) -> None: ...

    def step(self, taken, reached) -> Step:
        step = Step(outbox=refused_letters(taken, self.refused))
        for source in self.sources:
            for record in usable(taken[source], self.refused):
                self._read(record.value)
                step.outbox.append(Outgoing(Topic.METRICS, None, record.value, 0))
        step.changes = self._changes()
        return step

    def _read(self, value: bytes) -> None:
        if value == b"mate":
            self.mates += 1
        elif value == b"pair" and not self.mates:
            return
        elif value == b"halt":
            if not self.pardoned:
                raise UnitStopped(NoticeKind.ALL_BAD, "three in a row are bad")
        elif value == b"unwell":
            raise MemoryError
        else:
            self.total += int(value)

    def _changes(self) -> Changes:
        return Changes(put={"tally": {b"state": b"%d %d %d" % (self.total, self.mates, self.pardoned)}})

    async def stored_and_relayed(self) -> None: ...

    def tell(self, kind, at, detail, gap=None):
        told = notice(kind, 0, self.total, at, detail=detail, gap=gap)
        return [Outgoing(Topic.SLICES, None, encode(told), 0, notice_headers(told, 0))]

    def resume(self, kind) -> Changes:
        self.pardoned = True
        return self._changes()

    def gauges(self) -> dict[str, float]:
        return {"kept_predictions": float(self.total)}


def notices(broker: Broker) -> list[Notice]:
    """What was told on slices."""
    return [msgspec.json.decode(value, type=Notice) for value in broker.values(Topic.SLICES)]


def partition_of(source: Source) -> TopicPartition:
    return TopicPartition(SETTINGS.topic(source.topic), source.partition)


def broker_in_memory(monkeypatch) -> Broker:
    """A broker in memory, which the loop's consumers read."""
    made = Broker()
    monkeypatch.setattr(loop_module, "AIOKafkaConsumer", lambda **options: Consumer(made, **options))
    return made


def loop_on(broker: Broker, store: MemoryStore, make_work=Tally, watch: UnitWatch | None = None, live=False) -> Loop:
    """A loop that reads the broker."""

    async def committed(offsets) -> None: ...

    return Loop(SETTINGS, store, Producer(broker), make_work, committed, 0.25 if live else None, watch)


async def until(condition: Callable[[], bool], *running: asyncio.Task) -> None:
    """Wait until something is so, or what runs has ended, which is an error."""
    async with asyncio.timeout(60):
        while not condition():
            for task in running:
                if task.done():
                    task.result()
                    raise AssertionError("a loop has ended")
            await asyncio.sleep(0.005)


def settled(store: MemoryStore) -> bool:
    """Whether everything that is stored to be sent has been acknowledged and cleared."""
    return not any(stored.outbox for stored in store._units.values())


async def run(loop: Loop, condition: Callable[[], bool]) -> None:
    """Run a loop until something is so, and what it has sent is cleared."""
    task = asyncio.create_task(loop.run())
    try:
        await until(lambda: condition() and settled(loop._store), task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
