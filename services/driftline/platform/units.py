"""Units as an operator sees them from outside: where each stands, why it stands still, and letting it go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import redis.asyncio as redis
from kafka import TopicPartition
from kafka.errors import KafkaError

from driftline.errors import DriftlineError, Unreachable
from driftline.events.slices import NoticeKind
from driftline.events.topics import Topic
from driftline.platform.kafka import consumer, read_deployment
from driftline.platform.settings import Settings
from driftline.platform.stops import Stop, UnitState, look, mends, release
from driftline.platform.store import RedisStore, Store

T = TypeVar("T")

LOOK_S = 0.25


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """Records that are gone from Kafka before a unit read them; `records` None: nobody knows how many."""

    topic: str
    partition: int
    first: int
    last: int | None
    records: int | None


def states(settings: Settings) -> list[UnitState]:
    """All units of monitor and control. Raises `DeploymentError` where there are no topics."""
    deployment = read_deployment(settings)
    counts = {"monitor": deployment.partitions, "control": deployment.shards}
    units = [f"{service}:{number}" for service, n in counts.items() for number in range(n)]

    async def ask(store: Store) -> list[UnitState]:
        return [await look(store, unit) for unit in units]

    return in_store(settings, ask)


def standing_still(settings: Settings, unit: str, *kinds: NoticeKind) -> tuple[UnitState, Stop]:
    """A unit that stands still for one of these reasons. Raises `DriftlineError` where it does not."""
    known = {state.unit: state for state in states(settings)}
    if unit not in known:
        raise DriftlineError(f"there is no {unit}; `driftline partitions list` names them")
    state = known[unit]
    if state.stop is None:
        raise DriftlineError(f"{unit} does not stand still; `driftline status` says whether it makes progress")
    if state.stop.kind not in kinds:
        raise DriftlineError(f"{unit} stands still: {state.stop.detail}; what mends it is {mends(unit, state.stop)}")
    return state, state.stop


def lost(settings: Settings, state: UnitState) -> list[Lost]:
    """What a unit would leave behind if it went on now."""
    stands = state.position.sources if state.position else {}
    places = {
        TopicPartition(settings.topic(Topic(topic)), int(number)): (topic, offset)
        for name, (offset, _) in stands.items()
        for topic, number in [name.rsplit("/", 1)]
    }
    reader = consumer(settings)
    try:
        earliest, ends = reader.beginning_offsets(list(places)), reader.end_offsets(list(places))
    except KafkaError as error:
        raise Unreachable(f"Kafka at {settings.bootstrap} does not say what it holds: {error}") from error
    finally:
        reader.close()
    found = []
    for place, (topic, offset) in places.items():
        said = {"topic": topic, "partition": place.partition, "first": offset}
        if offset < earliest[place]:
            found.append(Lost(**said, last=earliest[place] - 1, records=earliest[place] - offset))
        elif offset > ends[place]:
            found.append(Lost(**said, last=None, records=None))
    return found


def let_go_on(settings: Settings, unit: str, seen: Stop, by: str) -> None:
    """Let a unit go on that was seen to stand still. Raises `DriftlineError` where it no longer does so."""
    now = int(time.time() * 1000)
    in_store(settings, lambda store: release(store, unit, seen, by, now))


def wait_until_it_goes(settings: Settings, unit: str, seen: Stop, seconds: float) -> UnitState:
    """Wait until a unit's worker has taken up the release, or stands still for another reason; at most so long."""

    async def ask(store: Store) -> UnitState:
        until = time.monotonic() + seconds
        while (state := await look(store, unit)).stop == seen and time.monotonic() < until:
            await asyncio.sleep(LOOK_S)
        return state

    return in_store(settings, ask)


def in_store(settings: Settings, ask: Callable[[Store], Awaitable[T]]) -> T:
    """What the deployment's store answers."""

    async def connected() -> T:
        client = redis.Redis.from_url(settings.redis_url)
        try:
            return await ask(RedisStore(client, settings.prefix))
        finally:
            await client.aclose()

    return asyncio.run(connected())
