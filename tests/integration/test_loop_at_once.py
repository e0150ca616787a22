"""What the checkpointed loop does for a work that answers at once, on a real Kafka."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from driftline.events.topics import Topic
from driftline.platform.kafka import read_all, send_all
from driftline.platform.loop import AtOnce, Loop, ReadToEnd, Step
from driftline.platform.records import Outgoing, Source
from driftline.platform.store import MemoryStore

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

COMMANDS = Source(Topic.COMMANDS, 0)


class Echo:
    """Answers each command at once, takes none, and notes when everything has been read."""

    name, sources, ticked = "echo:0", (COMMANDS,), ()

    def __init__(self):
        self.ended = asyncio.Event()

    async def start(self, stored, fresh): ...

    def cut(self, waiting, reached):
        return None

    async def prepare(self, taken): ...

    def step(self, taken, reached):
        return Step()

    async def stored_and_relayed(self): ...

    def at_once(self, records):
        return [Outgoing(Topic.ALERTS, r.key, r.value, 0) for r in records]

    def read_to_end(self, sources):
        if COMMANDS in sources:
            self.ended.set()


async def live(settings, work):
    """Run until everything there is has been read."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap)
    await producer.start()

    async def committed(offsets): ...

    running = asyncio.create_task(Loop(settings, MemoryStore(), producer, lambda: work, committed, None).run())
    ended = asyncio.create_task(work.ended.wait())
    done, _ = await asyncio.wait({running, ended}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await producer.stop()
    assert done == {ended}


def test_what_is_answered_at_once_is_sent_before_anything_is_cut_and_again_after_a_restart(deployment):
    send_all(deployment, [Outgoing(Topic.COMMANDS, b"k", b"%d" % i, 0) for i in range(3)])
    work = Echo()
    assert isinstance(work, AtOnce)
    assert isinstance(work, ReadToEnd)
    for life in (1, 2):
        asyncio.run(live(deployment, Echo()))
        assert [r.value for r in read_all(deployment, Topic.ALERTS)] == [b"0", b"1", b"2"] * life


def test_an_empty_source_is_read_to_its_end(deployment):
    asyncio.run(live(deployment, Echo()))
    assert list(read_all(deployment, Topic.ALERTS)) == []
