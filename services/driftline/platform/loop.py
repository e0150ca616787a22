"""The checkpointed loop: the one way in which a service that holds state reads, decides, stores and writes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from driftline.errors import DeploymentError, UnitStopped
from driftline.events.base import Millis
from driftline.events.slices import NoticeKind
from driftline.platform.changes import Changes, Step
from driftline.platform.checkpoint import Checkpoint, Sender, send
from driftline.platform.culprits import HANDFUL, Trial, find, raised_text, started
from driftline.platform.inbox import FETCH_BYTES, Inbox, records_of
from driftline.platform.kafka import tick
from driftline.platform.records import Record, Source
from driftline.platform.settings import Settings
from driftline.platform.standing import Gone, comment, go_on, note_stop, stand_still
from driftline.platform.stops import OWN, Own
from driftline.platform.store import Fenced, Store, Stored
from driftline.platform.telemetry import UnitWatch
from driftline.platform.work import SERVER_FAULTS, AtOnce, Measures, ReadToEnd, Work, take_over

__all__ = ["AtOnce", "Changes", "Loop", "ReadToEnd", "Step", "Stored", "Work", "send"]

log = logging.getLogger("driftline.loop")

BACK_OFF_S = 1.0
HINT_S = 1.0
TICKS_A_SLICE = 4


class Loop:
    """Runs one unit until it is cancelled.

    `committed` is told the offsets reached, as a hint for lag tools. `tick_every` (seconds) is None where no clock of
    ours may move time (`clock: events`).
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        producer: AIOKafkaProducer,
        make_work: Callable[[], Work],
        committed: Callable[[Mapping[Source, int]], Awaitable[None]],
        tick_every: float | None,
        watch: UnitWatch | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._sender = Sender(settings, producer)
        self._make_work = make_work
        self._committed = committed
        self._tick_every = tick_every
        self._watch = watch or UnitWatch()
        self._refused: dict[tuple[Source, int], str] = {}
        self._in_a_row = 0
        self._raised_at: object = self  # that no fence is equal to

    async def run(self) -> None:
        """Live again and again: what is in memory is thrown away whenever it may differ from what is stored."""
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._settings.bootstrap,
                enable_auto_commit=False,
                auto_offset_reset="none",  # a position that Kafka no longer holds is an error, never a silent jump
                fetch_min_bytes=1,
                max_partition_fetch_bytes=FETCH_BYTES,
            )
            try:
                await consumer.start()
                await self._begin(self._make_work(), consumer)
            except Fenced as fenced:
                log.warning("unit %s is now another worker's, or Redis has gone back: loading what is stored", fenced)
            except SERVER_FAULTS as error:
                log.warning("a server does not answer (%s: %s): trying again", type(error).__name__, error)
                await asyncio.sleep(BACK_OFF_S)
            finally:
                await consumer.stop()

    async def _begin(self, work: Work, consumer: AIOKafkaConsumer) -> None:
        """Relay what a crash left, and live; or stand still."""
        stored = await self._store.load(work.name)
        own = Own.of(stored.hashes.get(OWN, {}))
        checkpoint = Checkpoint(self._store, work.name, stored, self._sender, self._watch)
        await checkpoint.relay(checkpoint.left)
        inbox = Inbox(self._settings, work.sources, consumer)
        if own.stop is not None and own.release is None:
            del stored
            await stand_still(self._store, checkpoint, own.stop, inbox, self._watch)
            return
        self._watch.stopped, self._watch.behind, self._watch.missing = "", own.told.behind, own.told.missing
        await take_over(work, stored, self._refused)
        del stored  # the work has its own by now
        try:
            await self._live(work, checkpoint, inbox, own)
        except UnitStopped as stop:
            del work
            memory = await started(self._store, self._make_work(), self._refused, checkpoint.fence)
            await note_stop(memory, checkpoint, stop, inbox.arrival())

    async def _live(self, work: Work, checkpoint: Checkpoint, inbox: Inbox, own: Own) -> None:
        """One life of the unit, until something makes its memory void; then it returns or raises."""
        missing = await inbox.open(checkpoint.position)
        if own.stop is not None:
            await go_on(work, checkpoint, inbox, own, missing, self._watch)
            self._in_a_row, missing = 0, []
        elif any(gone.read_before for gone in missing):
            raise Gone(missing)
        hint_at = 0.0
        ticking = asyncio.create_task(self._tick(work.ticked, inbox)) if self._tick_every else None
        try:
            while True:
                # 1 fetch. A crash here: nothing has happened.
                await self._fetch(work, inbox)
                while (counts := work.cut(inbox.waiting, inbox.reached)) is not None:
                    # 2 cut. 3 decode, 4 step: only memory changes, and a crash throws it away. So does a step that
                    # raises; one that raises again at the same place shows which records it cannot work on.
                    taken = inbox.take(counts)
                    step = await self._step(work, taken, inbox.reached)
                    if isinstance(step, str):
                        del work  # its memory is void, and finding the culprit needs the room
                        await self._step_raised(step, checkpoint, inbox, taken)
                        return
                    comment(work, step, own.told, missing, self._watch, (self._tick_every or 0) * TICKS_A_SLICE)
                    # 5 write. Not done: as before 1. Done but not known to be: the fence tells on the next write, or
                    # a restart goes on from it. Refused (Fenced): somebody else went on; memory is thrown away.
                    outbox = await checkpoint.write(inbox.taken, step.changes, step.outbox)
                    self._passed(taken, step)
                    # 6 relay, then clear just what was acknowledged. A crash between: the outbox is relayed again on
                    # the next start, under the same ids; readers know a repeat by its id (slices: by their number).
                    await checkpoint.relay(outbox)
                    await work.stored_and_relayed()
                    missing = []
                # 7 hint, once a second. Lost or wrong, it misleads a lag tool and nobody else.
                if time.monotonic() >= hint_at:
                    hint_at = time.monotonic() + HINT_S
                    self._measure(work, inbox)
                    await self._committed(inbox.offsets())
                if ticking is not None and ticking.done():
                    ticking.result()
        finally:
            if ticking is not None:
                ticking.cancel()

    async def _fetch(self, work: Work, inbox: Inbox) -> None:
        records = await inbox.fetch()
        if records and isinstance(work, AtOnce):
            try:
                asked = work.at_once(records)
            except Exception:  # what is said at once is a hint; the step decides, and is asked in its turn
                log.exception("%s: a bug: what %d records ask for at once is not answered", work.name, len(records))
                asked = []
            await asyncio.gather(*[await self._sender.hand_over(record) for record in asked])
        if isinstance(work, ReadToEnd):
            work.read_to_end(inbox.ended())

    async def _step(
        self, work: Work, taken: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]
    ) -> Step | str:
        """What the step returns, or as text what it raised because of a bug."""
        try:
            await work.prepare(taken)
            with self._watch.timings.step.time():
                return await asyncio.to_thread(work.step, taken, dict(reached))
        except (UnitStopped, MemoryError, *SERVER_FAULTS):
            raise
        except DeploymentError as error:
            raise UnitStopped(NoticeKind.STOPPED, str(error)) from error
        except Exception as error:
            log.exception("%s: a bug: a step raises", work.name)
            return raised_text(error)

    async def _step_raised(
        self, raised: str, checkpoint: Checkpoint, inbox: Inbox, taken: Mapping[Source, list[Record]]
    ) -> None:
        """The first time from this state: nothing but a new life. The second time: find what must be refused."""
        if self._raised_at != checkpoint.fence:
            self._raised_at = checkpoint.fence
            log.warning("%s: loading what is stored, and trying again (%s)", checkpoint.unit, raised)
            return
        inbox.give_back(taken)
        attempt = Trial(self._store, self._make_work, inbox, checkpoint.fence)
        known = len(self._refused)
        try:
            await find(records_of(taken), attempt, self._refused, HANDFUL - self._in_a_row)
        finally:
            self._in_a_row += len(self._refused) - known
            self._watch.refused += len(self._refused) - known

    def _passed(self, taken: Mapping[Source, Sequence[Record]], step: Step) -> None:
        """A step is stored: what it tells to metrics, and whether it went without refusing anything."""
        self._watch.stored(taken, step.outbox)
        if self._refused and not any((r.source, r.offset) in self._refused for rs in taken.values() for r in rs):
            self._in_a_row = 0

    def _measure(self, work: Work, inbox: Inbox) -> None:
        self._watch.lag = inbox.lag()
        if isinstance(work, Measures):
            self._watch.gauges = work.gauges()

    async def _tick(self, sources: Sequence[Source], inbox: Inbox) -> None:
        """Let time pass in partitions where nothing else does."""
        assert self._tick_every is not None
        while True:
            await asyncio.sleep(self._tick_every)
            for source in sources:
                if inbox.quiet(source):
                    await self._sender.hand_over(tick(source.topic, source.partition, None))
