"""One shard's decisions: its models' desks, and what it sees of the source partitions, slice by slice."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

import msgspec

from driftline.control.attendance import Attendance
from driftline.control.book import Book
from driftline.control.desk import Desk
from driftline.control.feeds import Feed
from driftline.control.out import Out
from driftline.control.panes import Panes
from driftline.control.turns import Turn
from driftline.core import muting, partitions
from driftline.core.alerts import Change, Standing, resolve
from driftline.core.binning import default_bins
from driftline.core.pane import Layout
from driftline.errors import DeploymentError
from driftline.events.admin import Command, CommandResult
from driftline.events.alerts import AlertState, SliceSpan
from driftline.events.base import Link, Millis, digest_id, encode
from driftline.events.baselines import Baseline
from driftline.events.partitioning import partition_of
from driftline.events.retraining import Candidate, Verdict
from driftline.events.slices import Breach, PaneDelta, Slice
from driftline.platform.catalog import Catalog
from driftline.platform.changes import Changes
from driftline.spec.model import MonitorSpec, millis

Input = Command | Candidate | Verdict


class _State(msgspec.Struct, kw_only=True):
    """`applied`: every slice up to this one is in the books. `bad`: dead letters of no known model, by kind.

    `feeds`: by source partition. `known_until`: a start without state found decisions up to here in the topics.
    """

    applied: int = -1
    bad: dict[str, int] = {}
    feeds: dict[int, Feed] = {}
    known_until: Millis = -1


@dataclass
class Arrivals:
    """What one slice number brings to a shard.

    `slices` by partition and their own number, which is lower than the one that brings them where a partition was left
    out. `inputs`: each with the digest of its record's value. `accepted`: holes that are passed, each with the command
    that allowed it. `cut`: by partition, the slice before the first one ever read.
    """

    slices: dict[tuple[int, int], Slice] = field(default_factory=dict)
    inputs: list[tuple[Input, str]] = field(default_factory=list)
    accepted: list[tuple[SliceSpan, str]] = field(default_factory=list)
    cut: dict[int, int] = field(default_factory=dict)


class Shard:
    """Everything that shard `number` has counted and decided."""

    def __init__(self, catalog: Catalog, number: int) -> None:
        deployment = catalog.deployment
        self.number = number
        self.slice_ms = millis(deployment.slice)
        self.state = _State(feeds={i: Feed() for i in range(deployment.partitions)})
        self.desks: dict[str, Desk] = {}
        self._attendance = Attendance(deployment.partitions)
        self._catalog = catalog
        self._layouts: dict[str, Layout] = {}
        self._stored: dict[str, bytes] = {}

    @property
    def applied(self) -> int:
        """The last slice in the books."""
        return self.state.applied

    def restore(self, stored: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """Take over what was stored."""
        self.state = msgspec.json.decode(stored["shard"][b"state"], type=_State)
        self._count_away()
        for data in stored.get("books", {}).values():
            book = msgspec.json.decode(data, type=Book)
            self._stored[book.model] = data
            desk = self._desk(book)
            desk.panes.restore(stored.get(f"panes:{book.model}", {}).items())
            if desk.spec is not None:
                desk.detecting.restore(desk.spec, stored.get(f"detectors:{book.model}", {}).items())

    def changes(self) -> Changes:
        """What has changed since the last call."""
        changes = Changes(put={"shard": {b"state": encode(self.state)}})
        books = {}
        for model, desk in sorted(self.desks.items()):
            data = encode(desk.book)
            if self._stored.get(model) != data:
                self._stored[model] = books[model.encode()] = data
            for name, kept in (("panes", desk.panes), ("detectors", desk.detecting)):
                put, drop = kept.take_changes()
                if put:
                    changes.put[f"{name}:{model}"] = put
                if drop:
                    changes.drop[f"{name}:{model}"] = drop
        if books:
            changes.put["books"] = books
        return changes

    def decided(self, partition: int) -> int:
        """The last slice of a partition that is in the books."""
        away = self.state.feeds[partition].away
        return self.applied if away is None else away - 1

    def running(self) -> tuple[str, ...]:
        """The requests that wait for an answer."""
        running = (desk.book.cases.running for desk in self.desks.values())
        return tuple(sorted(attempt.request for attempt in running if attempt is not None))

    def out(self, published: Container[str] = ()) -> Out:
        """Where a step's decisions go. `published`: see `Out`."""
        return Out(self._catalog.deployment, self.number, published, self.desks)

    def go_on_from(self, links: Mapping[str, Link]) -> None:
        """Without state, the chains of this shard's models go on behind what stands in the topics."""
        for model, link in links.items():
            self.desk_of(model).book.link = link

    # --- slice by slice ---

    def go(self, turn: Turn, arrivals: Mapping[int, Arrivals], out: Out) -> None:
        """Apply every slice of a turn in which something comes or falls due."""
        begins = self.applied + 1
        # who is left out from the very beginning is so from slice 0, which nobody has ever seen
        first = min(arrivals, default=turn.target) if begins == 0 else begins
        numbers = sorted({*arrivals, *([first] if turn.leave or turn.back else [])})
        leave, back = turn.leave, turn.back
        while (number := self._next(numbers[0] if numbers else None, turn.target)) is not None:
            if numbers and numbers[0] == number:
                numbers.pop(0)
            at = (number + 1) * self.slice_ms
            self._attend(leave, back, begins, at, out)
            leave = back = frozenset()
            self.state.applied = number
            self._apply(number, arrivals.get(number, Arrivals()), at, out)
        self.state.applied = turn.target

    def _next(self, arriving: int | None, target: int) -> int | None:
        """The next slice up to the target in which something comes (`arriving`) or falls due."""
        due = [d for desk in self.desks.values() if (d := desk.next_due()) is not None]
        due += [ends for _, ends in self._cut_histories()]
        # what is due at instant d is decided in the first slice that ends at or after it
        numbers = [
            *([] if arriving is None else [arriving]),
            *(first for desk in self.desks.values() for first, _ in desk.book.coming),
            *(n for desk in self.desks.values() if (n := desk.book.withdraws_at(self._attendance.away)) is not None),
            *(-(-instant // self.slice_ms) - 1 for instant in due),
        ]
        number = min((max(n, self.applied + 1) for n in numbers), default=None)
        return None if number is None or number > target else number

    def _attend(self, leave: frozenset[int], back: frozenset[int], number: int, at: Millis, out: Out) -> None:
        """Partitions that are left out from this slice on, and those that are taken back in it."""
        for partition in sorted(back):
            feed = self.state.feeds[partition]
            feed.away = None
            out.alert(partitions.take_back(feed.left_out, number, at), at)
        for partition in sorted(leave):
            feed = self.state.feeds[partition]
            feed.away = number
            out.alert(partitions.leave_out(feed.left_out, partition, self.number, number, at), at)
        self._count_away()
        if back and not self._attendance.away:
            for desk in self.desks.values():
                desk.all_are_back()

    def _count_away(self) -> None:
        feeds = self.state.feeds.items()
        self._attendance.away = {p: feed.away * self.slice_ms for p, feed in feeds if feed.away is not None}
        self._attendance.alerts = [standing.last for standing in self._left_out().values() if standing.last is not None]

    def _left_out(self) -> dict[str, Standing]:
        """The alerts that fire about partitions that are left out, by fingerprint."""
        feeds = (feed.left_out for feed in self.state.feeds.values())
        return {s.last.fingerprint: s for s in feeds if s.state is AlertState.FIRING and s.last is not None}

    def _apply(self, number: int, arrivals: Arrivals, at: Millis, out: Out) -> None:
        """One slice: specs that come into force, partitions by number, inputs, then what is due at its end."""
        begun = number * self.slice_ms
        for _, desk in sorted(self.desks.items()):
            for first, revision in [c for c in desk.book.coming if c[0] <= number]:
                desk.book.coming.remove((first, revision))
                desk.use_spec(self._spec(desk.book.model, revision), revision, begun, at, out)
        self._look_at_logs(arrivals, at, out)
        for place in sorted(arrivals.slices):
            self._apply_slice(arrivals.slices[place], at, out)
        for event, digest in arrivals.inputs:
            out.inputs[event.id] = digest
            self._apply_input(event, at, out)
        for _, desk in sorted(self.desks.items()):
            desk.withdraw(self.decided, at, out)
            desk.pass_time(at, out)
        self._list_effects(at, out)
        out.inputs.clear()

    def _list_effects(self, at: Millis, out: Out) -> None:
        """Under partitions that are left out: they explain alerts of every model."""
        away = self._left_out()
        if not away:
            return
        standings = (standing for desk in self.desks.values() for standing in desk.book.standings.values())
        for alert in muting.list_effects(away, standings, at):
            out.alert(alert, at)

    def _apply_input(self, event: Input, at: Millis, out: Out) -> None:
        if isinstance(event, Command) and event.action == "accept":
            known = [span for feed in self.state.feeds.values() for span in feed.accepted]
            accepted = event.missing in known
            out.event(
                CommandResult(
                    id=digest_id("result", event.id),
                    caused_by=(event.id,),
                    command=event.id,
                    model=event.model,
                    accepted=accepted,
                    reason="accepted" if accepted else "no such slices are missing",
                    at=at,
                ),
                at,
            )
        elif isinstance(event, Command):
            self.desk_of(event.model).take_command(event, at, out)
        elif isinstance(event, Candidate):
            self.desk_of(event.model).take_candidate(event, at, out)
        else:
            self.desk_of(event.model).take_verdict(event, at, out)

    def _apply_slice(self, arrived: Slice, at: Millis, out: Out) -> None:
        cause = f"slice/{arrived.partition}/{arrived.slice}"
        begun = arrived.slice * self.slice_ms
        late = begun + self.slice_ms < at
        for delta in arrived.panes:
            self.desk_of(delta.model).take_pane(delta, begun, late, at)
        for breach in arrived.breaches:
            of = sum(delta.predicted for delta in arrived.panes if _counts(delta, breach))
            self.desk_of(breach.model).take_breach(breach, of, cause, at, out)
        for model, counters in arrived.counters.items():
            if model:
                self.desk_of(model).take_counters(counters, begun, cause, at, out)
            else:
                for what, n in counters.items():
                    self.state.bad[what] = self.state.bad.get(what, 0) + n
        for mark in arrived.marks:
            model, revision = revision_of(mark)
            self.desk_of(model).book.mark(revision, arrived, self._catalog.deployment.partitions)

    def _look_at_logs(self, arrivals: Arrivals, at: Millis, out: Out) -> None:
        """Holes that are passed, and histories that begin late or have been outlived."""
        for missing, command in arrivals.accepted:
            earlier = self.state.feeds[missing.partition].accepted
            standing = Standing(episode=earlier.index(missing))
            partitions.find_hole(standing, self.number, missing, (missing.last or 0) * self.slice_ms)
            out.alert(resolve(standing, Change.ACCEPTED, at, (command,)), at)
        for standing, ends in self._cut_histories():
            if ends <= at:
                out.alert(resolve(standing, Change.HISTORY_PASSED, at), at)
        for partition, before in sorted(arrivals.cut.items()):
            history = self.state.feeds[partition].history
            out.alert(partitions.cut_history(history, partition, self.number, before, at), at)

    def _cut_histories(self) -> list[tuple[Standing, Millis]]:
        """The alerts of histories that begin late, and when each ends: two horizons after it began."""
        firing = [f.history for f in self.state.feeds.values() if f.history.state is AlertState.FIRING]
        if not firing:
            return []
        horizons = [millis(desk.spec.horizon) for desk in self.desks.values() if desk.spec is not None]
        return [(history, history.quiet_since + 2 * max(horizons)) for history in firing] if horizons else []

    # --- models ---

    def desk_of(self, model: str) -> Desk:
        """The desk of a model, which is set up if it is new."""
        return self.desks.get(model) or self._desk(Book(model=model))

    def _desk(self, book: Book) -> Desk:
        desk = Desk(book, Panes(), self._layout_of, self._attendance)
        if book.revision:
            desk.follow(self._spec(book.model, book.revision))
        assert partition_of(book.model, self._catalog.deployment.shards) == self.number, "a model has one shard"
        self.desks[book.model] = desk
        return desk

    def _spec(self, model: str, revision: int) -> MonitorSpec:
        return self._catalog.specs[model, revision]

    def _layout_of(self, bins_id: str) -> tuple[Layout, Baseline | None]:
        baseline = self._catalog.baselines.get(bins_id)
        if bins_id not in self._layouts:
            if baseline is not None:
                bins = baseline.bins
            elif bins_id.startswith("default:"):
                bins = default_bins(self._catalog.specs[revision_of(bins_id.replace("default:", "spec ", 1))])
            else:
                raise DeploymentError(f"slices name baseline {bins_id}, which topic baselines does not hold")
            self._layouts[bins_id] = Layout(bins)
        return self._layouts[bins_id], baseline


def _counts(delta: PaneDelta, breach: Breach) -> bool:
    """Whether a change of a pane is of everybody, of the version that a breach is of."""
    return (delta.version, delta.model, delta.role, delta.cut) == (breach.version, breach.model, "champion", "")


def revision_of(mark: str) -> tuple[str, int]:
    """`spec model@revision` taken apart."""
    model, _, revision = mark.removeprefix("spec ").rpartition("@")
    return model, int(revision)
