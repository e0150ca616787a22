"""Hosting: a Faust worker runs the checkpointed loop for the units that its consumer group gives it.

Faust carries lifecycle and signals (a stop within seconds, exit code 1 when a service raises). It moves no records:
offsets and acknowledgements are the loop's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import faust
import mode
import redis.asyncio as redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from redis.exceptions import RedisError

from driftline.errors import DeploymentError, DriftlineError
from driftline.events.base import Millis
from driftline.events.topics import Topic
from driftline.platform import retention
from driftline.platform import settings as settings_module
from driftline.platform.catalog import Catalog
from driftline.platform.heartbeat import Heartbeat
from driftline.platform.loop import TICKS_A_SLICE, Loop, Work
from driftline.platform.records import Source
from driftline.platform.settings import Settings
from driftline.platform.store import RedisStore
from driftline.platform.telemetry import WorkerWatch, setup_logging
from driftline.platform.topics import check, partitions_of

log = logging.getLogger("driftline.hosting")

SESSION_TIMEOUT_MS = 10_000
HEARTBEAT_S = 1.0
CANCEL_AGAIN_S = 1.0
HINT_LIMIT_S = 2.0
REDIS_LIMIT_S = 30.0
"""A Redis that is reached but does not answer for so long counts as away."""


@dataclass(frozen=True)
class Context:
    """What a service's work is made from."""

    settings: Settings
    catalog: Catalog
    producer: AIOKafkaProducer
    watch: WorkerWatch

    def note(self, unit: int, events: int, decision_time: Millis) -> None:
        """A unit tells that it has taken `events` records and has come to `decision_time`."""
        self.watch.unit(unit).note(events, decision_time)


MakeWork = Callable[[Context, int], Work]


def run_service(service: str, topics: Sequence[Topic], make_work: MakeWork, *, counts: bool = True) -> None:
    """Run `service` until it is told to stop. A unit is a partition number of `topics`, which all have equally many.

    `counts`: whether it needs those of baselines (`platform.catalog`).
    """
    setup_logging()
    try:
        settings = settings_module.load()
        problems = check(settings)
        warnings = [] if problems else retention.warnings(settings)
    except DriftlineError as error:
        sys.exit(f"driftline {service}: {error}")
    if problems:
        sys.exit("\n".join(f"driftline {service}: {problem}" for problem in problems))
    for warning in warnings:
        log.warning("%s", warning)
    faust_directory = settings.state_dir / "faust"
    faust_directory.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        settings.group(service),
        broker=f"kafka://{settings.bootstrap}",
        web_enabled=False,
        loghandlers=[],
        datadir=str(faust_directory),
    )
    app.producer_only = True  # without agents Faust would wait for an assignment for ever

    @app.service
    class Units(_Units):
        """The units of this worker."""

        context = (settings, service, tuple(topics), make_work, counts)

    worker = faust.Worker(app, redirect_stdouts=False, loglevel="WARNING", override_logging=False, quiet=True)
    worker.spinner = None  # it would write a terminal's control characters into the log
    worker.execute_from_commandline()


class _Units(mode.Service):
    """Joins the group and keeps one loop running for each unit that it is given."""

    context: tuple[Settings, str, tuple[Topic, ...], MakeWork, bool]

    def __post_init__(self) -> None:
        """What `on_stop` needs, also of a worker whose start failed."""
        self._running: dict[int, asyncio.Task[None]] = {}
        self._connected = AsyncExitStack()

    async def on_start(self) -> None:
        """Connect; the work itself begins in `_own`."""
        self._settings, self._service, self._topics, self._make_work, counts = self.context
        self._catalog = Catalog(self._settings, counts=counts)
        self._connected.push_async_callback(self._catalog.stop)
        await self._catalog.start()
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.bootstrap, acks="all", enable_idempotence=True, max_request_size=16 << 20
        )
        self._connected.push_async_callback(self._producer.stop)
        await self._producer.start()
        self._redis = redis.Redis.from_url(self._settings.redis_url, socket_timeout=REDIS_LIMIT_S)
        self._connected.push_async_callback(self._redis.aclose)
        self._slot = os.environ.get("DRIFTLINE_SLOT", "0")
        self._heartbeat = Heartbeat(self._settings, self._service, self._slot)
        self._watch = WorkerWatch(self._service, lambda: self._running, self._catalog.deployment.clock == "live")
        self._watch.serve()
        self._connected.callback(self._watch.close)
        self._context = Context(self._settings, self._catalog, self._producer, self._watch)
        self._group = AIOKafkaConsumer(
            bootstrap_servers=self._settings.bootstrap,
            group_id=self._settings.group(self._service),
            group_instance_id=f"{self._service}-{self._slot}",
            partition_assignment_strategy=[RangePartitionAssignor],  # round robin would part the topics' partitions
            session_timeout_ms=SESSION_TIMEOUT_MS,
            enable_auto_commit=False,
            auto_offset_reset="latest",
        )
        self._connected.push_async_callback(self._group.stop)

    async def on_stop(self) -> None:
        """Leave nothing half sent: what was not stored will be read again."""
        await _end(self._running.values())
        await self._connected.aclose()

    @mode.Service.task
    async def _own(self) -> None:
        """Follow the group's assignment. Its consumer only decides who owns what: each loop reads by itself."""
        assigned = asyncio.Event()
        listener = _Listener(self._group, assigned)
        self._group.subscribe([self._settings.topic(topic) for topic in self._topics], listener=listener)
        await self._group.start()
        while not self.should_stop:
            if assigned.is_set():
                assigned.clear()
                self._group.pause(*self._group.assignment())  # the listener may have failed to
                await self._follow(self._units(self._group.assignment()))
            await self._group.getmany(timeout_ms=200)  # everything is paused: this only keeps the membership alive
            for task in self._running.values():
                if task.done():
                    task.result()  # an error of a unit ends the worker: the supervisor starts it again

    @mode.Service.timer(HEARTBEAT_S)
    async def _beat(self) -> None:
        units = self._watch.units()
        latest = max((unit.last_event for unit in units if unit.last_event is not None), default=None)
        slowest = min((unit.decision_time for unit in units if unit.decision_time), default=None)
        events, vitals = sum(unit.events for unit in units), self._watch.vitals()
        try:
            await asyncio.to_thread(self._heartbeat.beat, events, latest, slowest, vitals=vitals)
        except RedisError as error:
            log.warning("no heartbeat: Redis does not answer (%s)", error)

    def _units(self, assignment: Iterable[TopicPartition]) -> set[int]:
        """The partition numbers of which all topics are ours. Raises `DeploymentError` where there are new ones."""
        partitions = list(assignment)
        for topic in self._topics:
            made = partitions_of(topic, self._catalog.deployment)
            if any(p.topic == self._settings.topic(topic) and p.partition >= made for p in partitions):
                raise DeploymentError(
                    f"partitions were added to {self._settings.topic(topic)}, which was made with {made}: ids and "
                    "models would move, and their earlier events be missed; see `driftline topics check`"
                )
        found = Counter(partition.partition for partition in partitions)
        return {number for number, topics in found.items() if topics == len(self._topics)}

    async def _follow(self, units: set[int]) -> None:
        await _end([self._running.pop(number) for number in set(self._running) - units])
        for number in sorted(units - set(self._running)):
            self._running[number] = asyncio.create_task(self._loop_of(number).run())
        log.info("%s-%s works on %s", self._service, self._slot, sorted(units) or "nothing")

    def _loop_of(self, number: int) -> Loop:
        deployment = self._catalog.deployment
        live = deployment.clock == "live"
        return Loop(
            self._settings,
            RedisStore(self._redis, self._settings.prefix),
            self._producer,
            lambda: self._make_work(self._context, number),
            self._hint,
            deployment.slice.total_seconds() / TICKS_A_SLICE if live else None,
            self._watch.unit(number),
        )

    async def _hint(self, offsets: Mapping[Source, int]) -> None:
        mine = self._group.assignment()
        found = {TopicPartition(self._settings.topic(s.topic), s.partition): offset for s, offset in offsets.items()}
        found = {partition: offset for partition, offset in found.items() if partition in mine}
        if not found:  # the partition has just gone to another worker; aiokafka takes no empty commit
            return
        try:
            # aiokafka waits without a limit for a coordinator; no unit may stand still for a hint
            await asyncio.wait_for(self._group.commit(found), HINT_LIMIT_S)
        except (CommitFailedError, IllegalStateError, KafkaError, TimeoutError) as error:
            log.info("offsets not committed, which only a lag tool would notice: %s", error)


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel until they have ended: a wait inside a client library can swallow a cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        ended, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
        for task in ended:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.warning("a unit ended with %s: %s", type(error).__name__, error)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka carries no types
    """Only notes the assignment: aiokafka swallows what is raised here, and holds its heartbeats meanwhile."""

    def __init__(self, consumer: AIOKafkaConsumer, assigned: asyncio.Event) -> None:
        self._consumer = consumer
        self._assigned = assigned

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing to do: the fence keeps a former owner from writing."""

    def on_partitions_assigned(self, assigned: Any) -> None:
        """Let `_own` look at the assignment, whatever else happens here; and read nothing through this consumer."""
        self._assigned.set()
        self._consumer.pause(*assigned)
