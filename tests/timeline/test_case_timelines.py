"""Retrain cases as timelines: cooldown 3 days, budget 3 in 60 days, an attempt may take 2 days, a case 14."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from tests.timeline.stories import DAY, RETRAIN, CaseStory, spec

from driftline.core import cases
from driftline.core.case_book import Call, CaseBook, Skipped, Why
from driftline.events.retraining import Case, CaseState, RetrainRequest, Trigger
from driftline.spec.model import PromotionSpec


def test_a_better_candidate_and_a_metric_that_comes_back_is_an_improvement():
    CaseStory().tell("""
        day 0    rule breaches    -> open: attempt-1-requested
        day 0.5  candidate        -> open: attempt-1-comparing
        day 0.6  verdict promote  -> watching: attempt-1-promoted
        day 3    metric is back   -> improved: metric-is-back
        day 20   time passes      -> -
    """)


def test_a_metric_that_comes_back_by_itself_is_a_recovery():
    CaseStory().tell("""
        day 0    rule breaches   -> open: attempt-1-requested
        day 0.5  candidate       -> open: attempt-1-comparing
        day 0.6  verdict refuse  -> open: attempt-1-refused
        day 2    metric is back  -> recovered: metric-is-back
    """)


def test_a_metric_that_comes_back_during_an_attempt_does_not_end_the_case():
    CaseStory().tell("""
        day 0    rule breaches    -> open: attempt-1-requested
        day 0.5  metric is back   -> -
        day 1    candidate        -> open: attempt-1-comparing
        day 1    metric is back   -> -
        day 1    verdict promote  -> watching: attempt-1-promoted
        day 2    metric is back   -> improved: metric-is-back
    """)


def test_a_case_that_does_not_get_better_in_time_calls_a_human_and_the_next_breach_opens_another():
    story = CaseStory(budget=9)
    story.tell("""
        day 0     rule breaches   -> open: attempt-1-requested
        day 0.1   candidate       -> open: attempt-1-comparing
        day 0.2   verdict refuse  -> open: attempt-1-refused
        day 3     rule breaches   -> open: attempt-2-requested
        day 3.1   candidate       -> open: attempt-2-comparing
        day 3.2   verdict promote -> watching: attempt-2-promoted
        day 6     rule breaches   -> open: attempt-3-requested
        day 6.1   candidate fails -> watching: attempt-3-failed
        day 14    time passes     -> -
        day 14.1  time passes     -> escalated: not-improved-in-time
        day 15    rule breaches   -> open: attempt-1-requested
    """)
    first, last = story.events[0], story.events[-1]
    assert first.case != last.case


def test_an_escalated_case_says_what_was_tried():
    events = CaseStory().tell("""
        day 0     rule breaches   -> open: attempt-1-requested
        day 0.1   candidate       -> open: attempt-1-comparing
        day 0.2   verdict refuse  -> open: attempt-1-refused
        day 3     rule breaches   -> open: attempt-2-requested
        day 3.1   candidate fails -> open: attempt-2-failed
        day 14.1  time passes     -> escalated: not-improved-in-time
    """)
    assert cases.tried(events[-1]) == (
        "attempt 1 (rule): refused c1 refuse",
        "attempt 2 (rule): failed  it broke",
    )


def test_an_attempt_that_runs_when_the_time_is_up_is_awaited():
    CaseStory().tell("""
        day 0     rule breaches    -> open: attempt-1-requested
        day 0.1   candidate fails  -> open: attempt-1-failed
        day 13    rule breaches    -> open: attempt-2-requested
        day 14.5  time passes      -> -
        day 14.6  candidate        -> open: attempt-2-comparing
        day 14.7  verdict promote  -> watching: attempt-2-promoted
        day 14.7  time passes      -> escalated: not-improved-in-time
    """)


def test_an_attempt_without_an_answer_fails_at_its_deadline():
    story = CaseStory()
    story.tell("""
        day 0    rule breaches  -> open: attempt-1-requested
        day 2    time passes    -> -
        day 2.1  time passes    -> open: attempt-1-failed
        day 2.2  candidate      -> -
    """)
    assert story.events[-1].attempts[0].reason == Why.NO_ANSWER


def test_an_attempt_without_a_verdict_fails_at_its_deadline():
    events = CaseStory().tell("""
        day 0    rule breaches    -> open: attempt-1-requested
        day 1    candidate        -> open: attempt-1-comparing
        day 2.1  time passes      -> open: attempt-1-failed
        day 2.2  verdict promote  -> -
    """)
    assert events[-1].attempts[0].reason == Why.DEADLINE_PASSED


def test_a_deadline_that_passes_with_the_cases_own_ends_both():
    CaseStory().tell(
        """
        day 0     rule breaches    -> open: attempt-1-requested
        day 0.1   candidate fails  -> open: attempt-1-failed
        day 13    rule breaches    -> open: attempt-2-requested
        day 15.1  time passes      -> open: attempt-2-failed; escalated: not-improved-in-time
    """.replace("day 16 ", "day 16.1 ")
    )


def test_one_attempt_at_a_time():
    CaseStory(cooldown=timedelta(0)).tell("""
        day 0    rule breaches   -> open: attempt-1-requested
        day 0.1  rule breaches   -> skipped: an-attempt-is-running
        day 0.1  schedule        -> skipped: an-attempt-is-running
        day 0.1  command         -> skipped: an-attempt-is-running
        day 0.2  candidate       -> open: attempt-1-comparing
        day 0.3  rule breaches   -> skipped: an-attempt-is-running
        day 0.4  verdict refuse  -> open: attempt-1-refused
        day 0.5  rule breaches   -> open: attempt-2-requested
    """)


def test_a_cooldown_counts_from_the_last_request_and_not_for_a_human():
    CaseStory().tell("""
        day 0    rule breaches    -> open: attempt-1-requested
        day 0.1  candidate fails  -> open: attempt-1-failed
        day 2.9  rule breaches    -> skipped: cooldown
        day 2.9  schedule         -> skipped: cooldown
        day 2.9  command          -> open: attempt-2-requested
        day 3.0  candidate fails  -> open: attempt-2-failed
        day 3.1  rule breaches    -> skipped: cooldown
        day 5.9  rule breaches    -> open: attempt-3-requested
    """)


def test_a_budget_bounds_the_attempts_of_all_cases_and_fills_up_again():
    CaseStory(cooldown=timedelta(0)).tell("""
        day 0     schedule         -> open: attempt-1-requested
        day 0.1   candidate fails  -> no-better-candidate: attempt-1-failed
        day 1     rule breaches    -> open: attempt-1-requested
        day 1.1   candidate fails  -> open: attempt-1-failed
        day 2     command          -> open: attempt-2-requested
        day 2.1   candidate fails  -> open: attempt-2-failed
        day 3     rule breaches    -> skipped: budget
        day 59.9  schedule         -> skipped: budget
        day 60    rule breaches    -> open: attempt-3-requested
    """)


def test_what_was_skipped_is_counted_by_reason():
    story = CaseStory()
    story.tell("""
        day 0    rule breaches    -> open: attempt-1-requested
        day 0.1  rule breaches    -> skipped: an-attempt-is-running
        day 0.2  candidate fails  -> open: attempt-1-failed
        day 0.3  rule breaches    -> skipped: cooldown
        day 0.4  rule breaches    -> skipped: cooldown
    """)
    assert story.book.skipped == {"an-attempt-is-running": 1, "cooldown": 2}


def test_without_a_retrain_section_nothing_is_asked_for():
    bare = msgspec.structs.replace(spec(), retrain=None)
    came = cases.trigger(CaseBook(), bare, "m@1", "1", Trigger.COMMAND, None, 0, (), None, None)
    assert came is Skipped.NO_RETRAIN


@pytest.mark.parametrize("trigger", ["schedule", "command"])
def test_a_refusal_is_a_normal_end_where_no_alarm_opened_the_case(trigger):
    CaseStory().tell(f"""
        day 0    {trigger}       -> open: attempt-1-requested
        day 0.1  candidate       -> open: attempt-1-comparing
        day 0.2  verdict refuse  -> no-better-candidate: attempt-1-refused
        day 20   time passes     -> -
    """)


@pytest.mark.parametrize("trigger", ["schedule", "command"])
def test_a_case_that_no_alarm_opened_improves_when_the_metric_is_not_worse(trigger):
    CaseStory(before=0.7).tell(f"""
        day 0    {trigger}        -> open: attempt-1-requested
        day 0.1  candidate        -> open: attempt-1-comparing
        day 0.2  verdict promote  -> watching: attempt-1-promoted
        day 7    figure 0.7       -> improved: metric-is-not-worse-than-before
    """)


def test_a_scheduled_case_whose_metric_is_worse_does_not_claim_an_improvement():
    CaseStory(before=0.7).tell("""
        day 0    schedule         -> open: attempt-1-requested
        day 0.1  candidate        -> open: attempt-1-comparing
        day 0.2  verdict promote  -> watching: attempt-1-promoted
        day 7    figure 0.69      -> no-better-candidate: metric-is-worse-than-before
    """)


def test_without_a_figure_at_the_request_the_first_one_of_the_old_champion_counts():
    story = CaseStory(before=None)
    story.tell("""
        day 0    schedule         -> open: attempt-1-requested
        day 0.1  figure 0.6       -> -
        day 0.2  figure 0.9       -> -
        day 0.3  candidate        -> open: attempt-1-comparing
        day 0.4  verdict promote  -> watching: attempt-1-promoted
        day 7    figure 0.65      -> improved: metric-is-not-worse-than-before
    """)
    assert (story.events[-1].before, story.events[-1].after) == (0.6, 0.65)


def test_without_any_figure_from_before_no_improvement_is_claimed():
    CaseStory(before=None).tell("""
        day 0    schedule         -> open: attempt-1-requested
        day 0.1  candidate        -> open: attempt-1-comparing
        day 0.2  verdict promote  -> watching: attempt-1-promoted
        day 7    figure 0.9       -> no-better-candidate: no-figure-from-before
    """)


def test_a_scheduled_case_without_a_figure_in_time_ends_without_an_alarm():
    CaseStory().tell("""
        day 0     schedule         -> open: attempt-1-requested
        day 0.1   candidate        -> open: attempt-1-comparing
        day 0.2   verdict promote  -> watching: attempt-1-promoted
        day 14.1  time passes      -> no-better-candidate: no-figure-in-time
    """)


def test_a_failed_attempt_does_not_end_a_case_that_watches_an_earlier_promotion():
    CaseStory().tell("""
        day 0    schedule         -> open: attempt-1-requested
        day 0.1  candidate        -> open: attempt-1-comparing
        day 0.2  verdict promote  -> watching: attempt-1-promoted
        day 4    command          -> open: attempt-2-requested
        day 4.1  candidate fails  -> watching: attempt-2-failed
        day 7    figure 0.8       -> improved: metric-is-not-worse-than-before
    """)


def test_a_trigger_during_a_case_is_its_next_attempt_whoever_opened_it():
    events = CaseStory().tell("""
        day 0    rule breaches   -> open: attempt-1-requested
        day 0.1  candidate       -> open: attempt-1-comparing
        day 0.2  verdict refuse  -> open: attempt-1-refused
        day 4    schedule        -> open: attempt-2-requested
    """)
    assert len({e.case for e in events}) == 1
    assert [a.trigger for a in events[-2].attempts] == [Trigger.RULE, Trigger.SCHEDULE]


def test_only_the_first_answer_and_the_first_verdict_count():
    CaseStory().tell("""
        day 0    rule breaches    -> open: attempt-1-requested
        day 0.1  candidate        -> open: attempt-1-comparing
        day 0.1  candidate        -> -
        day 0.1  candidate fails  -> -
        day 0.2  verdict refuse   -> open: attempt-1-refused
        day 0.3  verdict promote  -> -
    """)


@pytest.mark.parametrize("stray", ["verdict on another candidate", "verdict on another case"])
def test_a_stray_verdict_is_ignored(stray):
    CaseStory().tell(f"""
        day 0    rule breaches    -> open: attempt-1-requested
        day 0.1  candidate        -> open: attempt-1-comparing
        day 0.2  {stray}          -> -
        day 0.3  verdict promote  -> watching: attempt-1-promoted
    """)


def test_an_answer_to_another_request_is_ignored():
    CaseStory().tell("""
        day 0    rule breaches                 -> open: attempt-1-requested
        day 0.1  candidate of another request  -> -
        day 0.2  candidate                     -> open: attempt-1-comparing
    """)


def test_a_verdict_before_its_candidate_is_ignored():
    story = CaseStory()
    story.tell("""
        day 0    rule breaches                 -> open: attempt-1-requested
        day 0.1  candidate of another request  -> -
        day 0.1  verdict promote               -> -
    """)


def test_a_candidate_without_an_artifact_is_a_failed_attempt():
    events = CaseStory().tell("""
        day 0    rule breaches               -> open: attempt-1-requested
        day 0.1  candidate without artifact  -> open: attempt-1-failed
    """)
    assert events[-1].attempts[0].reason == "no-artifact"


def test_a_failed_candidate_leaves_its_error_in_the_attempt():
    events = CaseStory().tell("""
        day 0    rule breaches    -> open: attempt-1-requested
        day 0.1  candidate fails  -> open: attempt-1-failed
    """)
    assert events[-1].attempts[0].reason == "it broke"


def test_a_recipe_keeps_the_holdout_apart_and_late_enough_for_labels():
    recipe = cases.recipe(RETRAIN, 100 * DAY)
    assert (recipe.holdout.start, recipe.holdout.end) == (92 * DAY, 99 * DAY)
    assert (recipe.training.start, recipe.training.end) == (36 * DAY, 92 * DAY)
    assert recipe.known_by == 100 * DAY


def test_a_request_says_what_is_asked_and_until_when():
    case, request = CaseStory().tell("day 100 rule breaches -> open: attempt-1-requested")
    assert isinstance(case, Case)
    assert isinstance(request, RetrainRequest)
    assert (request.champion, request.spec, request.reason) == ("1", "m@1", "auc-rule")
    assert (request.requested_at, request.deadline) == (100 * DAY, 102 * DAY)
    assert (case.deadline, case.before, case.metric) == (114 * DAY, 0.7, "auc")
    assert case.attempts[0].request == request.id


def test_the_same_story_gives_the_same_ids_and_every_change_its_own():
    text = """
        day 0    rule breaches    -> open: attempt-1-requested
        day 0.1  candidate fails  -> open: attempt-1-failed
        day 3    rule breaches    -> open: attempt-2-requested
        day 3.1  candidate fails  -> open: attempt-2-failed
        day 14.1 time passes      -> escalated: not-improved-in-time
        day 15   rule breaches    -> open: attempt-1-requested
    """
    once, again = CaseStory(budget=9).tell(text), CaseStory(budget=9).tell(text)
    assert [e.id for e in once] == [e.id for e in again]
    assert len({e.id for e in once}) == len(once)


def test_a_book_survives_being_stored_at_any_moment():
    lines = """
        day 0    rule breaches    -> open: attempt-1-requested
        day 0.1  candidate        -> open: attempt-1-comparing
        day 0.2  verdict promote  -> watching: attempt-1-promoted
        day 2    metric is back   -> improved: metric-is-back
    """.strip().splitlines()
    story = CaseStory()
    for line in lines:
        story.book = msgspec.json.decode(msgspec.json.encode(story.book), type=CaseBook)
        story.tell(line)
    assert story.book.open is None
    assert story.events[-1].state is CaseState.IMPROVED


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("day 0 rule breaches -> open: attempt-1-requested", 2),
        ("day 0 rule breaches -> open: attempt-1-requested\nday 1 candidate fails -> open: attempt-1-failed", 14),
    ],
)
def test_the_next_deadline_is_known_to_the_millisecond(text, day):
    story = CaseStory()
    story.tell(text)
    due = cases.next_deadline(story.book)
    assert due == day * DAY + 1
    assert not cases.pass_time(story.book, 0, due - 1)
    assert cases.pass_time(story.book, 0, due)


def approving(**changes):
    return PromotionSpec(metric="auc", min_effect=0, policy="approve", **changes)


def test_what_too_few_rows_decide_waits_for_a_human():
    CaseStory().tell("""
        day 0    rule breaches    -> open: attempt-1-requested
        day 0.1  candidate        -> open: attempt-1-comparing
        day 0.2  verdict hold     -> open: attempt-1-held
        day 4    rule breaches    -> skipped: an-attempt-is-running
        day 5    approve          -> watching: attempt-1-promoted
    """)


def test_what_nobody_decides_is_refused_when_the_cases_time_is_up():
    events = CaseStory().tell("""
        day 0     rule breaches  -> open: attempt-1-requested
        day 0.1   candidate      -> open: attempt-1-comparing
        day 0.2   verdict hold   -> open: attempt-1-held
        day 14    time passes    -> -
        day 14.1  time passes    -> open: attempt-1-refused; escalated: not-improved-in-time
    """)
    assert events[-1].attempts[0].reason == "not-decided-in-time"


def test_where_humans_approve_nothing_is_promoted_without_them():
    CaseStory(promotion=approving()).tell("""
        day 0    schedule         -> open: attempt-1-requested
        day 0.1  candidate        -> open: attempt-1-comparing
        day 0.2  verdict promote  -> open: attempt-1-awaiting-approval
        day 0.3  approve another  -> -
        day 0.4  approve          -> watching: attempt-1-promoted
        day 0.5  approve          -> -
    """)


def test_a_human_may_reject_what_passed_the_gate():
    events = CaseStory(promotion=approving()).tell("""
        day 0    schedule         -> open: attempt-1-requested
        day 0.1  candidate        -> open: attempt-1-comparing
        day 0.2  verdict promote  -> open: attempt-1-awaiting-approval
        day 1    reject           -> no-better-candidate: attempt-1-refused
    """)
    assert events[-1].attempts[0].reason == "rejected by Ann"


SHADOW = PromotionSpec(metric="auc", min_effect=0, shadow=timedelta(days=3))


@pytest.mark.parametrize(
    ("live", "came", "reason"),
    [
        ("live better", "watching: attempt-1-promoted", "shadow-is-better"),
        ("live not better", "open: attempt-1-refused", "shadow-is-not-better"),
        ("live unseen", "open: attempt-1-held", "no-shadow-predictions"),
    ],
)
def test_a_candidate_that_stands_beside_the_champion_is_decided_by_its_live_figures(live, came, reason):
    events = CaseStory(promotion=SHADOW).tell(f"""
        day 0    rule breaches    -> open: attempt-1-requested
        day 0.1  candidate        -> open: attempt-1-comparing
        day 0.2  verdict promote  -> open: attempt-1-shadow
        day 2.5  time passes      -> -
        day 3.2  {live}           -> {came}
    """)
    assert events[-1].attempts[0].reason == reason


def test_a_human_has_the_last_word_after_the_shadow():
    CaseStory(promotion=approving(shadow=timedelta(days=3))).tell("""
        day 0    rule breaches    -> open: attempt-1-requested
        day 0.1  candidate        -> open: attempt-1-comparing
        day 0.2  verdict promote  -> open: attempt-1-shadow
        day 3.2  live better      -> open: attempt-1-awaiting-approval
        day 4    approve          -> watching: attempt-1-promoted
    """)


def test_a_promotion_is_taken_back_while_its_case_watches_it_and_after_it_has_ended_well():
    CaseStory().tell("""
        day 0    rule breaches    -> open: attempt-1-requested
        day 0.1  candidate        -> open: attempt-1-comparing
        day 0.2  verdict promote  -> watching: attempt-1-promoted
        day 1    roll back        -> rolled-back: rolled back by Ann
        day 1.1  roll back        -> -
    """)
    CaseStory().tell("""
        day 0    rule breaches    -> open: attempt-1-requested
        day 0.1  candidate        -> open: attempt-1-comparing
        day 0.2  verdict promote  -> watching: attempt-1-promoted
        day 1    metric is back   -> improved: metric-is-back
        day 2    roll back        -> rolled-back: rolled back by Ann
        day 2.1  roll back        -> -
    """)


def test_without_a_promotion_there_is_nothing_to_take_back():
    CaseStory().tell("""
        day 0    rule breaches   -> open: attempt-1-requested
        day 0.1  candidate       -> open: attempt-1-comparing
        day 0.2  verdict refuse  -> open: attempt-1-refused
        day 1    roll back       -> -
    """)


def test_a_human_closes_a_case_between_its_attempts():
    CaseStory().tell("""
        day 0    rule breaches   -> open: attempt-1-requested
        day 0.1  close           -> -
        day 0.2  candidate       -> open: attempt-1-comparing
        day 0.3  verdict refuse  -> open: attempt-1-refused
        day 1    close           -> closed: closed by Ann
        day 20   time passes     -> -
    """)


@pytest.mark.parametrize("trigger", ["rule breaches", "schedule"])
def test_a_failed_attempt_is_made_again_ever_later_and_not_for_ever(trigger):
    story = CaseStory(retries=2)
    end = "open" if trigger == "rule breaches" else "no-better-candidate"
    story.tell(f"""
        day 0     {trigger}        -> open: attempt-1-requested
        day 0.1   candidate fails  -> open: attempt-1-failed
    """)
    assert story.book.retry_at == int(0.1 * DAY) + cases.RETRY_MS == cases.next_deadline(story.book)
    story.tell("""
        day 0.11  again            -> open: attempt-2-requested
        day 0.2   candidate fails  -> open: attempt-2-failed
    """)
    assert story.book.retry_at == int(0.2 * DAY) + 2 * cases.RETRY_MS
    story.tell(f"""
        day 0.23  again            -> open: attempt-3-requested
        day 0.3   candidate fails  -> {end}: attempt-3-failed
    """)
    assert story.book.retry_at is None


def test_a_retry_takes_from_the_budget():
    CaseStory(retries=2, budget=1).tell("""
        day 0     rule breaches    -> open: attempt-1-requested
        day 0.1   candidate fails  -> open: attempt-1-failed
        day 0.11  again            -> skipped: budget
    """)


def test_a_success_forgets_earlier_failures():
    story = CaseStory(retries=1, cooldown=timedelta(0), budget=9)
    story.tell("""
        day 0     rule breaches    -> open: attempt-1-requested
        day 0.1   candidate fails  -> open: attempt-1-failed
        day 0.11  again            -> open: attempt-2-requested
        day 0.2   candidate        -> open: attempt-2-comparing
        day 0.3   verdict refuse   -> open: attempt-2-refused
        day 1     rule breaches    -> open: attempt-3-requested
        day 1.1   candidate fails  -> open: attempt-3-failed
    """)
    assert story.book.retry_at == int(1.1 * DAY) + cases.RETRY_MS


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("day 0 rule breaches -> open: attempt-1-requested\nday 3 time passes -> open: attempt-1-failed", "trainer"),
        ("day 0 schedule -> open: attempt-1-requested\nday 3 time passes -> no-better-candidate: attempt-1-failed", ""),
        (
            "day 0 rule breaches -> open: attempt-1-requested\nday 1 candidate -> open: attempt-1-comparing\n"
            "day 3 time passes -> open: attempt-1-failed",
            "",
        ),
    ],
)
def test_a_rules_case_whose_trainer_does_not_answer_calls_a_human(text, why):
    story = CaseStory()
    last = [event for event in story.tell(text) if isinstance(event, Case)][-1]
    assert cases.call(last, story.spec.retrain) == (Call.TRAINER_DEAD if why else None)


def test_a_rules_case_in_which_no_candidate_passes_calls_a_human():
    story = CaseStory(cooldown=timedelta(0), max_refusals=2)
    story.tell("""
        day 0    rule breaches   -> open: attempt-1-requested
        day 0.1  candidate       -> open: attempt-1-comparing
        day 0.2  verdict refuse  -> open: attempt-1-refused
    """)
    assert cases.call(story.events[-1], story.spec.retrain) is None
    story.tell("""
        day 1    rule breaches   -> open: attempt-2-requested
        day 1.1  candidate       -> open: attempt-2-comparing
        day 1.2  verdict refuse  -> open: attempt-2-refused
    """)
    assert cases.call(story.events[-1], story.spec.retrain) is Call.NONE_PASSES


def test_a_recipe_names_what_is_in_no_data():
    retrain = msgspec.structs.replace(RETRAIN, exclude=((1, 2),))
    assert [(span.start, span.end) for span in cases.recipe(retrain, 100 * DAY).exclude] == [(1, 2)]
