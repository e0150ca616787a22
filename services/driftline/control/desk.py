"""One model's desk: what control decides about it, slice by slice, in decision time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from driftline.control.attendance import Attendance
from driftline.control.book import Book, Foretold
from driftline.control.budgets import Budgets
from driftline.control.calendar import Calendar, LayoutOf, units_of
from driftline.control.crowning import Crowning
from driftline.control.detecting import Detecting
from driftline.control.judging import Judging
from driftline.control.out import Out
from driftline.control.panes import Panes
from driftline.control.retraining import Retraining, result_of
from driftline.control.schedule import Schedule
from driftline.core import alerts, cases, counters
from driftline.core.alerts import Change
from driftline.core.muting import Silence
from driftline.events.admin import Command
from driftline.events.alerts import AlertKind, AlertState
from driftline.events.base import Millis, digest_id
from driftline.events.retraining import Candidate, Trigger, Verdict
from driftline.events.slices import Breach, Notice, PaneDelta
from driftline.spec.model import MonitorSpec, millis

Answer = tuple[bool, str]
"""Whether a command was done, and why, or why not."""


class Desk:
    """Everything about one model. All methods act at decision time `at`, the end of the slice being applied."""

    def __init__(self, book: Book, panes: Panes, layout_of: LayoutOf, attendance: Attendance) -> None:
        self.book = book
        self.panes = panes
        self.spec: MonitorSpec | None = None
        self.detecting = Detecting(book.watches)
        self._layout_of = layout_of
        self._calendar = Calendar(book, panes, layout_of, attendance)
        self._schedule = Schedule()
        self._retraining = Retraining(book)
        self._budgets = Budgets(book, panes, layout_of, self.detecting)
        self._judging = Judging(book, self.detecting, self._budgets, self._retraining, attendance)
        self._crowning = Crowning(book, panes, layout_of, self._judging, self.detecting)
        self._retraining.when_skipped = self._crowning.skipped

    # --- what a slice brings ---

    def take_pane(self, delta: PaneDelta, begun: Millis, late: bool, at: Millis) -> None:
        """Add what a slice changed to its pane. See `Calendar.take_pane`."""
        if self.spec is None:
            return
        self._calendar.take_pane(self.spec, delta, begun, late)
        if delta.cut or delta.role != "champion":
            return
        if delta.predicted:
            self.book.heard = at
            self.book.predicted[delta.version] = self.book.predicted.get(delta.version, 0) + delta.predicted
        if self.book.bins[delta.version] == delta.bins and self.book.speaks_of(delta.version):
            self.detecting.take(self.spec, delta, lambda bins_id: self._layout_of(bins_id)[0])

    def take_breach(self, breach: Breach, of: int, cause: str, at: Millis, out: Out) -> None:
        """A value left its range. `of`: the predictions of its version in the same slice, which are counted already."""
        if self.spec is not None:
            self._judging.take_breach(self.spec, breach, of, cause, at, out)

    def take_counters(self, counted: Mapping[str, int], begun: Millis, cause: str, at: Millis, out: Out) -> None:
        """What the monitor counted beside predictions and outcomes; `begun`: the beginning of its slice."""
        for what, n in counted.items():
            self.book.count(what, n)
        evicted = counted.get(counters.EVICTED, 0)
        if evicted and self.spec is not None:
            self._calendar.take_evicted(self.spec, evicted, begun)
        self._judging.take_counters(self.spec, counted, at, cause, out)

    def foretell(self, notice: Notice) -> Foretold | None:
        """See `Judging.foretell`."""
        return self._judging.foretell(self.spec, notice)

    def withdraw(self, decided: Callable[[int], int], at: Millis, out: Out) -> None:
        """See `Judging.withdraw`."""
        self._judging.withdraw(decided, at, out)

    def all_are_back(self) -> None:
        """See `Calendar.all_are_back`."""
        self._calendar.all_are_back()

    # --- what people and other services say ---

    def take_command(self, command: Command, at: Millis, out: Out) -> None:
        """Do what was asked, or say why not."""
        accepted, reason = self._obey(command, at, out)
        name = digest_id("result", command.id)
        out.event(result_of(name, (command.id,), command.id, command.model, accepted, reason, at), at)

    def _obey(self, command: Command, at: Millis, out: Out) -> Answer:
        match command.action:
            case "register":
                return self._crowning.register(command, self.spec, at, out)
            case "retrain":
                asked = self._retraining.trigger(self.spec, Trigger.COMMAND, None, (command.id,), None, at, out)
                return (True, "requested") if asked is None else (False, asked.value)
            case "promote" | "reject":
                return self._crowning.decide(command, self.spec, at, out)
            case "rollback":
                return self._crowning.roll_back(command, self.spec, at, out)
            case "acknowledge":
                return self._acknowledge(command, at, out)
            case "silence":
                return self._silence(command, at)
            case "unsilence":
                ended = self._judging.unsilence(command.silence or "")
                return (True, "ended") if ended else (False, "there is no such silence")
            case "close" if command.case is not None:
                return self._crowning.close(command, self.spec, at, out)
            case _:
                return self._close(command, at, out)

    def _acknowledge(self, command: Command, at: Millis, out: Out) -> Answer:
        standing = self.book.standings.get(command.fingerprint or "")
        alert = (
            None if standing is None else alerts.acknowledge(standing, command.author, command.comment, at, command.id)
        )
        if standing is None or alert is None:
            return False, "no such alert is open and waits for somebody"
        self._judging.tell(standing, alert, at, out)
        return True, "acknowledged"

    def _silence(self, command: Command, at: Millis) -> Answer:
        asked = command.matching
        if asked is None or not millis(asked.lasts):
            return False, "say what is to be silenced, and for how long"
        self._judging.silence(
            Silence(
                id=command.id,
                until=at + millis(asked.lasts),
                author=command.author,
                comment=command.comment,
                rule=asked.rule,
                version=asked.version,
                segment=asked.segment,
                severity=asked.severity,
            )
        )
        return True, "silenced"

    def _close(self, command: Command, at: Millis, out: Out) -> Answer:
        standing = self.book.standings.get(command.fingerprint or "")
        if standing is None or standing.last is None or standing.state is not AlertState.FIRING:
            return False, "no such alert is firing"
        if standing.last.kind is not AlertKind.MANUAL_INTERVENTION:
            return False, "only a call for manual intervention is closed by a human"
        closed = alerts.resolve(standing, Change.CLOSED_BY_HUMAN, at, (command.id,), command.comment)
        self._judging.tell(standing, closed, at, out)
        return True, "closed"

    def take_candidate(self, candidate: Candidate, at: Millis, out: Out) -> None:
        """The trainer has answered."""
        self._crowning.take_candidate(self.spec, candidate, at, out)

    def take_verdict(self, verdict: Verdict, at: Millis, out: Out) -> None:
        """The gate has judged."""
        self._crowning.take_verdict(self.spec, verdict, at, out)

    # --- what time brings ---

    def next_due(self) -> Millis | None:
        """The next instant at which `pass_time` has something to do, as far as it is known now."""
        if self.spec is None:
            return None
        due = self._calendar.due(self.spec) + self._budgets.due(self.spec) + self._judging.due(self.spec)
        due += self._crowning.due()
        deadline = cases.next_deadline(self.book.cases)
        cron = self._schedule.next(self.spec, self.book.scheduled)
        due += [instant for instant in (deadline, cron) if instant is not None]
        return min(due, default=None)

    def pass_time(self, at: Millis, out: Out) -> None:
        """Everything that is due by `at`: deadlines, window reports and their judgements, the schedule."""
        if self.spec is None:
            return
        self._judging.pass_time(self.spec, at, out)
        self._budgets.calibrate(self.spec, at, out)
        for told in self._calendar.reports(self.spec, at):
            out.event(told, at)
            if told.role == "champion" and self.book.speaks_of(told.version):
                self._judging.judge(self.spec, told, at, out)
                self._retraining.follow_promotion_metric(self.spec, told, at, out)
                self._crowning.look_live(self.spec, at, out)
        self._crowning.pass_time(self.spec, at, out)
        self._retraining.retry(self.spec, at, out)
        cron = self._schedule.next(self.spec, self.book.scheduled)
        if cron is not None and cron <= at:
            self.book.scheduled = at
            self._retraining.trigger(self.spec, Trigger.SCHEDULE, None, (), None, at, out)
        self._judging.settle(self.spec, at, out)

    def follow(self, spec: MonitorSpec) -> None:
        """Go by a spec, which came into force now or earlier."""
        self.spec = spec
        self.panes.use(units_of(spec))

    def use_spec(self, spec: MonitorSpec, revision: int, begun: Millis, at: Millis, out: Out) -> None:
        """A spec revision comes into force: alerts of rules that are gone end, the schedule counts from now.

        `begun`: the beginning of its first slice. Instants up to then were served under the spec before, at the end of
        its last slice; those after it belong to this one, also where they fall due at the end of its first slice.
        """
        self.follow(spec)
        self.book.revision, self.book.scheduled = revision, begun
        if self.book.heard is None:
            self.book.heard = at
        self.detecting.keep(spec, [watch.version for watch in self.book.watches])
        self._judging.rules_changed(spec, at, out)
