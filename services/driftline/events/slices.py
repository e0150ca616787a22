"""What the monitor tells control. Topic `slices` (internal)."""

from __future__ import annotations

from enum import StrEnum

import msgspec


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
    a corrected outcome takes back. `sums` are fixed-point integers (`core.pane.SCALE`).
    """

    model: str
    version: str
    role: str
    pane: int
    bins: str
    cells: tuple[int, ...]
    counts: tuple[int, ...]
    sums: dict[str, int]


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
