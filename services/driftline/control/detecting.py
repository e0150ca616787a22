"""The detectors of one model: what they are fed, slice by slice, and how that is remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from driftline.core.calibration import about
from driftline.core.detectors import Detector, Usual
from driftline.core.pane import Layout
from driftline.core.probes import mean, weights
from driftline.events.base import Millis, digest_id
from driftline.events.reports import WindowReport
from driftline.events.slices import PaneDelta
from driftline.spec.metrics import metric_of
from driftline.spec.model import MonitorSpec, RuleSpec

CHUNK = 128
"""Values in one stored field."""


class Watch(msgspec.Struct, kw_only=True):
    """One rule's detector on one version, beside its values. `since`: a rule that is changed begins anew.

    `waiting`: cells counted since the last value was fed. `quiet`: values fed since the last change was found.
    `judged`: the end of the last window whose metric was fed. `usual`: see `Detector`. Of a rule with a budget of false
    alarms, `began`: when the first value was fed; `params`: those that it was calibrated to. Until then values are
    gathered only.
    """

    rule: str
    version: str
    since: str
    waiting: dict[int, int] = {}
    quiet: int = 0
    judged: Millis = -1
    usual: Usual | None = None
    began: Millis = -1
    params: dict[str, float] | None = None


class Fed(NamedTuple):
    """What a detector holds after it was fed a value."""

    rule: RuleSpec
    watch: Watch
    values: Sequence[float]


class Gathered(NamedTuple):
    """What a detector was fed from `began` on, as far as it is remembered."""

    values: Sequence[float]
    began: Millis


class Detecting:
    """Feeds the detectors of a model. `watches` is stored with the model's book, the values in fields of their own."""

    def __init__(self, watches: list[Watch]) -> None:
        self._watches = watches
        self._detectors: dict[str, Detector] = {}
        self._weights: dict[tuple[str, str], dict[int, float]] = {}
        self._stored: dict[str, tuple[int, int]] = {}
        self._gone: list[bytes] = []
        self._fed: set[str] = set()
        self._of: dict[tuple[str, str], Watch] = {}

    def take(self, spec: MonitorSpec, delta: PaneDelta, layout: Callable[[str], Layout]) -> None:
        """Count what a slice changed for everybody."""
        for rule in spec.rules:
            if rule.kind != "detector" or rule.window is not None:
                continue
            watch = self._watch(spec, rule, delta.version)
            key = (watch.since, delta.bins)
            if key not in self._weights:
                self._weights[key] = weights(rule, layout(delta.bins))
            known = self._weights[key]
            for cell, count in zip(delta.cells, delta.counts, strict=True):
                if cell in known:
                    watch.waiting[cell] = watch.waiting.get(cell, 0) + count

    def feed(self, spec: MonitorSpec, bins_of: Callable[[str], str], at: Millis) -> Iterator[Fed]:
        """At the end of a slice: every detector for which enough has come is fed. Those that judge are told."""
        rules = {rule.name: rule for rule in spec.rules if rule.kind == "detector"}
        for watch in self._watches:
            rule = rules.get(watch.rule)
            if rule is None or sum(watch.waiting.values()) < rule.min_samples:
                continue
            value = mean(watch.waiting, self._weights[watch.since, bins_of(watch.version)])
            watch.waiting = {}
            fed = self._feed(rule, watch, value, at)
            if fed is not None:
                yield fed

    def feed_report(self, spec: MonitorSpec, rule: RuleSpec, told: WindowReport, at: Millis) -> Fed | None:
        """The metric that a rule is on, of everybody, once a window: at the first revision that a rule would judge."""
        metric, watch = told.segments[0].metrics.get(rule.target), self._watch(spec, rule, told.version)
        if metric is None or metric.value is None or watch.judged >= told.window.end:
            return None
        if metric.n < rule.min_samples or told.segments[0].coverage < rule.min_coverage:
            return None
        watch.judged = told.window.end
        return self._feed(rule, watch, metric.value, at)

    def _feed(self, rule: RuleSpec, watch: Watch, value: float, at: Millis) -> Fed | None:
        if watch.since not in self._detectors:
            self._detectors[watch.since] = _detector(rule, watch)
        detector = self._detectors[watch.since]
        watch.quiet = 0 if detector.update(value) else watch.quiet + 1
        watch.usual = detector.usual
        self._fed.add(watch.since)
        if _gathers(rule, watch):
            watch.began = at if watch.began < 0 else watch.began
            return None
        return Fed(rule, watch, detector.values)

    def gathers_since(self, spec: MonitorSpec, rule: RuleSpec, version: str) -> Millis | None:
        """When the detector of a rule with a budget was first fed; None where it was not, or judges already."""
        watch = self._known(spec, rule, version)
        return None if watch is None or watch.began < 0 or not _gathers(rule, watch) else watch.began

    def gathered(self, spec: MonitorSpec, rule: RuleSpec, version: str, at: Millis) -> Gathered:
        """What a detector that gathers was fed up to `at`."""
        watch = self._watch(spec, rule, version)
        values = self._detectors[watch.since].values
        return Gathered(values, at - (at - watch.began) * len(values) // watch.quiet)

    def arm(self, spec: MonitorSpec, rule: RuleSpec, version: str, params: Mapping[str, float]) -> None:
        """From now on the detector judges, with these `params` and after what it was fed, unless it does already."""
        watch = self._watch(spec, rule, version)
        if not _gathers(rule, watch):
            return
        gathered = self._detectors.pop(watch.since, None)
        watch.params, watch.quiet = dict(params), 0
        if gathered is not None:
            self._detectors[watch.since] = _detector(rule, watch)
            self._detectors[watch.since].restore(gathered.values, None)

    def keep(self, spec: MonitorSpec, versions: Iterable[str]) -> None:
        """Forget detectors of other versions, and of rules that are gone or were changed."""
        self._of.clear()
        known = {_since(spec, rule, version) for rule in spec.rules for version in versions if rule.kind == "detector"}
        for watch in [watch for watch in self._watches if watch.since not in known]:
            self._watches.remove(watch)
            self._detectors.pop(watch.since, None)
            self._fed.discard(watch.since)
            _, chunks = self._stored.pop(watch.since, (0, 0))
            self._gone += [_field(watch.since, i) for i in range(chunks)]

    def take_changes(self) -> tuple[dict[bytes, bytes], list[bytes]]:
        """Fields to put and to drop since the last call."""
        put, drop = {}, self._gone
        for name in sorted(self._fed):
            values, begun = self._detectors[name].values, self._detectors[name].begun
            chunks, (begun_before, before) = -(-len(values) // CHUNK), self._stored.get(name, (begun, 0))
            first = max(0, before - 1) if begun == begun_before else 0
            for i in range(first, chunks):
                put[_field(name, i)] = values[i * CHUNK : (i + 1) * CHUNK].tobytes()
            drop += [_field(name, i) for i in range(chunks, before)]
            self._stored[name] = begun, chunks
        self._fed.clear()
        self._gone = []
        return put, drop

    def restore(self, spec: MonitorSpec, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back stored fields, and bring the detectors to where they were by feeding them again."""
        parts: dict[str, dict[int, bytes]] = {}
        for field, data in fields:
            name, i = msgspec.msgpack.decode(field, type=tuple[str, int])
            parts.setdefault(name, {})[i] = data
        rules = {_since(spec, rule, watch.version): rule for rule in spec.rules for watch in self._watches}
        watches = {watch.since: watch for watch in self._watches}
        for name, chunks in parts.items():
            values = np.frombuffer(b"".join(chunks[i] for i in sorted(chunks)), np.float64)
            self._detectors[name] = _detector(rules[name], watches[name])
            self._detectors[name].restore(values, watches[name].usual)
            self._stored[name] = self._detectors[name].begun, len(chunks)

    def _watch(self, spec: MonitorSpec, rule: RuleSpec, version: str) -> Watch:
        found = self._known(spec, rule, version)
        if found is None:
            found = Watch(rule=rule.name, version=version, since=_since(spec, rule, version))
            self._watches.append(found)
            self._of[rule.name, version] = found
        return found

    def _known(self, spec: MonitorSpec, rule: RuleSpec, version: str) -> Watch | None:
        """Looked up at every slice, so remembered until rules or versions change."""
        found = self._of.get((rule.name, version))
        if found is None:
            since = _since(spec, rule, version)
            found = next((watch for watch in self._watches if watch.since == since), None)
            if found is not None:
                self._of[rule.name, version] = found
        return found


def _gathers(rule: RuleSpec, watch: Watch) -> bool:
    return rule.false_alarms is not None and watch.params is None


def _detector(rule: RuleSpec, watch: Watch) -> Detector:
    """A fresh one, which clips to the range of what it watches: a share, or a metric."""
    low, high = (0.0, 1.0) if rule.window is None else (metric_of(rule.target).low, metric_of(rule.target).high)
    if _gathers(rule, watch):
        return Detector("NoDrift", {}, low, high)
    return Detector(rule.detector, rule.params if watch.params is None else watch.params, low, high)


def _since(spec: MonitorSpec, rule: RuleSpec, version: str) -> str:
    of = msgspec.json.encode(rule, order="sorted").decode() if rule.false_alarms is None else about(spec, rule)
    return digest_id("detector", version, of)


def _field(name: str, chunk: int) -> bytes:
    return msgspec.msgpack.encode((name, chunk))
