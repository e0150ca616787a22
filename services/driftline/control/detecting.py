"""The detectors of one model: what they are fed, slice by slice, and how that is remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

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
    `judged`: the end of the last window whose metric was fed. `usual`: see `Detector`.
    """

    rule: str
    version: str
    since: str
    waiting: dict[int, int] = {}
    quiet: int = 0
    judged: Millis = -1
    usual: Usual | None = None


class Fed(NamedTuple):
    """What a detector holds after it was fed a value."""

    rule: RuleSpec
    watch: Watch
    values: Sequence[float]


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
            watch = self._watch(rule, delta.version)
            key = (watch.since, delta.bins)
            if key not in self._weights:
                self._weights[key] = weights(rule, layout(delta.bins))
            known = self._weights[key]
            for cell, count in zip(delta.cells, delta.counts, strict=True):
                if cell in known:
                    watch.waiting[cell] = watch.waiting.get(cell, 0) + count

    def feed(self, spec: MonitorSpec, bins_of: Callable[[str], str]) -> Iterator[Fed]:
        """At the end of a slice: every detector for which enough has come is fed."""
        rules = {rule.name: rule for rule in spec.rules if rule.kind == "detector"}
        for watch in self._watches:
            rule = rules.get(watch.rule)
            if rule is None or sum(watch.waiting.values()) < rule.min_samples:
                continue
            value = mean(watch.waiting, self._weights[watch.since, bins_of(watch.version)])
            watch.waiting = {}
            yield self._feed(rule, watch, value)

    def feed_report(self, rule: RuleSpec, told: WindowReport) -> Fed | None:
        """The metric that a rule is on, of everybody, once a window: at the first revision that a rule would judge."""
        metric, watch = told.segments[0].metrics.get(rule.target), self._watch(rule, told.version)
        if metric is None or metric.value is None or watch.judged >= told.window.end:
            return None
        if metric.n < rule.min_samples or told.segments[0].coverage < rule.min_coverage:
            return None
        watch.judged = told.window.end
        return self._feed(rule, watch, metric.value)

    def _feed(self, rule: RuleSpec, watch: Watch, value: float) -> Fed:
        if watch.since not in self._detectors:
            self._detectors[watch.since] = _detector(rule)
        detector = self._detectors[watch.since]
        watch.quiet = 0 if detector.update(value) else watch.quiet + 1
        watch.usual = detector.usual
        self._fed.add(watch.since)
        return Fed(rule, watch, detector.values)

    def keep(self, spec: MonitorSpec, versions: Iterable[str]) -> None:
        """Forget detectors of other versions, and of rules that are gone or were changed."""
        self._of.clear()
        known = {_since(rule, version) for rule in spec.rules for version in versions if rule.kind == "detector"}
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
        rules = {_since(rule, watch.version): rule for rule in spec.rules for watch in self._watches}
        usual = {watch.since: watch.usual for watch in self._watches}
        for name, chunks in parts.items():
            values = np.frombuffer(b"".join(chunks[i] for i in sorted(chunks)), np.float64)
            self._detectors[name] = _detector(rules[name])
            self._detectors[name].restore(values, usual[name])
            self._stored[name] = self._detectors[name].begun, len(chunks)

    def _watch(self, rule: RuleSpec, version: str) -> Watch:
        """Looked up at every slice, so remembered until rules or versions change."""
        found = self._of.get((rule.name, version))
        if found is None:
            since = _since(rule, version)
            found = next((watch for watch in self._watches if watch.since == since), None)
            if found is None:
                found = Watch(rule=rule.name, version=version, since=since)
                self._watches.append(found)
            self._of[rule.name, version] = found
        return found


def _detector(rule: RuleSpec) -> Detector:
    """A fresh one, which clips to the range of what it watches: a share, or a metric."""
    low, high = (0.0, 1.0) if rule.window is None else (metric_of(rule.target).low, metric_of(rule.target).high)
    return Detector(rule.detector, rule.params, low, high)


def _since(rule: RuleSpec, version: str) -> str:
    return digest_id("detector", version, msgspec.json.encode(rule, order="sorted").decode())


def _field(name: str, chunk: int) -> bytes:
    return msgspec.msgpack.encode((name, chunk))
