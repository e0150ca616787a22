"""Events through reading, ledger and panes, without Kafka: for tests of the numbers that come out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from driftline.core.pane import Layout
from driftline.core.series import SeriesTable
from driftline.core.step import Changed, Partition
from driftline.core.validation import kept_slices
from driftline.events.inputs import Outcome, Prediction
from driftline.events.topics import Topic
from driftline.monitor.reading import Reader
from driftline.platform.records import Record, Source
from driftline.spec.model import MonitorSpec, millis


class Engine:
    """One model in one partition; `layouts` by version."""

    def __init__(self, spec: MonitorSpec, layouts: Mapping[str, Layout], slice_ms: int) -> None:
        self.partition = Partition(0, SeriesTable())
        self._layouts, self._slice_ms = layouts, slice_ms
        self._offsets = {Topic.PREDICTIONS: 0, Topic.OUTCOMES: 0}
        kept = kept_slices(spec, slice_ms)
        code = self.partition.table.outcomes_of(spec.model, kept)
        self.partition.use(code, kept, spec.max_kept, numeric=spec.task == "regression")
        self._reader = Reader({spec.model: spec}, {spec.model: code}, self._register)

    def _register(self, spec: MonitorSpec, version: str, offset: int) -> tuple[int, int]:
        layout = self._layouts[version]
        width = layout.tail + len(spec.segments)
        series = self.partition.table.predictions_of(spec.model, version, kept_slices(spec, self._slice_ms), width)
        self.partition.kinds.add(series, "bins", layout, millis(spec.pane))
        self.partition.segments.add(series, spec.segments, layout.tail, {})
        return series, self.partition.plans.add(spec, layout)

    def feed(self, arrivals: Sequence[tuple[int, Prediction | Outcome]]) -> Changed:
        """Whole slices of (arrival, event) in the order of arrival. Raises what is wrong with an event."""
        records = {Topic.PREDICTIONS: [], Topic.OUTCOMES: []}
        for arrival, event in arrivals:
            topic = Topic.PREDICTIONS if isinstance(event, Prediction) else Topic.OUTCOMES
            offset = self._offsets[topic]
            self._offsets[topic] += 1
            value = msgspec.json.encode(event)
            records[topic].append(Record(Source(topic, 0), offset, arrival, arrival, event.id.encode(), value, ()))
        predictions, bad = self._reader.predictions(records[Topic.PREDICTIONS], self._slice_ms)
        outcomes, more_bad = self._reader.outcomes(records[Topic.OUTCOMES], self._slice_ms)
        for _, _, why in (*bad, *more_bad):
            raise why
        return self.partition.step(predictions, outcomes, max((at for at, _ in arrivals), default=0) // self._slice_ms)
