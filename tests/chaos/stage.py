"""One deployment under test: what is sent to it, who works on it, and how far it has come."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import redis.asyncio
from kafka import KafkaConsumer, TopicPartition
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError
from tests.chaos.contract import COLUMNS
from tests.chaos.load import MODELS, Item, Load, baseline_of_beta, partition_of, spec_of
from tests.chaos.machines import Arena, Machine, wait_for, worker
from tests.chaos.malformed import Odd

from driftline.errors import Unreachable
from driftline.events.topics import Topic
from driftline.platform import topics
from driftline.platform.bulk import BulkSender
from driftline.platform.declare import apply_spec, declare_baseline
from driftline.platform.kafka import read_deployment, tick
from driftline.platform.records import Outgoing
from driftline.platform.settings import Settings
from driftline.platform.stops import UnitState, look
from driftline.platform.store import RedisStore

PARTITIONS = 4
SLICE_MS = 1000
LONG_S = 900.0
TAIL_MS = 60_000
"""So much time passes after the last event: twice what `beta` is remembered for."""
BEGIN_MS = 1_700_000_000_000
INPUTS = (Topic.PREDICTIONS, Topic.OUTCOMES)
FOR_CONTROL = (Topic.COMMANDS, Topic.CANDIDATES, Topic.VERDICTS)
SABOTAGED = ("-m", "tests.chaos.saboteur", "driftline.monitor.main")
MONITOR = ("-m", "driftline.monitor.main")
CONTROL = ("-m", "driftline.control.main")
_numbers = itertools.count(1)

Place = tuple[str, int]
"""(topic without prefix, partition)"""


@dataclass(frozen=True)
class Standing:
    """How far the stored state has come: the next offset of each source, as Redis has it."""

    offsets: dict[Place, int]

    @property
    def total(self) -> int:
        """Records applied and stored, ticks and marks included."""
        return sum(self.offsets.values())

    def waiting(self, ends: dict[Place, int]) -> int:
        """How many of the records sent are not in the stored state."""
        return sum(max(0, end - self.offsets.get(place, 0)) for place, end in ends.items())


class Stage:
    """A deployment of its own on an arena's servers. Use it as a context: it ends what it started."""

    def __init__(self, arena: Arena, name: str, *, clock: str = "events", seed: int = 1, copies: int = 1) -> None:
        self.arena = arena
        self.name = name
        directory = arena.directory / f"{name}-{next(_numbers)}"
        directory.mkdir()
        self.settings = Settings(
            bootstrap=arena.addresses.bootstrap,
            redis_url=arena.addresses.redis_url,
            prefix=f"{directory.name}.",
            state_dir=directory,
            archive_dir=directory / "archive",
            artifact_dir=directory / "artifacts",
        )
        self.live = clock == "live"
        self.ends: dict[Place, int] = {}
        self.machines: list[Machine] = []
        self.ended_by_themselves = 0
        self.random = random.Random(seed)
        self._load = Load(seed, PARTITIONS, copies)
        self._now = BEGIN_MS
        self._loop = asyncio.new_event_loop()
        # connections that a fault has cut are made anew, also those that were idle then
        again = Retry(ConstantBackoff(0.1), 20)
        client = redis.asyncio.Redis.from_url(arena.addresses.redis_url, retry=again, retry_on_error=[ConnectionError])
        self._store = RedisStore(client, self.settings.prefix)
        self._sender: BulkSender | None = None
        topics.create(
            self.settings,
            clock=clock,
            slice_length=timedelta(milliseconds=SLICE_MS),
            max_stall=timedelta(days=1),  # no partition is left out: what is tested here is that all of them go on
            partitions=PARTITIONS,
        )
        for model in MODELS:
            apply_spec(self.settings, spec_of(model), "chaos")
        declare_baseline(self.settings, read_deployment(self.settings), baseline_of_beta())

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines:
            machine.end()
        self._drop_sender()
        self._loop.close()

    # --- what is sent ---

    def send(self, predictions: int, seconds: float = 2.0) -> None:
        """Send so many predictions with what belongs to them, made within so many seconds of the stream's clock."""
        first = self.now
        self._now = first + int(seconds * 1000)
        self.send_records([self._outgoing(item) for item in self._load.until(first, self._now, predictions)])
        self._pass_time()

    def send_odd(self, records: Sequence[Odd]) -> None:
        """Send records that may be malformed, stamped as of now."""
        stamp = None if self.live else self._now
        self.send_records(
            [
                Outgoing(Topic(odd.topic), odd.key, odd.value, partition_of(odd.key, PARTITIONS), odd.headers, stamp)
                for odd in records
            ]
        )

    def send_records(self, records: Sequence[Outgoing]) -> None:
        """Write records in order. Where the broker goes away, all are written again: repeats are repeats."""
        while True:
            try:
                self._sender = self._sender or BulkSender(self.settings)
                for record in records:
                    self._sender.add(record)
                self._sender.acknowledged()
                break
            except Unreachable:
                self._drop_sender()
                self.arena.wait_kafka()
        self.ends = self._end_offsets()

    @property
    def now(self) -> int:
        """The stream's clock."""
        return int(time.time() * 1000) if self.live else self._now

    def finish_sending(self) -> None:
        """Send what is still to come, and with the clock of events let time pass beyond it, for everybody."""
        rest = list(self._load.rest())
        self.send_records([self._outgoing(item) for item in rest])
        end = max([self._now, *(item.stamp for item in rest)]) + TAIL_MS
        self._now = end // SLICE_MS * SLICE_MS
        self._pass_time()

    def pass_time(self, milliseconds: int) -> None:
        """With the clock of events: so much time passes in which nothing comes."""
        self._now += milliseconds // SLICE_MS * SLICE_MS
        self._pass_time()

    def _pass_time(self) -> None:
        """With the clock of events: nothing more comes before now. `ends` does not count what says so."""
        if not self.live:
            everywhere = [(t, n) for t in INPUTS for n in range(PARTITIONS)] + [(t, 0) for t in FOR_CONTROL]
            before = self.ends
            self.send_records([tick(topic, n, self._now) for topic, n in everywhere])
            self.ends = before

    def _outgoing(self, item: Item) -> Outgoing:
        headers = (("content-type", COLUMNS.encode()),) if item.columns else ()
        stamp = None if self.live else item.stamp
        return Outgoing(Topic(item.topic), item.key, item.value, item.partition, headers, stamp)

    def _drop_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            try:
                sender.close()
            except Unreachable:
                return  # what it had was written again, or belongs to a stage that is over

    def _end_offsets(self) -> dict[Place, int]:
        consumer = KafkaConsumer(bootstrap_servers=self.settings.bootstrap)
        try:
            places = {
                TopicPartition(self.settings.topic(t), n): (t.value, n) for t in INPUTS for n in range(PARTITIONS)
            }
            return {places[p]: end for p, end in consumer.end_offsets(list(places)).items()}
        finally:
            consumer.close()

    # --- who works ---

    @property
    def environment(self) -> dict[str, str]:
        """The settings, for a process."""
        settings = self.settings
        return {
            "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
            "DRIFTLINE_REDIS_URL": settings.redis_url,
            "DRIFTLINE_PREFIX": settings.prefix,
            "DRIFTLINE_STATE_DIR": str(settings.state_dir),
            "DRIFTLINE_ARCHIVE_DIR": str(settings.archive_dir),
            "DRIFTLINE_ARTIFACT_DIR": str(settings.artifact_dir),
        }

    def worker(
        self, slot: int = 0, module: Sequence[str] = MONITOR, name: str = "monitor", **environment: str
    ) -> Machine:
        """A worker, started."""
        log = self.settings.state_dir / f"{name}-{slot}-{len(self.machines)}.log"
        machine = worker(f"{name}-{slot}", module, self.environment | environment, log, slot)
        self.machines.append(machine)
        machine.start()
        return machine

    # --- how far it has come ---

    def standing(self) -> Standing:
        """What is stored now."""
        offsets: dict[Place, int] = {}
        for state in self._ask(lambda unit: look(self._store, unit)):
            for source, (offset, _) in (state.position.sources if state.position else {}).items():
                topic, _, number = source.partition("/")
                offsets[topic, int(number)] = offset
        return Standing(offsets)

    def outbox(self, number: int) -> set[bytes]:
        """The names of what a unit has stored and not yet seen acknowledged."""
        return {name for name, _ in self._loop.run_until_complete(self._store.load(f"monitor:{number}")).outbox}

    def _ask(self, ask: Callable[[str], Awaitable[UnitState]]) -> list[UnitState]:
        async def all_units() -> list[UnitState]:
            return await asyncio.gather(*(ask(f"monitor:{n}") for n in range(PARTITIONS)))

        return self._loop.run_until_complete(all_units())

    def waiting(self) -> int:
        """Records sent that are not in the stored state."""
        return self.standing().waiting(self.ends)

    def waiting_in(self, number: int) -> int:
        """The same of one partition."""
        return self.standing().waiting({place: end for place, end in self.ends.items() if place[1] == number})

    def wait_moves(self, since: Standing, *workers: Machine) -> float:
        """Wait until more is stored than then; returns the seconds. Workers that end meanwhile are started again."""

        def moves() -> bool:
            self._keep_alive(workers)
            return self.standing().total > since.total

        return wait_for(f"the stored position moves ({self.name})", moves)

    def wait_all_applied(self, *workers: Machine) -> float:
        """Wait until everything sent is stored and relayed; returns the seconds. `workers` as in `wait_moves`."""

        def applied() -> bool:
            self._keep_alive(workers)
            return self.waiting() == 0 and not any(self.outbox(n) for n in range(PARTITIONS))

        return wait_for(f"everything is applied ({self.name})", applied, LONG_S, 0.02)

    def wait_decided(self, control: Machine) -> None:
        """Wait until control has decided up to the end of what was sent."""
        consumer = KafkaConsumer(bootstrap_servers=self.settings.bootstrap, auto_offset_reset="earliest")
        consumer.assign([TopicPartition(self.settings.topic(Topic.PROGRESS), 0)])
        decided = 0

        def reached() -> bool:
            nonlocal decided
            self._keep_alive([control])
            for records in consumer.poll(timeout_ms=100).values():
                decided = max(decided, *(json.loads(record.value)["decision_time"] for record in records))
            return decided >= self._now

        try:
            wait_for(f"control has decided ({self.name})", reached, LONG_S)
        finally:
            consumer.close()

    def _keep_alive(self, workers: Sequence[Machine]) -> None:
        """Start again what has ended by itself, as a supervisor would, and count it."""
        for machine in workers:
            if not machine.alive():
                self.ended_by_themselves += 1
                machine.start()

    def committed(self) -> dict[Place, int]:
        """What the group has committed: the hint."""
        group = KafkaConsumer(bootstrap_servers=self.settings.bootstrap, group_id=self.settings.group("monitor"))
        try:
            places = {
                TopicPartition(self.settings.topic(t), n): (t.value, n) for t in INPUTS for n in range(PARTITIONS)
            }
            found = {place: group.committed(partition) for partition, place in places.items()}
            return {place: offset for place, offset in found.items() if offset is not None}
        finally:
            group.close()
