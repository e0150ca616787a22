"""The retrain case: pure transitions over (state, observation, decision time), each with the events that tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from driftline.events.base import Millis, digest_id
from driftline.events.retraining import (
    Attempt,
    AttemptState,
    Candidate,
    Case,
    CaseState,
    Recipe,
    RetrainRequest,
    Span,
    Trigger,
    Verdict,
)
from driftline.spec.model import MonitorSpec, RetrainSpec, millis

ENDED = (CaseState.IMPROVED, CaseState.RECOVERED, CaseState.NO_BETTER_CANDIDATE, CaseState.ESCALATED)
RUNNING = (AttemptState.REQUESTED, AttemptState.COMPARING)


class Skipped(StrEnum):
    """Why a trigger asked for nothing."""

    ATTEMPT_RUNNING = "an-attempt-is-running"
    COOLDOWN = "cooldown"
    BUDGET = "budget"
    NO_RETRAIN = "the-spec-declares-no-retrain"
    NO_CHAMPION = "no-champion-is-registered"


class Why(StrEnum):
    """Why a case or an attempt changed, where neither a trainer nor a gate said so."""

    METRIC_IS_BACK = "metric-is-back"
    NOT_WORSE = "metric-is-not-worse-than-before"
    WORSE = "metric-is-worse-than-before"
    NOTHING_TO_COMPARE_WITH = "no-figure-from-before"
    NO_FIGURE_IN_TIME = "no-figure-in-time"
    NOT_IMPROVED = "not-improved-in-time"
    DEADLINE_PASSED = "deadline-passed"
    NO_ARTIFACT = "no-artifact"


class CaseBook(msgspec.Struct, kw_only=True):
    """All that the cases of one model remember. `asked`: times of requests within the budget's span, newest last."""

    open: Case | None = None
    count: int = 0
    asked: list[Millis] = []
    skipped: dict[str, int] = {}


def trigger(
    book: CaseBook,
    spec: MonitorSpec,
    spec_name: str,
    champion: str,
    why: Trigger,
    rule: str | None,
    at: Millis,
    caused_by: tuple[str, ...],
    metric: str | None,
    before: float | None,
) -> tuple[Case, RetrainRequest] | Skipped:
    """Ask for an attempt: the next one of the open case, else the first of a new one."""
    retrain = spec.retrain
    if retrain is None:
        return skip(book, Skipped.NO_RETRAIN)
    reason = _hindrance(book, retrain, why, at)
    if reason is not None:
        return skip(book, reason)
    case = book.open
    if case is None:
        book.count += 1
        name = digest_id("case", spec.model, book.count)
        case = Case(
            id="",
            case=name,
            model=spec.model,
            state=CaseState.OPEN,
            trigger=why,
            rule=rule,
            attempts=(),
            opened_at=at,
            at=at,
            deadline=at + millis(retrain.improve_within),
            reason="opened",
            metric=metric,
            before=before,
        )
    number = len(case.attempts) + 1
    request = RetrainRequest(
        id=digest_id("request", case.case, number),
        caused_by=caused_by,
        case=case.case,
        model=spec.model,
        champion=champion,
        trigger=why,
        attempt=number,
        requested_at=at,
        deadline=at + millis(retrain.deadline),
        recipe=recipe(retrain, at),
        spec=spec_name,
        reason=rule or why.value,
    )
    attempt = Attempt(
        n=number,
        state=AttemptState.REQUESTED,
        request=request.id,
        requested_at=at,
        deadline=request.deadline,
        trigger=why,
    )
    book.asked = [*_recent(book, retrain, at), at]
    changed = _change(
        book,
        case,
        at,
        f"attempt-{number}-requested",
        caused_by,
        state=CaseState.OPEN,
        attempts=(*case.attempts, attempt),
    )
    return changed, request


def recipe(retrain: RetrainSpec, at: Millis) -> Recipe:
    """Which rows: the holdout is later than the training data and ends a label delay before the request."""
    end = at - millis(retrain.label_delay)
    start = end - millis(retrain.holdout)
    return Recipe(
        training=Span(start=start - millis(retrain.span), end=start),
        holdout=Span(start=start, end=end),
        known_by=at,
    )


def take_candidate(book: CaseBook, candidate: Candidate, at: Millis) -> Case | None:
    """The trainer's answer to the open attempt; None where it answers something else. The first answer counts."""
    attempt = _running(book)
    if book.open is None or attempt is None or candidate.request != attempt.request:
        return None
    if attempt.state is not AttemptState.REQUESTED:
        return None
    error = candidate.error if candidate.artifact is not None or candidate.error else Why.NO_ARTIFACT.value
    if error is not None:
        return _end_attempt(book, AttemptState.FAILED, error, at, (candidate.id,), candidate=candidate.id)
    fields = {"state": AttemptState.COMPARING, "candidate": candidate.id, "version": candidate.version}
    return _set_attempt(book, at, f"attempt-{attempt.n}-comparing", (candidate.id,), fields)


def take_verdict(book: CaseBook, verdict: Verdict, at: Millis) -> Case | None:
    """The gate's judgement of the attempt's candidate; None where it judges another. The first verdict counts.

    The caller checks that the verdict is about the artifact that the candidate named.
    """
    attempt = _running(book)
    if book.open is None or attempt is None or attempt.state is not AttemptState.COMPARING:
        return None
    if (verdict.case, verdict.candidate) != (book.open.case, attempt.candidate):
        return None
    promoted = verdict.decision == "promote"
    state = AttemptState.PROMOTED if promoted else AttemptState.REFUSED
    return _end_attempt(book, state, verdict.reason, at, (verdict.id,), verdict=verdict.id)


def pass_time(book: CaseBook, at: Millis) -> list[Case]:
    """What falls due by decision time alone: the attempt's deadline, then the case's.

    A running attempt is awaited before its case ends. A case opened by a rule escalates; another one, which raises no
    alarm, ends because no figure came that could show an improvement.
    """
    changes = []
    attempt = _running(book)
    if attempt is not None and at > attempt.deadline:
        changes.append(_end_attempt(book, AttemptState.FAILED, Why.DEADLINE_PASSED, at, (attempt.request,)))
    case = book.open
    if case is not None and case.deadline is not None and at > case.deadline and _running(book) is None:
        by_rule = case.trigger is Trigger.RULE
        state = CaseState.ESCALATED if by_rule else CaseState.NO_BETTER_CANDIDATE
        reason = Why.NOT_IMPROVED if by_rule else Why.NO_FIGURE_IN_TIME
        changes.append(_change(book, case, at, reason, (case.case,), state=state))
    return changes


def next_deadline(book: CaseBook) -> Millis | None:
    """The next instant at which `pass_time` has something to say."""
    attempt = _running(book)
    if attempt is not None:
        return attempt.deadline + 1
    return None if book.open is None or book.open.deadline is None else book.open.deadline + 1


def metric_is_back(book: CaseBook, at: Millis, value: float | None, caused_by: tuple[str, ...]) -> Case | None:
    """The rule that opened the case is clear again, for whichever version serves now."""
    case = book.open
    if case is None or case.trigger is not Trigger.RULE or _running(book) is not None:
        return None
    state = CaseState.IMPROVED if _promoted(case) else CaseState.RECOVERED
    return _change(book, case, at, Why.METRIC_IS_BACK, caused_by, state=state, after=value)


def note_before(book: CaseBook, value: float) -> None:
    """A figure of the champion while none is known from before: the first one until a candidate replaces it counts."""
    case = book.open
    if case is None or case.trigger is Trigger.RULE or case.before is not None or _promoted(case):
        return
    book.open = msgspec.structs.replace(case, before=value)


def compare_after(
    book: CaseBook, at: Millis, value: float, higher_is_better: bool, caused_by: tuple[str, ...]
) -> Case | None:
    """The first full window of a champion that a scheduled or commanded case promoted."""
    case = book.open
    if case is None or case.trigger is Trigger.RULE or case.state is not CaseState.WATCHING:
        return None
    if case.before is None:
        reason = Why.NOTHING_TO_COMPARE_WITH
    elif value < case.before if higher_is_better else value > case.before:
        reason = Why.WORSE
    else:
        reason = Why.NOT_WORSE
    state = CaseState.IMPROVED if reason is Why.NOT_WORSE else CaseState.NO_BETTER_CANDIDATE
    return _change(book, case, at, reason, caused_by, state=state, after=value)


def tried(case: Case) -> tuple[str, ...]:
    """What was tried, a line an attempt."""
    return tuple(f"attempt {a.n} ({a.trigger}): {a.state} {a.version or ''} {a.reason}".strip() for a in case.attempts)


def _hindrance(book: CaseBook, retrain: RetrainSpec, why: Trigger, at: Millis) -> Skipped | None:
    if _running(book) is not None:
        return Skipped.ATTEMPT_RUNNING
    if why is Trigger.COMMAND:
        return None  # a human may always ask
    if book.asked and at - book.asked[-1] < millis(retrain.cooldown):
        return Skipped.COOLDOWN
    if len(_recent(book, retrain, at)) >= retrain.budget:
        return Skipped.BUDGET
    return None


def _promoted(case: Case) -> bool:
    return any(attempt.state is AttemptState.PROMOTED for attempt in case.attempts)


def _recent(book: CaseBook, retrain: RetrainSpec, at: Millis) -> list[Millis]:
    return [asked for asked in book.asked if at - asked < millis(retrain.budget_per)]


def skip(book: CaseBook, reason: Skipped) -> Skipped:
    """Count a trigger that asks for nothing."""
    book.skipped[reason.value] = book.skipped.get(reason.value, 0) + 1
    return reason


def _running(book: CaseBook) -> Attempt | None:
    if book.open is None or not book.open.attempts:
        return None
    last = book.open.attempts[-1]
    return last if last.state in RUNNING else None


def running_request(book: CaseBook) -> str | None:
    """The id of the request that has no verdict yet."""
    attempt = _running(book)
    return attempt.request if attempt else None


def _end_attempt(
    book: CaseBook, state: AttemptState, reason: str, at: Millis, caused_by: tuple[str, ...], **fields: str
) -> Case:
    assert book.open is not None, "an attempt belongs to an open case"
    if state is AttemptState.PROMOTED or _promoted(book.open):
        case_state = CaseState.WATCHING
    else:
        # without an alarm, a refusal or a failure is a normal end
        case_state = CaseState.OPEN if book.open.trigger is Trigger.RULE else CaseState.NO_BETTER_CANDIDATE
    number = book.open.attempts[-1].n
    fields = {"state": state, "reason": reason, **fields}
    return _set_attempt(book, at, f"attempt-{number}-{state}", caused_by, fields, case_state)


def _set_attempt(
    book: CaseBook,
    at: Millis,
    reason: str,
    caused_by: tuple[str, ...],
    fields: Mapping[str, str],
    case_state: CaseState = CaseState.OPEN,
) -> Case:
    assert book.open is not None, "an attempt belongs to an open case"
    last = msgspec.structs.replace(book.open.attempts[-1], **fields)
    attempts = (*book.open.attempts[:-1], last)
    return _change(book, book.open, at, reason, caused_by, state=case_state, attempts=attempts)


def _change(
    book: CaseBook,
    case: Case,
    at: Millis,
    reason: str,
    caused_by: tuple[str, ...],
    *,
    state: CaseState,
    attempts: tuple[Attempt, ...] | None = None,
    after: float | None = None,
) -> Case:
    changed = msgspec.structs.replace(
        case,
        id=digest_id("case", case.case, reason, at),
        caused_by=caused_by,
        state=state,
        attempts=case.attempts if attempts is None else attempts,
        at=at,
        reason=reason,
        after=case.after if after is None else after,
    )
    book.open = None if state in ENDED else changed
    return changed
