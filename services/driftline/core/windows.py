"""Which windows are due, when they are reported again, and when they are final.

A window `[end - span, end)` ends at a multiple of its `every` since 1970. It is first reported at decision time
`end + lateness`, again whenever its coverage has grown by five points, and for the last time at `end + horizon`.

What a partition brings that was left out is counted when it is back, and the windows that it touches are reported once
more, also where they were final: what was told while a partition was left out is remembered until all are back.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd

import msgspec

from driftline.events.base import Millis
from driftline.spec.model import MonitorSpec, WindowSpec, millis

RESTATE_AT = 0.05
UNITS = 100
"""A window is added up from so many parts at least, where panes are short enough: intervals resample them."""


class Open(msgspec.Struct, kw_only=True):
    """A window of one model version that has been reported and may be again.

    `told`: the coverage last reported; `complete`: the completeness last reported; `changed`: something has come since;
    `final`: its last report is due no more, it is only kept while a partition is left out.
    """

    window: str
    start: Millis
    end: Millis
    version: str
    role: str
    n: int
    labelled: int
    told: float
    changed: bool = False
    complete: float = 1.0
    final: bool = False

    @property
    def coverage(self) -> float:
        """The share of predictions that have an outcome by now."""
        return self.labelled / self.n if self.n else 0.0

    def grown(self) -> bool:
        """Whether coverage has grown by five points since the last report."""
        return self.coverage - self.told > RESTATE_AT - 1e-9  # 0.15 - 0.10 is a little less than 0.05


class Run(msgspec.Struct, kw_only=True):
    """A window that ends after so many predictions, as far as they have come: `counts` by start of the pane.

    `closed`: the end of the one before. What comes later for a pane between two such windows is in neither.
    """

    window: str
    version: str
    role: str
    closed: Millis = 0
    counts: dict[Millis, int] = {}

    @property
    def start(self) -> Millis:
        """Where it begins; `counts` is not empty."""
        return min(self.counts)

    def end(self, spec: MonitorSpec) -> Millis | None:
        """Where it ends, as far as is known: after its events or its span; None before the first event."""
        if not self.counts:
            return None
        window, pane = spec.windows[self.window], millis(spec.pane)
        latest, n = self.start + millis(window.span), 0
        for start in sorted(self.counts):
            n += self.counts[start]
            if start >= latest or n >= (window.events or 0):
                return min(latest, start + pane)
        return latest

    def close(self, end: Millis) -> None:
        """The window has ended: the next one begins."""
        self.closed = end
        self.counts = {start: n for start, n in self.counts.items() if start >= end}


def unit_of(spec: MonitorSpec, name: str) -> Millis:
    """How long the parts are that a window is added up from: several panes, if it is much longer than a pane.

    All of its windows begin and end between two such parts, and each has `UNITS` of them at least, or all its panes.
    """
    window = spec.windows[name]
    if window.events is not None:
        return millis(spec.pane)
    return _unit(millis(window.span), millis(window.every), millis(spec.pane))


@lru_cache(maxsize=1024)
def _unit(span: Millis, every: Millis, pane: Millis) -> Millis:
    common = gcd(span, every) // pane
    most = max(1, min(common, span // (UNITS * pane)))
    return pane * next(panes for panes in range(most, 0, -1) if common % panes == 0)


def first_end(window: WindowSpec, first_pane_start: Millis) -> Millis:
    """The first end of a window that can hold anything."""
    every = millis(window.every)
    return first_pane_start // every * every + every


def due_at(spec: MonitorSpec, end: Millis) -> Millis:
    """The decision time of a window's first report."""
    return end + millis(spec.lateness)


def final_at(spec: MonitorSpec, end: Millis) -> Millis:
    """The decision time of a window's last report; never before the first."""
    return end + max(millis(spec.horizon), millis(spec.lateness))
