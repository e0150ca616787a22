"""Faults around what is fetched and not stored yet, and around the outbox."""

from __future__ import annotations

from pathlib import Path

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import CommitFailedError, UnknownMemberIdError
from kafka.structs import OffsetAndMetadata
from tests.chaos.machines import Arena, Machine, wait_for
from tests.chaos.report import Result, conclude
from tests.chaos.saboteur import Fault, armed
from tests.chaos.stage import INPUTS, PARTITIONS, SABOTAGED, Place, Stage, Standing

SLOW_S = 600.0
"""A slow write lasts until it is killed."""


def of_unit(standing: Standing, number: int) -> int:
    """What of one unit is stored."""
    return sum(offset for (_, partition), offset in standing.offsets.items() if partition == number)


def sabotaged(stage: Stage, name: str, fault: Fault, *more: Fault, slot: int = 0) -> tuple[Machine, Path]:
    """A worker with its faults armed, and the file that says that the first of them has come."""
    flag = stage.settings.state_dir / f"{name}.struck"
    flagged = msgspec.structs.replace(fault, flag=str(flag))
    return stage.worker(slot, SABOTAGED, name, **armed(flagged, *more)), flag


def slow_batch_at_the_head(arena: Arena, portion: int) -> Result:
    """One unit's batch takes for ever while those after it, in other units, are stored and hinted; then kill -9.

    Nothing may say that the slow batch is done: not the stored position, and not what the group has committed.
    """
    with Stage(arena, "slow-batch-at-the-head") as stage:
        stage.send(portion)
        first = stage.worker()
        stage.wait_all_applied(first)
        first.stop()
        stuck = stage.standing()
        fault = Fault(call="write", unit="monitor:0", do="wait", seconds=SLOW_S)
        slow, flag = sabotaged(stage, "slow", fault)
        for _ in range(2):
            stage.send(portion)
        others = [n for n in range(PARTITIONS) if n]
        wait_for("the slow write has begun", flag.exists)
        wait_for(
            "all others are stored",
            lambda: all(stage.standing().offsets[t.value, n] >= stage.ends[t.value, n] for t in INPUTS for n in others),
        )
        wait_for(
            "others are hinted", lambda: any(stage.committed().get(p, 0) > stuck.offsets[p] for p in stuck.offsets)
        )
        hinted = stage.committed()
        slow.kill()
        now = stage.standing()
        assert of_unit(now, 0) == of_unit(stuck, 0) > 0
        assert all(hinted.get(place, 0) <= offset for place, offset in now.offsets.items())
        waiting = now.waiting(stage.ends)
        assert waiting > portion / 4
        monitor = stage.worker()
        recovery = stage.wait_moves(now)
        stage.finish_sending()
        stage.wait_all_applied(monitor)
        return conclude(stage, 1, [recovery], [f"records waiting behind the slow batch: {waiting}"])


def hint_while_a_batch_is_buffered(arena: Arena, portion: int, lies: int) -> Result:
    """Offsets are committed while records are in the worker's memory, then kill -9; and again with hints that lie.

    With the clock live records wait in memory until their slice is over, and hints go out meanwhile.
    """
    with Stage(arena, "hint-while-a-batch-is-buffered", clock="live") as stage:
        monitor = stage.worker()
        stage.send(portion)
        stage.wait_moves(Standing({}))
        recoveries = []
        waited = []
        for lie in [False] + [True] * lies:
            before = stage.committed()
            stage.send(portion)
            wait_for("a hint goes out", lambda before=before: stage.committed() != before)
            stage.send(portion)
            hinted = stage.committed()
            monitor.kill()
            now = stage.standing()
            waited.append(now.waiting(stage.ends))
            assert waited[-1] > 0
            assert all(hinted[place] <= offset for place, offset in now.offsets.items() if place in hinted)
            if lie:
                wait_for("the group takes foreign commits", lambda: commit(stage, stage.ends))
                assert sum(stage.committed().values()) > now.total
            monitor.start()
            recoveries.append(stage.wait_moves(now))
        stage.finish_sending()
        stage.wait_all_applied(monitor)
        return conclude(stage, 1 + lies, recoveries, [f"records in memory at the kills: {waited}"])


def commit(stage: Stage, offsets: dict[Place, int]) -> bool:
    """Commit offsets in the monitor's name; False: a member is still thought to be alive."""
    group = KafkaConsumer(
        bootstrap_servers=stage.settings.bootstrap,
        group_id=stage.settings.group("monitor"),
        enable_auto_commit=False,
    )
    try:
        places = {TopicPartition(stage.settings.prefix + t, n): offset for (t, n), offset in offsets.items()}
        group.assign(list(places))
        group.commit({place: OffsetAndMetadata(offset, "", -1) for place, offset in places.items()})
        return True
    except (CommitFailedError, UnknownMemberIdError):
        return False
    finally:
        group.close()
