"""Rules with a budget of false alarms: when their thresholds are calibrated, and the rules as they are then judged."""

from __future__ import annotations

from collections.abc import Iterator

from driftline.control.book import Book
from driftline.control.calendar import LayoutOf
from driftline.control.detecting import Detecting
from driftline.control.out import Out
from driftline.control.panes import Panes
from driftline.core.calibration import about, budget_of, calibrate_detector, calibrate_rule, resolved
from driftline.core.references import first_span, reference_unit
from driftline.core.windows import due_at, final_at
from driftline.events.alerts import AlarmBudget
from driftline.events.base import Millis, digest_id
from driftline.events.baselines import Calibration
from driftline.spec.model import MonitorSpec, RuleSpec, millis


class Budgets:
    """Calibrates each such rule once for each version that rules speak about. Its memory is in `book.calibrations`."""

    def __init__(self, book: Book, panes: Panes, layout_of: LayoutOf, detecting: Detecting) -> None:
        self._book = book
        self._detecting = detecting
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
            if rule.kind == "detector":
                found = calibrate_detector(spec, rule, version, *self._detecting.gathered(spec, rule, version, at), at)
            else:
                found = self._calibrated(spec, rule, version, at)
            wanted = {self._key(spec, each, of) for each in spec.rules for of in self._versions()}
            known = {name: each for name, each in self._book.calibrations.items() if name in wanted}
            self._book.calibrations = known | {key: found}
            out.event(found, at)
        self._arm(spec)

    def _arm(self, spec: MonitorSpec) -> None:
        """Detectors judge once they are calibrated; at once where a version comes back whose calibration is known."""
        for rule in spec.rules:
            if rule.kind != "detector" or rule.false_alarms is None:
                continue
            for version in self._versions():
                found = self._book.calibrations.get(self._key(spec, rule, version))
                if found is not None and found.threshold is not None:
                    self._detecting.arm(spec, rule, version, resolved(rule, found).params)

    def _calibrated(self, spec: MonitorSpec, rule: RuleSpec, version: str, at: Millis) -> Calibration:
        """By the panes of the first days."""
        unit = reference_unit(spec, rule.window or "")
        assert unit is not None, "the spec reader asks for a baseline of panes"
        start, end = first_span(spec, rule.window or "", self._book.began[version])
        panes = {
            (one.cut, one.segment): self._panes.between(unit, one, start, end)
            for one in sorted(self._panes.series(unit))
            if (one.version, one.role) == (version, "champion")
        }
        layout, _ = self._layout_of(self._book.bins[version])
        return calibrate_rule(spec, rule, version, layout, panes, start, unit, at)

    def in_force(self, spec: MonitorSpec, version: str) -> Iterator[RuleSpec]:
        """The rules as they are judged; one without its threshold is not. Detectors gather until they are."""
        for rule in spec.rules:
            if rule.false_alarms is None or rule.kind == "detector":
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
                if key not in self._book.calibrations and (due := self._due(spec, rule, version)) is not None:
                    yield rule, version, key, due

    def _due(self, spec: MonitorSpec, rule: RuleSpec, version: str) -> Millis | None:
        """None: not known yet, as a detector's first days begin when it is first fed."""
        if rule.kind == "detector":
            began = self._detecting.gathers_since(spec, rule, version)
            return None if began is None else began + millis(spec.baseline.span)
        _, end = first_span(spec, rule.window or "", self._book.began[version])
        return (final_at if rule.kind == "metric" else due_at)(spec, end)

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
            key = digest_id("calibration", version, about(spec, rule))
            self._keys[rule.name, version] = key
        return key
