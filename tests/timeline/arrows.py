"""Every arrow of a case's and of an attempt's life, each with the shortest story that takes it.

A story is what happens, half a day apart; `5d time passes` waits for longer. How the spec lets candidates through
stands before it: `approve:` or `shadow:`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

from tests.timeline.stories import DAY, CaseStory

from driftline.events.retraining import AttemptState, Case, CaseState
from driftline.spec.model import PromotionSpec

S, A = CaseState, AttemptState
PROMOTED = "candidate, verdict promote"
WATCHED = f"rule breaches, {PROMOTED}"
SCHEDULED = f"schedule, {PROMOTED}"

CASE_ARROWS: dict[tuple[CaseState, CaseState], str] = {
    (S.OPEN, S.OPEN): "rule breaches, candidate",
    (S.OPEN, S.WATCHING): WATCHED,
    (S.OPEN, S.RECOVERED): "rule breaches, candidate fails, metric is back",
    (S.OPEN, S.NO_BETTER_CANDIDATE): "schedule, candidate, verdict refuse",
    (S.OPEN, S.ESCALATED): "rule breaches, 20d time passes",
    (S.OPEN, S.CLOSED): "rule breaches, candidate fails, close",
    (S.WATCHING, S.OPEN): f"{WATCHED}, command",
    (S.WATCHING, S.IMPROVED): f"{WATCHED}, metric is back",
    (S.WATCHING, S.NO_BETTER_CANDIDATE): f"{SCHEDULED}, figure 0.6",
    (S.WATCHING, S.ROLLED_BACK): f"{WATCHED}, roll back",
    (S.WATCHING, S.ESCALATED): f"{WATCHED}, 20d time passes",
    (S.WATCHING, S.CLOSED): f"{WATCHED}, close",
    (S.IMPROVED, S.ROLLED_BACK): f"{WATCHED}, metric is back, roll back",
    (S.NO_BETTER_CANDIDATE, S.ROLLED_BACK): f"{SCHEDULED}, figure 0.6, roll back",
    (S.ESCALATED, S.ROLLED_BACK): f"{WATCHED}, 20d time passes, roll back",
    (S.CLOSED, S.ROLLED_BACK): f"{WATCHED}, close, roll back",
}

ATTEMPT_ARROWS: dict[tuple[AttemptState, AttemptState], str] = {
    (A.REQUESTED, A.COMPARING): "rule breaches, candidate",
    (A.REQUESTED, A.FAILED): "rule breaches, candidate fails",
    (A.COMPARING, A.SHADOW): f"shadow: {WATCHED}",
    (A.COMPARING, A.AWAITING_APPROVAL): f"approve: {WATCHED}",
    (A.COMPARING, A.HELD): "rule breaches, candidate, verdict hold",
    (A.COMPARING, A.PROMOTED): WATCHED,
    (A.COMPARING, A.REFUSED): "rule breaches, candidate, verdict refuse",
    (A.COMPARING, A.FAILED): "rule breaches, candidate, 3d time passes",
    (A.SHADOW, A.AWAITING_APPROVAL): f"shadow approve: {WATCHED}, live better",
    (A.SHADOW, A.HELD): f"shadow: {WATCHED}, live unseen",
    (A.SHADOW, A.PROMOTED): f"shadow: {WATCHED}, live better",
    (A.SHADOW, A.REFUSED): f"shadow: {WATCHED}, live not better",
    (A.AWAITING_APPROVAL, A.PROMOTED): f"approve: {WATCHED}, approve",
    (A.AWAITING_APPROVAL, A.REFUSED): f"approve: {WATCHED}, reject",
    (A.HELD, A.PROMOTED): "rule breaches, candidate, verdict hold, approve",
    (A.HELD, A.REFUSED): "rule breaches, candidate, verdict hold, reject",
}


def changes(story: str) -> Iterator[tuple[Case, Case]]:
    """Play a story; every change of a case, as it was before and after."""
    how, happenings = re.fullmatch(r"(?:([\w ]+): )?(.*)", story).groups()
    promotion = PromotionSpec(
        metric="auc",
        min_effect=0,
        policy="approve" if how and "approve" in how else "auto",
        shadow=timedelta(days=1) if how and "shadow" in how else timedelta(0),
    )
    told = CaseStory(promotion=promotion, retries=0, cooldown=timedelta(0))
    known: dict[str, Case] = {}
    at = 0
    for text in happenings.split(", "):
        days, happening = re.fullmatch(r"(?:(\d+)d )?(.*)", text).groups()
        at += int(days) * DAY if days else DAY // 2
        for case in told.play(happening, at):
            if isinstance(case, Case):
                if case.case in known:
                    yield known[case.case], case
                known[case.case] = case
