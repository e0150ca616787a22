"""Faults of the servers: Redis restarted, set back, emptied; the broker killed and paused."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable

import redis
from tests.chaos.machines import Arena, Machine, wait_for
from tests.chaos.membership import refusals
from tests.chaos.report import Result, conclude
from tests.chaos.stage import PARTITIONS, Stage, Standing

ATTEMPTS = 12


def in_hand(stage: Stage, portion: int, strike: Callable[[], None]) -> tuple[Standing, int]:
    """Send portions, each larger than the one before, until one is under way, and strike.

    Returns what was stored then, and how much was waiting.
    """
    for _ in range(ATTEMPTS):
        before = stage.standing()
        stage.send(portion)
        portion += portion // 2
        wait_for("the worker takes something of it", lambda b=before: stage.standing().total > b.total, 120, 0.002)
        now = stage.standing()
        waiting = now.waiting(stage.ends)
        if waiting:
            strike()
            return now, waiting
    raise AssertionError(f"{ATTEMPTS} portions were done before anything could be struck")


def started(stage: Stage, portion: int) -> Machine:
    """A monitor that has begun to store."""
    nothing = stage.standing()
    stage.send(portion)
    monitor = stage.worker()
    stage.wait_moves(nothing)
    return monitor


def redis_restarted(arena: Arena, rounds: int, portion: int) -> Result:
    """Redis is by turns stopped as an operator does it and killed, and started again while a batch is under way."""
    with Stage(arena, "redis-restarted") as stage:
        monitor = started(stage, portion)
        recoveries, waited = [], []
        for number in range(rounds):
            pid = arena.redis.pid
            now, waiting = in_hand(stage, portion, arena.redis.kill if number % 2 else arena.redis.stop)
            waited.append(waiting)
            arena.redis.start()
            assert arena.redis.pid != pid
            arena.wait_redis()
            recoveries.append(stage.wait_moves(now, monitor))
        stage.finish_sending()
        stage.wait_all_applied(monitor)
        return conclude(stage, rounds, recoveries, [f"records waiting: {waited}"])


def redis_set_back(arena: Arena, rounds: int, portion: int) -> Result:
    """Redis dies and comes back with files of a moment ago: state, outbox and position go back together."""
    with Stage(arena, "redis-loses-its-last-second") as stage:
        monitor = started(stage, portion)
        recoveries, lost = [], []
        for _ in range(rounds):
            copy = stage.settings.state_dir / f"redis-{len(lost)}"
            wait_for("Redis has written what it has", lambda: _written(arena))
            shutil.copytree(arena.redis_files, copy)
            copied = stage.standing()
            for _ in range(2):
                before = stage.standing()
                stage.send(portion)
                stage.wait_moves(before, monitor)
            struck, _ = in_hand(stage, portion, arena.redis.kill)
            shutil.rmtree(arena.redis_files)
            shutil.copytree(copy, arena.redis_files)
            monitor.signal(signal.SIGSTOP)  # so that what Redis has come back with can be looked at
            arena.redis.start()
            arena.wait_redis()
            back = stage.standing()
            assert back.total <= copied.total
            lost.append(struck.total - back.total)
            assert lost[-1] > 0, "Redis has lost nothing"
            monitor.signal(signal.SIGCONT)
            stage.send(portion)  # a unit notices at its next write, and without ticks that needs something to come
            recoveries.append(stage.wait_moves(struck, monitor))
        stage.finish_sending()
        stage.wait_all_applied(monitor)
        return conclude(stage, rounds, recoveries, [f"stored records that were lost: {lost}", *refusals(stage)])


def _written(arena: Arena) -> bool:
    client = redis.Redis.from_url(arena.addresses.redis_url)
    try:
        state = client.info("persistence")
        return not state["aof_rewrite_in_progress"] and not state["aof_pending_bio_fsync"]  # type: ignore[index]  # the client is synchronous
    finally:
        client.close()


def redis_emptied(arena: Arena, rounds: int, portion: int) -> Result:
    """FLUSHALL in the middle of a batch: everything is computed again from Kafka, to the same bytes.

    Recovery is the whole of it: until all that had been stored is stored again.
    """
    with Stage(arena, "flushall") as stage:
        monitor = started(stage, portion)
        client = redis.Redis.from_url(arena.addresses.redis_url)
        recoveries, rebuilt = [], []
        for _ in range(rounds):
            now, _ = in_hand(stage, portion, lambda: client.flushall())
            assert stage.standing().total < now.total
            stage.send(portion)  # as above
            recoveries.append(stage.wait_all_applied(monitor))
            rebuilt.append(f"{stage.standing().total:,} records in {recoveries[-1]:.1f} s")
        client.close()
        stage.finish_sending()
        stage.wait_all_applied(monitor)
        result = conclude(stage, rounds, recoveries, [f"rebuilt: {', '.join(rebuilt)}", *refusals(stage)])
        assert result.verdict.relayed_again, "nothing was published again, so nothing was computed again"
        return result


def broker_killed(arena: Arena, rounds: int, portion: int) -> Result:
    """The broker dies by SIGKILL in the middle of a batch and is started again.

    Recovery is from its start, its own included, until all that it holds is stored and relayed.
    """
    with Stage(arena, "broker-killed") as stage:
        monitor = started(stage, portion)
        recoveries, waited = [], []
        for _ in range(rounds):
            pid = arena.kafka.pid
            _, waiting = in_hand(stage, portion, arena.kafka.kill)
            waited.append(waiting)
            arena.kafka.start()
            assert arena.kafka.pid != pid
            recoveries.append(arena.wait_kafka() + stage.wait_all_applied(monitor))
        stage.finish_sending()
        stage.wait_all_applied(monitor)
        return conclude(stage, rounds, recoveries, [f"records waiting: {waited}"])


def broker_paused(arena: Arena, seconds: float, portion: int) -> Result:
    """The broker is stopped for a while and goes on. Recovery is until all that was sent before is relayed."""
    with Stage(arena, "broker-paused") as stage:
        monitor = started(stage, portion)
        _, waiting = in_hand(stage, portion, lambda: arena.kafka.signal(signal.SIGSTOP))
        time.sleep(seconds)  # not a wait for anything: how long the fault lasts
        assert arena.kafka.paused()
        outbox = sum(len(stage.outbox(n)) for n in range(PARTITIONS))
        arena.kafka.signal(signal.SIGCONT)
        recovery = stage.wait_all_applied(monitor)
        stage.finish_sending()
        stage.wait_all_applied(monitor)
        notes = [f"paused for {seconds:g} s with {waiting} records waiting; {outbox} records to relay when it went on"]
        return conclude(stage, 1, [recovery], notes)
