"""Control's work on one shard: slices of all partitions, commands, candidates and verdicts, in one fixed order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice, takewhile

import msgspec

from driftline.control.book import Foretold
from driftline.control.feeds import Front, slice_number
from driftline.control.out import OUTPUTS, Out
from driftline.control.published import Published
from driftline.control.shard import Arrivals, Input, Shard, revision_of
from driftline.control.turns import Turn, Turns
from driftline.core.alerts import Standing
from driftline.core.partitions import find_hole, hole_sentence, observe_notice
from driftline.events.admin import Command, Progress
from driftline.events.alerts import SliceSpan
from driftline.events.base import Millis, decode, value_digest
from driftline.events.partitioning import partition_of
from driftline.events.retraining import Candidate, Verdict
from driftline.events.slices import KIND_HEADER, SHARD_HEADER, Notice, Slice
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.catalog import Catalog
from driftline.platform.changes import Step
from driftline.platform.records import Outgoing, Record, Source
from driftline.platform.store import Stored
from driftline.platform.work import Refused, refused_letters, usable
from driftline.spec.model import millis

log = logging.getLogger("driftline.control")

INPUTS: dict[Topic, type[Input]] = {
    Topic.COMMANDS: Command,
    Topic.CANDIDATES: Candidate,
    Topic.VERDICTS: Verdict,
}
"""In the order in which control applies them within a slice."""


class ControlWork:
    """Implements `platform.loop.Work`, `AtOnce` and `ReadToEnd` for shard `number`.

    Slice *s* is applied when every source partition that is not left out has finished it and the shard's other inputs
    have been read past its end. It acts as if every slice came singly, and skips those in which nothing comes or falls
    due.
    """

    def __init__(
        self,
        catalog: Catalog,
        number: int,
        note: Callable[[int, int, Millis], None],
        tell_progress: Callable[[Progress], Awaitable[None]],
        read_published: Callable[[Sequence[Topic], int], Published],
    ) -> None:
        deployment = catalog.deployment
        self.name = f"control:{number}"
        self._slices = tuple(Source(Topic.SLICES, i) for i in range(deployment.partitions))
        self.ticked = tuple(Source(topic, number) for topic in INPUTS)
        self.sources = (*self._slices, *self.ticked)
        self._number = number
        self._catalog = catalog
        self._note, self._tell_progress, self._read_published = note, tell_progress, read_published
        self._shard = Shard(catalog, number)
        self._published = Published()
        self._turn = Turn(-1)
        self._ended: Collection[Source] = ()
        self._foretold: dict[str, Foretold] = {}
        self._said: set[SliceSpan] = set()
        self._refused: Refused = {}
        self._read: list[tuple[int, Slice]] = []
        self._begin()

    async def start(self, stored: Stored) -> None:
        """Without state, what was published before is recognised by its id: only what is missing is written.

        So it is until decision time has come to where it was, also through further starts.
        """
        if not stored.fresh:
            self._shard.restore(stored.hashes)
        state = self._shard.state
        if stored.fresh or (state.applied + 1) * self._shard.slice_ms <= state.known_until:
            self._published = await asyncio.to_thread(self._read_published, OUTPUTS, self._number)
            state.known_until = self._published.until
        if stored.fresh:
            self._shard.go_on_from(self._published.links)
        self._begin()

    def refuse(self, records: Refused) -> None:
        """See `Work.refuse`."""
        self._refused = records

    def _begin(self) -> None:
        """Set up what is known of the logs from the shard's state."""
        state, deployment = self._shard.state, self._catalog.deployment
        live = deployment.clock == "live"
        self._fronts = {p: Front(p, feed, state.applied) for p, feed in sorted(state.feeds.items())}
        self._turns = Turns(self._fronts, self._shard.slice_ms, millis(deployment.max_stall) if live else None)
        self._turns.recorded = self._published.left_out
        # what the partitions have told of themselves, with what waits: ahead of the state
        self._told = {
            p: msgspec.json.decode(msgspec.json.encode(f.notices), type=dict[str, Standing])
            for p, f in state.feeds.items()
        }

    # --- as records come ---

    def at_once(self, records: Sequence[Record]) -> list[Outgoing]:
        """What cannot wait for slice order: notices, and holes in the logs."""
        out = self._out()
        for record in records:
            if record.source.topic is Topic.SLICES:
                self._look(record, out)
        return out.records

    def _look(self, record: Record, out: Out) -> None:
        partition = record.source.partition
        front = self._fronts[partition]
        waiting = len(front.missing)
        seen = front.look(record)
        if seen.missing is not None:
            at = (seen.missing.last or 0) * self._shard.slice_ms
            standing = Standing(episode=len(front.feed.accepted) + waiting)
            out.alert(find_hole(standing, self._number, seen.missing, at), at)
        if _kind(record) == "notice" and self._is_mine(record):
            notice = decode(record.value or b"", Notice)
            if notice.breach is not None:
                self._foretell(notice, out)
            else:
                for alert in observe_notice(self._told[partition], notice):
                    out.event(alert, alert.at)

    def _foretell(self, notice: Notice, out: Out) -> None:
        """A breach that is not decided yet: the first of an alert is told, and later ones extend the wait for it."""
        desk = self._shard.desks.get(notice.model or "")
        if desk is None or notice.slice <= self._shard.decided(notice.partition):
            return
        foretold = desk.foretell(notice)
        if foretold is None:
            return
        name = foretold.alert.fingerprint
        known = self._foretold.get(name) or desk.book.foretold.get(name)
        if known is None:
            self._foretold[name] = foretold
            out.event(foretold.alert, notice.at)
        else:
            until = max(known.until.get(notice.partition, -1), notice.slice)
            self._foretold[name] = msgspec.structs.replace(known, until=known.until | {notice.partition: until})

    def read_to_end(self, sources: Collection[Source]) -> None:
        """See `ReadToEnd`."""
        self._ended = sources

    # --- slice by slice ---

    def cut(
        self, waiting: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]
    ) -> dict[Source, int] | None:
        """Everything up to the last slice that all partitions have finished and all other inputs have passed."""
        self._look_for_holes(waiting)
        now = min(reached[source] for source in self.ticked)
        passed = now // self._shard.slice_ms - 1 if now >= 0 else -1
        ended = {source.partition for source in self._slices if source in self._ended}
        turn = self._turns.next(
            self._shard.applied, passed, now, ended, all(source in self._ended for source in self.ticked)
        )
        if turn is None:
            return None
        self._turn = turn
        end = (turn.target + 1) * self._shard.slice_ms
        counts = {s: self._fronts[s.partition].until(turn.target) for s in self._slices}
        away = {p for p, feed in self._shard.state.feeds.items() if feed.away is not None}
        counts |= {s: 0 for s in self._slices if s.partition in (away | turn.leave) - turn.back}
        counts |= {s: sum(1 for _ in takewhile(lambda r: r.arrival < end, waiting[s])) for s in self.ticked}
        return counts

    def _look_for_holes(self, waiting: Mapping[Source, Sequence[Record]]) -> None:
        """Look at what nobody has looked at yet; where slices are missing, look whether a human accepts that."""
        for source in self._slices:
            front = self._fronts[source.partition]
            for record in islice(waiting[source], len(front), None):
                front.look(record)
        if not any(front.missing for front in self._fronts.values()):
            return
        commands = (self._read_input(record, quiet=True) for record in waiting[self.ticked[0]])
        accepting = (c for c in commands if isinstance(c, Command) and c.action == "accept" and c.missing is not None)
        self._turns.accepted = {command.missing: command.id for command in accepting if command.missing is not None}
        for partition in self._fronts:
            hole = self._turns.hole(partition)
            if hole is not None and hole[1] not in self._said:
                self._said.add(hole[1])
                log.error(
                    "shard %d stops before slice %d of partition %d: %s",
                    self._number,
                    hole[0],
                    partition,
                    hole_sentence(hole[1]),
                )

    async def prepare(self, taken: Mapping[Source, Sequence[Record]]) -> None:
        """Read the slices. Bins and specs are written before slices name them: an unseen one asks for a new look."""
        self._read = list(self._slices_in(taken))
        slices = [arrived for _, arrived in self._read]
        named = {delta.bins for arrived in slices for delta in arrived.panes}
        marks = {mark for arrived in slices for mark in arrived.marks}
        unseen = [n for n in named if not n.startswith("default:") and n not in self._catalog.baselines]
        if unseen or any(revision_of(mark) not in self._catalog.specs for mark in marks):
            await self._catalog.refresh()

    def step(self, taken: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]) -> Step:
        """See `Work.step`."""
        out = self._out()
        out.records += refused_letters(taken, self._refused)
        for name, foretold in self._foretold.items():
            self._shard.desks[foretold.alert.model].book.foretold[name] = foretold
        self._foretold.clear()
        self._shard.go(self._turn, self._arrivals(taken), out)
        decision_time = (self._shard.applied + 1) * self._shard.slice_ms
        if decision_time > self._shard.state.known_until:
            self._shard.state.known_until, self._published = -1, Published()
        self._note(self._number, sum(map(len, taken.values())), decision_time)
        return Step(self._shard.changes(), out.records)

    async def stored_and_relayed(self) -> None:
        """Tell how far this shard has decided, and which attempts wait for an answer."""
        decision_time = (self._shard.applied + 1) * self._shard.slice_ms
        await self._tell_progress(
            Progress(shard=self._number, decision_time=decision_time, open_attempts=self._shard.running())
        )

    def _arrivals(self, taken: Mapping[Source, Sequence[Record]]) -> dict[int, Arrivals]:
        """What has been taken, by slice; repeats of slices that are in the books are left out."""
        found: dict[int, Arrivals] = {}
        first = self._shard.applied + 1

        def at(number: int) -> Arrivals:
            return found.setdefault(max(number, first), Arrivals())

        for number, arrived in self._read:
            at(number).slices.setdefault((arrived.partition, number), arrived)
        for source in self._slices:
            for record, seen in zip(
                taken[source], self._fronts[source.partition].take(len(taken[source])), strict=True
            ):
                if seen.missing is not None:
                    at(seen.due).accepted.append((seen.missing, self._turns.accepted[seen.missing]))
                if seen.cut is not None:
                    at(seen.due).cut[source.partition] = seen.cut
                if _kind(record) == "notice" and self._is_mine(record):
                    notice = decode(record.value or b"", Notice)
                    observe_notice(self._shard.state.feeds[source.partition].notices, notice)
        for source in self.ticked:
            for record in usable(taken[source], self._refused):
                event = self._read_input(record)
                if event is not None:
                    at(record.arrival // self._shard.slice_ms).inputs.append((event, value_digest(record.value or b"")))
        return found

    def _slices_in(self, taken: Mapping[Source, Sequence[Record]]) -> Iterator[tuple[int, Slice]]:
        """This shard's slices that are not in the books yet, with their numbers."""
        for source in self._slices:
            decided = self._shard.decided(source.partition)
            for record in usable(taken[source], self._refused):
                number = slice_number(record)
                if _kind(record) == "slice" and self._is_mine(record) and number > decided:
                    yield number, decode(record.value or b"", Slice)

    def _read_input(self, record: Record, *, quiet: bool = False) -> Input | None:
        """A command, candidate or verdict of this shard. `quiet`: what is none is told of another time."""
        if record.header(MARK_HEADER) is not None:
            return None
        kind = INPUTS[record.source.topic]
        try:
            event: Input = msgspec.json.decode(record.value or b"", type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if not quiet:
                log.error("%s-%d at %d is no %s: %s", *record.source, record.offset, kind.__name__, error)
            return None
        of_shard = isinstance(event, Command) and event.action == "accept"
        if not of_shard and partition_of(event.model, self._catalog.deployment.shards) != self._number:
            if not quiet:
                log.error("%s-%d at %d speaks of %s, another shard's", *record.source, record.offset, event.model)
            return None
        return event

    def _is_mine(self, record: Record) -> bool:
        return record.header(SHARD_HEADER) == str(self._number)

    def _out(self) -> Out:
        return self._shard.out(self._published.ids)


def _kind(record: Record) -> str | None:
    return record.header(KIND_HEADER)
