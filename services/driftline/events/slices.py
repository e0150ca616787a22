"""What the monitor tells control. Topic `slices` (internal)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from driftline.events.base import Event, Millis, digest_id
from driftline.events.reports import ALL

KIND_HEADER = "driftline-kind"
SLICE_HEADER = "driftline-slice"
SHARD_HEADER = "driftline-shard"
PREVIOUS_HEADER = "driftline-previous"
"""What a reader of another shard needs of a record that it skips; the values are text."""
NO_PREVIOUS = "none"

Headers = tuple[tuple[str, bytes], ...]


class BreachReason(StrEnum):
    """What was wrong with a value; the reason of the range alert that it opens."""

    OUT_OF_RANGE = "out-of-range"
    NOT_ALLOWED = "not-allowed"  # a category outside the declared set
    MISSING = "missing"  # of a feature that is declared `missing: forbidden`, as it is by default


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """Values of one feature or output that its declaration does not allow, in one slice, for one model version.

    `low` and `high` are the declared range where it is one that was left. `worst` is the number farthest outside it,
    or the first category that is not allowed, or None where the value is missing.
    """

    model: str
    version: str
    name: str
    reason: BreachReason = BreachReason.OUT_OF_RANGE
    n: int
    low: float | None = None
    high: float | None = None
    worst: float | str | None
    samples: tuple[str, ...]


class PaneDelta(msgspec.Struct, frozen=True, kw_only=True):
    """What one slice changed in one pane: a sparse integer vector over the layout of `bins` (a baseline's id).

    `pane` is the pane's number (event time // pane length). `cells[i]` changes by `counts[i]`, which is negative where
    a corrected outcome takes back; cells rise. `sums` are fixed-point integers (`core.pane.SCALE`, `FINE`). `cut` and
    `segment`: what the predictions are cut by and which of its segments these are, or empty and `all`: everybody.
    """

    model: str
    version: str
    role: str
    pane: int
    bins: str
    cells: tuple[int, ...]
    counts: tuple[int, ...]
    sums: dict[str, int]
    cut: str = ""
    segment: str = ALL

    @property
    def predicted(self) -> int:
        """Predictions that came: cell 0 of every layout counts them."""
        return self.counts[0] if self.cells[:1] == (0,) else 0

    @property
    def labelled(self) -> int:
        """How many more predictions have an outcome: cell 1 of every layout counts them."""
        at = self.cells[:2]
        return self.counts[at.index(1)] if 1 in at else 0


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """What the arrivals of one interval changed in one source partition, for one shard.

    The same input gives the same bytes. `previous` is the number of the last slice published before it (by this source
    partition, whatever the shard), so that a hole shows. `marks` lists the marks read in it ("spec flight-delay@2").
    `counters` are per model: duplicates, conflicts, orphans, corrections, dead letters.
    """

    partition: int
    slice: int
    previous: int | None
    shard: int
    panes: tuple[PaneDelta, ...] = ()
    breaches: tuple[Breach, ...] = ()
    counters: dict[str, dict[str, int]] = {}
    marks: tuple[str, ...] = ()


class ReadUpTo(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing happened in this source partition up to and with slice `slice`."""

    partition: int
    slice: int


class NoticeKind(StrEnum):
    """What a source partition has to say at once."""

    BREACH = "breach"  # a value that its declaration does not allow has arrived; not yet known whether it counts
    GAP = "gap"  # records are gone from Kafka before they were read
    ALL_BAD = "all-bad"  # so many bad records in a row that the partition stopped rather than drop them all
    STOPPED = "stopped"  # the partition stopped for another reason
    RESUMED = "resumed"  # it goes on, after any of the three before
    BEHIND = "behind"  # the worker does not keep up with what arrives
    CAUGHT_UP = "caught-up"


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Offsets `first` to `last` of a topic's partition, which cannot be read any more."""

    topic: str
    first: int
    last: int


class Notice(Event, frozen=True, kw_only=True):
    """What cannot wait for a slice to be finished. It stands between the slices of its source partition.

    `slice`: the slice that was being worked on, so it is not finished yet where the notice stands. `at`: an arrival.
    `detail`: what happened, in plain words, and the command that mends it, if there is one. `model` is None where the
    whole partition is meant. `breach` and `gap` belong to the kinds of their name. A repeat has the same id.
    """

    partition: int
    kind: NoticeKind
    slice: int
    at: Millis
    detail: str = ""
    model: str | None = None
    breach: Breach | None = None
    gap: Gap | None = None


def notice(
    kind: NoticeKind,
    partition: int,
    slice_number: int,
    at: Millis,
    *,
    detail: str = "",
    breach: Breach | None = None,
    gap: Gap | None = None,
) -> Notice:
    """A notice with the id that follows from what it is about: not from `at` nor `detail`, which may be worded anew."""
    about: tuple[object, ...] = (breach.model, breach.version, breach.name, breach.reason) if breach else ()
    about += (gap.topic, gap.first, gap.last) if gap else ()
    return Notice(
        id=digest_id("notice", kind, partition, slice_number, *about),
        partition=partition,
        kind=kind,
        slice=slice_number,
        at=at,
        detail=detail,
        model=breach.model if breach else None,
        breach=breach,
        gap=gap,
    )


def slice_headers(record: Slice) -> Headers:
    """The headers of a slice."""
    previous = NO_PREVIOUS if record.previous is None else str(record.previous)
    shard = (SHARD_HEADER, b"%d" % record.shard)
    return (*_headers("slice", record.slice), shard, (PREVIOUS_HEADER, previous.encode()))


def read_up_to_headers(note: ReadUpTo) -> Headers:
    """The headers of a note that nothing more happened."""
    return _headers("upto", note.slice)


def notice_headers(told: Notice, shard: int) -> Headers:
    """The headers of a notice. `shard`: that of its model; 0 where the whole partition is meant."""
    return (*_headers("notice", told.slice), (SHARD_HEADER, b"%d" % shard))


def _headers(kind: str, slice_number: int) -> Headers:
    return ((KIND_HEADER, kind.encode()), (SLICE_HEADER, b"%d" % slice_number))
