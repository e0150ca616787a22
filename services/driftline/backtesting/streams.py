"""Rows in the order of their arrival, and two such streams cut into whole slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from driftline.backtesting.letters import DeadLetter
from driftline.backtesting.mapping import Mapped
from driftline.backtesting.tables import ROWS
from driftline.backtesting.values import I64, NO_TIME, TIME_FORMS, Bools, coded, first_of, texts_of, times_of
from driftline.core.validation import LATEST
from driftline.errors import DriftlineError
from driftline.events.base import Millis
from driftline.events.topics import DeadLetterReason
from driftline.platform.sorting import sorted_batches

ROW, TIME = "@row", "@time"
"""Columns of our own: the number of a row in its file, and its arrival in epoch milliseconds."""

Refuse = Callable[[DeadLetter], None]
Advance = Callable[[int], None]
"""Told of each number of rows that has been read."""


@dataclass
class Look:
    """What a first pass over a stream has found.

    `first`, `last`: of the rows that are within. `outside`: rows that are not, of all `rows`. `naive`: a time has no
    offset. `versions`: of champions and shadows.
    """

    rows: int = 0
    outside: int = 0
    is_sorted: bool = True
    first: Millis | None = None
    last: Millis | None = None
    naive: bool = False
    versions: set[str] = field(default_factory=set)
    champions: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Stream:
    """The rows of one file by the time in its column `time` ("time" or "outcome_time"). It can be read repeatedly.

    `only`: rows where this column is missing do not belong to it (predictions that have no outcome beside them).
    Rows outside `within` are passed over.
    """

    mapped: Mapped
    time: str
    only: str | None = None
    within: tuple[Millis, Millis] = (0, LATEST)

    @property
    def name(self) -> str:
        """The file."""
        return self.mapped.data.name

    def look(self, advance: Advance) -> Look:
        """One pass over times and versions. Raises `DriftlineError` where the file cannot be read or times be right."""
        found, odd = Look(), None
        wanted = [w for w in (self.time, "version", "role", self.only) if w is not None and w in self.mapped.columns]
        for batch in self._batches(wanted):
            times = times_of(batch.column(self.time))
            found.naive |= times.naive
            inside = self._inside(times.values)
            some = times.values[inside]
            found.rows += batch.num_rows
            found.outside += int(np.count_nonzero(~inside & (times.values != NO_TIME)))
            if some.size:
                found.is_sorted &= bool((np.diff(some) >= 0).all()) and (found.last or 0) <= int(some[0])
                found.first = min(int(some.min()), int(some.min()) if found.first is None else found.first)
                found.last = max(int(some.max()), found.last or 0)
            odd = odd or first_of(batch.column(self.time))
            _note_versions(batch, found)
            advance(batch.num_rows)
        if found.rows and found.first is None and not found.outside:
            raise no_times(self.name, self.mapped.name_of(self.time), odd, self.time)
        return found

    def arrivals(self, look: Look, refuse: Refuse) -> Iterator[pa.Table]:
        """All rows by arrival, then by row number: columns by what they hold, `ROW` and `TIME`.

        Rows without a time are refused. A file that is not sorted is sorted on disk.
        """
        batches = self._timed(refuse)
        if not look.is_sorted:
            first = next(batches, None)
            if first is None:
                return
            batches = sorted_batches(first.schema, _again(first, batches), (TIME, ROW))
        for batch in batches:
            yield pa.Table.from_batches([batch])

    def _timed(self, refuse: Refuse) -> Iterator[pa.RecordBatch]:
        columns = self.mapped.columns
        for batch in self.mapped.data.read(list(dict.fromkeys(columns.values()))):
            for row, detail in batch.malformed:
                self._refuse(refuse, row, "", f"{detail}; mend the line")
            found = {what: batch.columns.column(name) for what, name in columns.items()}
            kept = np.ones(batch.columns.num_rows, np.bool_)
            if self.only is not None:
                kept &= found[self.only].is_valid().to_numpy(zero_copy_only=False)
            times = times_of(found[self.time]).values
            for i in np.flatnonzero(kept & (times == NO_TIME)).tolist():
                value = found[self.time][i].as_py()
                what = "no time stands here" if value is None else f"{value!r} is no time"
                self._refuse(refuse, int(batch.rows[i]), self.time, f"{what}; write {TIME_FORMS}")
            kept &= self._inside(times)
            arrays = [pa.array(batch.rows), pa.array(times), *found.values()]
            whole = pa.RecordBatch.from_arrays(arrays, names=[ROW, TIME, *found])
            yield whole if kept.all() else whole.filter(pa.array(kept))

    def _inside(self, times: I64) -> Bools:
        low, high = self.within
        found: Bools = (times != NO_TIME) & (times >= low) & (times <= high)
        return found

    def _refuse(self, refuse: Refuse, row: int, what: str, detail: str) -> None:
        if what not in self.mapped.told:
            column, reason = self.mapped.name_of(what), DeadLetterReason.NOT_AN_EVENT
            refuse(DeadLetter(file=self.name, row=row, column=column, reason=reason, detail=detail))

    def _batches(self, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        names = [self.mapped.columns[what] for what in wanted]
        for batch in self.mapped.data.read(list(dict.fromkeys(names))):
            found = pa.RecordBatch.from_arrays([batch.columns.column(name) for name in names], names=list(wanted))
            yield found if self.only is None else found.filter(found.column(self.only).is_valid())


def no_times(name: str, column: str, first: str | None, what: str) -> DriftlineError:
    """A file whose column of times holds none; `first`: how its first value is written."""
    seen = "all are missing" if first is None else f"the first is {first}"
    return DriftlineError(
        f"{name}: no value of column `{column}` is a time ({seen}); write {TIME_FORMS}, or name another column with "
        f"--{what.replace('_', '-')}"
    )


def _note_versions(batch: pa.RecordBatch, found: Look) -> None:
    names = batch.schema.names
    if "version" not in names:
        return
    codes, values = coded(texts_of(batch.column("version")))
    shadow = np.zeros(codes.size, np.bool_)
    if "role" in names:
        roles = coded(batch.column("role"))
        shadow = np.array([*(value == "shadow" for value in roles.values), False])[roles.codes]
    found.versions |= {str(values[code]) for code in np.unique(codes[codes >= 0]).tolist()}
    found.champions |= {str(values[code]) for code in np.unique(codes[(codes >= 0) & ~shadow]).tolist()}


def _again(first: pa.RecordBatch, others: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from others


class Cut(NamedTuple):
    """What arrived up to and with slice `until`, after the cut before it."""

    predictions: pa.Table | None
    outcomes: pa.Table | None
    until: int


class _Waiting:
    """What has been read of a stream and not been cut off yet."""

    def __init__(self, tables: Iterator[pa.Table], slice_ms: int) -> None:
        self._tables, self._slice_ms = tables, slice_ms
        self.table: pa.Table | None = None
        self.ended = False

    def more(self) -> None:
        """Read on, by so many rows that a step is worth its while."""
        found, rows = [] if self.table is None else [self.table], 0
        while rows < ROWS and not self.ended:
            table = next(self._tables, None)
            self.ended = table is None
            if table is not None and table.num_rows:
                found.append(table)
                rows += table.num_rows
        self.table = pa.concat_tables(found) if found else None

    def finished(self) -> int:
        """The last slice of which everything has been read; -1: none. Only where it has not ended."""
        return -1 if self.table is None else self.last() - 1

    def last(self) -> int:
        """The slice of the last row read."""
        assert self.table is not None, "something has been read"
        return int(self.table.column(TIME)[-1].as_py()) // self._slice_ms

    def take(self, until: int) -> pa.Table | None:
        """Cut off what arrived up to and with slice `until`."""
        if self.table is None:
            return None
        times = self.table.column(TIME).to_numpy()
        count = int(np.searchsorted(times, (until + 1) * self._slice_ms))
        taken, rest = self.table.slice(0, count), self.table.slice(count)
        self.table = rest if rest.num_rows else None
        return taken if count else None


def cuts(predictions: Iterator[pa.Table], outcomes: Iterator[pa.Table], slice_ms: int) -> Iterator[Cut]:
    """Both streams in whole slices, each as many as have been read completely.

    Whichever has been read less far is read on, so that no more waits than a batch, or a slice, of each.
    """
    both = _Waiting(predictions, slice_ms), _Waiting(outcomes, slice_ms)
    while not all(waiting.ended for waiting in both):
        slowest = min((w for w in both if not w.ended), key=lambda w: w.finished())
        slowest.more()
        reached = [waiting.finished() for waiting in both if not waiting.ended]
        there = [waiting.last() for waiting in both if waiting.table is not None]
        until = min(reached, default=max(there, default=-1))
        if there and until >= min(
            int(w.table.column(TIME)[0].as_py()) // slice_ms for w in both if w.table is not None
        ):
            yield Cut(both[0].take(until), both[1].take(until), until)
