"""Every arrow that a case and an attempt may take is taken by a story; the laws find no other one."""

from __future__ import annotations

import pytest
from tests.timeline.arrows import ATTEMPT_ARROWS, CASE_ARROWS, changes


@pytest.mark.parametrize(("arrow", "story"), CASE_ARROWS.items(), ids=lambda each: "->".join(each)[:60])
def test_a_case_takes_the_arrow_at_the_end_of_its_story(arrow, story):
    before, after = list(changes(story))[-1]
    assert (before.state, after.state) == arrow


@pytest.mark.parametrize(("arrow", "story"), ATTEMPT_ARROWS.items(), ids=lambda each: "->".join(each)[:60])
def test_an_attempt_takes_the_arrow_at_the_end_of_its_story(arrow, story):
    moved = [
        (old.state, new.state)
        for before, after in changes(story)
        for old, new in zip(before.attempts, after.attempts, strict=False)
        if old.state != new.state
    ]
    assert moved[-1] == arrow
