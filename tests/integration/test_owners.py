"""Two workers that both believe that they own a unit, on a real Kafka and a real Redis."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
import redis.asyncio as redis
from aiokafka import AIOKafkaProducer
from tests.loops import Tally, until

from driftline.events.topics import Topic
from driftline.platform.hosting import _end as end
from driftline.platform.kafka import read_all, send_all
from driftline.platform.loop import Loop
from driftline.platform.records import Outgoing
from driftline.platform.store import Fenced, RedisStore

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


class Held(RedisStore):
    """A store whose owner is paused, as by SIGSTOP, just before one of its calls, until it is let go."""

    def __init__(self, client, prefix, before: str) -> None:
        super().__init__(client, prefix)
        self.paused, self.refused, self._gate = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._before = before

    def let_go(self, and_hold_before: str = "nothing") -> None:
        """Let it go on, up to another call."""
        gate, self._gate, self._before = self._gate, asyncio.Event(), and_hold_before
        self.paused.clear()
        gate.set()

    async def _pause(self, call: str) -> None:
        if call == self._before:
            self.paused.set()
            await self._gate.wait()

    async def write(self, unit, expected, position, changes, outbox):
        await self._pause("write")
        try:
            await super().write(unit, expected, position, changes, outbox)
        except Fenced:
            self.refused.set()
            raise

    async def clear(self, unit, fields):
        if fields:
            await self._pause("clear")
        await super().clear(unit, fields)


class Watched(AIOKafkaProducer):
    """Notes which numbers were handed over."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.sent: list[int] = []

    async def send(self, topic, value=None, **options):
        self.sent.append(int(value))
        return await super().send(topic, value=value, **options)


class Owners:
    """Loops of one unit, started one after the other, each with a store of its own."""

    def __init__(self, settings, client, producer, before: tuple[str, ...]) -> None:
        self._settings, self._producer = settings, producer
        self.sent = producer.sent
        self.stores = [Held(client, settings.prefix, each) for each in before]
        self.tasks: list[asyncio.Task] = []

    def start_next(self) -> asyncio.Task:
        async def committed(offsets): ...

        loop = Loop(self._settings, self.stores[len(self.tasks)], self._producer, Tally, committed, None)
        self.tasks.append(asyncio.create_task(loop.run()))
        return self.tasks[-1]

    async def feed(self, first: int, last: int) -> None:
        records = [Outgoing(Topic.PREDICTIONS, None, b"%d" % n, 0) for n in range(first, last)]
        await asyncio.to_thread(send_all, self._settings, records)


@asynccontextmanager
async def owners(settings, *before: str):
    """They are ended with the block."""
    client = redis.Redis.from_url(settings.redis_url)
    producer = Watched(bootstrap_servers=settings.bootstrap)
    await producer.start()
    made = Owners(settings, client, producer, before)
    try:
        yield made
    finally:
        await end(made.tasks)
        await producer.stop()
        await client.aclose()


def published(settings) -> list[int]:
    return [int(record.value) for record in read_all(settings, Topic.METRICS)]


def test_a_former_owner_that_was_paused_before_its_write_can_write_nothing(deployment):
    async def story():
        async with owners(deployment, "write", "nothing") as made:
            former, present = made.stores
            await made.feed(0, 10)
            one = made.start_next()
            await until(former.paused.is_set, one)
            two = made.start_next()
            await until(lambda: len(made.sent) >= 10, one, two)
            while (before := await present.load("tally:0")).outbox:
                await asyncio.sleep(0.01)
            former.let_go()
            await until(former.refused.is_set, one, two)
            await end([one])  # as the group has told it by now
            await made.feed(10, 20)
            await until(lambda: len(made.sent) >= 20, two)
            return before, await present.load("tally:0")

    before, after = asyncio.run(story())
    assert before.hashes["tally"][b"state"].split()[0] == b"45"
    assert after.hashes["tally"][b"state"].split()[0] == b"190"
    assert published(deployment) == list(range(20)), "each once, although two wanted to write the first ten"


def test_a_former_owner_that_was_paused_before_clearing_clears_nothing_of_its_successor_s(deployment):
    async def story():
        async with owners(deployment, "clear", "clear") as made:
            former, present = made.stores
            await made.feed(0, 10)
            one = made.start_next()
            await until(former.paused.is_set, one)
            assert made.sent == list(range(10)), "stored and sent, and not yet cleared"
            two = made.start_next()
            await until(present.paused.is_set, one, two)
            assert made.sent[10:] == list(range(10)), "the next owner finds them and cannot know better"
            present.let_go(and_hold_before="clear")
            await made.feed(10, 20)
            await until(present.paused.is_set, one, two)
            its_own = (await present.load("tally:0")).outbox
            former.let_go(and_hold_before="write")
            await until(former.paused.is_set, one, two)  # it has cleared what it sent, and would write the same again
            await end([one])
            return its_own, (await present.load("tally:0")).outbox

    its_own, left = asyncio.run(story())
    assert its_own
    assert left == its_own
    assert published(deployment)[:20] == [*range(10), *range(10)]
