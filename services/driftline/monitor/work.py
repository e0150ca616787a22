"""The monitor's work on one source partition: what arrived in each slice, and what it changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from operator import attrgetter

import msgspec
import numpy as np

from driftline.core.columns import OutcomeColumns, PredictionColumns
from driftline.core.series import SeriesTable
from driftline.core.step import Changed, Partition
from driftline.core.validation import kept_slices
from driftline.errors import InvalidRecord, UnitStopped
from driftline.events.base import Millis, encode
from driftline.events.partitioning import partition_of
from driftline.events.slices import (
    Gap,
    NoticeKind,
    ReadUpTo,
    notice,
    notice_headers,
    read_up_to_headers,
    slice_headers,
)
from driftline.events.topics import MARK_HEADER, DeadLetterReason, Topic
from driftline.monitor.glance import Glance
from driftline.monitor.marks import Mark, NotAMark, stood_before
from driftline.monitor.reading import Bad, Reader
from driftline.monitor.slices import slices
from driftline.monitor.versions import State, Versions
from driftline.platform.catalog import Catalog
from driftline.platform.changes import Changes, Step
from driftline.platform.records import Outgoing, Record, Source, dead_letter
from driftline.platform.store import Stored
from driftline.platform.work import Refused
from driftline.spec.model import millis

_headers = attrgetter("headers")
SAMPLED = np.uint64(63)
"""Of the ids, those whose hash has none of these bits (1 in 64) are looked at for the partition they stand in."""
BAD_IN_A_ROW = 10_000
"""After so many bad records of a source without a good one the partition stops: somebody has deployed a mistake."""


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
        self._remember(State())
        self._reader: Reader | None = None
        self._glance, self._glanced = Glance({}, self._slice_ms), dict[str, int]()
        self._shards: dict[str, int] = {}
        self._stored: dict[bytes, bytes] = {}
        self._refused: Refused = {}
        self._first: Record | None = None

    async def start(self, stored: Stored) -> None:
        """See `Work.start`."""
        if stored.fresh:
            return
        self._stored = stored.hashes["state"]
        parts = {name.decode(): msgspec.Raw(part) for name, part in self._stored.items()}
        self._remember(msgspec.json.decode(msgspec.json.encode(parts), type=State))
        for name, ledger in self._partition.ledgers.items():
            prefix = f"{name}:"
            ledger.restore({k.removeprefix(prefix): log for k, log in stored.logs.items() if k.startswith(prefix)})
        self._versions.restore(self._state.series)

    def _remember(self, state: State) -> None:
        """Begin with what is remembered, but for the ledgers."""
        self._state = state
        self._partition = Partition(state.origin or 0, SeriesTable(state.series))
        self._versions = Versions(self._catalog, state, self._partition, self._slice_ms)

    def refuse(self, records: Refused) -> None:
        """See `Work.refuse`."""
        self._refused = records

    def resume(self, kind: NoticeKind) -> Changes:
        """See `Resumes.resume`: what was all bad may pass; among what is gone marks may have stood."""
        changes = Changes()
        self._state.jumped |= kind is NoticeKind.GAP
        if kind is NoticeKind.ALL_BAD:
            self._state.bad = {source.topic.value: -1 for source in self.sources}
        self._collect_changes(changes)
        return changes

    def tell(self, kind: NoticeKind, at: Millis, detail: str, gap: Gap | None = None) -> list[Outgoing]:
        """See `Tells.tell`."""
        told = notice(kind, self._number, self._state.finished + 1, at, detail=detail, gap=gap)
        return [Outgoing(Topic.SLICES, None, encode(told), self._number, notice_headers(told, 0))]

    def at_once(self, records: Sequence[Record]) -> list[Outgoing]:
        """See `AtOnce.at_once`: values that are not allowed, of which it is not known yet whether they count."""
        predictions = _unmarked([record for record in records if record.source == self._predictions])
        if not predictions:
            return []
        coming = {model: revision for _, model, revision in self._state.coming}
        if self._glanced != (revisions := self._state.specs | coming):
            specs = {model: self._catalog.specs[model, revision] for model, revision in revisions.items()}
            self._glance, self._glanced = Glance(specs, self._slice_ms), revisions
        told = []
        for number, breach in self._glance.look(predictions):
            at = max(record.arrival for record in predictions)
            told.append(notice(NoticeKind.BREACH, self._number, number, at, breach=breach))
        return [
            Outgoing(Topic.SLICES, None, encode(one), self._number, notice_headers(one, self._shard(one.model or "")))
            for one in told
        ]

    def cut(
        self, waiting: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]
    ) -> dict[Source, int] | None:
        """All of the finished slices: both topics have shown an arrival at or after their end."""
        slowest = min(reached[source] for source in self.sources)
        finished = slowest // self._slice_ms - 1 if slowest >= 0 else -1
        if finished <= self._state.finished:
            return None
        if self._state.jumped and waiting[self._predictions]:
            self._first = waiting[self._predictions][0]
        end = (finished + 1) * self._slice_ms
        later = {s: sum(1 for _ in takewhile(lambda r: r.arrival >= end, reversed(waiting[s]))) for s in self.sources}
        return {s: len(waiting[s]) - later[s] for s in self.sources}

    async def prepare(self, taken: Mapping[Source, Sequence[Record]]) -> None:
        """Specs and baselines are written before their marks: a mark that names an unseen one asks for a new look."""
        if any(not mark.known(self._catalog) for _, mark in self._marks(taken[self._predictions], [])):
            await self._catalog.refresh()

    def step(self, taken: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]) -> Step:
        """See `Work.step`."""
        result = Step()
        self._look_back()
        finished = min(reached[source] for source in self.sources) // self._slice_ms - 1
        for predictions, outcomes, until in self._runs(taken, finished):
            self._run(predictions, outcomes, until, result)
        self._state.finished = finished
        note = ReadUpTo(partition=self._number, slice=finished)
        result.outbox.append(Outgoing(Topic.SLICES, None, encode(note), self._number, read_up_to_headers(note)))
        self._collect_changes(result.changes)
        self._note(self._number, sum(map(len, taken.values())), (finished + 1) * self._slice_ms)
        return result

    async def stored_and_relayed(self) -> None:
        """See `Work.stored_and_relayed`."""

    def gauges(self) -> dict[str, float]:
        """See `Measures.gauges`."""
        ledgers = self._partition.ledgers.values()
        return {
            "kept_predictions": float(sum(len(ledger) for ledger in ledgers)),
            "ledger_bytes": float(sum(ledger.rows.size_bytes for ledger in ledgers)),
        }

    def _marks(self, records: Sequence[Record], bad: list[Bad]) -> list[tuple[Record, Mark]]:
        """The marks among `records`, in order; what is none is noted in `bad`."""
        found = []
        for record in filter(_headers, records):
            if (text := record.header(MARK_HEADER)) is not None:
                try:
                    found.append((record, Mark.read(text)))
                except NotAMark as why:
                    bad.append((record, 0, InvalidRecord(DeadLetterReason.UNKNOWN_MARK, str(why))))
        return found

    def _runs(
        self, taken: Mapping[Source, Sequence[Record]], finished: int
    ) -> Iterator[tuple[Sequence[Record], Sequence[Record], int]]:
        """The records in runs of slices under the same specs, and the last slice of each run.

        A slice with the mark of a spec ends its run.
        """
        ends = {self._slice(r) for r, mark in self._marks(taken[self._predictions], []) if mark.kind == "spec"}
        at = [0, 0]
        for end in sorted(ends | {finished}):
            parts = []
            for i, source in enumerate(self.sources):
                records, begin = taken[source], at[i]
                while at[i] < len(records) and (end == finished or self._slice(records[at[i]]) <= end):
                    at[i] = len(records) if end == finished else at[i] + 1
                parts.append(records[begin : at[i]])
            yield parts[0], parts[1], end

    def _run(self, predictions: Sequence[Record], outcomes: Sequence[Record], until: int, result: Step) -> None:
        """One run of slices. In its first slice, specs whose marks stood in an earlier one come into force."""
        if not predictions and not outcomes:
            self._publish(self._step_over(None, until), {}, {}, result)
            return
        first = min(self._slice(record) for record in (*predictions[:1], *outcomes[:1]))
        if self._state.origin is None:
            self._state.origin = self._partition.origin = first
        self._bring_into_force(first)
        bad: list[Bad] = []
        marks = self._take_marks(self._marks(predictions, bad), bad)
        for record, mark in self._marks(outcomes, bad):
            if mark.kind != "tick":
                misplaced = f"mark {mark.text!r} has its place among the predictions"
                bad.append((record, 0, InvalidRecord(DeadLetterReason.UNKNOWN_MARK, misplaced)))
        reader = self._reader or self._make_reader()
        sound = [_unmarked(self._usable(records, bad)) for records in (predictions, outcomes)]
        columns, bad_predictions = reader.predictions(sound[0], self._slice_ms)
        came, bad_outcomes = reader.outcomes(sound[1], self._slice_ms)
        self._versions.settle_baselines()
        self._stop_if_all_bad(sound[0], columns.last, bad_predictions)
        self._stop_if_all_bad(sound[1], came.last, bad_outcomes)
        changed = self._step_over((columns, came), until)
        self._count_placement(columns, came, changed)
        dead: dict[int, int] = {}
        bad += bad_predictions + bad_outcomes
        for record, row, why in sorted(bad, key=lambda one: (one[0].source.topic, one[0].offset, one[1])):
            result.outbox.append(dead_letter(record, why, row))
            dead[self._slice(record)] = dead.get(self._slice(record), 0) + 1
        self._publish(changed, marks, dead, result)

    def _usable(self, records: Sequence[Record], bad: list[Bad]) -> Sequence[Record]:
        """Without those on which an earlier step raised."""
        if not self._refused:
            return records
        why = [self._refused.get((record.source, record.offset)) for record in records]
        found = list(zip(records, why, strict=True))
        bad += [(record, 0, InvalidRecord(DeadLetterReason.STEP_FAILED, text)) for record, text in found if text]
        return [record for record, text in found if not text]

    def _stop_if_all_bad(self, records: Sequence[Record], last_good: int, bad: Sequence[Bad]) -> None:
        """Raises `UnitStopped` where nothing but bad records has come for long. `last_good`: an offset, -1: none."""
        if not records:
            return
        topic = records[0].source.topic.value
        before = self._state.bad.get(topic, 0)
        since = sum(1 for _ in takewhile(lambda record: record.offset > last_good, reversed(records)))
        if since < len(records):
            before = 0
        self._state.bad[topic] = before if before < 0 else before + since
        if self._state.bad[topic] >= BAD_IN_A_ROW:
            why = bad[-1][2]
            raise UnitStopped(
                NoticeKind.ALL_BAD,
                f"{self._state.bad[topic]} records of {topic}-{self._number} in a row cannot be used, the last one for "
                f"{why.reason} ({why.detail[:200]}); nothing is dropped while the partition stands still",
            )

    def _look_back(self) -> None:
        """What marks said that stood before the first record that there is to read."""
        state = self._state
        if not state.jumped or self._first is None:
            return
        before = stood_before(self._catalog, self._number, self._first)
        state.specs |= {model: n for model, n in before.specs.items() if n > state.specs.get(model, 0)}
        state.coming = [coming for coming in state.coming if coming[2] > state.specs.get(coming[1], 0)]
        for baseline in before.baselines:
            state.bins.setdefault(baseline.model, {}).setdefault(baseline.version, baseline.id)
        state.jumped, self._reader = False, None

    def _bring_into_force(self, first: int) -> None:
        """Specs whose marks stand in a slice before `first`."""
        for coming in [coming for coming in self._state.coming if coming[0] < first]:
            self._state.coming.remove(coming)
            self._state.specs[coming[1]] = coming[2]
            self._reader = None

    def _make_reader(self) -> Reader:
        """A reader under the specs in force, which are made known to the partition."""
        specs = {model: self._catalog.specs[model, revision] for model, revision in self._state.specs.items()}
        codes = {}
        for model, spec in specs.items():
            kept = kept_slices(spec, self._slice_ms)
            codes[model] = self._partition.table.outcomes_of(model, kept)
            limit = -(-spec.max_kept // self._catalog.deployment.partitions)
            self._partition.use(codes[model], kept, limit, numeric=spec.task == "regression")
        self._reader = Reader(specs, codes, self._versions.register)
        return self._reader

    def _take_marks(self, marks: Sequence[tuple[Record, Mark]], bad: list[Bad]) -> dict[int, list[str]]:
        """Note what marks say; returns, by slice, those that control has to know of."""
        told: dict[int, list[str]] = {}
        self._versions.baselines = []
        for record, mark in marks:
            if not mark.known(self._catalog):
                why = f"mark {mark.text!r} names nothing known"
                bad.append((record, 0, InvalidRecord(DeadLetterReason.UNKNOWN_MARK, why)))
            elif mark.kind == "baseline":
                self._versions.baselines.append((record.offset, mark.name))
            elif mark.kind == "spec":
                number, coming = self._slice(record), self._state.coming
                known = [revision for _, model, revision in coming if model == mark.model]
                if mark.revision > max(known, default=self._state.specs.get(mark.model, 0)):
                    coming.append((number, mark.model, mark.revision))
                told.setdefault(number, []).append(mark.text)
        return told

    def _step_over(self, arrived: tuple[PredictionColumns, OutcomeColumns] | None, until: int) -> Changed:
        if self._state.origin is None:
            return Changed()
        return self._partition.forget(until) if arrived is None else self._partition.step(*arrived, until)

    def _count_placement(self, columns: PredictionColumns, came: OutcomeColumns, changed: Changed) -> None:
        """Of a sample of ids, how many stand in another partition than murmur2 gives them: the topics should agree."""
        partitions = self._catalog.deployment.partitions
        table = self._partition.table
        if partitions == 1:
            return
        for what, rows in (("predictions", columns), ("outcomes", came)):
            for i in np.flatnonzero((rows.low & SAMPLED) == 0).tolist():
                model, number = table[int(rows.series[i])].model, int(rows.slice[i])
                changed.count(number, model, f"sampled_{what}", 1)
                if partition_of(rows.ids[i], partitions) != self._number:
                    changed.count(number, model, f"misplaced_{what}", 1)

    def _publish(self, changed: Changed, marks: Mapping[int, list[str]], dead: Mapping[int, int], result: Step) -> None:
        for record in slices(self._number, changed, marks, dead, self._state.previous, self._shard):
            result.outbox.append(Outgoing(Topic.SLICES, None, encode(record), self._number, slice_headers(record)))
            self._state.previous = record.slice

    def _shard(self, model: str) -> int:
        if model not in self._shards:
            self._shards[model] = partition_of(model, self._catalog.deployment.shards)
        return self._shards[model]

    def _collect_changes(self, changes: Changes) -> None:
        for name, ledger in self._partition.ledgers.items():
            told = ledger.take_changes()
            changes.forget += [f"{name}:{segment}" for segment in told.forget]
            changes.append |= {f"{name}:{segment}": more for segment, more in told.append.items()}
        self._state.series = self._partition.table.entries
        parts = {name.encode(): msgspec.json.encode(part) for name, part in msgspec.structs.asdict(self._state).items()}
        changes.put["state"] = {name: part for name, part in parts.items() if self._stored.get(name) != part}
        self._stored = parts

    def _slice(self, record: Record) -> int:
        return record.arrival // self._slice_ms


def _unmarked(records: Sequence[Record]) -> Sequence[Record]:
    """Without marks."""
    if not any(map(_headers, records)):
        return records
    return [record for record in records if not record.headers or record.header(MARK_HEADER) is None]
