"""The monitor's work on one source partition: what arrived in each slice, and what it changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

import msgspec

from driftline.core.arrivals import ArrivedOutcome, ArrivedPrediction
from driftline.core.binning import default_bins
from driftline.core.ledger import Ledger
from driftline.core.pane import Layout
from driftline.core.step import ModelSlices, step
from driftline.core.validation import kept_slices
from driftline.errors import InvalidRecord
from driftline.events.base import Millis, encode
from driftline.events.partitioning import partition_of
from driftline.events.slices import Breach, PaneDelta, ReadUpTo, Slice, read_up_to_headers, slice_headers
from driftline.events.topics import MARK_HEADER, DeadLetterReason, Topic
from driftline.monitor.intake import take_in
from driftline.platform.catalog import Catalog
from driftline.platform.changes import Changes, Step
from driftline.platform.loop import Hashes
from driftline.platform.records import Outgoing, Record, Source, dead_letter
from driftline.spec.model import MonitorSpec, millis

DEFAULT_BINS = "default:"


class _State(msgspec.Struct, kw_only=True):
    """What a partition remembers beside its ledgers.

    `previous`: the last slice published. `finished`: the last slice said to be finished. `specs`: revision in force by
    model. `coming`: (slice of the mark, model, revision), in force from the slice after. `bins`: bins id by model and
    version, fixed at the first sight of the version. `segments`: slices in a ledger segment, by model.
    """

    previous: int | None = None
    finished: int = -1
    specs: dict[str, int] = {}
    coming: list[tuple[int, str, int]] = []
    bins: dict[str, dict[str, str]] = {}
    segments: dict[str, int] = {}


class MonitorWork:
    """Implements `platform.loop.Work` for partition `number` of `predictions` and `outcomes`."""

    def __init__(self, catalog: Catalog, number: int, note: Callable[[int, int, Millis], None]) -> None:
        self.name = f"monitor:{number}"
        self._predictions = Source(Topic.PREDICTIONS, number)
        self._outcomes = Source(Topic.OUTCOMES, number)
        self.sources: tuple[Source, ...] = (self._predictions, self._outcomes)
        self.ticked: tuple[Source, ...] = self.sources
        self._number = number
        self._catalog = catalog
        self._note = note
        self._slice_ms = millis(catalog.deployment.slice)
        self._shards = catalog.deployment.shards
        self._state = _State()
        self._ledgers: dict[str, Ledger] = {}
        self._layouts: dict[str, Layout] = {}

    async def start(self, stored: Hashes, fresh: bool) -> None:
        """See `Work.start`."""
        if fresh:
            return
        self._state = msgspec.json.decode(stored["state"][b"state"], type=_State)
        items: dict[str, list[tuple[bytes, bytes]]] = {}
        for name, values in stored.items():
            if name.startswith("ledger:"):
                items.setdefault(name.removeprefix("ledger:").rsplit(":", 1)[0], []).extend(values.items())
        for model, rows in items.items():
            self._ledger(self._spec(model)).restore(rows)

    def cut(
        self, waiting: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]
    ) -> dict[Source, int] | None:
        """All of the finished slices: both topics have shown an arrival at or after their end."""
        slowest = min(reached[source] for source in self.sources)
        finished = slowest // self._slice_ms - 1 if slowest >= 0 else -1
        end = (finished + 1) * self._slice_ms
        counts = {s: sum(1 for _ in takewhile(lambda r: r.arrival < end, waiting[s])) for s in self.sources}
        return counts if finished > self._state.finished or any(counts.values()) else None

    async def prepare(self, taken: Mapping[Source, Sequence[Record]]) -> None:
        """Specs and baselines are written before their marks: a mark that names an unseen one asks for a new look."""
        marks = [mark for record in taken[self._predictions] if (mark := record.header(MARK_HEADER)) is not None]
        if any(mark != "tick" and not self._known(mark) for mark in marks):
            await self._catalog.refresh()

    def step(self, taken: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]) -> Step:
        """See `Work.step`."""
        result = Step()
        for predictions, outcomes in self._runs(taken):
            self._run(predictions, outcomes, result)
        self._state.finished = min(reached[source] for source in self.sources) // self._slice_ms - 1
        note = ReadUpTo(partition=self._number, slice=self._state.finished)
        result.outbox.append(Outgoing(Topic.SLICES, None, encode(note), self._number, read_up_to_headers(note)))
        self._collect_changes(result.changes)
        self._note(self._number, sum(map(len, taken.values())), (self._state.finished + 1) * self._slice_ms)
        return result

    async def stored_and_relayed(self) -> None:
        """See `Work.stored_and_relayed`."""

    def _runs(self, taken: Mapping[Source, Sequence[Record]]) -> Iterator[tuple[list[Record], list[Record]]]:
        """The records in runs of slices under the same specs: a slice with a spec's mark ends its run."""
        ends = sorted(
            {
                self._slice(record)
                for record in taken[self._predictions]
                if (record.header(MARK_HEADER) or "").startswith("spec ")
            }
        )
        predictions, outcomes = list(taken[self._predictions]), list(taken[self._outcomes])
        for end in ends:
            before = [self._slice(r) <= end for r in predictions].count(True)
            before_outcomes = [self._slice(r) <= end for r in outcomes].count(True)
            yield predictions[:before], outcomes[:before_outcomes]
            predictions, outcomes = predictions[before:], outcomes[before_outcomes:]
        if predictions or outcomes:
            yield predictions, outcomes

    def _run(self, predictions: list[Record], outcomes: list[Record], result: Step) -> None:
        """One run of slices. In its first slice, specs whose marks stood in an earlier one come into force."""
        first = min(self._slice(record) for record in (*predictions[:1], *outcomes[:1]))
        in_force = [coming for coming in self._state.coming if coming[0] < first]
        self._state.coming = [coming for coming in self._state.coming if coming[0] >= first]
        self._state.specs.update({model: revision for _, model, revision in in_force})
        specs = {model: self._spec(model) for model in self._state.specs}
        arrived: dict[str, tuple[list[ArrivedPrediction], list[ArrivedOutcome]]] = {}
        marks: dict[int, list[str]] = {}
        bad: dict[int, int] = {}
        for record in (*predictions, *outcomes):
            slice_number = self._slice(record)
            try:
                if (mark := record.header(MARK_HEADER)) is not None:
                    if self._read_mark(mark, slice_number):
                        marks.setdefault(slice_number, []).append(mark)
                    continue
                came = take_in(record, specs, slice_number)
            except InvalidRecord as why:
                result.outbox.append(dead_letter(record, why))
                bad[slice_number] = bad.get(slice_number, 0) + 1
                continue
            of_model = arrived.setdefault(came.model, ([], []))
            if isinstance(came.event, ArrivedPrediction):
                default = f"{DEFAULT_BINS}{came.model}@{self._state.specs[came.model]}"
                self._state.bins.setdefault(came.model, {}).setdefault(came.event.version, default)
                of_model[0].append(came.event)
            else:
                of_model[1].append(came.event)
        changed = {
            model: step(self._ledger(specs[model]), specs[model], self._layouts_of(model), *events)
            for model, events in sorted(arrived.items())
        }
        result.outbox.extend(self._slices(changed, marks, bad))

    def _read_mark(self, mark: str, slice_number: int) -> bool:
        """Note a mark; says whether control has to know of it. Raises `InvalidRecord` if it names nothing known."""
        if mark == "tick":
            return False
        if not self._known(mark):
            raise InvalidRecord(DeadLetterReason.UNKNOWN_MARK, f"mark {mark!r} names nothing known")
        kind, name = mark.split(" ", 1)
        if kind == "baseline":
            baseline = self._catalog.baselines[name]
            self._state.bins.setdefault(baseline.model, {}).setdefault(baseline.version, name)
            return False
        model, revision = _revision(name)
        self._state.coming.append((slice_number, model, revision))
        return True

    def _known(self, mark: str) -> bool:
        kind, _, name = mark.partition(" ")
        if kind == "baseline":
            return name in self._catalog.baselines
        return mark == "tick" or (kind == "spec" and _revision(name) in self._catalog.specs)

    def _slices(
        self, changed: Mapping[str, ModelSlices], marks: Mapping[int, list[str]], bad: Mapping[int, int]
    ) -> Iterable[Outgoing]:
        """One record a slice in which something happened and shard that it concerns, in order."""
        numbers = {n for m in changed.values() for part in (m.panes, m.breaches, m.counters) for n in part}
        for number in sorted(numbers | set(marks) | set(bad)):
            panes: dict[int, list[PaneDelta]] = {}
            breaches: dict[int, list[Breach]] = {}
            counters: dict[int, dict[str, dict[str, int]]] = {}
            named: dict[int, list[str]] = {}
            for model, slices in changed.items():
                shard = partition_of(model, self._shards)
                panes.setdefault(shard, []).extend(slices.panes.get(number, ()))
                breaches.setdefault(shard, []).extend(slices.breaches.get(number, ()))
                if number in slices.counters:
                    counters.setdefault(shard, {})[model] = dict(sorted(slices.counters[number].items()))
            for mark in marks.get(number, ()):
                named.setdefault(partition_of(_revision(mark.split(" ", 1)[1])[0], self._shards), []).append(mark)
            if number in bad:
                counters.setdefault(0, {})[""] = {"dead_letters": bad[number]}
            touched = {s for part in (panes, breaches, counters, named) for s, content in part.items() if content}
            for shard in sorted(touched):
                record = Slice(
                    partition=self._number,
                    slice=number,
                    previous=self._state.previous,
                    shard=shard,
                    panes=tuple(panes.get(shard, ())),
                    breaches=tuple(breaches.get(shard, ())),
                    counters=counters.get(shard, {}),
                    marks=tuple(named.get(shard, ())),
                )
                yield Outgoing(Topic.SLICES, None, encode(record), self._number, slice_headers(record))
            if touched:
                self._state.previous = number

    def _collect_changes(self, changes: Changes) -> None:
        for model, ledger in self._ledgers.items():
            of_model = ledger.take_changes()
            changes.forget += [f"ledger:{model}:{segment}" for segment in of_model.forget]
            changes.drop |= {f"ledger:{model}:{segment}": fields for segment, fields in of_model.drop.items()}
            changes.put |= {f"ledger:{model}:{segment}": fields for segment, fields in of_model.put.items()}
        changes.put["state"] = {b"state": encode(self._state)}

    def _spec(self, model: str) -> MonitorSpec:
        return self._catalog.specs[model, self._state.specs[model]]

    def _slice(self, record: Record) -> int:
        return record.arrival // self._slice_ms

    def _ledger(self, spec: MonitorSpec) -> Ledger:
        kept = kept_slices(spec, self._slice_ms)
        if spec.model not in self._ledgers:
            size = self._state.segments.setdefault(spec.model, Ledger.segment_size(kept))
            self._ledgers[spec.model] = Ledger(kept, size)
        ledger = self._ledgers[spec.model]
        ledger.kept = kept
        return ledger

    def _layouts_of(self, model: str) -> dict[str, tuple[str, Layout]]:
        return {v: (bins_id, self._layout(bins_id)) for v, bins_id in self._state.bins.get(model, {}).items()}

    def _layout(self, bins_id: str) -> Layout:
        if bins_id not in self._layouts:
            if bins_id.startswith(DEFAULT_BINS):
                bins = default_bins(self._catalog.specs[_revision(bins_id.removeprefix(DEFAULT_BINS))])
            else:
                bins = self._catalog.baselines[bins_id].bins
            self._layouts[bins_id] = Layout(bins)
        return self._layouts[bins_id]


def _revision(name: str) -> tuple[str, int]:
    """`model@revision` taken apart; a name that is none gives a revision that nothing has."""
    model, _, revision = name.rpartition("@")
    return model, int(revision) if revision.isdecimal() else -1
