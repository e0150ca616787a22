"""What asks for retrains, and what ends the cases that it opened."""

from __future__ import annotations

from collections.abc import Callable

from driftline.control.book import Book
from driftline.control.out import Out
from driftline.core import cases
from driftline.core.case_book import Skipped
from driftline.core.rules import judge_worst, read
from driftline.events.admin import CommandResult
from driftline.events.base import Millis, digest_id
from driftline.events.reports import WindowReport
from driftline.events.retraining import Case, Trigger
from driftline.spec.metrics import higher_is_better
from driftline.spec.model import MonitorSpec, RuleSpec


class Retraining:
    """The cases of one model, as far as they are opened and closed by its figures. Its memory is in `book`."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.when_skipped: Callable[[Skipped, Millis, Out], None] = lambda *_: None

    def trigger(
        self,
        spec: MonitorSpec | None,
        why: Trigger,
        rule: RuleSpec | None,
        caused_by: tuple[str, ...],
        value: float | None,
        at: Millis,
        out: Out,
    ) -> Skipped | None:
        """Ask for an attempt; returns why not, and tells it: of a rule, once for a row of the same reasons."""
        skipped = self._ask(spec, why, rule, caused_by, value, at, out)
        asker = f"rule {rule.name}" if rule is not None else why.value
        told = self._book.skipping.pop(asker, None)
        if skipped is not None and why is not Trigger.COMMAND:
            if rule is not None:
                self._book.skipping[asker] = skipped.value
            self.when_skipped(skipped, at, out)
            if told != skipped.value:
                name = digest_id("skipped", self._book.model, asker, at)
                out.event(result_of(name, caused_by, asker, self._book.model, False, skipped.value, at), at)
        return skipped

    def _ask(
        self,
        spec: MonitorSpec | None,
        why: Trigger,
        rule: RuleSpec | None,
        caused_by: tuple[str, ...],
        value: float | None,
        at: Millis,
        out: Out,
        *,
        again: bool = False,
    ) -> Skipped | None:
        champion = self._book.champion
        if spec is None or spec.retrain is None or champion is None:
            return self._book.cases.skip(Skipped.NO_CHAMPION if spec and spec.retrain else Skipped.NO_RETRAIN)
        metric = rule.target if rule is not None else spec.promotion.metric
        before = value if rule is not None or self._book.latest is None else self._book.latest[1]
        came = cases.trigger(
            self._book.cases,
            spec,
            f"{spec.model}@{self._book.revision}",
            champion.champion.version,
            why,
            rule.name if rule else None,
            at,
            caused_by,
            metric,
            before,
            again=again,
        )
        if isinstance(came, Skipped):
            return came
        case, request = came
        self._book.candidate = None
        out.event(request, at)
        out.event(case, at)
        return None

    def retry(self, spec: MonitorSpec, at: Millis, out: Out) -> None:
        """A failed attempt is made again, once it is time."""
        again, case = self._book.cases.retry_at, self._book.cases.open
        if again is None or again > at or case is None:
            return
        self._book.cases.retry_at = None
        self._ask(spec, case.trigger, None, (case.id,), None, at, out, again=True)

    def metric_is_back(self, rule: str, value: float | None, cause: str, at: Millis, out: Out) -> None:
        """What a rule is about holds again: a case that it opened has reached its end."""
        self._book.skipping.pop(f"rule {rule}", None)
        case = self._book.cases.open
        if case is not None and case.rule == rule:
            self._tell(cases.metric_is_back(self._book.cases, at, value, (cause,)), at, out)

    def follow_promotion_metric(self, spec: MonitorSpec, told: WindowReport, at: Millis, out: Out) -> None:
        """What a case that no rule opened is measured by: the promotion metric over the longest window.

        A figure counts with as many labels as a rule would ask for that says nothing about it.
        """
        champion = self._book.champion
        wanted = RuleSpec(name="promotion", kind="metric", target=spec.promotion.metric, above=0.0)
        judged = judge_worst(wanted, read(wanted, told.segments[0]))
        if champion is None or judged is None or told.window.name != _longest(spec):
            return
        value, end = judged[0].value, told.window.end
        assert value is not None, "what is judged has a value"
        if self._book.latest is None or self._book.latest[0] <= end:
            self._book.latest = (end, value)
        cases.note_before(self._book.cases, value)
        if told.window.start >= champion.champion.since:
            better = higher_is_better(spec.promotion.metric) is True
            self._tell(cases.compare_after(self._book.cases, at, value, better, (told.id,)), at, out)

    def _tell(self, case: Case | None, at: Millis, out: Out) -> None:
        if case is not None:
            out.event(case, at)


def result_of(
    name: str, caused_by: tuple[str, ...], command: str, model: str, accepted: bool, reason: str, at: Millis
) -> CommandResult:
    """What came of a command, or of what asked like one."""
    return CommandResult(
        id=name, caused_by=caused_by, command=command, model=model, accepted=accepted, reason=reason, at=at
    )


def _longest(spec: MonitorSpec) -> str | None:
    return max(spec.windows, key=lambda name: spec.windows[name].span, default=None)
