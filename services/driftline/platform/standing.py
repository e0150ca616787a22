"""How a unit comes to stand still, waits for an operator and goes on; and what else it says of itself on the way."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from driftline.errors import UnitStopped
from driftline.events.base import Millis, encode
from driftline.events.slices import Gap, NoticeKind
from driftline.platform.changes import Changes, Step
from driftline.platform.checkpoint import Checkpoint
from driftline.platform.inbox import Inbox, Missing, name_of
from driftline.platform.records import Outgoing
from driftline.platform.stops import OWN, TOLD, Own, Stop, Told, going_on, mends, stopped
from driftline.platform.store import Fenced, Store
from driftline.platform.telemetry import UnitWatch
from driftline.platform.work import Resumes, Tells, Work

log = logging.getLogger("driftline.standing")

LOOK_S = 1.0
"""How often a unit that stands still looks whether it may go on."""
BEHIND_S = 30.0
"""A decision time that lies further behind the wall clock than this (and the slice that is under way) is told; it has
caught up when it is half of it."""


class Gone(UnitStopped):
    """Stopped because Kafka no longer holds what comes next."""

    def __init__(self, missing: Sequence[Missing]) -> None:
        super().__init__(NoticeKind.GAP, "; ".join(gone.detail for gone in missing))
        self.gaps = tuple(gone.gap for gone in missing if gone.gap is not None)


async def note_stop(work: Work, checkpoint: Checkpoint, raised: UnitStopped, at: Millis) -> None:
    """Store that the unit stands still, and say so. `work` holds what is stored. Nothing else of it changes."""
    stop = Stop(
        kind=NoticeKind(raised.kind),
        detail=raised.detail,
        at=at,
        since=int(time.time() * 1000),
        gaps=raised.gaps if isinstance(raised, Gone) else (),
    )
    said = f"{stop.detail}. The partition stands still until {mends(checkpoint.unit, stop)}"
    log.error("%s: %s: %s", checkpoint.unit, stop.kind, said)
    told = [record for gap in stop.gaps or (None,) for record in _tell(work, stop.kind, at, said, gap)]
    sources = checkpoint.position.sources if checkpoint.position else {}
    await checkpoint.relay(await checkpoint.write(sources, stopped(stop), told))


async def stand_still(store: Store, checkpoint: Checkpoint, stop: Stop, inbox: Inbox, watch: UnitWatch) -> None:
    """Wait until an operator lets the unit go on. Raises `Fenced` where it has moved meanwhile."""
    watch.stopped = f"{stop.kind}: {stop.detail}; {mends(checkpoint.unit, stop)}"
    log.error("%s stands still: %s", checkpoint.unit, watch.stopped)
    while True:
        position, fields = await store.peek(checkpoint.unit, OWN)
        own = Own.of(fields)
        if position != checkpoint.fence or own.stop != stop:
            raise Fenced(checkpoint.unit)
        if own.release is not None:
            log.warning("%s may go on: %s says so", checkpoint.unit, own.release.by)
            return
        watch.lag = await inbox.lag_from(checkpoint.position)
        await asyncio.sleep(LOOK_S)


async def go_on(
    work: Work, checkpoint: Checkpoint, inbox: Inbox, own: Own, missing: Sequence[Missing], watch: UnitWatch
) -> None:
    """Store that the unit stands still no longer, count what it had to leave behind, and say so.

    Raises `Gone` where records are missing and the operator has accepted something else.
    """
    assert own.stop is not None
    assert own.release is not None
    if own.stop.kind is not NoticeKind.GAP and any(gone.read_before for gone in missing):
        raise Gone(missing)
    count(own.told, missing)
    changes = work.resume(own.stop.kind) if isinstance(work, Resumes) else Changes()
    said = [_left_behind(gone) for gone in missing] or [(f"{own.release.by} has looked at it.", None)]
    told = [r for text, gap in said for r in _tell(work, NoticeKind.RESUMED, inbox.arrival(), text, gap)]
    for text, _ in said:
        log.warning("%s goes on: %s", checkpoint.unit, text)
    outbox = await checkpoint.write(inbox.taken, going_on(own.told, changes), told)
    watch.stopped, watch.missing = "", own.told.missing
    await checkpoint.relay(outbox)


def comment(work: Work, step: Step, told: Told, missing: Sequence[Missing], watch: UnitWatch, slice_s: float) -> None:
    """Add to a step what the unit has to say of itself: that it does not keep up, or does again; and of a unit that
    begins without a position, what Kafka no longer held.
    """
    before = encode(told)
    count(told, missing)
    for text, gap in map(_left_behind, missing):
        log.error("%s begins: %s", work.name, text)
        for kind in (NoticeKind.GAP, NoticeKind.RESUMED):
            step.outbox += _tell(work, kind, watch.decision_time, text, gap)
    behind = watch.behind_s(int(time.time() * 1000))
    if behind is not None:
        limit = BEHIND_S + slice_s
        late = behind > (limit / 2 if told.behind else limit)
        if late != told.behind:
            told.behind = late
            kind = NoticeKind.BEHIND if late else NoticeKind.CAUGHT_UP
            text = f"The decision time lies {behind:.0f} s behind the clock."
            log.warning("%s: %s: %s", work.name, kind, text)
            step.outbox += _tell(work, kind, watch.decision_time, text, None)
    watch.behind, watch.missing = told.behind, told.missing
    if encode(told) != before:
        step.changes.put[OWN] = {TOLD: encode(told)}


def count(told: Told, missing: Sequence[Missing]) -> None:
    """Add to what has been missing so far."""
    for gone in missing:
        if gone.gap is not None:
            name = name_of(gone.source)
            told.missing[name] = told.missing.get(name, 0) + gone.gap.last - gone.gap.first + 1


def _left_behind(gone: Missing) -> tuple[str, Gap | None]:
    n = gone.gap.last - gone.gap.first + 1 if gone.gap is not None else 0
    counted = f"{n} records cannot be counted" if n else "what it held beyond cannot be counted"
    return f"{gone.detail}: {counted}; figures are exact again two horizons after the earliest record kept.", gone.gap


def _tell(work: Work, kind: NoticeKind, at: Millis, detail: str, gap: Gap | None) -> list[Outgoing]:
    return work.tell(kind, at, detail, gap) if isinstance(work, Tells) else []
