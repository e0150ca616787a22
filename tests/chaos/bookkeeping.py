"""The oracle's ledger: dictionaries, event by event, in the order of the log. Slow, and plain enough to be believed."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from tests.chaos.contract import (
    COLUMNS,
    DEFAULT_BINS,
    DELAYS,
    LATENCIES,
    BadRecordError,
    Layout,
    Spec,
    check_features,
    check_label,
    check_time,
    read_columns,
    read_json,
    read_outcome,
    read_prediction,
    segments_of,
)

UNIT = 1 << 40
"""Sums in panes are integers of this part of one."""
EPS = float(np.finfo(np.float64).eps)
MARK = "driftline-mark"


class Raw(NamedTuple):
    """A record of a topic as Kafka has it; `arrival` is its stamp made monotone within its partition."""

    topic: str
    partition: int
    offset: int
    arrival: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    stamp: int = -1

    def header(self, name: str) -> str | None:
        """The first header of this name, as text."""
        return next((value.decode("utf-8", "replace") for key, value in self.headers if key == name), None)


class PaneKey(NamedTuple):
    """What a change of a pane belongs to."""

    partition: int
    slice: int
    model: str
    version: str
    role: str
    pane: int
    cut: str = ""
    segment: str = "all"


@dataclass
class Pane:
    """What a slice changes in a pane."""

    bins: str
    cells: Counter[int] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)

    def settled(self) -> tuple[str, dict[int, int], dict[str, int]]:
        """Without what came to nothing."""
        cells = {cell: n for cell, n in self.cells.items() if n}
        return self.bins, cells, {name: value for name, value in self.sums.items() if value}


@dataclass(frozen=True)
class Beginning:
    """What holds where reading begins: revisions in force by model, and bins by model and version."""

    specs: Mapping[str, int] = field(default_factory=dict)
    bins: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass
class Truth:
    """An outcome that has been told."""

    slice: int
    time: int
    label: int
    content: str
    met: bool = False
    contradicted: bool = False
    """Of the same id something else was told as well: whether that makes one orphan or several is left open."""


@dataclass
class Prediction:
    """A prediction that counts. `history`: (slice, outcome or None) at each change of what is known of it."""

    slice: int
    arrival: int
    event: Mapping[str, Any]
    content: str
    label: int
    time: int
    pane: PaneKey
    segments: list[tuple[str, str]]
    cells: dict[str, int] = field(default_factory=dict)
    """By feature, the cell of its value."""
    truth: Truth | None = None
    history: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Expected:
    """What the raw topics say that Driftline must say."""

    panes: dict[PaneKey, Pane] = field(default_factory=dict)
    counters: dict[tuple[int, int, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    breaches: Counter[tuple[int, int, str, str, str, str]] = field(default_factory=Counter)
    letters: dict[tuple[str, int, int, int], tuple[str, bytes]] = field(default_factory=dict)
    """By topic, partition, offset and row: reason and value."""
    predictions: list[Prediction] = field(default_factory=list)
    orphans: tuple[int, int] = (0, 0)
    """At least and at most so many outcomes that never met a prediction have been forgotten by now."""
    outcomes_joined: int = 0
    valid: Counter[str] = field(default_factory=Counter)
    """Valid events by topic, repeats included."""

    def replace_between(self, other: Expected, before: int, until: int) -> None:
        """Of the slices after `before` and before `until`, take what `other` says."""
        inside = range(before + 1, until)
        # outcomes of predictions that are gone are orphans too
        self.orphans = (min(self.orphans[0], other.orphans[0]), self.orphans[1] + other.orphans[1])
        pairs: tuple[tuple[Any, Any], ...] = (
            (self.panes, other.panes),
            (self.counters, other.counters),
            (self.breaches, other.breaches),
        )
        for mine, theirs in pairs:
            for name in [name for name in mine if name[1] in inside]:
                del mine[name]
            mine.update({name: found for name, found in theirs.items() if name[1] in inside})


class Bookkeeper:
    """Reads one partition of both input topics.

    `broken`: what a record must not contain, because a step was made to raise at it.
    """

    def __init__(
        self,
        partition: int,
        slice_ms: int,
        specs: Mapping[tuple[str, int], Spec],
        baselines: Mapping[str, Mapping[str, Any]],
        expected: Expected,
        beginning: Beginning | None = None,
        broken: Collection[bytes] = (),
    ) -> None:
        self._partition = partition
        self._slice_ms = slice_ms
        self._specs = specs
        self._baselines = baselines
        self._expected = expected
        self._in_force: dict[str, int] = dict(beginning.specs) if beginning else {}
        self._coming: list[tuple[int, str, int]] = []
        self._bins: dict[tuple[str, str], str] = dict(beginning.bins) if beginning else {}
        self._broken = broken
        self._layouts: dict[str, Layout] = {}
        self._cuts: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._predictions: dict[tuple[str, str], dict[str, Prediction]] = defaultdict(dict)
        self._outcomes: dict[tuple[str, str], list[Truth]] = defaultdict(list)

    def read(self, predictions: Sequence[Raw], outcomes: Sequence[Raw], until: int) -> None:
        """Everything that arrived before `until`, slice by slice, in each the predictions first."""
        numbered = [(r.arrival // self._slice_ms, order, r.offset, r) for order, r in _ordered(predictions, outcomes)]
        for number, _, _, record in sorted(numbered, key=lambda item: item[:3]):
            if record.arrival >= until:
                continue
            for coming in [c for c in self._coming if c[0] < number]:
                self._coming.remove(coming)
                self._in_force[coming[1]] = coming[2]
            self._take(record, number)
        self._count_orphans(until // self._slice_ms - 1)

    def _take(self, record: Raw, number: int) -> None:
        try:
            mark = record.header(MARK)
            if mark is not None:
                self._take_mark(record.topic, mark, number)
                return
            if any(text in record.value for text in self._broken):
                raise BadRecordError("step-failed")
            content_type = record.header("content-type")
            if content_type == COLUMNS and record.topic == "predictions":
                for row, found in enumerate(read_columns(record.value)):
                    self._take_row(record, number, row, found)
                return
            if content_type not in (None, "application/json"):
                raise BadRecordError("unknown-content-type")
            found = read_json(record.value)
        except BadRecordError as bad:
            self._refuse(record, number, 0, bad)
            return
        self._take_row(record, number, None, found)

    def _take_row(self, record: Raw, number: int, row: int | None, found: Any) -> None:
        """One event: that of a record (`row` None), or one of its rows."""
        try:
            event = (read_prediction if record.topic == "predictions" else read_outcome)(found)
            if row is None and record.key != event["id"].encode():
                raise BadRecordError("key-mismatch")
            if event["model"] not in self._in_force:
                raise BadRecordError("unknown-model")
            spec = self._specs[event["model"], self._in_force[event["model"]]]
            if record.topic == "predictions":
                self._predict(event, spec, record.arrival, number)
            else:
                self._tell(event, spec, record.arrival, number)
            self._expected.valid[record.topic] += 1
        except BadRecordError as bad:
            self._refuse(record, number, row or 0, bad)

    def _refuse(self, record: Raw, number: int, row: int, bad: BadRecordError) -> None:
        self._expected.letters[record.topic, record.partition, record.offset, row] = (bad.reason, record.value)
        self._expected.counters[self._partition, number, ""]["dead_letters"] += 1

    def _take_mark(self, topic: str, mark: str, number: int) -> None:
        if mark == "tick":
            return
        kind, _, name = mark.partition(" ")
        if topic != "predictions":
            raise BadRecordError("unknown-mark")
        if kind == "baseline" and name in self._baselines:
            baseline = self._baselines[name]
            self._bins.setdefault((baseline["model"], baseline["version"]), name)
            return
        model, _, revision = name.rpartition("@")
        if kind != "spec" or not revision.isdecimal() or (model, int(revision)) not in self._specs:
            raise BadRecordError("unknown-mark")
        self._coming.append((number, model, int(revision)))

    def _predict(self, event: Mapping[str, Any], spec: Spec, arrival: int, number: int) -> None:
        time = check_time(event, spec, arrival)
        label = check_label(event["prediction"], spec)
        values = check_features(event, spec)
        model, version = event["model"], event["version"]
        default = f"{DEFAULT_BINS}{model}@{self._in_force[model]}"
        self._bins.setdefault((model, version), default)
        cuts = self._cuts.setdefault((model, version), spec.plain["segments"])
        kept = spec.kept(self._slice_ms)
        content = json.dumps(event, sort_keys=True)
        known = self._predictions[model, event["id"]].get(version)
        if known is not None and number - known.slice < kept:
            fate = "duplicates" if known.content == content else "conflicts"
            self._expected.counters[self._partition, number, model][fate] += 1
            return
        pane = PaneKey(self._partition, number, model, version, event["role"], time // spec.pane)
        made = Prediction(number, arrival, event, content, label, time, pane, segments_of(event, cuts, spec))
        self._predictions[model, event["id"]][version] = made
        self._expected.predictions.append(made)
        self._count_prediction(made, values, spec)
        waiting = [t for t in self._outcomes[model, event["id"]] if number - t.slice < kept]
        if waiting:
            # of equal times the later arrival stands later in the list
            best = max(enumerate(waiting), key=lambda item: (item[1].time, item[0]))[1]
            best.met = True
            self._join(made, best, number)

    def _tell(self, event: Mapping[str, Any], spec: Spec, arrival: int, number: int) -> None:
        time = check_time(event, spec, arrival)
        label = check_label(event["outcome"], spec)
        kept = spec.kept(self._slice_ms)
        name = (event["model"], event["id"])
        truth = Truth(number, time, label, json.dumps(event, sort_keys=True))
        told = [t for t in self._outcomes[name] if number - t.slice < kept]
        repeated = any(t.content == truth.content for t in told)
        superseded = any(t.time > time for t in told)
        joined = corrected = False
        for prediction in self._predictions[name].values():
            if number - prediction.slice >= kept:
                continue
            before = prediction.truth
            if before is not None:
                repeated |= before.content == truth.content
                superseded |= time < before.time
                if time < before.time or before.content == truth.content:
                    continue
                corrected = True
                self._take_back(prediction, number)
            self._join(prediction, truth, number)
            joined = True
        truth.met, truth.contradicted = joined, superseded
        replaced = [t for t in self._outcomes[name] if t.time <= time]
        truth.met |= any(t.met for t in replaced)
        truth.contradicted |= any(t.contradicted for t in replaced)
        self._outcomes[name] = [t for t in self._outcomes[name] if t.time > time] + [truth]
        fate = "corrections" if corrected else None
        if not joined:
            fate = "duplicates" if repeated else "superseded" if superseded else None
        if fate is not None:
            self._expected.counters[self._partition, number, event["model"]][fate] += 1

    def _join(self, prediction: Prediction, truth: Truth, number: int) -> None:
        prediction.truth = truth
        prediction.history.append((number, truth.label))
        self._expected.outcomes_joined += 1
        self._count_outcome(prediction, truth, number, 1)

    def _take_back(self, prediction: Prediction, number: int) -> None:
        assert prediction.truth is not None
        self._expected.outcomes_joined -= 1
        self._count_outcome(prediction, prediction.truth, number, -1)

    def _count_prediction(self, made: Prediction, values: Mapping[str, Any], spec: Spec) -> None:
        bins_name = self._bins[made.pane.model, made.pane.version]
        layout, score = self._layout(bins_name), made.event["score"]
        made.cells = {n: layout.feature(n, value) for n, value in values.items() if n in layout.bins["features"]}
        cells = [layout.start["n"], layout.score("score", score), layout.start["prediction"] + made.label]
        cells += made.cells.values()
        if made.label == layout.bins["labels"].index(layout.bins["positive"]):
            cells.append(layout.score("score|said", score))
        if made.event["latency_ms"] is not None:
            cells.append(layout.start["latency"] + bisect_right(LATENCIES, made.event["latency_ms"]))
        for pane in self._panes(made, made.pane.slice, bins_name):
            pane.cells.update(cells)
        for name, value in values.items():
            self._judge_feature(made.pane, name, value, spec.plain["features"][name])
        declared = spec.plain["outputs"].get("score")
        if declared is not None and score is not None and not declared["range"][0] <= score <= declared["range"][1]:
            self._breach(made.pane, "score", "out-of-range")

    def _judge_feature(self, pane: PaneKey, name: str, value: Any, declared: Mapping[str, Any]) -> None:
        if value is None:
            if declared["missing"] == "forbidden":
                self._breach(pane, name, "missing")
        elif declared["range"] is not None and not declared["range"][0] <= value <= declared["range"][1]:
            self._breach(pane, name, "out-of-range")
        elif declared["allowed"] is not None and str(value) not in declared["allowed"]:
            self._breach(pane, name, "not-allowed")

    def _breach(self, pane: PaneKey, name: str, reason: str) -> None:
        self._expected.breaches[pane.partition, pane.slice, pane.model, pane.version, name, reason] += 1

    def _count_outcome(self, prediction: Prediction, truth: Truth, number: int, sign: int) -> None:
        bins_name = self._bins[prediction.pane.model, prediction.pane.version]
        layout = self._layout(bins_name)
        labels, label = list(layout.bins["labels"]), truth.label
        positive = label == labels.index(layout.bins["positive"])
        score = prediction.event["score"]
        cells = [layout.start["labelled"], layout.start["confusion"] + label * len(labels) + prediction.label]
        cells.append(layout.score("score|pos" if positive else "score|neg", score))
        since = prediction.pane.pane * self._specs[prediction.pane.model, self._in_force[prediction.pane.model]].pane
        cells.append(layout.start["label_delay"] + bisect_right(DELAYS, truth.time - since))
        right = label == prediction.label
        cells += [layout.among(name, cell, right=right) for name, cell in prediction.cells.items()]
        terms = {}
        if score is not None:
            p = min(max(score, EPS), 1 - EPS)
            terms["log_loss"] = float(-np.log(np.float64(p)) if positive else -np.log1p(np.float64(-p)))
            terms["brier"] = (min(max(score, 0.0), 1.0) - positive) ** 2
        for pane in self._panes(prediction, number, bins_name):
            for cell in cells:
                pane.cells[cell] += sign
            for name, term in terms.items():
                pane.sums[name] += sign * round(math.ldexp(term, 40))

    def _panes(self, prediction: Prediction, number: int, bins: str) -> list[Pane]:
        """Those that a change in slice `number` goes to: everybody's and one of each way to cut."""
        keys = [prediction.pane._replace(slice=number)]
        keys += [keys[0]._replace(cut=cut, segment=segment) for cut, segment in prediction.segments]
        return [self._expected.panes.setdefault(key, Pane(bins)) for key in keys]

    def _layout(self, bins: str) -> Layout:
        if bins not in self._layouts:
            if bins.startswith(DEFAULT_BINS):
                model, _, revision = bins.removeprefix(DEFAULT_BINS).rpartition("@")
                self._layouts[bins] = Layout(self._specs[model, int(revision)].default_bins())
            else:
                self._layouts[bins] = Layout(self._baselines[bins]["bins"])
        return self._layouts[bins]

    def _count_orphans(self, finished: int) -> None:
        """Forgetting goes by segments of a sixteenth of what is kept: by twice that time all of them must be gone."""
        low, high = self._expected.orphans
        for (model, _), told in self._outcomes.items():
            if told and model in self._in_force:
                kept = self._specs[model, self._in_force[model]].kept(self._slice_ms)
                alone = [truth for truth in told if not truth.met]
                low += sum(finished - truth.slice >= 2 * kept for truth in alone if not truth.contradicted)
                high += sum(finished - truth.slice >= kept for truth in alone)
        self._expected.orphans = (low, high)


def _ordered(predictions: Sequence[Raw], outcomes: Sequence[Raw]) -> list[tuple[int, Raw]]:
    return [(0, record) for record in predictions] + [(1, record) for record in outcomes]
