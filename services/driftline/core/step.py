"""From what arrived to slices: the monitor's pure step for one run of slices in one source partition.

The ledger decides what counts; then the panes of all slices and models are counted at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftline.core.arrivals import Fate, Joined, Observed, Predicted
from driftline.core.breaches import breaches
from driftline.core.columns import OutcomeColumns, PredictionColumns
from driftline.core.counting import count
from driftline.core.kinds import Kinds
from driftline.core.ledger import Ledger
from driftline.core.plans import Plans
from driftline.core.segments import SegmentCodes
from driftline.core.series import SeriesTable
from driftline.events.slices import Breach, PaneDelta

I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

TOLD = {
    Fate.DUPLICATE: "duplicates",
    Fate.CONFLICT: "conflicts",
    Fate.CORRECTION: "corrections",
    Fate.SUPERSEDED: "superseded",
}
"""The counter of each fate; what counts shows in the panes."""


@dataclass
class Changed:
    """What arrivals changed, by slice number; counters by model."""

    panes: dict[int, list[PaneDelta]] = field(default_factory=dict)
    breaches: dict[int, list[Breach]] = field(default_factory=dict)
    counters: dict[int, dict[str, dict[str, int]]] = field(default_factory=dict)

    def count(self, number: int, model: str, what: str, n: int) -> None:
        """Add `n` to a counter of a model in a slice."""
        counters = self.counters.setdefault(number, {}).setdefault(model, {})
        counters[what] = counters.get(what, 0) + n


class _Use(NamedTuple):
    kept: int
    limit: int
    numeric: bool


class Partition:
    """What is remembered of one source partition, and the step that changes it.

    `origin`: slices are kept as numbers from here on, so that they fit into 32 bits.
    """

    def __init__(self, origin: int, table: SeriesTable) -> None:
        self.origin = origin
        self.table = table
        self.plans = Plans()
        self.kinds = Kinds()
        self.segments = SegmentCodes(self.plans)
        self.ledgers = {"labels": Ledger(table, labels=True), "numbers": Ledger(table, labels=False)}
        self._use: dict[int, _Use] = {}
        self._arrays: tuple[I64, I64, Bools] | None = None

    def use(self, model: int, kept: int, limit: int, *, numeric: bool) -> None:
        """From now on a model (the code of its outcomes) is remembered for `kept` slices, in `limit` rows at most."""
        self._use[model] = _Use(kept, limit, numeric)
        self._arrays = None

    def step(self, new: PredictionColumns, came: OutcomeColumns, finished: int) -> Changed:
        """Apply arrivals of slices up to `finished`, and forget what is not known after it.

        The same memory and arrivals give the same result, in one call or in several.
        """
        changed = Changed()
        counted: list[I64] = []
        joined: list[Joined] = []
        numeric_new = self._numeric(self.table.model_of[new.series])
        numeric_came = self._numeric(came.series)
        features = self.plans.tables.features(new.plan, new.numbers, new.categories, self.table.widest)
        self.plans.tables.write_shares(new.plan, new.shares, features.tails)
        self.segments.write(new, features.tails)
        for predictions, outcomes, until in self._portions(new, came, finished):
            for name, ledger in self.ledgers.items():
                p = predictions[numeric_new[predictions] == (name == "numbers")]
                o = outcomes[numeric_came[outcomes] == (name == "numbers")]
                if p.size or o.size:
                    applied = ledger.apply(self._predicted(new, p, features.tails), self._observed(came, o))
                    self._tell_fates(changed, new.slice[p], new.series[p], applied.predicted)
                    self._tell_fates(changed, came.slice[o], came.series[o], applied.observed)
                    counted.append(p[applied.predicted == Fate.COUNTED])
                    joined.append(applied.joined._replace(slice=applied.joined.slice + self.origin))
                self._forget(changed, ledger, until)
        if counted:
            rows = np.sort(np.concatenate(counted))
            tables = self.plans.tables
            chosen = new.chosen(rows, tables.numbers_per_row, tables.categories_per_row, tables.shares_per_row)
            joins = Joined.together(joined, self.table.widest)
            changed.panes = count(self.table, self.kinds, self.segments, chosen, features.of_rows(rows), joins)
            changed.breaches = breaches(self.table, self.plans, chosen)
        return changed

    def forget(self, finished: int) -> Changed:
        """Nothing has arrived up to slice `finished`; but what is not known after it is forgotten."""
        changed = Changed()
        for ledger in self.ledgers.values():
            self._forget(changed, ledger, finished)
        return changed

    def _portions(self, new: PredictionColumns, came: OutcomeColumns, finished: int) -> list[tuple[I64, I64, int]]:
        """Rows of both to apply at once, and the slice after which to forget: all, unless a limit could be reached."""
        if not self._may_reach_a_limit(new, came):
            return [(np.arange(new.size), np.arange(came.size), finished)]
        numbers = np.union1d(new.slice, came.slice)
        p, o = np.searchsorted(new.slice, numbers), np.searchsorted(came.slice, numbers)
        ends = zip(pairwise([*p.tolist(), new.size]), pairwise([*o.tolist(), came.size]), strict=True)
        until = [*numbers.tolist()[:-1], finished]
        return [(np.arange(*a), np.arange(*b), end) for (a, b), end in zip(ends, until, strict=True)]

    def _may_reach_a_limit(self, new: PredictionColumns, came: OutcomeColumns) -> bool:
        _, limits, _ = self._tables()
        held = np.bincount(self.table.model_of[new.series], minlength=limits.size)
        held += np.bincount(came.series, minlength=limits.size)
        for ledger in self.ledgers.values():
            held += ledger.held_by_model()
        return bool((held > limits).any())

    def _forget(self, changed: Changed, ledger: Ledger, until: int) -> None:
        for at, series in ledger.forget(until - self.origin):
            for code, n in zip(*np.unique(series, return_counts=True), strict=True):
                changed.count(at + self.origin, self.table[int(code)].model, "orphans", int(n))
        _, limits, _ = self._tables()
        for code in np.flatnonzero(ledger.held_by_model() > limits).tolist():
            changed.count(until, self.table[code].model, "evicted", ledger.forget_oldest(code, int(limits[code])))

    def _predicted(self, new: PredictionColumns, rows: I64, tails: NDArray[np.uint8]) -> Predicted:
        now = new.slice[rows] - self.origin
        return Predicted(
            new.low[rows],
            new.high[rows],
            new.series[rows],
            now,
            now + self._tables()[0][self.table.model_of[new.series[rows]]],
            new.pane[rows],
            new.shadow[rows],
            new.answer[rows],
            new.label[rows],
            new.digest[rows],
            tails[rows],
        )

    def _observed(self, came: OutcomeColumns, rows: I64) -> Observed:
        now, series = came.slice[rows] - self.origin, came.series[rows]
        expires = now + self._tables()[0][series]
        return Observed(came.low[rows], came.high[rows], series, now, expires, came.time[rows], came.truth[rows])

    def _numeric(self, models: NDArray[np.uint32]) -> Bools:
        numeric: Bools = self._tables()[2][models]
        return numeric

    def _tables(self) -> tuple[I64, I64, Bools]:
        """For how many slices a model is remembered, in how many rows, and whether its answers are numbers; by code."""
        size = len(self.table) + 1
        if self._arrays is None or self._arrays[0].size != size:
            kept, limits, numeric = np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(size, np.bool_)
            for code, use in self._use.items():
                kept[code], limits[code], numeric[code] = use.kept, use.limit, use.numeric
            self._arrays = kept, limits, numeric
        return self._arrays

    def _tell_fates(self, changed: Changed, slices: I64, series: NDArray[Any], fates: NDArray[np.uint8]) -> None:
        told = np.flatnonzero(fates != Fate.COUNTED)
        rows = np.column_stack([slices[told], self.table.model_of[series[told]].astype(np.int64), fates[told]])
        for (number, model, fate), n in zip(*np.unique(rows, axis=0, return_counts=True), strict=True):
            changed.count(int(number), self.table[int(model)].model, TOLD[Fate(fate)], int(n))
