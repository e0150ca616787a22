"""What the loop itself keeps of a unit beside the work's state: whether it stands still, and what it has told.

It stands in a hash of its own (`OWN`) of the unit's stored state, so that it is written under the same fence.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from driftline.errors import DriftlineError
from driftline.events.base import Millis, encode
from driftline.events.slices import Gap, NoticeKind
from driftline.platform.changes import Changes
from driftline.platform.inbox import Position
from driftline.platform.store import Fenced, Store

OWN = "loop"
STOP, RELEASE, TOLD = b"stop", b"release", b"told"


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Why a unit stands still. `at`: the arrival that it had come to; `since`: wall time."""

    kind: NoticeKind
    detail: str
    at: Millis
    since: Millis
    gaps: tuple[Gap, ...] = ()


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """An operator lets a unit go on. `at`: wall time."""

    by: str
    at: Millis


class Told(msgspec.Struct, kw_only=True):
    """`behind`: the last notice of a clock that does not keep up has not been taken back. `missing`: records that were
    gone from Kafka before they were read, by source.
    """

    behind: bool = False
    missing: dict[str, int] = {}


class Own(msgspec.Struct, kw_only=True):
    """All of it."""

    stop: Stop | None = None
    release: Release | None = None
    told: Told = msgspec.field(default_factory=Told)

    @staticmethod
    def of(stored: Mapping[bytes, bytes]) -> Own:
        """As it is stored."""
        return Own(
            stop=msgspec.json.decode(stored[STOP], type=Stop) if STOP in stored else None,
            release=msgspec.json.decode(stored[RELEASE], type=Release) if RELEASE in stored else None,
            told=msgspec.json.decode(stored[TOLD], type=Told) if TOLD in stored else Told(),
        )


def stopped(stop: Stop) -> Changes:
    """The unit stands still from now on; an older release does not hold for it."""
    return Changes(drop={OWN: [RELEASE]}, put={OWN: {STOP: encode(stop)}})


def going_on(told: Told, changes: Changes) -> Changes:
    """`changes` of the work, and the unit stands still no longer."""
    changes.drop[OWN] = [STOP, RELEASE]
    changes.put[OWN] = {TOLD: encode(told)}
    return changes


def mends(unit: str, stop: Stop) -> str:
    """The command that lets a unit go on."""
    verb = "accept-gap" if stop.kind is NoticeKind.GAP else "resume"
    return f"`driftline partitions {verb} {unit.replace(':', ' ')}`"


class UnitState(msgspec.Struct, frozen=True, kw_only=True):
    """A unit as an operator sees it; `position` None: nothing is stored of it."""

    unit: str
    position: Position | None
    stop: Stop | None
    released: bool
    missing: dict[str, int]


async def look(store: Store, unit: str) -> UnitState:
    """What is stored of `unit`, without its state."""
    position, fields = await store.peek(unit, OWN)
    own = Own.of(fields)
    return UnitState(
        unit=unit,
        position=msgspec.json.decode(position, type=Position) if position else None,
        stop=own.stop,
        released=own.release is not None,
        missing=own.told.missing,
    )


async def release(store: Store, unit: str, seen: Stop, by: str, now: Millis) -> None:
    """Let `unit` go on, which was seen to stand still for `seen`. Its worker does so within a second.

    Raises `DriftlineError` where it stands still for another reason by now, or not at all.
    """
    position, fields = await store.peek(unit, OWN)
    if position is None or Own.of(fields).stop != seen:
        raise DriftlineError(f"{unit} no longer stands still for that reason; look again: `driftline partitions list`")
    changes = Changes(put={OWN: {RELEASE: encode(Release(by=by, at=now))}})
    try:
        await store.write(unit, position, position, changes, {})
    except Fenced as moved:
        raise DriftlineError(f"{unit} has moved at this moment; look again: `driftline partitions list`") from moved
