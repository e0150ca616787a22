"""A look at what has just come, before its slice is finished: values that are not allowed are told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from driftline.core.binning import default_bins
from driftline.core.breaches import breaches
from driftline.core.pane import Layout
from driftline.core.plans import Plans
from driftline.core.series import SeriesTable
from driftline.events.slices import Breach
from driftline.monitor.reading import Reader
from driftline.platform.records import Record
from driftline.spec.model import MonitorSpec

AT_MOST = 2_000
"""Where more records than this come at once the partition is catching up: what is old need not be told before the rest,
and decoding it twice would make it later still."""


class Glance:
    """Remembers nothing but what it has told; whether a value counts is not its business."""

    def __init__(self, specs: Mapping[str, MonitorSpec], slice_ms: int) -> None:
        self._table, self._plans = SeriesTable(), Plans()
        self._reader = Reader(specs, dict.fromkeys(specs, 0), self._register)
        self._slice_ms = slice_ms
        self._told: dict[tuple[str, str, str, str], int] = {}

    def look(self, records: Sequence[Record]) -> list[tuple[int, Breach]]:
        """(slice, breach) of what newly fetched predictions break: once a slice, version, feature and reason."""
        if not records or len(records) > AT_MOST:
            return []
        columns, _ = self._reader.predictions(records, self._slice_ms)
        found = []
        for number, each in breaches(self._table, self._plans, columns).items():
            for breach in each:
                about = breach.model, breach.version, breach.name, breach.reason.value
                if self._told.get(about, -1) < number:
                    self._told[about] = number
                    found.append((number, breach))
        return found

    def _register(self, spec: MonitorSpec, version: str, _: int) -> tuple[int, int]:
        series = self._table.predictions_of(spec.model, version, 1, 0)
        return series, self._plans.add(spec, Layout(default_bins(spec)))
