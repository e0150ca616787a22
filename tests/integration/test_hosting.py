"""Hosting on a real Kafka: what aiokafka's consumer groups do behind one's back, and what is made of it.

Each test is a trap that was found in aiokafka's source.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import IllegalStateError
from kafka.admin import KafkaAdminClient, NewPartitions
from tests.loops import Tally

from driftline.errors import DeploymentError
from driftline.events.topics import Topic
from driftline.platform import hosting
from driftline.platform.hosting import _Units
from driftline.platform.kafka import read_all, send_all
from driftline.platform.records import Outgoing

pytestmark = [pytest.mark.integration, pytest.mark.timeout(280)]

TOPICS = (Topic.PREDICTIONS, Topic.OUTCOMES)


def worker(settings, slot: str, make_work: Callable, monkeypatch) -> _Units:
    """A worker of service `tally`, in this process, not yet started."""

    class Units(_Units):
        context = (settings, "tally", TOPICS, lambda context, number: make_work(number), True)

        async def on_start(self) -> None:
            monkeypatch.setenv("DRIFTLINE_SLOT", slot)
            await super().on_start()

    return Units()


async def until(condition: Callable[[], bool], *workers: _Units, seconds: float = 120) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            for each in workers:
                if each.crashed:
                    raise AssertionError("a worker has crashed") from each.crash_reason
            await asyncio.sleep(0.05)


def numbers_of(each: _Units) -> set[int]:
    return set(each._running)


def spread(workers: list[_Units]) -> bool:
    """Whether every partition is worked on by one of them."""
    return sorted(number for each in workers for number in numbers_of(each)) == [0, 1, 2, 3]


def feed(settings, values: int, first: int = 0) -> None:
    send_all(
        settings,
        [Outgoing(topic, None, b"%d" % (first + n), n % 4) for n in range(values) for topic in (Topic.PREDICTIONS,)],
    )


def test_partition_i_of_both_topics_is_always_one_worker_s_also_when_workers_come_and_go(deployment, monkeypatch):
    async def story():
        workers = [worker(deployment, str(n), lambda number: Tally(number=number), monkeypatch) for n in range(3)]
        try:
            for n, each in enumerate(workers):
                await each.start()
                at_work = workers[: n + 1]
                await until(lambda those=at_work: spread(those) and all(map(numbers_of, those)), *at_work)
                for one in at_work:
                    assigned = one._group.assignment()
                    by_topic = [
                        {p.partition for p in assigned if p.topic == deployment.topic(topic)} for topic in TOPICS
                    ]
                    assert by_topic[0] == by_topic[1] == numbers_of(one)
            assert sorted(len(numbers_of(each)) for each in workers) == [1, 1, 2]
            await workers[0].stop()
            await until(lambda: spread(workers[1:]), *workers[1:])
            feed(deployment, 40)
            await until(lambda: len(list(read_all(deployment, Topic.METRICS))) >= 40, *workers[1:])
        finally:
            for each in workers:
                await each.stop()

    asyncio.run(story())
    assert sorted(int(r.value) for r in read_all(deployment, Topic.METRICS)) == list(range(40))


def test_loading_for_longer_than_the_session_does_not_lose_the_partitions(deployment, monkeypatch):
    session_s = 6.0  # the least that a broker allows
    monkeypatch.setattr(hosting, "SESSION_TIMEOUT_MS", int(session_s * 1000))
    loaded: list[int] = []
    lock = threading.Lock()

    class Heavy(Tally):
        async def start(self, stored):
            time.sleep(1.6 * session_s)  # as the restoring of a large ledger, it never yields
            await super().start(stored)
            with lock:
                loaded.append(self._number)

    async def story():
        workers = [worker(deployment, str(n), lambda number: Heavy(number=number), monkeypatch) for n in range(2)]
        try:
            for each in workers:
                await each.start()
            await until(lambda: spread(workers) and all(numbers_of(each) for each in workers), *workers)
            before = [each._group._coordinator.generation for each in workers]
            held = [numbers_of(each) for each in workers]
            begun = time.monotonic()
            feed(deployment, 8)
            await until(lambda: len(list(read_all(deployment, Topic.METRICS))) == 8, *workers)
            assert time.monotonic() - begun > session_s
            assert [each._group._coordinator.generation for each in workers] == before
            assert [numbers_of(each) for each in workers] == held
        finally:
            for each in workers:
                await each.stop()

    asyncio.run(story())


def test_an_exception_in_the_listener_which_aiokafka_swallows_costs_no_assignment(deployment, monkeypatch):
    raised = []
    pause = AIOKafkaConsumer.pause

    def fails_once(self, *partitions):
        if self._group_id and not raised:
            raised.append(partitions)
            raise IllegalStateError("no longer assigned")
        return pause(self, *partitions)

    monkeypatch.setattr(AIOKafkaConsumer, "pause", fails_once)

    async def story():
        one = worker(deployment, "0", lambda number: Tally(number=number), monkeypatch)
        try:
            await one.start()
            await until(lambda: spread([one]), one)
            assert one._group.paused() == one._group.assignment()
            feed(deployment, 8)
            await until(lambda: len(list(read_all(deployment, Topic.METRICS))) == 8, one)
        finally:
            await one.stop()

    asyncio.run(story())
    assert raised


def test_a_unit_that_cannot_load_ends_the_worker_instead_of_leaving_it_idle(deployment, monkeypatch):
    class Broken(Tally):
        async def start(self, stored):
            raise RuntimeError("what is stored cannot be read")

    async def story():
        one = worker(deployment, "0", lambda number: Broken(number=number), monkeypatch)
        try:
            await one.start()
            await until(lambda: one.crashed)
            return one.crash_reason
        finally:
            await one.stop()

    assert "what is stored cannot be read" in str(asyncio.run(story()))


def test_partitions_that_were_added_are_refused_with_an_explanation(deployment, monkeypatch, servers):
    async def story():
        admin = KafkaAdminClient(bootstrap_servers=servers.bootstrap)
        one = worker(deployment, "0", lambda number: Tally(number=number), monkeypatch)
        try:
            await one.start()
            await until(lambda: spread([one]), one)
            await asyncio.to_thread(admin.create_partitions, {deployment.topic(Topic.OUTCOMES): NewPartitions(6)})
            await one._group._client.force_metadata_update()
            await until(lambda: one.crashed)
            return one.crash_reason
        finally:
            await one.stop()
            admin.close()

    reason = asyncio.run(story())
    assert isinstance(reason, DeploymentError)
    assert f"partitions were added to {deployment.topic(Topic.OUTCOMES)}, which was made with 4" in str(reason)


def test_one_unit_that_stands_still_does_not_hold_up_the_worker_s_others(deployment, monkeypatch):
    async def story():
        send_all(deployment, [Outgoing(Topic.PREDICTIONS, None, b"halt", 2)])
        one = worker(deployment, "0", lambda number: Tally(number=number), monkeypatch)
        try:
            await one.start()
            await until(lambda: bool(one._watch.unit(2).stopped), one)
            feed(deployment, 16)
            await until(lambda: len(list(read_all(deployment, Topic.METRICS))) == 12, one)
            assert list(one._watch.vitals().stopped) == ["tally:2"]
            assert one._watch.unit(2).lag is not None
        finally:
            await one.stop()

    asyncio.run(story())
    assert sorted(int(r.value) for r in read_all(deployment, Topic.METRICS)) == [n for n in range(16) if n % 4 != 2]
