"""The alerts of one model: what its slices and windows say to its rules, and who needs to be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from driftline.control.attendance import Attendance
from driftline.control.book import Book, Foretold
from driftline.control.budgets import Budgets
from driftline.control.detecting import Detecting, Fed
from driftline.control.out import Out
from driftline.control.retraining import Retraining
from driftline.core import alerts, counters, muting
from driftline.core.alert_events import fingerprint
from driftline.core.alerts import Change, Standing
from driftline.core.rules import BREACHES, Reason, judge_worst, judged_in, read
from driftline.events.alerts import Alert, AlertKind, AlertState
from driftline.events.base import Millis
from driftline.events.reports import ALL, Segment, WindowReport
from driftline.events.retraining import Trigger
from driftline.events.slices import Breach, Notice
from driftline.spec.model import MonitorSpec, RuleSpec, millis

OF_RULES = (
    *(AlertKind.METRIC, AlertKind.ESTIMATE, AlertKind.DRIFT, AlertKind.DETECTOR),
    *(AlertKind.COVERAGE, AlertKind.SILENCE),
)
"""Alerts that end with the rule that they are about; so do those about data that judge a figure."""


class Judging:
    """All methods act at decision time `at`, under the spec in force. Its memory is in `book`."""

    def __init__(
        self, book: Book, detecting: Detecting, budgets: Budgets, retraining: Retraining, attendance: Attendance
    ) -> None:
        self._book = book
        self._detecting = detecting
        self._budgets = budgets
        self._retraining = retraining
        self._attendance = attendance
        self._changed = True
        self._others: list[str] = []

    # --- what a slice brings ---

    def take_breach(self, spec: MonitorSpec, breach: Breach, of: int, cause: str, at: Millis, out: Out) -> None:
        """A value left its range: the rule about it, or the default warning, fires at once. See `Desk.take_breach`."""
        rule = self._range_rule(spec, breach)
        if rule is None:
            return
        standing = self.standing(breach.version, rule.name)
        came = self._book.predicted.get(breach.version, 0)
        alert = alerts.observe_breach(standing, rule, breach, at, cause, came - of)
        if alert is not None:
            self._book.foretold.pop(alert.fingerprint, None)
            self.tell(standing, alert, at, out)
        self.tell(standing, alerts.observe_break(standing, came, at, cause), at, out)
        if rule.retrain and standing.last is not None:
            self._retraining.trigger(spec, Trigger.RULE, rule, (standing.last.id,), None, at, out)

    def take_counters(
        self, spec: MonitorSpec | None, counted: Mapping[str, int], at: Millis, cause: str, out: Out
    ) -> None:
        """What the monitor counted beside predictions and outcomes."""
        evicted = counted.get(counters.EVICTED, 0)
        if evicted and spec is not None:
            standing = self.standing("", counters.MAX_KEPT)
            self.tell(standing, counters.observe_evicted(standing, self._book.model, evicted, at, cause), at, out)
        if self._book.placement.add(counted):
            standing = self.standing("", counters.PARTITIONERS)
            orphans = self._book.counters.get("orphans", 0)
            placement, joined = self._book.placement, self._book.joined
            alert = counters.observe_placement(placement, standing, self._book.model, orphans, joined, at, cause)
            self.tell(standing, alert, at, out)

    def foretell(self, spec: MonitorSpec | None, notice: Notice) -> Foretold | None:
        """The alert that a breach raises if it counts, and the slice that decides. Changes nothing."""
        breach = notice.breach
        rule = None if breach is None or spec is None else self._range_rule(spec, breach)
        if breach is None or rule is None:
            return None
        standing = self._book.standings.get(fingerprint(breach.model, breach.version, ALL, rule.name))
        alert = alerts.foretell_breach(standing, rule, breach, notice.at, notice.id)
        if alert is None:
            return None
        alert = muting.mute(alert, self._book.silences, ())
        return Foretold(alert=alert, until={notice.partition: notice.slice})

    def withdraw(self, decided: Callable[[int], int], at: Millis, out: Out) -> None:
        """Take back what was foretold and did not come. `decided`: a partition's last slice that is in the books."""
        for name, foretold in list(self._book.foretold.items()):
            if all(decided(partition) >= until for partition, until in foretold.until.items()):
                del self._book.foretold[name]
                out.event(alerts.withdraw(foretold.alert, at), at)

    # --- what time brings ---

    def due(self, spec: MonitorSpec) -> list[Millis]:
        """The instants at which something ends by itself, is missing, or is to be told again."""
        found = [quiet for s in self._book.standings.values() if (quiet := _quiet_at(spec, s)) is not None]
        found += [again for s in self._book.standings.values() if (again := _again_at(spec, s)) is not None]
        found += [silence.until for silence in self._book.silences]
        for rule in _silences(spec):
            if self._book.heard is not None and self.standing("", rule.name).state is not AlertState.FIRING:
                found.append(self._book.heard + millis(rule.quiet))
        return found

    def pass_time(self, spec: MonitorSpec, at: Millis, out: Out) -> None:
        """Alerts that end by silence, silences that end, and models that are silent."""
        for standing in list(self._book.standings.values()):
            quiet = _quiet_at(spec, standing)
            if quiet is not None and quiet <= at:
                self._is_quiet(standing, at, out)
        over = [silence for silence in self._book.silences if silence.until <= at]
        if over:
            self._book.silences = [silence for silence in self._book.silences if silence.until > at]
            self._changed = True
        if self._book.heard is not None:
            for rule in _silences(spec):
                standing = self.standing("", rule.name)
                alert = alerts.observe_silence(standing, rule, self._book.model, self._book.heard, at)
                self.tell(standing, alert, at, out)
        for fed in self._detecting.feed(spec, self._book.bins.__getitem__, at):
            self._take_fed(spec, fed, at, out)

    def settle(self, spec: MonitorSpec, at: Millis, out: Out) -> None:
        """At the end of a slice: what is muted from now on or not any more, and what is to be told again."""
        others = self._attendance.alerts
        names = [other.id for other in others]
        if self._changed or names != self._others:
            for alert in muting.settle(self._book.standings, self._book.silences, others, at):
                out.event(alert, at)
            self._changed, self._others = False, names
        for standing in self._book.standings.values():
            again = _again_at(spec, standing)
            if again is not None and again <= at:
                out.event(alerts.retell(standing, at), at)

    def _is_quiet(self, standing: Standing, at: Millis, out: Out) -> None:
        of_range = standing.last is not None and standing.last.kind is AlertKind.RANGE
        alert = alerts.resolve(standing, Change.QUIET if of_range else Change.NOTHING_EVICTED, at)
        if alert is not None:
            self.tell(standing, alert, at, out)
            if of_range:
                self._retraining.metric_is_back(alert.rule, None, alert.id, at, out)

    def judge(self, spec: MonitorSpec, told: WindowReport, at: Millis, out: Out) -> None:
        """What the rules in force say to a window."""
        for rule in self._budgets.in_force(spec, told.version):
            if rule.window != told.window.name:
                continue
            if rule.kind == "detector":
                fed = self._detecting.feed_report(spec, rule, told, at)
                if fed is not None:
                    self._take_fed(spec, fed, at, out)
                continue
            for segment in judged_in(rule, told):
                self._judge_segment(spec, rule, told, segment, at, out)

    def _judge_segment(
        self, spec: MonitorSpec, rule: RuleSpec, told: WindowReport, segment: Segment, at: Millis, out: Out
    ) -> None:
        standing = self.standing(told.version, rule.name, segment.segment)
        judged = judge_worst(rule, read(rule, segment))
        if judged is None or standing.judged >= told.window.end:
            return  # left to a later revision with more labels, or this window or a later one is judged already
        reading, reason = judged
        budget = self._budgets.of(rule, told.version)
        self.tell(standing, alerts.observe(standing, rule, reading, reason, told, segment, at, budget), at, out)
        if not rule.retrain or segment.cut:
            return
        # a rule that asks for retrains: while it fires and breaches it triggers; when it is clear its case ends
        if reason in BREACHES and standing.state is AlertState.FIRING:
            cause = standing.last.id if standing.last else told.id
            self._retraining.trigger(spec, Trigger.RULE, rule, (cause,), reading.value, at, out)
        if reason is Reason.CLEARED:
            self._retraining.metric_is_back(rule.name, reading.value, told.id, at, out)

    def _take_fed(self, spec: MonitorSpec, fed: Fed, at: Millis, out: Out) -> None:
        """What a detector says to a value."""
        rule, watch, values = fed
        standing = self.standing(watch.version, rule.name)
        model, version = self._book.model, watch.version
        budget = self._budgets.of(rule, version)
        alert = alerts.observe_change(standing, rule, model, version, values, watch.quiet, at, budget)
        self.tell(standing, alert, at, out)
        if alert is not None and alert.state is AlertState.FIRING and rule.retrain:
            self._retraining.trigger(spec, Trigger.RULE, rule, (alert.id,), alert.value, at, out)
        if watch.quiet == alerts.SETTLED_AFTER:
            self._retraining.metric_is_back(rule.name, values[-1], watch.since, at, out)

    # --- what people say, and what ends with other things ---

    def silence(self, silence: muting.Silence) -> None:
        """Somebody does not want to be told."""
        self._book.silences = [*self._book.silences, silence]
        self._changed = True

    def unsilence(self, name: str) -> bool:
        """Somebody wants to be told again; says whether there is such a silence."""
        kept = [silence for silence in self._book.silences if silence.id != name]
        found, self._book.silences = len(kept) < len(self._book.silences), kept
        self._changed = True
        return found

    def rules_changed(self, spec: MonitorSpec, at: Millis, out: Out) -> None:
        """Alerts of rules that are gone end."""
        names = {rule.name for rule in spec.rules}
        for standing in self._book.standings.values():
            last = standing.last
            if last is not None and last.rule not in names and (last.kind in OF_RULES or _judges_data(last)):
                self.tell(standing, alerts.resolve(standing, Change.RULE_REMOVED, at), at, out)

    def version_replaced(self, version: str, cause: str, at: Millis, out: Out) -> None:
        """Alerts of other versions than the one that serves now end; their episodes stay counted."""
        for standing in self._book.standings.values():
            last = standing.last
            if last is None or last.version in ("", version) or last.kind is AlertKind.MANUAL_INTERVENTION:
                continue
            self.tell(standing, alerts.resolve(standing, Change.VERSION_REPLACED, at, (cause,)), at, out)
            standing.forget()

    def standing(self, version: str, rule: str, segment: str = ALL) -> Standing:
        """One alert as it stands."""
        name = fingerprint(self._book.model, version, segment, rule)
        return self._book.standings.setdefault(name, Standing())

    def tell(self, standing: Standing, alert: Alert | None, at: Millis, out: Out) -> None:
        """Publish a change, with why nobody needs to be told of it, if so."""
        if alert is None:
            return
        if alert.state is not AlertState.RESOLVED:
            others = (s.last for s in self._book.standings.values() if s.state is AlertState.FIRING)
            firing = [*self._attendance.alerts, *(last for last in others if last is not None)]
            standing.last = alert = muting.mute(alert, self._book.silences, firing)
        self._changed = True
        out.event(alert, at)

    def _range_rule(self, spec: MonitorSpec, breach: Breach) -> RuleSpec | None:
        """The rule about a value that is not allowed, else the warning that needs none; None: nobody is warned."""
        if not self._book.speaks_of(breach.version):
            return None
        rule = next((r for r in spec.rules if r.kind == "range" and r.target == breach.name), None)
        return rule or RuleSpec(name=f"range:{breach.name}", kind="range", target=breach.name)


def _judges_data(alert: Alert) -> bool:
    return alert.kind is AlertKind.DATA and bool(alert.figure)


def _silences(spec: MonitorSpec) -> list[RuleSpec]:
    return [rule for rule in spec.rules if rule.kind == "silence"]


def _quiet_at(spec: MonitorSpec, standing: Standing) -> Millis | None:
    """When an alert that ends by silence ends, unless it is fed again."""
    if standing.state is not AlertState.FIRING or standing.last is None:
        return None
    if standing.last.kind is AlertKind.RANGE:
        return standing.quiet_since + alerts.QUIET_MS
    return standing.quiet_since + millis(spec.horizon) if standing.last.rule == counters.MAX_KEPT else None


def _again_at(spec: MonitorSpec, standing: Standing) -> Millis | None:
    """When a firing alert that nobody has taken on is told again."""
    last = standing.last
    if not spec.repeat or standing.state is not AlertState.FIRING or last is None:
        return None
    return None if last.acknowledged or last.muted else last.at + millis(spec.repeat)
