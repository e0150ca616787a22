"""Which records make a step raise: found by trying, each time from what is stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from driftline.errors import DeploymentError, UnitStopped
from driftline.events.slices import NoticeKind
from driftline.platform.inbox import Inbox
from driftline.platform.records import Record, Source
from driftline.platform.store import Fenced, Store
from driftline.platform.work import SERVER_FAULTS, ReadToEnd, Refused, Work, take_over

log = logging.getLogger("driftline.culprits")

HANDFUL = 5
"""So many records in a row that Driftline cannot work on are no longer an exception: the unit stops."""

LEFT_OUT = "left out to find another"

Try = Callable[[Refused], Awaitable[str | None]]
"""Takes the step anew, but for these records; returns what it raised, None where it passed."""


class Trial:
    """Takes a step again and again, each time from what is stored, on what waits in the inbox."""

    def __init__(self, store: Store, make_work: Callable[[], Work], inbox: Inbox, fence: bytes | None) -> None:
        self._store, self._make_work, self._inbox, self._fence = store, make_work, inbox, fence

    async def __call__(self, refused: Refused) -> str | None:
        """See `Try`. Raises `Fenced` where something else is stored by now."""
        work = await started(self._store, self._make_work(), refused, self._fence)
        if isinstance(work, ReadToEnd):
            work.read_to_end(self._inbox.ended())
        counts = work.cut(self._inbox.waiting, self._inbox.reached)
        if counts is None:
            raise UnitStopped(NoticeKind.STOPPED, "from the same state and the same records no step is cut again")
        taken = {source: list(islice(self._inbox.waiting[source], n)) for source, n in counts.items()}
        try:
            await work.prepare(taken)
            await asyncio.to_thread(work.step, taken, dict(self._inbox.reached))
        except (UnitStopped, DeploymentError):
            return None  # it stops on purpose; here that may be because so much was left out
        except (MemoryError, *SERVER_FAULTS):
            raise
        except Exception as error:
            return raised_text(error)
        return None


async def started(store: Store, work: Work, refused: Refused, fence: bytes | None) -> Work:
    """`work`, having taken over what is stored. Raises `Fenced` where the stored position is not `fence`."""
    stored = await store.load(work.name)
    if stored.position != fence:
        raise Fenced(work.name)
    await take_over(work, stored, refused)
    return work


async def find(records: Sequence[Record], attempt: Try, refused: dict[tuple[Source, int], str], at_most: int) -> int:
    """Add to `refused` what must be refused so that the step passes, with what it made it raise; returns how many.

    A record is one of them if the step passes with all that stand before it, and raises with it. So of two that only
    raise together it is the later one. Raises `UnitStopped` where the step raises without any record, where it does not
    raise the same twice, and where more than `at_most` would have to be refused; those found by then are in `refused`.
    """
    places = [(record.source, record.offset) for record in records]
    nothing_left = await attempt(dict.fromkeys(places, LEFT_OUT))
    if nothing_left is not None:
        raise UnitStopped(NoticeKind.STOPPED, f"a step raises whatever it is given: {nothing_left}")
    found = 0
    while (raised := await attempt(refused)) is not None:
        if found >= at_most:
            raise _too_many(refused, raised)
        passes, fails = 0, len(places)
        while fails - passes > 1:
            middle = (passes + fails) // 2
            said = await attempt({**dict.fromkeys(places[middle:], LEFT_OUT), **refused})
            if said is None:
                passes = middle
            else:
                fails, raised = middle, said
        culprit = places[fails - 1]
        if culprit in refused:
            raise UnitStopped(NoticeKind.STOPPED, f"a step raises, but not at the same records each time: {raised}")
        refused[culprit] = raised
        found += 1
        log.error("%s-%d at %d cannot be worked on: %s", *culprit[0], culprit[1], raised)
    return found


def _too_many(refused: Refused, raised: str) -> UnitStopped:
    last = [f"{source.topic.value}-{source.partition} at {offset}" for source, offset in refused][-HANDFUL:]
    return UnitStopped(
        NoticeKind.STOPPED,
        f"more than {HANDFUL} records in a row cannot be worked on (after {', '.join(last)}): {raised}",
    )


def raised_text(error: Exception) -> str:
    """What a bug is called in logs and dead letters."""
    return f"{type(error).__name__}: {error}"
