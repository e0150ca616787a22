"""What the tests of control's source partitions share."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from tests.timeline.shards import QUARTER, Shard, ShardLog, breach, catalog, delta, register

from driftline.events.alerts import Alert
from driftline.events.reports import WindowReport
from driftline.events.slices import NoticeKind, notice
from driftline.events.topics import Topic


def begun() -> ShardLog:
    """The spec is in force from slice 1 on, and a champion is registered."""
    log = ShardLog()
    for partition in (0, 1):
        log.slice(partition, 0, marks=["spec m@1"])
    return log.say(0.5, register("1"))


def told(outbox) -> list[Alert]:
    """The alerts among records."""
    return Shard.alerts_in(outbox)


def line(alert: Alert) -> str:
    return f"{alert.rule} {alert.state} {alert.reason}" + (" provisional" if alert.provisional else "")


def lines(outbox) -> list[str]:
    return [line(alert) for alert in told(outbox)]


def reports(shard: Shard) -> list[WindowReport]:
    return shard.events(Topic.METRICS, WindowReport)


def breach_notice(number: int, partition=0, **fields):
    return notice(NoticeKind.BREACH, partition, number, number * QUARTER, breach=breach(**fields))


def stuck(minutes: int = 20) -> tuple[ShardLog, Shard]:
    """Partition 1 stays away after slice 3; the deployment waits for it for `minutes`."""
    declared = catalog()
    declared.deployment = msgspec.structs.replace(declared.deployment, max_stall=timedelta(minutes=minutes))
    log = begun()
    for quarter in (1, 2, 3):
        log.slice(0, quarter, delta(quarter, right=9, wrong=1)).slice(1, quarter, delta(quarter, right=9, wrong=1))
    return log, Shard(log.until(3), declared).run()


def move(log: ShardLog, shard: Shard, first: int, last: int) -> None:
    """Partition 0 goes on alone, one slice a time."""
    for quarter in range(first, last + 1):
        log.slice(0, quarter, delta(quarter, right=9, wrong=1)).until(quarter, [0])
        shard.run()
