"""One model's desk: what control decides about it, slice by slice, in decision time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from driftline.control.attendance import Attendance
from driftline.control.book import Book, Foretold
from driftline.control.budgets import Budgets
from driftline.control.calendar import Calendar, LayoutOf, units_of
from driftline.control.detecting import Detecting, Fed
from driftline.control.out import Out
from driftline.control.panes import Panes
from driftline.control.retraining import Retraining, result_of
from driftline.control.schedule import Schedule
from driftline.core import alerts, cases, counters
from driftline.core.alerts import Change, Standing
from driftline.core.rules import BREACHES, Reason, judge_worst, judged_in, read
from driftline.events.admin import Command
from driftline.events.alerts import AlertKind, AlertState
from driftline.events.base import Millis, digest_id
from driftline.events.reports import ALL, Segment, WindowReport
from driftline.events.retraining import (
    Candidate,
    CaseState,
    Champion,
    ModelState,
    Trigger,
    Verdict,
)
from driftline.events.slices import Breach, Notice, PaneDelta
from driftline.spec.model import MonitorSpec, RuleSpec, millis

OF_RULES = (AlertKind.METRIC, AlertKind.ESTIMATE, AlertKind.DRIFT, AlertKind.DETECTOR)
"""Alerts that end with the rule that they are about."""


class Desk:
    """Everything about one model. All methods act at decision time `at`, the end of the slice being applied."""

    def __init__(self, book: Book, panes: Panes, layout_of: LayoutOf, attendance: Attendance) -> None:
        self.book = book
        self.panes = panes
        self.spec: MonitorSpec | None = None
        self._calendar = Calendar(book, panes, layout_of, attendance)
        self._schedule = Schedule()
        self._retraining = Retraining(book)
        self._layout_of = layout_of
        self.detecting = Detecting(book.watches)
        self._budgets = Budgets(book, panes, layout_of)

    # --- what a slice brings ---

    def take_pane(self, delta: PaneDelta, begun: Millis, late: bool) -> None:
        """Add what a slice changed to its pane. See `Calendar.take_pane`."""
        if self.spec is not None:
            self._calendar.take_pane(self.spec, delta, begun, late)
            in_its_bins = self.book.bins[delta.version] == delta.bins
            if in_its_bins and not delta.cut and delta.role == "champion" and self._serves(delta.version):
                self.detecting.take(self.spec, delta, lambda bins_id: self._layout_of(bins_id)[0])

    def take_breach(self, breach: Breach, cause: str, at: Millis, out: Out) -> None:
        """A value left its range: the rule about it, or the default warning, fires at once."""
        rule = self._range_rule(breach)
        if rule is None:
            return
        standing = self._standing(breach.version, rule.name)
        alert = alerts.observe_breach(standing, rule, breach, at, cause)
        if alert is not None:
            self.book.foretold.pop(alert.fingerprint, None)
            out.event(alert, at)
        if rule.retrain and standing.last is not None:
            self._retraining.trigger(self.spec, Trigger.RULE, rule, (standing.last.id,), None, at, out)

    def take_counters(self, counted: Mapping[str, int], begun: Millis, cause: str, at: Millis, out: Out) -> None:
        """What the monitor counted beside predictions and outcomes; `begun`: the beginning of its slice."""
        for what, n in counted.items():
            self.book.count(what, n)
        evicted = counted.get(counters.EVICTED, 0)
        if evicted and self.spec is not None:
            self._calendar.take_evicted(self.spec, evicted, begun)
            standing = self._standing("", counters.MAX_KEPT)
            out.alert(counters.observe_evicted(standing, self.book.model, evicted, at, cause), at)
        if self.book.placement.add(counted):
            alert = counters.observe_placement(
                self.book.placement,
                self._standing("", counters.PARTITIONERS),
                self.book.model,
                self.book.counters.get("orphans", 0),
                self.book.joined,
                at,
                cause,
            )
            out.alert(alert, at)

    # --- what is told before its slice ---

    def foretell(self, notice: Notice) -> Foretold | None:
        """The alert that a breach raises if it counts, and the slice that decides. Changes nothing."""
        breach = notice.breach
        rule = None if breach is None else self._range_rule(breach)
        if breach is None or rule is None:
            return None
        standing = self.book.standings.get(alerts.fingerprint(breach.model, breach.version, "all", rule.name))
        alert = alerts.foretell_breach(standing, rule, breach, notice.at, notice.id)
        return None if alert is None else Foretold(alert=alert, until={notice.partition: notice.slice})

    def withdraw(self, decided: Callable[[int], int], at: Millis, out: Out) -> None:
        """Take back what was foretold and did not come. `decided`: a partition's last slice that is in the books."""
        for name, foretold in list(self.book.foretold.items()):
            if all(decided(partition) >= until for partition, until in foretold.until.items()):
                del self.book.foretold[name]
                out.event(alerts.withdraw(foretold.alert, at), at)

    def all_are_back(self) -> None:
        """See `Calendar.all_are_back`."""
        self._calendar.all_are_back()

    # --- what people and other services say ---

    def take_command(self, command: Command, at: Millis, out: Out) -> None:
        """Do what was asked, or say why not."""
        accepted, reason = self._obey(command, at, out)
        name = digest_id("result", command.id)
        out.event(result_of(name, (command.id,), command.id, command.model, accepted, reason, at), at)

    def _obey(self, command: Command, at: Millis, out: Out) -> tuple[bool, str]:
        if command.action == "register":
            if self.book.champion is not None:
                return False, f"version {self.book.champion.champion.version} serves already"
            if command.version is None:
                return False, "no version named"
            serving = Champion(version=command.version, artifact=command.artifact, baseline=command.baseline, since=at)
            self._crown(serving, "registered", (command.id,), at, out)
            return True, "registered"
        if command.action == "retrain":
            asked = self._retraining.trigger(self.spec, Trigger.COMMAND, None, (command.id,), None, at, out)
            return (True, "requested") if asked is None else (False, asked.value)
        return self._close(command, at, out)

    def _close(self, command: Command, at: Millis, out: Out) -> tuple[bool, str]:
        standing = self.book.standings.get(command.fingerprint or "")
        if standing is None or standing.last is None or standing.state is not AlertState.FIRING:
            return False, "no such alert is firing"
        if standing.last.kind is not AlertKind.MANUAL_INTERVENTION:
            return False, "only a call for manual intervention is closed by a human"
        closed = alerts.resolve(standing, Change.CLOSED_BY_HUMAN, at, (command.id,), command.comment)
        out.alert(closed, at)
        return True, "closed"

    def take_candidate(self, candidate: Candidate, at: Millis, out: Out) -> None:
        """The trainer has answered."""
        case = cases.take_candidate(self.book.cases, candidate, at)
        if case is not None:
            self.book.candidate = candidate if candidate.error is None else None
            out.event(case, at)

    def take_verdict(self, verdict: Verdict, at: Millis, out: Out) -> None:
        """The gate has judged: promote if and only if it says so, and of the artifact that the candidate named."""
        candidate = self.book.candidate
        if candidate is None or candidate.artifact is None or candidate.artifact.sha256 != verdict.artifact_sha256:
            return
        case = cases.take_verdict(self.book.cases, verdict, at)
        if case is None:
            return
        out.event(case, at)
        self.book.candidate = None
        if verdict.decision == "promote":
            serving = Champion(
                version=candidate.version, artifact=candidate.artifact, baseline=candidate.baseline, since=at
            )
            self._crown(serving, verdict.reason, (verdict.id, candidate.id), at, out)

    def _crown(self, champion: Champion, reason: str, caused_by: tuple[str, ...], at: Millis, out: Out) -> None:
        previous = None if self.book.champion is None else self.book.champion.champion
        self.book.champion = ModelState(
            id=digest_id("models", self.book.model, *caused_by),
            caused_by=caused_by,
            model=self.book.model,
            champion=champion,
            previous=previous,
            reason=reason,
            at=at,
        )
        out.champion(self.book.champion)
        self.book.latest = None
        if self.spec is not None:
            self.detecting.keep(self.spec, [champion.version])
        for name, standing in list(self.book.standings.items()):
            last = standing.last
            if last is not None and (last.kind is AlertKind.MANUAL_INTERVENTION or not last.version):
                continue
            if last is None or last.version != champion.version:
                cause = (self.book.champion.id,)
                out.alert(alerts.resolve(standing, Change.VERSION_REPLACED, at, cause), at)
                del self.book.standings[name]

    # --- what time brings ---

    def next_due(self) -> Millis | None:
        """The next instant at which `pass_time` has something to do, as far as it is known now."""
        if self.spec is None:
            return None
        due = self._calendar.due(self.spec) + self._budgets.due(self.spec)
        due += [quiet for s in self.book.standings.values() if (quiet := _quiet_at(self.spec, s)) is not None]
        deadline = cases.next_deadline(self.book.cases)
        cron = self._schedule.next(self.spec, self.book.scheduled)
        due += [instant for instant in (deadline, cron) if instant is not None]
        return min(due, default=None)

    def pass_time(self, at: Millis, out: Out) -> None:
        """Everything that is due by `at`: deadlines, window reports and their judgements, the schedule."""
        if self.spec is None:
            return
        for standing in self.book.standings.values():
            quiet = _quiet_at(self.spec, standing)
            if quiet is not None and quiet <= at:
                self._is_quiet(standing, at, out)
        self._detect(self.spec, at, out)
        self._budgets.calibrate(self.spec, at, out)
        for told in self._calendar.reports(self.spec, at):
            out.event(told, at)
            if told.role == "champion" and self._serves(told.version):
                self._judge(self.spec, told, at, out)
        for case in cases.pass_time(self.book.cases, at):
            out.event(case, at)
            if case.state is CaseState.ESCALATED:
                self._call_a_human(case.case, case.rule or case.trigger.value, cases.tried(case), at, out)
        cron = self._schedule.next(self.spec, self.book.scheduled)
        if cron is not None and cron <= at:
            self.book.scheduled = at
            self._retraining.trigger(self.spec, Trigger.SCHEDULE, None, (), None, at, out)

    def _detect(self, spec: MonitorSpec, at: Millis, out: Out) -> None:
        """Feed the detectors what the slice has brought."""
        for fed in self.detecting.feed(spec, self.book.bins.__getitem__):
            self._take_fed(fed, at, out)

    def _take_fed(self, fed: Fed, at: Millis, out: Out) -> None:
        """What a detector says to a value."""
        rule, watch, values = fed
        standing = self._standing(watch.version, rule.name)
        model, version = self.book.model, watch.version
        alert = alerts.observe_change(standing, rule, model, version, values, watch.quiet, at)
        out.alert(alert, at)
        if alert is not None and alert.state is AlertState.FIRING and rule.retrain:
            self._retraining.trigger(self.spec, Trigger.RULE, rule, (alert.id,), alert.value, at, out)
        if watch.quiet == alerts.SETTLED_AFTER:
            self._retraining.metric_is_back(rule.name, values[-1], watch.since, at, out)

    def _is_quiet(self, standing: Standing, at: Millis, out: Out) -> None:
        of_range = standing.last is not None and standing.last.kind is AlertKind.RANGE
        alert = alerts.resolve(standing, Change.QUIET if of_range else Change.NOTHING_EVICTED, at)
        if alert is not None:
            out.event(alert, at)
            if of_range:
                self._retraining.metric_is_back(alert.rule, None, alert.id, at, out)

    def _judge(self, spec: MonitorSpec, told: WindowReport, at: Millis, out: Out) -> None:
        for rule in self._budgets.in_force(spec, told.version):
            if rule.window != told.window.name:
                continue
            if rule.kind == "detector":
                fed = self.detecting.feed_report(rule, told)
                if fed is not None:
                    self._take_fed(fed, at, out)
                continue
            for segment in judged_in(rule, told):
                self._judge_segment(rule, told, segment, at, out)
        self._retraining.follow_promotion_metric(spec, told, at, out)

    def _judge_segment(self, rule: RuleSpec, told: WindowReport, segment: Segment, at: Millis, out: Out) -> None:
        standing = self._standing(told.version, rule.name, segment.segment)
        judged = judge_worst(rule, read(rule, segment))
        if judged is None or standing.judged >= told.window.end:
            return  # left to a later revision with more labels, or this window or a later one is judged already
        reading, reason = judged
        budget = self._budgets.of(rule, told.version)
        out.alert(alerts.observe(standing, rule, reading, reason, told, segment, at, budget), at)
        if rule.retrain and not segment.cut:
            self._pursue(rule, reason, standing, reading.value, told, at, out)

    def _pursue(
        self,
        rule: RuleSpec,
        reason: Reason,
        standing: Standing,
        value: float | None,
        told: WindowReport,
        at: Millis,
        out: Out,
    ) -> None:
        """A rule that asks for retrains: while it fires and breaches it triggers; when it is clear its case ends."""
        if reason in BREACHES and standing.state is AlertState.FIRING:
            cause = standing.last.id if standing.last else told.id
            self._retraining.trigger(self.spec, Trigger.RULE, rule, (cause,), value, at, out)
        if reason is Reason.CLEARED:
            self._retraining.metric_is_back(rule.name, value, told.id, at, out)

    def _call_a_human(self, case: str, opened_by: str, tried: tuple[str, ...], at: Millis, out: Out) -> None:
        version = self.book.champion.champion.version if self.book.champion else ""
        alert = alerts.manual_intervention(self.book.model, version, case, opened_by, tried, at)
        self.book.standings[alert.fingerprint] = Standing(state=AlertState.FIRING, episode=1, last=alert)
        out.event(alert, at)

    # --- small things ---

    def _range_rule(self, breach: Breach) -> RuleSpec | None:
        """The rule about a value that is not allowed, else the warning that needs none; None: nobody is warned."""
        if self.spec is None or not self._serves(breach.version):
            return None
        rule = next((r for r in self.spec.rules if r.kind == "range" and r.target == breach.name), None)
        return rule or RuleSpec(name=f"range:{breach.name}", kind="range", target=breach.name)

    def _serves(self, version: str) -> bool:
        """Whether rules speak about this version: the champion, or any while none is registered."""
        return self.book.champion is None or self.book.champion.champion.version == version

    def _standing(self, version: str, rule: str, segment: str = ALL) -> Standing:
        name = alerts.fingerprint(self.book.model, version, segment, rule)
        return self.book.standings.setdefault(name, Standing())

    def follow(self, spec: MonitorSpec) -> None:
        """Go by a spec, which came into force now or earlier."""
        self.spec = spec
        self.panes.use(units_of(spec))

    def use_spec(self, spec: MonitorSpec, revision: int, at: Millis, out: Out) -> None:
        """A spec revision comes into force: alerts of rules that are gone end, the schedule counts from now."""
        self.follow(spec)
        self.book.revision, self.book.scheduled = revision, at
        names = {rule.name for rule in spec.rules}
        self.detecting.keep(spec, [watch.version for watch in self.book.watches])
        for standing in self.book.standings.values():
            last = standing.last
            if last is not None and last.kind in OF_RULES and last.rule not in names:
                out.alert(alerts.resolve(standing, Change.RULE_REMOVED, at), at)


def _quiet_at(spec: MonitorSpec, standing: Standing) -> Millis | None:
    """When an alert that ends by silence ends, unless it is fed again."""
    if standing.state is not AlertState.FIRING or standing.last is None:
        return None
    if standing.last.kind is AlertKind.RANGE:
        return standing.quiet_since + alerts.QUIET_MS
    return standing.quiet_since + millis(spec.horizon) if standing.last.rule == counters.MAX_KEPT else None
