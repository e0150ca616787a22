"""What the monitor tells control. Topic `slices` (internal)."""

from __future__ import annotations

import msgspec


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """Values of one feature or output outside their declared range, in one slice, for one model version."""

    model: str
    version: str
    name: str
    n: int
    low: float | None
    high: float | None
    worst: float
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
