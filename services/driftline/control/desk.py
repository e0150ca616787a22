"""One model's desk: what control decides about it, slice by slice, in decision time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from cronsim import CronSim

from driftline.control.book import Book, Panes, Series
from driftline.control.out import Out
from driftline.core import alerts, cases
from driftline.core.alerts import Change, Standing
from driftline.core.cases import Skipped
from driftline.core.pane import Layout, Pane
from driftline.core.reports import report
from driftline.core.rules import BREACHES, UNJUDGED, Reason, judge, read, worst
from driftline.core.windows import Open, due_at, final_at, first_end
from driftline.events.admin import Command, CommandResult
from driftline.events.alerts import Alert, AlertKind, AlertState
from driftline.events.base import Millis, digest_id
from driftline.events.baselines import Baseline
from driftline.events.reports import Window, WindowReport
from driftline.events.retraining import (
    Candidate,
    CaseState,
    Champion,
    ModelState,
    RetrainRequest,
    Trigger,
    Verdict,
)
from driftline.events.slices import Breach, PaneDelta
from driftline.spec.model import HIGHER_IS_BETTER, MonitorSpec, RuleSpec, millis

LayoutOf = Callable[[str], tuple[Layout, Baseline | None]]


class Desk:
    """Everything about one model. All methods act at decision time `at`, the end of the slice being applied."""

    def __init__(self, book: Book, panes: Panes, layout_of: LayoutOf) -> None:
        self.book = book
        self.panes = panes
        self.spec: MonitorSpec | None = None
        self._layout_of = layout_of
        self._grown: set[tuple[str, Millis]] = set()
        self._next_cron: tuple[Millis, Millis] | None = None

    # --- what a slice brings ---

    def take_pane(self, delta: PaneDelta) -> None:
        """Add what a slice changed to its pane."""
        if self.spec is None:
            return
        cells, counts, sums = np.array(delta.cells, np.int64), np.array(delta.counts, np.int64), delta.sums
        if self.book.bins.setdefault(delta.version, delta.bins) != delta.bins:
            # counted in other bins by a partition that saw the version before its baseline: only the numbers add up
            self.count("foreign_bins", int(counts[cells == 0].sum()))
            counts, cells, sums = counts[cells <= 1], cells[cells <= 1], {}
        self.panes.add((delta.version, delta.role), delta.pane, Pane.of(cells, counts, sums))
        start = delta.pane * millis(self.spec.pane)
        for name, window in self.spec.windows.items():
            if name not in self.book.cursor:
                self.book.cursor[name] = first_end(window, start)
        for known in self.book.open:
            declared = self.spec.windows.get(known.window)
            if (
                declared is not None
                and (known.version, known.role) == (delta.version, delta.role)
                and known.contains(start, millis(declared.span))
            ):
                known.n += int(counts[cells == 0].sum())
                known.labelled += int(counts[cells == 1].sum())
                known.changed = True
                if known.grown():
                    self._grown.add((known.window, known.end))

    def take_breach(self, breach: Breach, cause: str, at: Millis, out: Out) -> None:
        """A value left its range: the rule about it, or the default warning, fires at once."""
        if self.spec is None or not self._serves(breach.version):
            return
        rule = next((r for r in self.spec.rules if r.kind == "range" and r.target == breach.name), None)
        rule = rule or RuleSpec(name=f"range:{breach.name}", kind="range", target=breach.name)
        standing = self._standing(breach.version, rule.name)
        alert = alerts.observe_breach(standing, rule, breach, at, cause)
        if alert is not None:
            out.event(alert, at)

    def count(self, what: str, n: int) -> None:
        """Add to a counter of the model."""
        self.book.counters[what] = self.book.counters.get(what, 0) + n

    # --- what people and other services say ---

    def take_command(self, command: Command, at: Millis, out: Out) -> None:
        """Do what was asked, or say why not."""
        accepted, reason = self._obey(command, at, out)
        result = CommandResult(
            id=digest_id("result", command.id),
            caused_by=(command.id,),
            command=command.id,
            model=command.model,
            accepted=accepted,
            reason=reason,
            at=at,
        )
        out.event(result, at)

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
            asked = self._trigger(Trigger.COMMAND, None, (command.id,), None, at, out)
            return (True, "requested") if asked is None else (False, asked.value)
        standing = self.book.standings.get(command.fingerprint or "")
        closed = None if standing is None else alerts.resolve(standing, Change.CLOSED_BY_HUMAN, at, command.comment)
        if closed is None:
            return False, "no such alert is open"
        out.event(closed, at)
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
        for standing in self.book.standings.values():
            if standing.last is not None and standing.last.kind is not AlertKind.MANUAL_INTERVENTION:
                self._publish(alerts.resolve(standing, Change.VERSION_REPLACED, at), at, out)

    # --- what time brings ---

    def next_due(self) -> Millis | None:
        """The next instant at which `pass_time` has something to do, as far as it is known now."""
        if self.spec is None:
            return None
        due = [due_at(self.spec, end) for name, end in self.book.cursor.items() if name in self.spec.windows]
        due += [final_at(self.spec, known.end) for known in self.book.open]
        due += [s.quiet_since + alerts.QUIET_MS for s in self.book.standings.values() if _is_range(s)]
        deadline = cases.next_deadline(self.book.cases)
        cron = self._cron()
        due += [instant for instant in (deadline, cron) if instant is not None]
        return min(due, default=None)

    def pass_time(self, at: Millis, out: Out) -> None:
        """Everything that is due by `at`: deadlines, window reports and their judgements, the schedule."""
        if self.spec is None:
            return
        for standing in self.book.standings.values():
            if _is_range(standing) and standing.quiet_since + alerts.QUIET_MS <= at:
                self._publish(alerts.resolve(standing, Change.QUIET, at), at, out)
        self._report_windows(self.spec, at, out)
        for case in cases.pass_time(self.book.cases, at):
            out.event(case, at)
            if case.state is CaseState.ESCALATED:
                self._call_a_human(case.case, case.rule or case.trigger.value, cases.tried(case), at, out)
        cron = self._cron()
        if cron is not None and cron <= at:
            self.book.scheduled = at
            self._trigger(Trigger.SCHEDULE, None, (), None, at, out)

    def _report_windows(self, spec: MonitorSpec, at: Millis, out: Out) -> None:
        due = [(known.end, known.window) for known in self.book.open if final_at(spec, known.end) <= at]
        final = set(due)
        for end, name in sorted(final | {(end, name) for name, end in self._grown}):
            self._restate(spec, name, end, at, out, final=(end, name) in final)
        self._grown.clear()
        self.book.open = [known for known in self.book.open if (known.end, known.window) not in final]
        while first := min(
            ((due_at(spec, end), end, name) for name, end in self.book.cursor.items() if name in spec.windows),
            default=None,
        ):
            when, end, name = first
            if when > at:
                break
            self._first_report(spec, name, end, at, out)
            self.book.cursor[name] = end + millis(spec.windows[name].every)
        self._prune(spec, at)

    def _first_report(self, spec: MonitorSpec, name: str, end: Millis, at: Millis, out: Out) -> None:
        for series in sorted(self.panes.series):
            told = self._report(spec, name, end, series, at, out)
            if told is not None:
                everybody = told.segments[0]
                self.book.open.append(
                    Open(
                        window=name,
                        end=end,
                        version=series[0],
                        role=series[1],
                        n=everybody.n,
                        labelled=everybody.labelled,
                        told=everybody.coverage,
                    )
                )

    def _restate(self, spec: MonitorSpec, name: str, end: Millis, at: Millis, out: Out, *, final: bool) -> None:
        for known in self.book.open:
            if (known.window, known.end) != (name, end) or name not in spec.windows:
                continue
            if known.changed and (final or known.grown()):
                self._report(spec, name, end, (known.version, known.role), at, out)
                known.told, known.changed = known.coverage, False

    def _report(
        self, spec: MonitorSpec, name: str, end: Millis, series: Series, at: Millis, out: Out
    ) -> WindowReport | None:
        """Publish what is known of a window now, and judge the rules about it that have not judged it yet."""
        start, pane_ms = end - millis(spec.windows[name].span), millis(spec.pane)
        panes = self.panes.between(series, start // pane_ms, end // pane_ms)
        if not panes:
            return None
        version, role = series
        bins_id = self.book.bins[version]
        layout, baseline = self._layout_of(bins_id)
        window = Window(name=name, start=start, end=end)
        told = report(spec, version, role, window, at, bins_id, layout, panes, baseline)
        if told.segments[0].n == 0:
            return None
        out.event(told, at)
        if role == "champion" and self._serves(version):
            self._judge(spec, told, at, out)
        return told

    def _judge(self, spec: MonitorSpec, told: WindowReport, at: Millis, out: Out) -> None:
        metric = told.segments[0].metrics.get(spec.promotion.metric)
        if metric is not None and metric.value is not None:
            self.book.latest[told.window.name] = metric.value
        for rule in spec.rules:
            if rule.window != told.window.name or rule.kind == "range":
                continue
            standing = self._standing(told.version, rule.name)
            reading = worst(rule, read(rule, told))
            reason = judge(rule, reading)
            if standing.judged >= told.window.end or reason in UNJUDGED:
                continue  # judged already, or left to a later revision with more labels
            self._publish(alerts.observe(standing, rule, reading, reason, told, at), at, out)
            if rule.retrain:
                self._pursue(rule, reason, standing, reading.value, told, at, out)
        self._compare_after(spec, told, at, out)

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
            self._trigger(Trigger.RULE, rule, (cause,), value, at, out)
        case = self.book.cases.open
        if reason is Reason.CLEARED and case is not None and case.rule == rule.name:
            ended = cases.metric_is_back(self.book.cases, at, value, (told.id,))
            if ended is not None:
                out.event(ended, at)

    def _compare_after(self, spec: MonitorSpec, told: WindowReport, at: Millis, out: Out) -> None:
        """The first full window of a promoted champion settles a case that no rule opened."""
        champion = self.book.champion
        metric = told.segments[0].metrics.get(spec.promotion.metric)
        if champion is None or metric is None or told.window.name != _longest(spec):
            return
        if told.window.start >= champion.champion.since:
            better = HIGHER_IS_BETTER[spec.promotion.metric]
            ended = cases.compare_after(self.book.cases, at, metric.value, better, (told.id,))
            if ended is not None:
                out.event(ended, at)

    def _trigger(
        self, why: Trigger, rule: RuleSpec | None, caused_by: tuple[str, ...], value: float | None, at: Millis, out: Out
    ) -> Skipped | None:
        """Ask for an attempt; returns why not."""
        spec, champion = self.spec, self.book.champion
        if spec is None or spec.retrain is None or champion is None:
            return Skipped.NO_RETRAIN
        metric = rule.target if rule is not None else spec.promotion.metric
        before = value if rule is not None else self.book.latest.get(_longest(spec) or "")
        came = cases.trigger(
            self.book.cases,
            spec,
            f"{spec.model}@{self.book.revision}",
            champion.champion.version,
            why,
            rule.name if rule else None,
            at,
            caused_by,
            metric,
            before,
        )
        if isinstance(came, Skipped):
            return came
        case, request = came
        self._ask(request, at, out)
        out.event(case, at)
        return None

    def _ask(self, request: RetrainRequest, at: Millis, out: Out) -> None:
        self.book.candidate = None
        out.event(request, at)

    def _call_a_human(self, case: str, opened_by: str, tried: tuple[str, ...], at: Millis, out: Out) -> None:
        version = self.book.champion.champion.version if self.book.champion else ""
        alert = alerts.manual_intervention(self.book.model, version, case, opened_by, tried, at)
        self.book.standings[alert.fingerprint] = Standing(state=AlertState.FIRING, episode=1, last=alert)
        out.event(alert, at)

    # --- small things ---

    def _publish(self, alert: Alert | None, at: Millis, out: Out) -> None:
        if alert is not None:
            out.event(alert, at)

    def _serves(self, version: str) -> bool:
        """Whether rules speak about this version: the champion, or any while none is registered."""
        return self.book.champion is None or self.book.champion.champion.version == version

    def _standing(self, version: str, rule: str) -> Standing:
        name = alerts.fingerprint(self.book.model, version, "all", rule)
        return self.book.standings.setdefault(name, Standing())

    def _cron(self) -> Millis | None:
        """The next instant of the schedule after the last one settled."""
        if self.spec is None or self.spec.retrain is None or self.spec.retrain.schedule is None:
            return None
        if self.book.scheduled is None:
            return None
        if self._next_cron is None or self._next_cron[0] != self.book.scheduled:
            after = datetime.fromtimestamp(self.book.scheduled / 1000, UTC)
            following = next(CronSim(self.spec.retrain.schedule, after))
            self._next_cron = (self.book.scheduled, int(following.timestamp() * 1000))
        return self._next_cron[1]

    def use_spec(self, spec: MonitorSpec, revision: int, at: Millis, out: Out) -> None:
        """A spec revision comes into force: alerts of rules that are gone end, the schedule counts from now."""
        self.spec, self.book.revision = spec, revision
        self.book.scheduled = at
        self._next_cron = None
        names = {rule.name for rule in spec.rules}
        for standing in self.book.standings.values():
            last = standing.last
            if last is not None and last.kind in (AlertKind.METRIC, AlertKind.DRIFT) and last.rule not in names:
                self._publish(alerts.resolve(standing, Change.RULE_REMOVED, at), at, out)

    def _prune(self, spec: MonitorSpec, at: Millis) -> None:
        longest = max((millis(window.span) for window in spec.windows.values()), default=0)
        needed = at - longest - max(millis(spec.horizon), millis(spec.lateness)) - millis(spec.lateness)
        ends = [end - millis(spec.windows[n].span) for n, end in self.book.cursor.items() if n in spec.windows]
        self.panes.prune(min([needed, *ends]) // millis(spec.pane))


def _is_range(standing: Standing) -> bool:
    return standing.state is AlertState.FIRING and standing.last is not None and standing.last.kind is AlertKind.RANGE


def _longest(spec: MonitorSpec) -> str | None:
    return max(spec.windows, key=lambda name: spec.windows[name].span, default=None)
