"""The very engine of the services, driven without them: the monitor's step, its slices, and control's shard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from driftline.backtesting.columns import Columns
from driftline.backtesting.declared import REVISION, Declared
from driftline.backtesting.mapping import Mapped
from driftline.backtesting.streams import ROW, TIME, Cut, Refuse
from driftline.control.shard import Arrivals, Shard
from driftline.control.turns import Turn
from driftline.core.binning import default_bins
from driftline.core.pane import Layout
from driftline.core.series import SeriesTable
from driftline.core.step import Changed, Partition
from driftline.core.validation import kept_slices
from driftline.events.admin import Command
from driftline.events.base import digest_id, encode, value_digest
from driftline.events.topics import Topic
from driftline.monitor.slices import slices
from driftline.platform.records import Outgoing
from driftline.spec.model import MonitorSpec, millis

PARTITION, SHARD = 0, 0


@dataclass
class Tally:
    """How many predictions counted, and how many of those have an outcome."""

    predictions: int = 0
    joined: int = 0


class Engine:
    """One model from rows to events; `write` is given each record that control would write, in order.

    The spec, and the registration of `champion` where there is one, stand in the slice before the first.
    """

    def __init__(
        self,
        declared: Declared,
        first: int,
        champion: str | None,
        refuse: Refuse,
        write: Callable[[Outgoing], None],
    ) -> None:
        (self._spec,) = declared.specs.values()
        self._declared, self._write = declared, write
        self.slice_ms = millis(declared.deployment.slice)
        self.tally = Tally()
        self._shard = Shard(declared, SHARD)
        self._partition = Partition(first - 1, SeriesTable())
        kept = kept_slices(self._spec, self.slice_ms)
        code = self._partition.table.outcomes_of(self._spec.model, kept)
        self._partition.use(code, kept, self._spec.max_kept, numeric=self._spec.task == "regression")
        self._columns = Columns(self._spec, code, self._register, self.slice_ms, refuse)
        self._previous: int | None = None
        self._begin(first - 1, champion)

    def feed(self, cut: Cut, predictions: Mapped, outcomes: Mapped) -> None:
        """Apply whole slices up to `cut.until`."""
        if cut.predictions is None and cut.outcomes is None:
            self.pass_time(cut.until)
            return
        new = self._columns.predictions(_some(cut.predictions, predictions), predictions)
        came = self._columns.outcomes(_some(cut.outcomes, outcomes), outcomes)
        self._apply(self._partition.step(new, came, cut.until), cut.until)
        for ledger in self._partition.ledgers.values():
            ledger.take_changes()  # nobody stores them; rows that are forgotten are free from then on

    def pass_time(self, until: int) -> None:
        """Nothing more arrives up to and with slice `until`."""
        self._apply(self._partition.forget(until), until)

    def counters(self) -> dict[str, int]:
        """What was counted beside predictions and outcomes; see `WindowReport.counters`."""
        return dict(sorted(self._shard.desk_of(self._spec.model).book.counted().items()))

    def _begin(self, number: int, champion: str | None) -> None:
        model = self._spec.model
        arrivals = self._arrivals(Changed(), {number: [f"spec {model}@{REVISION}"]})
        if champion is not None:
            baseline = self._declared.baseline_of(champion)
            command = register_command(self._spec, champion, None if baseline is None else baseline.id)
            arrivals[number].inputs.append((command, value_digest(encode(command))))
        self._go(arrivals, number)

    def _register(self, version: str) -> tuple[int, int]:
        """Series and plan of a version; see `MonitorWork`."""
        spec, baseline = self._spec, self._declared.baseline_of(version)
        bins_id = f"default:{spec.model}@{REVISION}" if baseline is None else baseline.id
        layout = Layout(default_bins(spec) if baseline is None else baseline.bins)
        width = layout.tail + len(spec.segments)
        series = self._partition.table.predictions_of(spec.model, version, kept_slices(spec, self.slice_ms), width)
        self._partition.kinds.add(series, bins_id, layout, millis(spec.pane))
        self._partition.segments.add(series, spec.segments, layout.tail, {})
        return series, self._partition.plans.add(spec, layout)

    def _apply(self, changed: Changed, until: int) -> None:
        for deltas in changed.panes.values():
            for delta in (delta for delta in deltas if not delta.cut):
                self.tally.predictions += delta.predicted
                self.tally.joined += delta.labelled
        self._go(self._arrivals(changed, {}), until)

    def _arrivals(self, changed: Changed, marks: dict[int, list[str]]) -> dict[int, Arrivals]:
        found: dict[int, Arrivals] = {}
        for one in slices(PARTITION, changed, marks, {}, self._previous, lambda _: SHARD):
            found[one.slice] = Arrivals(slices={(PARTITION, one.slice): one})
            self._previous = one.slice
        return found

    def _go(self, arrivals: dict[int, Arrivals], until: int) -> None:
        out = self._shard.out()
        self._shard.go(Turn(until), arrivals, out)
        for record in out.records:
            if record.topic is not Topic.PREDICTIONS:  # marks for the monitor, which has what they name already
                self._write(record)


def register_command(spec: MonitorSpec, version: str, baseline: str | None) -> Command:
    """What would have made `version` the first champion."""
    return Command(
        id=digest_id("register", spec.model, version, "backtest"),
        model=spec.model,
        action="register",
        author="backtest",
        written_at=0,
        version=version,
        baseline=baseline,
    )


def _some(table: pa.Table | None, mapped: Mapped) -> pa.Table:
    """A table of no rows where there is none."""
    if table is not None:
        return table
    numbers = {name: pa.array([], pa.int64()) for name in (ROW, TIME)}
    return pa.table(numbers | {what: pa.array([], pa.string()) for what in mapped.columns})
