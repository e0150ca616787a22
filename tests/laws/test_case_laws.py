"""Whatever happens, in whatever order, repeated, stored and taken back: a case is in a state that its picture shows."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.timeline.arrows import ATTEMPT_ARROWS, CASE_ARROWS
from tests.timeline.stories import DAY, CaseStory

from driftline.core.case_book import ENDED, RUNNING, CaseBook, Skipped
from driftline.events.retraining import AttemptState, Case, CaseState, RetrainRequest
from driftline.spec.model import PromotionSpec

S, A = CaseState, AttemptState
HAPPENINGS = (
    *("rule breaches", "schedule", "command", "candidate", "candidate fails", "candidate of another request"),
    *("verdict promote", "verdict refuse", "verdict hold", "verdict on another candidate", "live better"),
    *("live not better", "live unseen", "approve", "reject", "approve another", "roll back", "close"),
    *("metric is back", "figure 0.6", "figure 0.8", "time passes"),
)


class CaseLaws(RuleBasedStateMachine):
    """A case book to which anything may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0
        self.begun = False

    @precondition(lambda self: not self.begun)
    @rule(
        approve=st.booleans(),
        shadow=st.booleans(),
        retries=st.integers(0, 2),
        budget=st.integers(1, 4),
        cooldown=st.integers(0, 2),
    )
    def begin(self, approve, shadow, retries, budget, cooldown):
        promotion = PromotionSpec(
            metric="auc",
            min_effect=0,
            policy="approve" if approve else "auto",
            shadow=timedelta(days=1) if shadow else timedelta(0),
        )
        self.story = CaseStory(promotion=promotion, retries=retries, budget=budget, cooldown=timedelta(days=cooldown))
        self.known: dict[str, Case] = {}
        self.promotions: list[str] = []
        self.begun = True

    @precondition(lambda self: self.begun)
    @rule(what=st.sampled_from(HAPPENINGS), later=st.sampled_from((0, DAY // 10, DAY, 4 * DAY)), twice=st.booleans())
    def happens(self, what, later, twice):
        self.at += later
        for _ in range(1 + twice):
            self._happen(what)

    @precondition(lambda self: self.begun and self.story.book.retry_at is not None)
    @rule()
    def again(self):
        self.at = max(self.at, self.story.book.retry_at)
        if not any(a.state in RUNNING for a in self.story.book.open.attempts):
            self._happen("again")

    @precondition(lambda self: self.begun)
    @rule()
    def crash(self):
        """What is stored is all that is known."""
        book = self.story.book
        self.story.book = msgspec.json.decode(msgspec.json.encode(book), type=CaseBook)
        assert self.story.book == book

    def _happen(self, what):
        story = self.story
        if what.split()[0] in ("candidate", "verdict") and story.request is None:
            return
        if what.split()[0] == "verdict" and story.candidate is None:
            return
        if what.split()[0] in ("approve", "reject") and (story.book.open is None or not story.book.open.attempts):
            return
        for event in story.play(what, self.at):
            if isinstance(event, Case):
                self._check(event)
            else:
                assert isinstance(event, RetrainRequest | Skipped)

    def _check(self, case):
        before = self.known.get(case.case)
        if before is not None:
            assert (before.state, case.state) in CASE_ARROWS, (before.state, case.state, case.reason)
            for old, new in zip(before.attempts, case.attempts, strict=False):
                assert old.state == new.state or (old.state, new.state) in ATTEMPT_ARROWS, (old.state, new.state)
            for old, new in zip(before.attempts, case.attempts, strict=False):
                if new.state is A.PROMOTED and old.state is not A.PROMOTED:
                    self.promotions.append(new.verdict)
            assert len(case.attempts) in (len(before.attempts), len(before.attempts) + 1)
        else:
            assert (case.state, len(case.attempts)) == (S.OPEN, 1)
        self.known[case.case] = case

    @invariant()
    def one_case_is_open_at_most_and_one_attempt_runs(self):
        if not self.begun:
            return
        open_cases = [case for case in self.known.values() if case.state not in ENDED]
        assert len(open_cases) <= 1
        book = self.story.book
        assert (book.open is None) == (not open_cases)
        running = [attempt for case in self.known.values() for attempt in case.attempts if attempt.state in RUNNING]
        assert len(running) <= 1

    @invariant()
    def no_verdict_promotes_twice(self):
        if self.begun:
            assert len(set(self.promotions)) == len(self.promotions)


TestCaseLaws = CaseLaws.TestCase
TestCaseLaws.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
