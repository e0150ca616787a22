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
        return _skip(book, Skipped.NO_RETRAIN)
    reason = _hindrance(book, retrain, why, at)
    if reason is not None:
        return _skip(book, reason)
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
            deadline=at + millis(retrain.improve_within) if why is Trigger.RULE else None,
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
    if candidate.error is not None:
        return _end_attempt(book, AttemptState.FAILED, candidate.error, at, (candidate.id,), candidate=candidate.id)
    fields = {"state": AttemptState.COMPARING, "candidate": candidate.id, "version": candidate.version}
    return _set_attempt(book, at, f"attempt-{attempt.n}-comparing", (candidate.id,), fields)


def take_verdict(book: CaseBook, verdict: Verdict, at: Millis) -> Case | None:
    """The gate's judgement of the attempt's candidate; None where it judges another. The first verdict counts.

    The caller checks that the verdict is about the artifact that the candidate named.
    """
    attempt = _running(book)
    if attempt is None or attempt.state is not AttemptState.COMPARING or attempt.candidate != verdict.candidate:
        return None
    promoted = verdict.decision == "promote"
    state = AttemptState.PROMOTED if promoted else AttemptState.REFUSED
    return _end_attempt(book, state, verdict.reason, at, (verdict.id,), verdict=verdict.id)


def pass_time(book: CaseBook, at: Millis) -> list[Case]:
    """What falls due by decision time alone: the attempt's deadline, then the case's."""
    changes = []
    attempt = _running(book)
    if attempt is not None and at > attempt.deadline:
        changes.append(_end_attempt(book, AttemptState.FAILED, "deadline-passed", at, (attempt.request,)))
    case = book.open
    if case is not None and case.deadline is not None and at > case.deadline and _running(book) is None:
        changes.append(_change(book, case, at, "not-improved-in-time", (case.case,), state=CaseState.ESCALATED))
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
    promoted = any(attempt.state is AttemptState.PROMOTED for attempt in case.attempts)
    state = CaseState.IMPROVED if promoted else CaseState.RECOVERED
    return _change(book, case, at, "metric-is-back", caused_by, state=state, after=value)


def compare_after(
    book: CaseBook, at: Millis, value: float | None, higher_is_better: bool, caused_by: tuple[str, ...]
) -> Case | None:
    """The first full window of a champion that a scheduled or commanded case promoted."""
    case = book.open
    if case is None or case.trigger is Trigger.RULE or case.state is not CaseState.WATCHING or value is None:
        return None
    worse = case.before is not None and (value < case.before if higher_is_better else value > case.before)
    state = CaseState.NO_BETTER_CANDIDATE if worse else CaseState.IMPROVED
    reason = "metric-is-worse-than-before" if worse else "metric-is-not-worse-than-before"
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


def _recent(book: CaseBook, retrain: RetrainSpec, at: Millis) -> list[Millis]:
    return [asked for asked in book.asked if at - asked < millis(retrain.budget_per)]


def _skip(book: CaseBook, reason: Skipped) -> Skipped:
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
    case_state = book.open.state
    if state is AttemptState.PROMOTED:
        case_state = CaseState.WATCHING
    elif book.open.trigger is not Trigger.RULE:
        # a refusal is a normal end of a case that no alarm opened, unless an earlier attempt is being watched
        watched = any(a.state is AttemptState.PROMOTED for a in book.open.attempts)
        case_state = CaseState.WATCHING if watched else CaseState.NO_BETTER_CANDIDATE
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
