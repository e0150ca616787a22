"""Rules with a budget of false alarms: when their thresholds are calibrated, and the rules as they are then judged."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from driftline.control.book import Book
from driftline.control.calendar import LayoutOf
from driftline.control.out import Out
from driftline.control.panes import Panes
from driftline.core.calibration import budget_of, calibrate_rule, resolved
from driftline.core.references import first_span, reference_unit
from driftline.core.windows import due_at, final_at
from driftline.events.alerts import AlarmBudget
from driftline.events.base import Millis, digest_id
from driftline.spec.model import MonitorSpec, RuleSpec


class Budgets:
    """Calibrates each such rule once for each version that rules speak about. Its memory is in `book.calibrations`."""

    def __init__(self, book: Book, panes: Panes, layout_of: LayoutOf) -> None:
        self._book = book
        self._panes = panes
        self._layout_of = layout_of
        self._keys: dict[tuple[str, str], str] = {}
        self._revision = 0

    def due(self, spec: MonitorSpec) -> list[Millis]:
        """The instants at which thresholds are to be calibrated."""
        return [due for _, _, _, due in self._open(spec)]

    def calibrate(self, spec: MonitorSpec, at: Millis, out: Out) -> None:
        """Calibrate the thresholds that are due by `at`, and forget those that no rule needs any more."""
        for rule, version, key, due in list(self._open(spec)):
            if due > at:
                continue
            unit = reference_unit(spec, rule.window or "")
            assert unit is not None, "the spec reader asks for a baseline of panes"
            start, end = first_span(spec, rule.window or "", self._book.began[version])
            panes = {
                (one.cut, one.segment): self._panes.between(unit, one, start, end)
                for one in sorted(self._panes.series(unit))
                if (one.version, one.role) == (version, "champion")
            }
            layout, _ = self._layout_of(self._book.bins[version])
            found = calibrate_rule(spec, rule, version, layout, panes, start, unit, at)
            wanted = {self._key(spec, each, of) for each in spec.rules for of in self._versions()}
            known = {name: each for name, each in self._book.calibrations.items() if name in wanted}
            self._book.calibrations = known | {key: found}
            out.event(found, at)

    def in_force(self, spec: MonitorSpec, version: str) -> Iterator[RuleSpec]:
        """The rules as they are judged; one without its threshold is not."""
        for rule in spec.rules:
            if rule.false_alarms is None:
                yield rule
            elif (found := self._book.calibrations.get(self._key(spec, rule, version))) and found.threshold is not None:
                yield resolved(rule, found)

    def of(self, rule: RuleSpec, version: str) -> AlarmBudget | None:
        """What the threshold of a rule in force was calibrated for."""
        key = self._keys.get((rule.name, version), "") if rule.false_alarms else ""
        return budget_of(self._book.calibrations[key]) if key else None

    def _open(self, spec: MonitorSpec) -> Iterator[tuple[RuleSpec, str, str, Millis]]:
        """Rules and versions without a calibration, their keys, and when it is due: when outcomes are in, if needed."""
        for rule in spec.rules:
            if rule.false_alarms is None:
                continue
            for version in self._versions():
                key = self._key(spec, rule, version)
                if key not in self._book.calibrations:
                    _, end = first_span(spec, rule.window or "", self._book.began[version])
                    yield rule, version, key, (final_at if rule.kind == "metric" else due_at)(spec, end)

    def _versions(self) -> list[str]:
        """Those that rules speak about."""
        return [version for version in self._book.began if self._book.speaks_of(version)]

    def _key(self, spec: MonitorSpec, rule: RuleSpec, version: str) -> str:
        """Names a calibration by all that it depends on beside panes: a changed rule is calibrated anew."""
        if self._revision != self._book.revision:
            self._keys.clear()
            self._revision = self._book.revision
        key = self._keys.get((rule.name, version))
        if key is None:
            about = (rule, spec.windows.get(rule.window or ""), spec.baseline, spec.costs)
            key = digest_id("calibration", version, msgspec.json.encode(about, order="sorted").decode())
            self._keys[rule.name, version] = key
        return key
