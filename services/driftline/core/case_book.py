"""What is remembered of a model's retrain cases, and the words in which they change."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from driftline.events.base import Millis, digest_id
from driftline.events.retraining import Attempt, AttemptState, Case, CaseState
from driftline.spec.model import RetrainSpec, millis

ENDED = (
    CaseState.IMPROVED,
    CaseState.RECOVERED,
    CaseState.NO_BETTER_CANDIDATE,
    CaseState.ROLLED_BACK,
    CaseState.ESCALATED,
    CaseState.CLOSED,
)
DECIDED_BY_HUMANS = (AttemptState.HELD, AttemptState.AWAITING_APPROVAL)
RUNNING = (AttemptState.REQUESTED, AttemptState.COMPARING, AttemptState.SHADOW, *DECIDED_BY_HUMANS)


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
    DEADLINE_PASSED = "deadline-passed"
    NO_ARTIFACT = "no-artifact"
    NO_ANSWER = "no-answer-in-time"  # the deadline of an attempt that no trainer has answered
    NOT_DECIDED = "not-decided-in-time"  # by a human
    SHADOW_BETTER = "shadow-is-better"
    SHADOW_NOT_BETTER = "shadow-is-not-better"
    SHADOW_UNSEEN = "no-shadow-predictions"
    OUTDATED = "champion-has-changed"  # since the attempt was requested: it was compared with another one
    PROBATION_FAILED = "worse-than-the-version-before"


class Call(StrEnum):
    """Why a case needs a human."""

    NOT_IMPROVED = "not-improved-in-time"
    BUDGET_USED_UP = "budget-used-up"
    NONE_PASSES = "no-candidate-passes-the-gate"
    TRAINER_DEAD = "trainer-does-not-answer"


class CaseBook(msgspec.Struct, kw_only=True):
    """All that the cases of one model remember. `asked`: times of requests within the budget's span, newest last.

    `ended`: the last case that ended after a promotion. `retry_at`: when a failed attempt is made again.
    """

    open: Case | None = None
    ended: Case | None = None
    retry_at: Millis | None = None
    count: int = 0
    asked: list[Millis] = []
    skipped: dict[str, int] = {}

    @property
    def running(self) -> Attempt | None:
        """The open case's attempt that has not ended."""
        if self.open is None or not self.open.attempts:
            return None
        last = self.open.attempts[-1]
        return last if last.state in RUNNING else None

    def recent(self, retrain: RetrainSpec, at: Millis) -> list[Millis]:
        """The requests that count against the budget."""
        return [asked for asked in self.asked if at - asked < millis(retrain.budget_per)]

    def skip(self, reason: Skipped) -> Skipped:
        """Count a trigger that asks for nothing."""
        self.skipped[reason.value] = self.skipped.get(reason.value, 0) + 1
        return reason

    def set_attempt(
        self,
        at: Millis,
        reason: str,
        caused_by: tuple[str, ...],
        fields: Mapping[str, str],
        case_state: CaseState = CaseState.OPEN,
    ) -> Case:
        """The newest attempt of the open case has changed."""
        assert self.open is not None, "an attempt belongs to an open case"
        last = msgspec.structs.replace(self.open.attempts[-1], **fields)
        attempts = (*self.open.attempts[:-1], last)
        return self.change(self.open, at, reason, caused_by, state=case_state, attempts=attempts)

    def change(
        self,
        case: Case,
        at: Millis,
        reason: str,
        caused_by: tuple[str, ...],
        *,
        state: CaseState,
        attempts: tuple[Attempt, ...] | None = None,
        after: float | None = None,
    ) -> Case:
        """The case as it is from now on, remembered while it is open, or while its promotion can be taken back."""
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
        if state in ENDED and was_promoted(changed):
            self.ended = changed
        if state in ENDED:
            self.retry_at = None
        self.open = None if state in ENDED else changed
        return changed


def was_promoted(case: Case) -> bool:
    """Whether a candidate of this case has served."""
    return any(attempt.state is AttemptState.PROMOTED for attempt in case.attempts)
