"""The ledger: who predicted what, and what came true. It joins outcomes to predictions in either order, once each.

Rules, which the archive's SQL view applies too:

* The first prediction of (model, id, version) counts; an exact repeat is a duplicate, a different one a conflict.
* An arrival is known for `kept` slices. A prediction and an outcome meet if the later comes while the earlier is known.
* Of several outcomes a prediction takes the one with the greatest `(time, arrival)`; a change takes back the old one.

A joined outcome stands in the row of its prediction, and is remembered there for predictions of the same id to come
(a shadow's, say); one that waits has a row of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.core.arrivals import Applied, Fate, Joined, Observed, Predicted, rounds
from driftline.core.rows import KNOWN, LogChanges, Rows
from driftline.core.series import SeriesTable

Column = NDArray[Any]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
U8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]

NEVER = np.iinfo(np.int64).min
TO_KEEP = 15 / 16
"""Where a model has more predictions than it may, so much of the limit is left: forgetting early comes in portions."""


MET, SUPERSEDED = 1, 2
"""Marks of a waiting outcome: it has met a prediction before; a later outcome of its id is known."""


class Ledger:
    """The ledger of all models of one sort in one source partition. `labels`: see `Rows`."""

    def __init__(self, table: SeriesTable, *, labels: bool) -> None:
        self.rows = Rows(table, labels=labels)
        self._table = table
        self._several: set[tuple[int, int, int]] = set()
        self._joins: list[Joined] = []

    def __len__(self) -> int:
        return len(self.rows)

    def held_by_model(self) -> I64:
        """Rows held, by the code of the model's outcomes."""
        held = self.rows.held
        total = np.zeros(len(self._table) + 1, np.int64)
        np.add.at(total, self._table.model_of[: held.size], held)
        return total

    def apply(self, predicted: Predicted, observed: Observed) -> Applied:
        """Take what arrived, in the order of slices, within a slice predictions first.

        Arrivals of different ids have nothing to do with each other, so all first arrivals of their ids are taken at
        once, then all second ones, and so on.
        """
        fates = np.zeros(predicted.low.size, np.uint8), np.zeros(observed.low.size, np.uint8)
        self._joins = []
        for p, o in rounds(predicted, observed):
            if p.size:
                fates[0][p] = self._predict(Predicted(*(column[p] for column in predicted)))
            if o.size:
                fates[1][o] = self._observe(Observed(*(column[o] for column in observed)))
        return Applied(*fates, Joined.together(self._joins, self._table.widest))

    def forget(self, until: int) -> list[tuple[int, U32]]:
        """Drop what is not known any more from slice `until` on.

        Returns, by the slice in which it fell due, the series of outcomes that never met a prediction.
        """
        rows, orphans = self.rows, []
        for at, gone in rows.expiring(until):
            waiting = self._waits(gone)
            alone = gone[waiting & (rows.mark[gone] == 0)]
            if alone.size:
                orphans.append((at, rows.series[alone]))
            self._settle(gone[waiting])
            # an outcome that came after its prediction outlives it
            self._wait_apart(gone[~waiting & (rows.remembered[gone] > until)])
        return orphans

    def forget_oldest(self, model: int, limit: int) -> int:
        """Where more than `limit` rows of a model are held, let go of its oldest slices, but for the newest one.

        `model` is the code of its outcomes. Returns how many rows went.
        """
        rows = self.rows
        codes = np.append(self._table.versions[model], np.uint32(model))
        if rows.held[codes[codes < rows.held.size]].sum() <= limit:
            return 0
        held = rows.numbers_of(codes)
        expires = rows.expires[held]
        left = int(limit * TO_KEEP)
        last_gone = np.partition(expires, held.size - left - 1)[held.size - left - 1]
        gone = held[expires <= min(last_gone, expires.max() - 1)]
        waiting = gone[self._waits(gone)]
        rows.take_out(gone)
        self._settle(waiting)
        return int(gone.size)

    def take_changes(self) -> LogChanges:
        """What is to be stored since the last call."""
        return self.rows.take_changes()

    def restore(self, logs: Mapping[str, bytes]) -> None:
        """Take back what is stored."""
        rows = self.rows
        rows.restore(logs)
        taken = np.flatnonzero(rows.expires > 0)
        keys = Counter(self._key(row) for row in taken[self._waits(taken)].tolist())
        self._several = {key for key, times in keys.items() if times > 1}

    def _predict(self, new: Predicted) -> U8:
        rows, fates = self.rows, np.zeros(new.low.size, np.uint8)
        row, place = rows.index.find(new.low, new.high, new.series)
        known = (row >= 0) & (rows.expires[row] > new.slice)
        marks = ((new.digest << np.uint64(1)) | new.shadow).astype(rows.mark.dtype)
        fates[known] = np.where(rows.mark[row[known]] == marks[known], Fate.DUPLICATE, Fate.CONFLICT)
        fresh = np.flatnonzero(~known)
        again = row[fresh] >= 0  # its id and version were known long ago, and the index still names that row
        if again.any():
            old = row[fresh][again]
            self._wait_apart(old[rows.remembered[old] > new.slice[fresh][again]])
            row, place = rows.index.find(new.low, new.high, new.series)
        low, high, series, now = new.low[fresh], new.high[fresh], new.series[fresh], new.slice[fresh]
        best = self._remembered(low, high, series, now)
        label = {} if rows.label is None else {"label": new.label[fresh]}
        numbers = rows.add(
            new.tail[fresh],
            low=low,
            high=high,
            series=series,
            expires=new.expires[fresh],
            pane=new.pane[fresh],
            answer=new.answer[fresh],
            mark=marks[fresh],
            **label,
        )
        rows.index.move(place[fresh][again], numbers[again])
        rows.index.put(numbers[~again])
        has = np.flatnonzero(best.time != NEVER)
        rows.join(numbers[has], best.time[has], best.truth[has], best.until[has])
        self._tell(now[has], numbers[has], 1)
        waited = best.row[best.row >= 0]
        rows.take_out(waited)
        self._settle(waited)
        return fates

    def _remembered(self, low: U64, high: U64, series: U32, now: I64) -> _Best:
        """The latest outcome that is known of each id."""
        rows, model = self.rows, self._table.model_of[series]
        best = _Best(low.size, rows.truth.dtype)
        for codes in self._table.versions[model].T:
            found = np.full(low.size, -1, np.int64)
            look = np.flatnonzero((codes != series) & rows.may_hold(codes, now))
            found[look], _ = rows.index.find(low[look], high[look], codes[look])
            best.take(rows, found, now, waits=False)
        found, _ = rows.index.find(low, high, model)
        best.take(rows, found, now, waits=True)
        for i, every in self._in_several(low, high, model):
            for each in every:
                one = np.full(low.size, -1, np.int64)
                one[i] = each
                best.take(rows, one, now, waits=True)
        return best

    def _observe(self, new: Observed) -> U8:
        rows, size = self.rows, new.low.size
        joined, corrected, repeated, superseded, placed, met = (np.zeros(size, np.bool_) for _ in range(6))
        for codes in self._table.versions[new.series].T:
            look = np.flatnonzero(rows.may_hold(codes, new.slice))
            found, _ = rows.index.find(new.low[look], new.high[look], codes[look])
            here, r = look[found >= 0], found[found >= 0]
            now, time, truth = new.slice[here], new.time[here], new.truth[here]
            alive, has = rows.expires[r] > now, rows.remembered[r] > 0
            told = has & (alive | (rows.remembered[r] > now))
            same = told & (rows.time[r] == time) & (rows.truth[r] == truth)
            later = told & (rows.time[r] > time)
            change = alive & ~same & ~later
            repeated[here] |= same
            superseded[here] |= later
            joined[here] |= change
            corrected[here] |= change & has
            placed[here] |= change | same
            replaced = told & ~alive & ~same & ~later
            met[here] |= replaced | later
            self._tell(now[change & has], r[change & has], -1)
            rows.join(r[replaced], rows.time[r[replaced]], rows.truth[r[replaced]], np.full(replaced.sum(), KNOWN))
            # a repeat is remembered longer than what it repeats
            held = change | same
            rows.join(r[held], time[held], truth[held], new.expires[here][held])
            self._tell(now[change], r[change], 1)
        self._replace_waiting(new, placed, met, repeated, superseded)
        fates = np.where(repeated, Fate.DUPLICATE, np.where(superseded, Fate.SUPERSEDED, Fate.COUNTED))
        return np.where(joined, np.where(corrected, Fate.CORRECTION, Fate.COUNTED), fates).astype(np.uint8)

    def _replace_waiting(self, new: Observed, placed: Bools, met: Bools, repeated: Bools, superseded: Bools) -> None:
        """Outcomes with rows of their own: the new one replaces those that are not later than it.

        `met`: another one of its id has met a prediction, so it is no orphan either. Nor is one that is superseded, but
        the one that supersedes it may be.
        """
        rows = self.rows
        found, _ = rows.index.find(new.low, new.high, new.series)
        which = np.flatnonzero(found >= 0)
        r = found[which]
        for i, every in self._in_several(new.low, new.high, new.series):
            r = np.append(r[which != i], np.array(every, np.int64))
            which = np.append(which[which != i], np.full(len(every), i))
        alive = rows.remembered[r] > new.slice[which]
        later = alive & (rows.time[r] > new.time[which])
        repeated[which[alive & (rows.time[r] == new.time[which]) & (rows.truth[r] == new.truth[which])]] = True
        superseded[which[later]] = True
        met[which[alive & (rows.mark[r] == MET)]] = True
        replaced = r[alive & ~later]  # what is not known any more stays for `forget` to count
        rows.take_out(replaced)
        self._settle(replaced)
        stay = np.flatnonzero(~placed)
        marks = np.where(met, MET, np.where(superseded, SUPERSEDED, 0))
        self._wait(Observed(*(column[stay] for column in new)), marks[stay])

    def _wait(self, new: Observed, marks: Column) -> None:
        """Keep outcomes in rows of their own. Those with marks are no orphans if nothing asks for them any more."""
        if not new.low.size:
            return
        rows = self.rows
        before, _ = rows.index.find(new.low, new.high, new.series)
        self._several |= {self._key(row) for row in before[before >= 0].tolist()}
        numbers = rows.add(
            None,
            low=new.low,
            high=new.high,
            series=new.series,
            expires=new.expires,
            pane=np.zeros(marks.size, np.int64),
            answer=np.zeros(marks.size),
            mark=marks,
        )
        rows.index.put(numbers)
        rows.join(numbers, new.time, new.truth, new.expires)

    def _wait_apart(self, numbers: I64) -> None:
        """Let the outcomes that are remembered in these rows go on waiting in rows of their own."""
        rows = self.rows
        until, model = rows.remembered[numbers].astype(np.int64), self._table.model_of[rows.series[numbers]]
        time, truth = rows.time[numbers], rows.truth[numbers]
        told = Observed(rows.low[numbers], rows.high[numbers], model, until, until, time, truth)
        rows.join(numbers, time, truth, np.full(numbers.size, KNOWN))
        self._wait(told, np.full(numbers.size, MET))

    def _tell(self, now: I64, numbers: I64, sign: int) -> None:
        rows = self.rows
        if not numbers.size:
            return
        label = np.zeros(numbers.size, np.uint8) if rows.label is None else rows.label[numbers]
        self._joins.append(
            Joined(
                now,
                rows.series[numbers],
                rows.pane[numbers].astype(np.int64),
                (rows.mark[numbers] & 1).astype(np.bool_),
                rows.answer[numbers],
                label,
                rows.truth[numbers],
                rows.time[numbers],
                np.full(numbers.size, sign, np.int64),
                rows.tails(numbers),
            )
        )

    def _waits(self, numbers: I64) -> Bools:
        """Which of the rows are outcomes that wait."""
        series = self.rows.series[numbers]
        waits: Bools = self._table.model_of[series] == series
        return waits

    # Several outcomes of one id wait at once only where an older one came after a later one, of an id that nobody has
    # predicted. Such ids are rare, are noted in `_several`, and taken one by one.

    def _key(self, row: int) -> tuple[int, int, int]:
        rows = self.rows
        return int(rows.low[row]), int(rows.high[row]), int(rows.series[row])

    def _in_several(self, low: U64, high: U64, model: U32) -> list[tuple[int, list[int]]]:
        """Positions of ids of which several outcomes wait, and the rows of these."""
        if not self._several:
            return []
        keys = enumerate(zip(low.tolist(), high.tolist(), model.tolist(), strict=True))
        return [(i, self.rows.index.find_all(*key)) for i, key in keys if key in self._several]

    def _settle(self, numbers: I64) -> None:
        """Some waiting rows have gone: of which of their ids do several wait yet?"""
        if self._several:
            gone = {self._key(row) for row in numbers.tolist()} & self._several
            self._several -= {key for key in gone if len(self.rows.index.find_all(*key)) < 2}


class _Best:
    """The latest outcome found so far, by id; `row` is that in which it waits, -1: it stands beside a prediction."""

    def __init__(self, size: int, kind: np.dtype[Any]) -> None:
        self.time = np.full(size, NEVER)
        self.truth = np.zeros(size, kind)
        self.until = np.zeros(size, np.int64)
        self.row = np.full(size, -1, np.int64)

    def take(self, rows: Rows, found: I64, now: I64, *, waits: bool) -> None:
        """Look at one row an id (-1: none), in slice `now`."""
        better = np.flatnonzero((found >= 0) & (rows.remembered[found] > now) & (rows.time[found] > self.time))
        r = found[better]
        self.time[better], self.truth[better], self.until[better] = rows.time[r], rows.truth[r], rows.remembered[r]
        self.row[better] = r if waits else -1
