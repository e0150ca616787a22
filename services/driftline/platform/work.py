"""What a service gives to the checkpointed loop: its work on one unit, and what the work may offer beside."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from driftline.errors import InvalidRecord
from driftline.events.base import Millis
from driftline.events.slices import Gap, NoticeKind
from driftline.events.topics import DeadLetterReason
from driftline.platform.changes import Changes, Step
from driftline.platform.records import Outgoing, Record, Source, dead_letter
from driftline.platform.stops import OWN
from driftline.platform.store import Stored

SERVER_FAULTS = (KafkaError, RedisError, OSError)
"""What `Work.prepare` and `Work.start` may raise without it being a bug: a server does not answer."""

Refused = Mapping[tuple[Source, int], str]
"""Records that a work must not work on, by source and offset, and why."""


class Work(Protocol):
    """One unit of a service: a source partition of monitor, a shard of control. No I/O but in `start` and `prepare`."""

    name: str
    """Names the unit's stored state, e.g. `monitor:3`."""
    sources: tuple[Source, ...]
    """What it reads."""
    ticked: tuple[Source, ...]
    """Those of its sources in which it lets time pass while nothing comes (`clock: live`)."""

    async def start(self, stored: Stored) -> None:
        """Take over the stored state; where it is `fresh`, there is none.

        It runs in a thread with an event loop of its own, so it may take as long as it needs, and must not touch what
        belongs to the loop's.
        """

    def refuse(self, records: Refused) -> None:
        """A step raised because of these: whenever they come, they are to become dead letters, `step-failed`.

        Called after `start`, with all that are known.
        """

    def cut(
        self, waiting: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]
    ) -> dict[Source, int] | None:
        """How many of the waiting records of each source the next step takes; None: wait for more.

        `reached` is the highest arrival seen of each source, waiting records included (-1: none yet).
        """

    async def prepare(self, taken: Mapping[Source, Sequence[Record]]) -> None:
        """Look up what the step will need (specs, baselines)."""

    def step(self, taken: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]) -> Step:
        """The pure step. It may change this object's memory: on any failure the loop throws the object away.

        It may raise `UnitStopped`: nothing of the step is stored, and the unit stands still until an operator lets it
        go on. Anything else that it raises is a bug, for which the loop finds the record to refuse.
        """

    async def stored_and_relayed(self) -> None:
        """Called when the step's state is stored and its outbox acknowledged."""


@runtime_checkable
class AtOnce(Protocol):
    """A work that answers some records before they are cut: what it returns is sent and acknowledged at once.

    It is pure: nothing that is stored may change here, and what it returns is no part of the stored step. Records come
    again after a restart, so it must give a repeat the same id.
    """

    def at_once(self, records: Sequence[Record]) -> list[Outgoing]:
        """What newly fetched records ask for at once. They come by source in the order of its log."""


@runtime_checkable
class ReadToEnd(Protocol):
    """A work that wants to know which of its sources hold nothing more."""

    def read_to_end(self, sources: Collection[Source]) -> None:
        """Told after each fetch: everything in these sources has been fetched by now."""


@runtime_checkable
class Tells(Protocol):
    """A work with readers to whom its unit can say that it stands still, goes on, or does not keep up."""

    def tell(self, kind: NoticeKind, at: Millis, detail: str, gap: Gap | None = None) -> list[Outgoing]:
        """The records that say so. `at`: an arrival."""


@runtime_checkable
class Resumes(Protocol):
    """A work that has to change something before it goes on after a stop."""

    def resume(self, kind: NoticeKind) -> Changes:
        """An operator lets the unit go on, which had stopped for `kind`. Called after `start`; returns what changes."""


@runtime_checkable
class Measures(Protocol):
    """A work with figures of its own."""

    def gauges(self) -> dict[str, float]:
        """By name, such as `kept_predictions`. Asked once a second, between steps."""


def usable(records: Sequence[Record], refused: Refused) -> list[Record]:
    """Those that a step may work on."""
    return [record for record in records if (record.source, record.offset) not in refused] if refused else [*records]


def refused_letters(taken: Mapping[Source, Sequence[Record]], refused: Refused) -> list[Outgoing]:
    """The dead letters of the others."""
    records = [record for records in taken.values() for record in records] if refused else []
    known = [(record, refused.get((record.source, record.offset))) for record in records]
    return [dead_letter(r, InvalidRecord(DeadLetterReason.STEP_FAILED, why)) for r, why in known if why is not None]


async def take_over(work: Work, stored: Stored, refused: Refused) -> None:
    """Let `work` begin from what is stored, however long that takes: the loop's own event loop stays free meanwhile,
    else the group would take the worker for dead and give its units to another, which would take just as long.
    """
    await asyncio.to_thread(asyncio.run, work.start(stored.without(OWN)))
    work.refuse(refused)
