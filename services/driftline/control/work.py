"""Control's work on one shard: slices of all partitions, commands, candidates and verdicts, in one fixed order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import msgspec

from driftline.control.book import Book, Panes
from driftline.control.desk import Desk
from driftline.control.out import OUTPUTS, Out
from driftline.core.binning import default_bins
from driftline.core.cases import running_request
from driftline.core.pane import Layout
from driftline.errors import DeploymentError
from driftline.events.admin import Command, Progress
from driftline.events.base import Millis, decode, encode
from driftline.events.baselines import Baseline
from driftline.events.partitioning import partition_of
from driftline.events.retraining import Candidate, Verdict
from driftline.events.slices import Slice
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.catalog import Catalog
from driftline.platform.changes import Changes, Step
from driftline.platform.records import Record, Source
from driftline.platform.store import Stored
from driftline.platform.work import Refused, refused_letters, usable
from driftline.spec.model import MonitorSpec, millis

log = logging.getLogger("driftline.control")

Input = Command | Candidate | Verdict
INPUTS: dict[Topic, type[Input]] = {
    Topic.COMMANDS: Command,
    Topic.CANDIDATES: Candidate,
    Topic.VERDICTS: Verdict,
}
"""In the order in which control applies them within a slice."""


class _State(msgspec.Struct, kw_only=True):
    """`applied`: every slice up to this one is in the books. `bad`: dead letters of no known model, by kind."""

    applied: int = -1
    bad: dict[str, int] = {}


@dataclass
class _Arrivals:
    """What one slice number brings to this shard."""

    slices: dict[int, Slice] = field(default_factory=dict)
    inputs: list[Input] = field(default_factory=list)


class ControlWork:
    """Implements `platform.loop.Work` for shard `number`.

    Slice *s* is applied when every source partition has finished it and the shard's other inputs have been read past
    its end. It acts as if every slice came singly, and skips those in which nothing comes or falls due.
    """

    def __init__(
        self,
        catalog: Catalog,
        number: int,
        note: Callable[[int, int, Millis], None],
        tell_progress: Callable[[Progress], Awaitable[None]],
        read_published: Callable[[Sequence[Topic], int], set[str]],
    ) -> None:
        deployment = catalog.deployment
        self.name = f"control:{number}"
        self._slices = tuple(Source(Topic.SLICES, i) for i in range(deployment.partitions))
        self.ticked = tuple(Source(topic, number) for topic in INPUTS)
        self.sources = (*self._slices, *self.ticked)
        self._number = number
        self._catalog = catalog
        self._slice_ms = millis(deployment.slice)
        self._note, self._tell_progress, self._read_published = note, tell_progress, read_published
        self._state = _State()
        self._desks: dict[str, Desk] = {}
        self._published: set[str] = set()
        self._target = -1
        self._layouts: dict[str, Layout] = {}
        self._stored: dict[str, bytes] = {}
        self._refused: Refused = {}

    async def start(self, stored: Stored) -> None:
        """Without state, what was published before is recognised by its id: only what is missing is written."""
        if stored.fresh:
            self._published = await asyncio.to_thread(self._read_published, OUTPUTS, self._number)
            return
        self._state = msgspec.json.decode(stored.hashes["shard"][b"state"], type=_State)
        for data in stored.hashes.get("books", {}).values():
            book = msgspec.json.decode(data, type=Book)
            self._stored[book.model] = data
            desk = self._desk(book)
            desk.panes.restore(stored.hashes.get(f"panes:{book.model}", {}).items())

    def refuse(self, records: Refused) -> None:
        """See `Work.refuse`."""
        self._refused = records

    def cut(
        self, waiting: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]
    ) -> dict[Source, int] | None:
        """Everything up to the last slice that all partitions have finished and all other inputs have passed."""
        finished = [
            max((_number(r) for r in waiting[source] if _kind(r) == "upto"), default=self._state.applied)
            for source in self._slices
        ]
        passed = [reached[source] // self._slice_ms - 1 if reached[source] >= 0 else -1 for source in self.ticked]
        target = min([*finished, *passed])
        if target <= self._state.applied:
            return None
        self._target = target
        end = (target + 1) * self._slice_ms
        counts = {s: sum(1 for _ in takewhile(lambda r: _number(r) <= target, waiting[s])) for s in self._slices}
        counts |= {s: sum(1 for _ in takewhile(lambda r: r.arrival < end, waiting[s])) for s in self.ticked}
        return counts

    async def prepare(self, taken: Mapping[Source, Sequence[Record]]) -> None:
        """Bins and specs are written before slices name them: an unseen one asks for a new look."""
        slices = [arrived for _, arrived in self._slices_in(taken)]
        named = {delta.bins for arrived in slices for delta in arrived.panes}
        marks = {mark for arrived in slices for mark in arrived.marks}
        unseen = [n for n in named if not n.startswith("default:") and n not in self._catalog.baselines]
        if unseen or any(_revision(mark) not in self._catalog.specs for mark in marks):
            await self._catalog.refresh()

    def step(self, taken: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]) -> Step:
        """See `Work.step`."""
        out = Out(self._catalog.deployment, self._number, self._published)
        out.records += refused_letters(taken, self._refused)
        arrivals = self._arrivals(taken)
        numbers = deque(sorted(arrivals))
        while (number := self._next(numbers[0] if numbers else None)) is not None:
            if numbers and numbers[0] == number:
                numbers.popleft()
            self._apply(number, arrivals.get(number, _Arrivals()), out)
            self._state.applied = number
        self._state.applied = self._target
        decision_time = (self._target + 1) * self._slice_ms
        self._note(self._number, sum(map(len, taken.values())), decision_time)
        return Step(self._changes(), out.records)

    async def stored_and_relayed(self) -> None:
        """Tell how far this shard has decided, and which attempts wait for an answer."""
        running = [running_request(desk.book.cases) for desk in self._desks.values()]
        await self._tell_progress(
            Progress(
                shard=self._number,
                decision_time=(self._state.applied + 1) * self._slice_ms,
                open_attempts=tuple(sorted(request for request in running if request is not None)),
            )
        )

    def _arrivals(self, taken: Mapping[Source, Sequence[Record]]) -> dict[int, _Arrivals]:
        """What has been taken, by slice; repeats of slices that are in the books are left out."""
        found: dict[int, _Arrivals] = {}
        for number, arrived in self._slices_in(taken):
            found.setdefault(number, _Arrivals()).slices.setdefault(arrived.partition, arrived)
        for source in self.ticked:
            for record in usable(taken[source], self._refused):
                event = self._read_input(source, record)
                if event is not None:
                    number = max(record.arrival // self._slice_ms, self._state.applied + 1)
                    found.setdefault(number, _Arrivals()).inputs.append(event)
        return found

    def _slices_in(self, taken: Mapping[Source, Sequence[Record]]) -> Iterator[tuple[int, Slice]]:
        for source in self._slices:
            for record in usable(taken[source], self._refused):
                number = _number(record)
                mine = _kind(record) == "slice" and record.header("driftline-shard") == str(self._number)
                if mine and number > self._state.applied:
                    yield number, decode(record.value or b"", Slice)

    def _read_input(self, source: Source, record: Record) -> Input | None:
        if record.header(MARK_HEADER) is not None:
            return None
        kind = INPUTS[source.topic]
        try:
            event: Input = msgspec.json.decode(record.value or b"", type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("%s-%d at %d is no %s: %s", *source, record.offset, kind.__name__, error)
            return None
        if partition_of(event.model, self._catalog.deployment.shards) != self._number:
            log.error("%s-%d at %d speaks of %s, which is another shard's", *source, record.offset, event.model)
            return None
        return event

    def _next(self, arriving: int | None) -> int | None:
        """The next slice up to the target in which something comes (`arriving`) or falls due."""
        due = [d for desk in self._desks.values() if (d := desk.next_due()) is not None]
        coming = [first for desk in self._desks.values() for first, _ in desk.book.coming]
        # what is due at instant d is decided in the first slice that ends at or after it
        numbers = [
            *([] if arriving is None else [arriving]),
            *coming,
            *(-(-instant // self._slice_ms) - 1 for instant in due),
        ]
        number = min((max(n, self._state.applied + 1) for n in numbers), default=None)
        return None if number is None or number > self._target else number

    def _apply(self, number: int, arrivals: _Arrivals, out: Out) -> None:
        """One slice: specs that come into force, partitions by number, inputs, then what is due at its end."""
        at = (number + 1) * self._slice_ms
        for _, desk in sorted(self._desks.items()):
            for first, revision in [c for c in desk.book.coming if c[0] <= number]:
                desk.book.coming.remove((first, revision))
                desk.use_spec(self._spec(desk.book.model, revision), revision, at, out)
        for partition in sorted(arrivals.slices):
            self._apply_slice(arrivals.slices[partition], at, out)
        for event in arrivals.inputs:
            desk = self._desk_of(event.model)
            if isinstance(event, Command):
                desk.take_command(event, at, out)
            elif isinstance(event, Candidate):
                desk.take_candidate(event, at, out)
            else:
                desk.take_verdict(event, at, out)
        for _, desk in sorted(self._desks.items()):
            desk.pass_time(at, out)

    def _apply_slice(self, arrived: Slice, at: Millis, out: Out) -> None:
        cause = f"slice/{arrived.partition}/{arrived.slice}"
        for delta in arrived.panes:
            self._desk_of(delta.model).take_pane(delta)
        for breach in arrived.breaches:
            self._desk_of(breach.model).take_breach(breach, cause, at, out)
        for model, counters in arrived.counters.items():
            for what, n in counters.items():
                if model:
                    self._desk_of(model).book.count(what, n)
                else:
                    self._state.bad[what] = self._state.bad.get(what, 0) + n
        for mark in arrived.marks:
            model, revision = _revision(mark)
            self._desk_of(model).book.mark(revision, arrived, self._catalog.deployment.partitions)

    def _changes(self) -> Changes:
        changes = Changes(put={"shard": {b"state": encode(self._state)}})
        books = {}
        for model, desk in sorted(self._desks.items()):
            data = encode(desk.book)
            if self._stored.get(model) != data:
                self._stored[model] = books[model.encode()] = data
            put, drop = desk.panes.take_changes()
            if put:
                changes.put[f"panes:{model}"] = put
            if drop:
                changes.drop[f"panes:{model}"] = drop
        if books:
            changes.put["books"] = books
        return changes

    def _desk_of(self, model: str) -> Desk:
        return self._desks.get(model) or self._desk(Book(model=model))

    def _desk(self, book: Book) -> Desk:
        desk = Desk(book, Panes(), self._layout_of)
        if book.revision:
            desk.spec = self._spec(book.model, book.revision)
        assert partition_of(book.model, self._catalog.deployment.shards) == self._number, "a model has one shard"
        self._desks[book.model] = desk
        return desk

    def _spec(self, model: str, revision: int) -> MonitorSpec:
        return self._catalog.specs[model, revision]

    def _layout_of(self, bins_id: str) -> tuple[Layout, Baseline | None]:
        baseline = self._catalog.baselines.get(bins_id)
        if bins_id not in self._layouts:
            if baseline is not None:
                bins = baseline.bins
            elif bins_id.startswith("default:"):
                bins = default_bins(self._catalog.specs[_revision(bins_id.replace("default:", "spec ", 1))])
            else:
                raise DeploymentError(f"slices name baseline {bins_id}, which topic baselines does not hold")
            self._layouts[bins_id] = Layout(bins)
        return self._layouts[bins_id], baseline


def _number(record: Record) -> int:
    return int(record.header("driftline-slice") or -1)


def _kind(record: Record) -> str | None:
    return record.header("driftline-kind")


def _revision(mark: str) -> tuple[str, int]:
    """`spec model@revision` taken apart."""
    model, _, revision = mark.removeprefix("spec ").rpartition("@")
    return model, int(revision)
