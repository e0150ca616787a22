"""The panes of one model, and how they are stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from driftline.core.pane import IntArray, Pane
from driftline.events.base import Millis
from driftline.events.reports import ALL


class Series(NamedTuple):
    """Whose panes: `cut` and `segment` as in `PaneDelta`."""

    version: str
    role: str
    cut: str = ""
    segment: str = ALL


class _StoredPane(msgspec.Struct, array_like=True):
    cells: bytes
    counts: bytes
    sums: dict[str, str]


NOTHING = Pane()


@dataclass
class _Waiting:
    """What is still to be added to a pane, one change after the other."""

    cells: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    sums: dict[str, int] = field(default_factory=dict)


class Panes:
    """The panes of one model, and which of them have changed since they were last stored.

    They are kept once for each length of parts that its windows are added up from (`units`, see `core.windows`), and
    each only for as long as these windows need it: a week is a hundred panes, not sixty thousand. What is added waits
    until a pane is needed: many small additions make one addition of vectors.
    """

    def __init__(self) -> None:
        self.units: dict[Millis, dict[Series, dict[int, Pane]]] = {}
        self._waiting: defaultdict[tuple[Millis, Series, int], _Waiting] = defaultdict(_Waiting)
        self._changed: set[tuple[Millis, Series, int]] = set()

    def series(self, unit: Millis) -> set[Series]:
        """Whose panes of a length there are."""
        waiting = {series for length, series, _ in self._waiting if length == unit}
        return waiting | self.units.get(unit, {}).keys()

    def use(self, units: Collection[Millis]) -> None:
        """Keep panes of these lengths; those of a new one are added up from shorter ones, as far as there are any."""
        self._settle()
        for unit in sorted(set(units) - self.units.keys()):
            shorter = max((known for known in self.units if unit % known == 0), default=unit)
            known = self.units.get(shorter, {})
            self.units[unit] = {}
            for series, panes in known.items():
                for number, pane in panes.items():
                    self._add(unit, series, number * shorter // unit, pane.cells, pane.counts, pane.sums)
        for unit in self.units.keys() - set(units):
            self._changed |= {(unit, series, n) for series, panes in self.units.pop(unit).items() for n in panes}

    def add(
        self, series: Series, start: Millis, cells: Sequence[int], counts: Sequence[int], sums: Mapping[str, int]
    ) -> None:
        """Add `counts` to `cells`, and `sums` by name, in the panes in which `start` lies."""
        for unit in self.units:
            waiting = self._waiting[unit, series, start // unit]
            waiting.cells += cells
            waiting.counts += counts
            for name, value in sums.items():
                waiting.sums[name] = waiting.sums.get(name, 0) + value

    def between(self, unit: Millis, series: Series, start: Millis, end: Millis) -> dict[int, Pane]:
        """The panes of a length from `start` to `end`, by number, in time order."""
        self._settle()
        panes, first, last = self.units[unit].get(series, {}), start // unit, end // unit
        if last - first > len(panes):
            return {number: panes[number] for number in sorted(panes) if first <= number < last}
        return {number: panes[number] for number in range(first, last) if number in panes}

    def prune(self, unit: Millis, before: Millis, kept: Mapping[str, tuple[Millis, Millis]]) -> None:
        """Forget panes of a length that end before an instant.

        `kept`: by version, a span that stays while the version has later panes too.
        """
        self._settle()
        for series, panes in list(self.units[unit].items()):
            start, end = kept.get(series.version, (0, 0))
            if not any((number + 1) * unit > before for number in panes):
                start = end = 0
            for number in [number for number in panes if (number + 1) * unit <= before]:
                if not start <= number * unit < end:
                    del panes[number]
                    self._changed.add((unit, series, number))
            if not panes:
                del self.units[unit][series]

    def take_changes(self) -> tuple[dict[bytes, bytes], list[bytes]]:
        """Fields to put and to drop since the last call."""
        self._settle()
        put, drop = {}, []
        for unit, series, number in sorted(self._changed):
            name = msgspec.msgpack.encode((unit, series, number))
            pane = self.units.get(unit, {}).get(series, {}).get(number)
            if pane is None:
                drop.append(name)
            else:
                put[name] = _encode(pane)
        self._changed.clear()
        return put, drop

    def restore(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back stored fields."""
        for name, value in fields:
            unit, series, number = msgspec.msgpack.decode(name, type=tuple[Millis, Series, int])
            self.units.setdefault(unit, {}).setdefault(series, {})[number] = _decode(value)

    def _settle(self) -> None:
        for (unit, series, number), new in self._waiting.items():
            cells = np.fromiter(new.cells, np.int64, len(new.cells))
            self._add(unit, series, number, cells, np.fromiter(new.counts, np.int64, cells.size), new.sums)
        self._waiting.clear()

    def _add(
        self, unit: Millis, series: Series, number: int, cells: IntArray, counts: IntArray, sums: Mapping[str, int]
    ) -> None:
        panes = self.units[unit].setdefault(series, {})
        panes[number] = panes.get(number, NOTHING).plus(cells, counts, sums)
        self._changed.add((unit, series, number))


def _encode(pane: Pane) -> bytes:
    # sums may need more than 64 bits, which msgpack has no number for
    sums = {name: str(value) for name, value in pane.sums.items()}
    return msgspec.msgpack.encode(_StoredPane(pane.cells.tobytes(), pane.counts.tobytes(), sums))


def _decode(data: bytes) -> Pane:
    stored = msgspec.msgpack.decode(data, type=_StoredPane)
    return Pane(
        _integers(stored.cells), _integers(stored.counts), {name: int(value) for name, value in stored.sums.items()}
    )


def _integers(data: bytes) -> IntArray:
    return np.frombuffer(data, dtype=np.int64)
