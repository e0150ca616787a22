"""What the ledger keeps: one row a prediction or a waiting outcome, in columns, and the log from which they come back.

A row belongs to the segment of its expiry: `(segment length of its series, expiry // length)`. Forgetting is dropping a
segment. What happened to the rows of a segment is appended to its log, which goes with it: rows that came, outcomes
that were joined to them, rows that were taken out.

Predictions carry a tail of bytes besides, one a feature: the cell of its histogram into which the value fell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.core.index import Index
from driftline.core.pages import Pages
from driftline.core.series import SeriesTable

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Segment = tuple[int, int]
"""(slices in it, its number): what expires in `[number * slices, (number + 1) * slices)`."""

GONE = 2**32 - 1
"""Where a joined outcome's expiry would stand: the row has been taken out."""
KNOWN = 1
"""An expiry long past: an outcome has been joined, but is not remembered for predictions to come."""
GROWTH = 1.25
_FRAME = np.dtype([("rows", "<u4"), ("truths", "<u4")])


@dataclass
class LogChanges:
    """Bytes to append to the logs of segments by name, and the names of logs to forget."""

    append: dict[str, bytes] = field(default_factory=dict)
    forget: list[str] = field(default_factory=list)


class Rows:
    """The rows of a ledger. `labels`: answers and truths are labels (a byte each), else they are numbers.

    Columns, by row number: `low`, `high` the id's 128 bits; `series`; `expires` the slice from which on the row is not
    known any more (0: a free row); `pane`; `answer` the score (labels) or the predicted number; `label` the predicted
    label; `mark` bits of the content's digest, the lowest for the role (1: shadow), or of a waiting outcome why it is
    no orphan (`core.ledger.MET`), 0: it may be one; `time`, `truth` of the joined or waiting outcome; `remembered` the
    slice from which on that outcome is not known any more (0: there is none).
    """

    def __init__(self, table: SeriesTable, *, labels: bool) -> None:
        self.table = table
        truth = "u1" if labels else "<f8"
        self._fields = [("low", "<u8"), ("high", "<u8"), ("series", "<u4"), ("expires", "<u4"), ("pane", "<u4")]
        self._fields += [("answer", "<f8"), ("mark", "<u4" if labels else "<u2")]
        if labels:
            self._fields.append(("label", "u1"))
        self._row = np.dtype([("row", "<u4"), *self._fields])
        self._truth = np.dtype([("row", "<u4"), ("time", "<i8"), ("truth", truth), ("remembered", "<u4")])
        kept = [*self._fields, ("time", "<i8"), ("truth", truth), ("remembered", "<u4")]
        self._columns: dict[str, NDArray[Any]] = {name: np.zeros(64, kind) for name, kind in kept}
        self._bind()
        self.index = Index(self)
        self.last = np.zeros(1, np.int64)
        """The last expiry of any row, by series: what lies behind it need not be looked up."""
        self.held = np.zeros(1, np.int64)
        """Rows held, by series."""
        self._pages = Pages()
        self._freed: list[I64] = []
        self._came: list[I64] = []
        self._joined: list[NDArray[Any]] = []
        self._forget: list[Segment] = []
        self._segments: set[Segment] = set()

    def __len__(self) -> int:
        return int(self.held.sum())

    @property
    def row_bytes(self) -> int:
        """Memory of one row without its tail and its entry in the index."""
        return sum(column.itemsize for column in self._columns.values())

    @property
    def size_bytes(self) -> int:
        """Memory of the rows held and of their index; beyond them, columns are reserved but not touched."""
        return self._pages.top * self.row_bytes + self._pages.size_bytes + self.index.size_bytes

    def numbers_of(self, codes: NDArray[np.uint32]) -> I64:
        """The rows of some series."""
        return np.flatnonzero(np.isin(self.series[: self._pages.top], codes) & (self.expires[: self._pages.top] > 0))

    def may_hold(self, codes: NDArray[np.uint32], now: I64) -> Bools:
        """Whether a row of each series may still be known, or remember an outcome, in slice `now` (code 0: no)."""
        reached = codes < self.last.size
        may: Bools = (codes > 0) & reached & (self.last[np.where(reached, codes, 0)] > now)
        return may

    def tails(self, numbers: I64) -> U8:
        """The tails of rows: (rows, the widest of all series), zeros behind shorter ones."""
        return self._pages.read(numbers, self.table.widest)

    def add(self, tail: U8 | None, **columns: NDArray[Any]) -> I64:
        """Take in rows; returns their numbers. They are not in the index yet. `tail` as `tails` returns it."""
        numbers = self._pages.take(self.table.widths[columns["series"]])
        self._reach()
        if tail is not None:
            self._pages.write(numbers, tail)
        for name, values in columns.items():
            self._columns[name][numbers] = values
        if "remembered" not in columns:
            self.remembered[numbers] = 0
        self._note_held(columns["series"].astype(np.int64), columns["expires"].astype(np.int64))
        self._segments |= _segments(*self._segment_of(numbers))
        self._came.append(numbers)
        return numbers

    def join(self, numbers: I64, time: I64, truth: NDArray[Any], remembered: NDArray[Any]) -> None:
        """Set the outcome of rows."""
        if not numbers.size:
            return
        self.time[numbers], self.truth[numbers], self.remembered[numbers] = time, truth, remembered
        np.maximum.at(self.last, self.series[numbers], remembered)
        self._log_truth(numbers)

    def take_out(self, numbers: I64) -> None:
        """Let go of rows before their time; they are free from the next `take_changes` on."""
        if not numbers.size:
            return
        self.index.remove(numbers)
        self._log_truth(numbers, gone=True)
        self._release(numbers)

    def _log_truth(self, numbers: I64, *, gone: bool = False) -> None:
        told = np.empty(numbers.size, [("segment", "<i8"), ("number", "<i8"), *self._truth.descr])
        told["segment"], told["number"] = self._segment_of(numbers)
        told["row"], told["time"], told["truth"] = numbers, self.time[numbers], self.truth[numbers]
        told["remembered"] = GONE if gone else self.remembered[numbers]
        self._joined.append(told)

    def expiring(self, until: int) -> Iterator[tuple[int, I64]]:
        """Segments of which nothing is known from slice `until` on, as (the slice from which on, rows), in order."""
        ended = sorted((number * size + size - 1, size, number) for size, number in self._segments)
        for at, size, number in ended:
            if at > until:
                return
            expires = self.expires[: self._pages.top]
            inside = np.flatnonzero((expires >= max(1, number * size)) & (expires < (number + 1) * size))
            rows = inside[self.table.segments[self.series[inside]] == size]
            self.index.remove(rows)
            yield at, rows
            self._segments.discard((size, number))
            self._forget.append((size, number))
            self._release(rows)

    def take_changes(self) -> LogChanges:
        """What is to be stored since the last call."""
        changes = LogChanges(forget=[_name(segment) for segment in self._forget])
        came = np.concatenate(self._came) if self._came else np.empty(0, np.int64)
        came = came[self.expires[came] > 0]  # not what came and went in the meantime
        came = came[np.argsort(self.table.widths[self.series[came]], kind="stable")]
        packed = np.empty(came.size, self._row)
        packed["row"] = came
        for name, _ in self._fields:
            packed[name] = self._columns[name][came]
        joined = np.concatenate(self._joined) if self._joined else None
        sizes, numbers = self._segment_of(came)
        rows_of = _parts(packed, sizes, numbers)
        truths_of = {} if joined is None else _parts(joined, joined["segment"], joined["number"])
        gone = set(self._forget)
        for segment in sorted((rows_of.keys() | truths_of.keys()) - gone):
            rows, truths = rows_of.get(segment, packed[:0]), truths_of.get(segment)
            told = np.empty(0, self._truth) if truths is None else truths[list(self._truth.names or ())]
            frame = np.array([(rows.size, told.size)], _FRAME)
            tails = b"".join(tail.tobytes() for _, tail in self._by_width(rows))
            joined_bytes = told.astype(self._truth).tobytes()
            changes.append[_name(segment)] = frame.tobytes() + rows.tobytes() + tails + joined_bytes
        self._came, self._joined, self._forget = [], [], []
        for numbers in self._freed:
            self._pages.give_back(numbers)
        self._freed = []
        return changes

    def _by_width(self, rows: NDArray[Any]) -> Iterator[tuple[NDArray[Any], U8]]:
        """Packed rows, which stand in the order of their widths, with their tails, a width at a time."""
        widths = self.table.widths[rows["series"]]
        for part in np.split(rows, np.flatnonzero(np.diff(widths)) + 1):
            width = int(self.table.widths[part["series"][0]]) if part.size else 0
            yield part, self._pages.read(part["row"].astype(np.int64), width)

    def restore(self, logs: Mapping[str, bytes]) -> None:
        """Take back the rows from the logs of all segments."""
        read = []
        for name, log in sorted(logs.items()):
            size, _, number = name.partition(".")
            self._segments.add((int(size), int(number)))
            read.append(self._read(log))
        every = [part for parts, _ in read for part, _ in parts]
        numbers = np.concatenate([np.empty(0, np.int64), *(part["row"].astype(np.int64) for part in every)])
        series = np.concatenate([np.empty(0, np.int64), *(part["series"].astype(np.int64) for part in every)])
        self._pages.take_back(numbers, self.table.widths[series])
        self._reach()
        for parts, truths in read:
            for rows, tails in parts:
                place = rows["row"].astype(np.int64)
                for column, _ in self._fields:
                    self._columns[column][place] = rows[column]
                self._pages.write(place, tails)
                self._note_held(rows["series"].astype(np.int64), rows["expires"].astype(np.int64))
            # the same row told of again: the last holds
            told = truths["row"].astype(np.int64)
            self.time[told], self.truth[told], self.remembered[told] = (
                truths["time"],
                truths["truth"],
                truths["remembered"],
            )
        taken = np.flatnonzero(self.expires[: self._pages.top])
        np.maximum.at(self.last, self.series[taken], self.remembered[taken])
        self.index.put(self._shadowed(taken))

    def _shadowed(self, taken: I64) -> I64:
        """Without predictions in whose place a later one of the same id and version has come; they expire unseen."""
        series = self.series[taken]
        waits = self.table.model_of[series] == series
        order = taken[~waits]
        keys = (self.expires[order], self.series[order], self.high[order], self.low[order])
        order = order[np.lexsort(keys)]
        same = np.ones(max(0, order.size - 1), np.bool_)
        for column in (self.low, self.high, self.series):
            same &= column[order][1:] == column[order][:-1]
        return np.concatenate([order[np.append(~same, True)[: order.size]], taken[waits]])

    def _read(self, log: bytes) -> tuple[list[tuple[NDArray[Any], U8]], NDArray[Any]]:
        """The rows that are left of a log with their tails, some at a time, and what was joined to them, in order."""
        parts: list[tuple[NDArray[Any], U8]] = []
        truths: list[NDArray[Any]] = []
        at = 0
        while at < len(log):
            (counts,) = np.frombuffer(log, _FRAME, 1, at)
            at += _FRAME.itemsize
            came = np.frombuffer(log, self._row, int(counts["rows"]), at)
            at += came.nbytes
            widths = self.table.widths[came["series"]]
            for rows in np.split(came, np.flatnonzero(np.diff(widths)) + 1):
                width = int(self.table.widths[rows["series"][0]]) if rows.size else 0
                parts.append((rows, np.frombuffer(log, np.uint8, rows.size * width, at).reshape(rows.size, width)))
                at += rows.size * width
            told = np.frombuffer(log, self._truth, int(counts["truths"]), at)
            at += told.nbytes
            gone = told["row"][told["remembered"] == GONE]
            if gone.size:
                left = [~np.isin(rows["row"], gone) for rows, _ in parts]
                parts = [(rows[here], tails[here]) for (rows, tails), here in zip(parts, left, strict=True)]
                truths = [part[~np.isin(part["row"], gone)] for part in truths]
                told = told[~np.isin(told["row"], gone)]
            truths.append(told)
        return parts, np.concatenate([np.empty(0, self._truth), *truths])

    def _reach(self) -> None:
        """Make room for all row numbers. What is reserved beyond is not touched, and so costs no memory."""
        top = self._pages.top
        if top <= self.low.size:
            return
        for name, column in self._columns.items():
            larger = np.zeros(int(top * GROWTH), column.dtype)
            larger[: column.size] = column
            self._columns[name] = larger
        self._bind()

    def _bind(self) -> None:
        found = self._columns
        self.low, self.high, self.series = found["low"], found["high"], found["series"]
        self.expires, self.pane, self.answer, self.mark = (
            found["expires"],
            found["pane"],
            found["answer"],
            found["mark"],
        )
        self.time, self.truth, self.remembered = found["time"], found["truth"], found["remembered"]
        self.label: NDArray[Any] | None = found.get("label")

    def _release(self, numbers: I64) -> None:
        self.held -= np.bincount(self.series[numbers], minlength=self.held.size)
        self.expires[numbers] = 0
        self._freed.append(numbers)

    def _note_held(self, series: I64, expires: I64) -> None:
        if len(self.table) >= self.held.size:
            more = np.zeros(len(self.table) + 1 - self.held.size, np.int64)
            self.held, self.last = np.append(self.held, more), np.append(self.last, more)
        self.held += np.bincount(series, minlength=self.held.size)
        np.maximum.at(self.last, series, expires)

    def _segment_of(self, numbers: I64) -> tuple[I64, I64]:
        sizes = self.table.segments[self.series[numbers]]
        return sizes, self.expires[numbers] // sizes


def _name(segment: Segment) -> str:
    return f"{segment[0]}.{segment[1]}"


def _segments(sizes: I64, numbers: I64) -> set[Segment]:
    """The different ones."""
    return {(int(size), int(number)) for size in np.unique(sizes) for number in np.unique(numbers[sizes == size])}


def _parts(told: NDArray[Any], sizes: I64, numbers: I64) -> dict[Segment, NDArray[Any]]:
    """What was told, by segment, each in order."""
    found = {}
    for size, number in _segments(sizes, numbers):
        found[size, number] = told[(sizes == size) & (numbers == number)]
    return found
