"""What control remembers of one model, and how it is stored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec
import numpy as np

from driftline.core.alerts import Standing
from driftline.core.cases import CaseBook
from driftline.core.counters import Placement
from driftline.core.pane import IntArray, Pane
from driftline.core.windows import Open
from driftline.events.alerts import Alert
from driftline.events.base import Millis
from driftline.events.retraining import Candidate, ModelState
from driftline.events.slices import Slice

Series = tuple[str, str]
"""(version, role)"""


class Foretold(msgspec.Struct, frozen=True, kw_only=True):
    """A provisional alert that waits for its slices: by source partition, the one that decides whether it holds."""

    alert: Alert
    until: dict[int, int]


class Book(msgspec.Struct, kw_only=True):
    """One model, but for its panes.

    `revision`: the spec in force. `marked`: by revision, the partitions that have shown its mark.
    `coming`: (first slice, revision) of a spec that all partitions have shown. `cursor`: the next end of each window.
    `latest`: the end of the last longest window that tells the champion's promotion metric, and the figure.
    `scheduled`: the schedule is settled up to here. `foretold`: by fingerprint. `joined`: outcomes that found a
    champion's prediction. `evicted`: predictions forgotten early, by pane number of the slice in which they were.
    `skipping`: by trigger or rule, why it asked for nothing when it last came.
    """

    model: str
    revision: int = 0
    marked: dict[int, list[int]] = {}
    coming: list[tuple[int, int]] = []
    champion: ModelState | None = None
    candidate: Candidate | None = None
    standings: dict[str, Standing] = {}
    cases: CaseBook = msgspec.field(default_factory=CaseBook)
    cursor: dict[str, Millis] = {}
    open: list[Open] = []
    bins: dict[str, str] = {}
    counters: dict[str, int] = {}
    latest: tuple[Millis, float] | None = None
    scheduled: Millis | None = None
    foretold: dict[str, Foretold] = {}
    placement: Placement = msgspec.field(default_factory=Placement)
    joined: int = 0
    evicted: dict[int, int] = {}
    skipping: dict[str, str] = {}

    def counted(self) -> dict[str, int]:
        """The counters that reports tell: the monitor's, and how often a trigger asked for nothing, by the reason."""
        return self.counters | {f"skipped:{reason}": n for reason, n in self.cases.skipped.items()}

    def withdraws_at(self, away: Collection[int]) -> int | None:
        """The next slice that can show that something foretold does not come; `away`: partitions that are left out."""
        untils = (foretold.until for foretold in self.foretold.values())
        return min((max(until.values()) for until in untils if not any(p in away for p in until)), default=None)

    def count(self, what: str, n: int) -> None:
        """Add to a counter of the model."""
        self.counters[what] = self.counters.get(what, 0) + n

    def mark(self, revision: int, arrived: Slice, partitions: int) -> None:
        """Note that a partition has shown the mark of a spec: it comes into force when all of them have.

        The first revision of all is in force from the slice after its first mark: from there on there are panes to add
        up, and no older rules to judge them by.
        """
        seen = self.marked.setdefault(revision, [])
        if arrived.partition in seen:
            return
        seen.append(arrived.partition)
        first_of_all = not self.revision and not self.coming
        known = self.revision == revision or revision in (coming for _, coming in self.coming)
        if first_of_all or (len(seen) == partitions and not known):
            self.coming.append((arrived.slice + 1, revision))


class _StoredPane(msgspec.Struct, array_like=True):
    cells: bytes
    counts: bytes
    sums: dict[str, str]


class Panes:
    """The panes of one model by (version, role), and which of them have changed since they were last stored.

    What is added waits in dictionaries until a pane is needed: many small additions make one addition of vectors.
    """

    def __init__(self) -> None:
        self.series: dict[Series, dict[int, Pane]] = {}
        self._waiting: dict[tuple[Series, int], tuple[dict[int, int], dict[str, int]]] = {}
        self._changed: set[tuple[Series, int]] = set()

    def add(self, series: Series, number: int, counts: Mapping[int, int], sums: Mapping[str, int]) -> None:
        """Add `counts` by cell and `sums` by name to a pane, which is begun if it is not there."""
        waiting = self._waiting.get((series, number))
        if waiting is None:
            self.series.setdefault(series, {})
            self._waiting[series, number] = (dict(counts), dict(sums))
            return
        known_counts, known_sums = waiting
        for cell, count in counts.items():
            known_counts[cell] = known_counts.get(cell, 0) + count
        for name, value in sums.items():
            known_sums[name] = known_sums.get(name, 0) + value

    def between(self, series: Series, first: int, last: int) -> list[Pane]:
        """The panes `first <= number < last` in time order."""
        self._settle()
        panes = self.series.get(series, {})
        if last - first > len(panes):
            return [panes[number] for number in sorted(panes) if first <= number < last]
        return [panes[number] for number in range(first, last) if number in panes]

    def _settle(self) -> None:
        for (series, number), (counts, sums) in self._waiting.items():
            cells = np.fromiter(counts.keys(), np.int64, len(counts))
            pane = Pane.of(cells, np.fromiter(counts.values(), np.int64, len(counts)), sums)
            known = self.series[series].get(number)
            self.series[series][number] = pane if known is None else known + pane
            self._changed.add((series, number))
        self._waiting.clear()

    def prune(self, before: int) -> None:
        """Forget panes with a number below `before`."""
        self._settle()
        for series, panes in self.series.items():
            for number in [number for number in panes if number < before]:
                del panes[number]
                self._changed.add((series, number))
        self.series = {series: panes for series, panes in self.series.items() if panes}

    def take_changes(self) -> tuple[dict[bytes, bytes], list[bytes]]:
        """Fields to put and to drop since the last call."""
        self._settle()
        put, drop = {}, []
        for series, number in sorted(self._changed):
            name = "\0".join((*series, str(number))).encode()
            pane = self.series.get(series, {}).get(number)
            if pane is None:
                drop.append(name)
            else:
                put[name] = _encode(pane)
        self._changed.clear()
        return put, drop

    def restore(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back stored fields."""
        for name, value in fields:
            version, role, number = name.decode().rsplit("\0", 2)
            self.series.setdefault((version, role), {})[int(number)] = _decode(value)


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
