"""The retrain case: pure transitions over (state, observation, decision time), each with the events that tell of it."""

from __future__ import annotations

import msgspec

from driftline.core.case_book import DECIDED_BY_HUMANS, Call, CaseBook, Skipped, Why, was_promoted
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
from driftline.spec.model import MonitorSpec, PromotionSpec, RetrainSpec, millis

FOREVER: Millis = 2**62
RETRY_MS = 600_000
"""A failed attempt is made again after so long, then after twice as long, and so on."""


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
    *,
    again: bool = False,
) -> tuple[Case, RetrainRequest] | Skipped:
    """Ask for an attempt: the next one of the open case, else the first of a new one. `again`: one has failed."""
    retrain = spec.retrain
    if retrain is None:
        return book.skip(Skipped.NO_RETRAIN)
    reason = _hindrance(book, retrain, why, at, again=again)
    if reason is not None:
        return book.skip(reason)
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
        metric=case.metric,
        value=case.before,
    )
    book.retry_at = None
    attempt = Attempt(
        n=number,
        state=AttemptState.REQUESTED,
        request=request.id,
        requested_at=at,
        deadline=request.deadline,
        trigger=why,
        champion=champion,
    )
    book.asked = [*book.recent(retrain, at), at]
    changed = book.change(
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
        exclude=tuple(Span(start=start, end=end) for start, end in retrain.exclude),
    )


def take_candidate(book: CaseBook, candidate: Candidate, retries: int, at: Millis) -> Case | None:
    """The trainer's answer to the open attempt; None where it answers something else. The first answer counts.

    `retries`: see `RetrainSpec`.
    """
    attempt = book.running
    if book.open is None or attempt is None or candidate.request != attempt.request:
        return None
    if attempt.state is not AttemptState.REQUESTED:
        return None
    error = candidate.error if candidate.artifact is not None or candidate.error else Why.NO_ARTIFACT.value
    if error is not None:
        return _fail(book, error, retries, at, (candidate.id,), candidate=candidate.id)
    fields = {"state": AttemptState.COMPARING, "candidate": candidate.id, "version": candidate.version}
    return book.set_attempt(at, f"attempt-{attempt.n}-comparing", (candidate.id,), fields)


def take_verdict(book: CaseBook, verdict: Verdict, promotion: PromotionSpec, at: Millis) -> Case | None:
    """The gate's judgement of the attempt's candidate; None where it judges another. The first verdict counts.

    What it lets through is promoted, or stands beside the champion first, or awaits approval. The caller checks that
    the verdict is about the artifact that the candidate named.
    """
    attempt = book.running
    if book.open is None or attempt is None or attempt.state is not AttemptState.COMPARING:
        return None
    if (verdict.case, verdict.candidate) != (book.open.case, attempt.candidate):
        return None
    cause = (verdict.id,)
    if verdict.decision == "refuse":
        return _end_attempt(book, AttemptState.REFUSED, verdict.reason, at, cause, verdict=verdict.id)
    if verdict.decision == "hold":
        return _wait(book, AttemptState.HELD, verdict.reason, at, cause, verdict=verdict.id)
    if promotion.shadow:
        return _wait(book, AttemptState.SHADOW, verdict.reason, at, cause, verdict=verdict.id)
    return _let_through(book, verdict.reason, promotion, at, cause, verdict=verdict.id)


def take_live(book: CaseBook, better: bool | None, promotion: PromotionSpec, at: Millis) -> Case | None:
    """What the live figures of a candidate that answered beside the champion say; None: there are none."""
    attempt = book.running
    if book.open is None or attempt is None or attempt.state is not AttemptState.SHADOW:
        return None
    cause = (book.open.id,)
    if better is None:
        return _wait(book, AttemptState.HELD, Why.SHADOW_UNSEEN, at, cause)
    if not better:
        return _end_attempt(book, AttemptState.REFUSED, Why.SHADOW_NOT_BETTER, at, cause)
    return _let_through(book, Why.SHADOW_BETTER, promotion, at, cause)


def decide(book: CaseBook, verdict: str | None, promote: bool, reason: str, at: Millis, cause: str) -> Case | None:
    """A human promotes or rejects the candidate of a verdict; None where it is not that one which waits for one."""
    attempt = book.running
    if attempt is None or attempt.state not in DECIDED_BY_HUMANS or attempt.verdict != verdict:
        return None
    state = AttemptState.PROMOTED if promote else AttemptState.REFUSED
    return _end_attempt(book, state, reason, at, (cause,))


def outdate(book: CaseBook, at: Millis, caused_by: tuple[str, ...]) -> Case | None:
    """Another version serves than the one with which a candidate was compared: what waits beside it or for a human has
    come to its end. The answer of a trainer or a gate is looked at when it comes.
    """
    attempt = book.running
    if attempt is None or attempt.state not in (AttemptState.SHADOW, *DECIDED_BY_HUMANS):
        return None
    return _end_attempt(book, AttemptState.REFUSED, Why.OUTDATED, at, caused_by)


def roll_back(book: CaseBook, reason: str, at: Millis, caused_by: tuple[str, ...]) -> Case | None:
    """The promotion of the last case that made one is taken back; None where there is no such case.

    A case in which an attempt is running says so and goes on.
    """
    was_open = book.open
    case = was_open if was_open is not None and was_promoted(was_open) else book.ended
    if case is None:
        return None
    if case is was_open and book.running is not None:
        return book.change(case, at, reason, caused_by, state=case.state)
    changed = book.change(case, at, reason, caused_by, state=CaseState.ROLLED_BACK)
    book.open, book.ended = (None if case is was_open else was_open), None
    return changed


def close(book: CaseBook, case: str | None, reason: str, at: Millis, cause: str) -> Case | None:
    """A human closes the open case; None where it is another one, or an attempt of it is running."""
    if book.open is None or book.open.case != case or book.running is not None:
        return None
    return book.change(book.open, at, reason, (cause,), state=CaseState.CLOSED)


def call(case: Case, retrain: RetrainSpec | None) -> Call | None:
    """Whether a case that a rule opened needs a human by what has just changed in it. `retrain`: as declared now."""
    if case.trigger is not Trigger.RULE or not case.attempts:
        return None
    last = case.attempts[-1]
    if case.state is CaseState.ESCALATED:
        return Call.NOT_IMPROVED
    if last.state is AttemptState.FAILED and last.reason == Why.NO_ANSWER:
        return Call.TRAINER_DEAD
    refused = sum(attempt.state is AttemptState.REFUSED for attempt in case.attempts)
    if last.state is AttemptState.REFUSED and retrain is not None and refused >= retrain.max_refusals:
        return Call.NONE_PASSES
    return None


def pass_time(book: CaseBook, retries: int, at: Millis) -> list[Case]:
    """What falls due by decision time alone: the attempt's deadline, then the case's.

    A running attempt is awaited before its case ends. A case opened by a rule escalates; another one, which raises no
    alarm, ends because no figure came that could show an improvement.
    """
    changes = []
    attempt = book.running
    if attempt is not None and at > _deadline(book, attempt):
        if attempt.state in DECIDED_BY_HUMANS:
            changes.append(_end_attempt(book, AttemptState.REFUSED, Why.NOT_DECIDED, at, (attempt.request,)))
        else:
            unanswered = attempt.state is AttemptState.REQUESTED
            why = Why.NO_ANSWER if unanswered else Why.DEADLINE_PASSED
            changes.append(_fail(book, why, retries, at, (attempt.request,)))
    case = book.open
    if case is not None and case.deadline is not None and at > case.deadline and book.running is None:
        by_rule = case.trigger is Trigger.RULE
        state = CaseState.ESCALATED if by_rule else CaseState.NO_BETTER_CANDIDATE
        reason: str = Call.NOT_IMPROVED if by_rule else Why.NO_FIGURE_IN_TIME
        changes.append(book.change(case, at, reason, (case.case,), state=state))
    return changes


def next_deadline(book: CaseBook) -> Millis | None:
    """The next instant at which `pass_time` has something to say, or an attempt is made again."""
    attempt = book.running
    if attempt is not None:
        return None if attempt.state is AttemptState.SHADOW else _deadline(book, attempt) + 1
    ends = None if book.open is None or book.open.deadline is None else book.open.deadline + 1
    return min((instant for instant in (ends, book.retry_at) if instant is not None), default=None)


def _deadline(book: CaseBook, attempt: Attempt) -> Millis:
    """Until when an attempt has time: its trainer and gate, or a human. A shadow has its own."""
    if attempt.state is AttemptState.SHADOW:
        return FOREVER
    case = book.open
    if attempt.state in DECIDED_BY_HUMANS and case is not None and case.deadline is not None:
        return max(attempt.deadline, case.deadline)
    return attempt.deadline


def metric_is_back(book: CaseBook, at: Millis, value: float | None, caused_by: tuple[str, ...]) -> Case | None:
    """The rule that opened the case is clear again, for whichever version serves now."""
    case = book.open
    if case is None or case.trigger is not Trigger.RULE or book.running is not None:
        return None
    state = CaseState.IMPROVED if was_promoted(case) else CaseState.RECOVERED
    return book.change(case, at, Why.METRIC_IS_BACK, caused_by, state=state, after=value)


def note_before(book: CaseBook, value: float) -> None:
    """A figure of the champion while none is known from before: the first one until a candidate replaces it counts."""
    case = book.open
    if case is None or case.trigger is Trigger.RULE or case.before is not None or was_promoted(case):
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
    return book.change(case, at, reason, caused_by, state=state, after=value)


def tried(case: Case) -> tuple[str, ...]:
    """What was tried, a line an attempt."""
    return tuple(f"attempt {a.n} ({a.trigger}): {a.state} {a.version or ''} {a.reason}".strip() for a in case.attempts)


def _hindrance(book: CaseBook, retrain: RetrainSpec, why: Trigger, at: Millis, *, again: bool) -> Skipped | None:
    if book.running is not None:
        return Skipped.ATTEMPT_RUNNING
    if why is Trigger.COMMAND and not again:
        return None  # a human may always ask
    if not again and book.asked and at - book.asked[-1] < millis(retrain.cooldown):
        return Skipped.COOLDOWN
    if len(book.recent(retrain, at)) >= retrain.budget:
        return Skipped.BUDGET
    return None


def _fail(book: CaseBook, reason: str, retries: int, at: Millis, caused_by: tuple[str, ...], **fields: str) -> Case:
    """An attempt has failed: it is made again by itself, a few times, ever later."""
    assert book.open is not None, "an attempt belongs to an open case"
    failures = 1
    for attempt in reversed(book.open.attempts[:-1]):
        if attempt.state is not AttemptState.FAILED:
            break
        failures += 1
    book.retry_at = at + RETRY_MS * 2 ** (failures - 1) if failures <= retries else None
    return _end_attempt(book, AttemptState.FAILED, reason, at, caused_by, **fields)


def _let_through(
    book: CaseBook, reason: str, promotion: PromotionSpec, at: Millis, caused_by: tuple[str, ...], **fields: str
) -> Case:
    """A candidate that is good enough: a human may have the last word."""
    if promotion.policy == "approve":
        return _wait(book, AttemptState.AWAITING_APPROVAL, reason, at, caused_by, **fields)
    return _end_attempt(book, AttemptState.PROMOTED, reason, at, caused_by, **fields)


def _wait(
    book: CaseBook, state: AttemptState, reason: str, at: Millis, caused_by: tuple[str, ...], **fields: str
) -> Case:
    """The attempt goes on in another state."""
    assert book.open is not None, "an attempt belongs to an open case"
    fields = {"state": state, "reason": reason, **fields}
    return book.set_attempt(at, f"attempt-{book.open.attempts[-1].n}-{state}", caused_by, fields, book.open.state)


def _end_attempt(
    book: CaseBook, state: AttemptState, reason: str, at: Millis, caused_by: tuple[str, ...], **fields: str
) -> Case:
    assert book.open is not None, "an attempt belongs to an open case"
    if state is AttemptState.PROMOTED or was_promoted(book.open):
        case_state = CaseState.WATCHING
    else:
        # without an alarm, a refusal or a failure is a normal end, unless it is tried again
        goes_on = book.open.trigger is Trigger.RULE or (state is AttemptState.FAILED and book.retry_at is not None)
        case_state = CaseState.OPEN if goes_on else CaseState.NO_BETTER_CANDIDATE
    number = book.open.attempts[-1].n
    fields = {"state": state, "reason": reason, **fields}
    return book.set_attempt(at, f"attempt-{number}-{state}", caused_by, fields, case_state)
