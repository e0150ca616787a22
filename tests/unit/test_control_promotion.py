"""Who serves, as control decides it: approvals, shadows, probations, rollbacks, artifacts that are refused."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from tests.timeline.shards import (
    HOUR,
    LOW_ACCURACY,
    QUARTER,
    candidate,
    catalog,
    command,
    delta,
    play,
    spec,
    verdict,
)
from tests.unit.test_control_work import begun, case_story, hours

from driftline.core.case_book import Why
from driftline.events.admin import CommandResult
from driftline.events.alerts import Alert
from driftline.events.retraining import Case, Comparison, ModelState, Rows, Span
from driftline.events.topics import Topic
from driftline.spec.model import PromotionSpec, WindowSpec

BETTER = candidate()
WINDOWS = {
    "hour": WindowSpec(span=timedelta(hours=1), every=timedelta(hours=1)),
    "day": WindowSpec(span=timedelta(days=1), every=timedelta(hours=1)),
}


GAIN = Comparison(name="accuracy", champion=0.5, candidate=0.6, difference=0.1, low=0.01, high=0.19)
PROBATION = {"probation": timedelta(hours=6)}


def declared_in_turn(*promotions):
    """Revisions 1, 2, ... of a spec that differ in how candidates are let through."""
    fields = [{"metric": "accuracy", "min_effect": 0} | promotion for promotion in promotions]
    return catalog(*(spec(promotion=PromotionSpec(**each), windows=WINDOWS) for each in fields))


def declared(**promotion):
    return declared_in_turn(promotion)


def bad_hours(*answers, until=12):
    """Two good hours, then bad ones; `answers` come in the quarter after the request."""
    log = hours(hours(begun(), 0, 1), 2, until // 4 - 1, right=20, wrong=30)
    for answer in answers:
        log.say(12.5, answer)
    return log


def states(shard):
    return [
        (m.champion.version, m.state, m.shadow.version if m.shadow else None, m.reason)
        for m in shard.events(Topic.MODELS, ModelState)
    ]


def results(shard):
    return {r.command: (r.accepted, r.reason) for r in shard.events(Topic.COMMAND_RESULTS, CommandResult)}


def side_by_side(log, first, last, champion, shadow, versions):
    """Both versions answer the same predictions; (right, wrong) of each a quarter."""
    for quarter in range(first, last):
        told = [
            delta(quarter, right=right, wrong=wrong, version=version, role=role)
            for (right, wrong), version, role in zip((champion, shadow), versions, ("champion", "shadow"), strict=True)
        ]
        log.slice(quarter % 2, quarter, *told)
    return log


# --- approval ---


def test_what_a_human_approves_serves_and_the_command_and_the_verdict_are_its_causes():
    passed = verdict(BETTER)
    log = bad_hours(BETTER, passed).until(13)
    log.say(14, command("promote", verdict=passed.id, comment="looks fine")).until(16)
    shard = play(log, declared(policy="approve"))
    assert states(shard)[-1] == ("2", "stable", None, "approved by a: looks fine")
    assert case_story(shard)[-2:] == ["open: attempt-1-awaiting-approval", "watching: attempt-1-promoted"]
    last = shard.events(Topic.MODELS, ModelState)[-1]
    assert last.caused_by == ("promote-command", BETTER.id)
    assert results(shard)["promote-command"] == (True, "promoted")


def test_an_approval_of_another_verdict_or_of_nothing_is_refused():
    log = bad_hours(BETTER, verdict(BETTER)).until(13)
    log.say(14, command("promote", verdict="another")).until(16)
    shard = play(log, declared(policy="approve"))
    assert results(shard)["promote-command"] == (False, "no candidate with this verdict waits for a decision")
    nothing = play(begun().say(2, command("promote", verdict="v")).until(4), declared(policy="approve"))
    assert results(nothing)["promote-command"] == (False, "no candidate waits for a decision")


def test_once_another_version_serves_a_candidate_that_waited_for_an_approval_is_outdated():
    first = verdict(BETTER)
    log = bad_hours(BETTER, first).until(13).say(14, command("promote", verdict=first.id)).until(15)
    second = candidate(attempt=2, version="3")
    passed = verdict(second, champion="2")
    log = hours(log, 4, 6, right=20, wrong=30, version="2").say(28, second).say(28, passed).until(29)
    log.say(30, command("rollback", id="back")).say(31, command("promote", id="late", verdict=passed.id)).until(33)
    shard = play(log, declared(policy="approve"))
    assert results(shard)["back"] == (True, "rolled back to version 1")
    assert results(shard)["late"] == (False, "no candidate waits for a decision")
    refused = next(c for c in shard.events(Topic.CASES, Case) if c.reason == "attempt-2-refused")
    assert refused.attempts[1].reason == Why.OUTDATED
    assert case_story(shard)[-1].startswith("rolled-back: rolled back by a")
    assert states(shard)[-1][0] == "1"


def test_a_human_may_reject():
    passed = verdict(BETTER)
    log = bad_hours(BETTER, passed).until(13).say(14, command("reject", verdict=passed.id)).until(16)
    shard = play(log, declared(policy="approve"))
    assert results(shard)["reject-command"] == (True, "rejected")
    assert case_story(shard)[-1] == "open: attempt-1-refused"
    assert [state[0] for state in states(shard)] == ["1"]


# --- beside the champion ---


@pytest.mark.parametrize(
    ("live", "ends", "serves"),
    [
        ((45, 5), "watching: attempt-1-promoted", "2"),
        ((20, 30), "open: attempt-1-refused", "1"),
        (None, "open: attempt-1-held", "1"),
    ],
)
def test_a_candidate_answers_beside_the_champion_and_live_figures_decide(live, ends, serves):
    log = bad_hours(BETTER, verdict(BETTER)).until(12)
    if live is None:
        hours(log, 4, 9, right=20, wrong=30)
    else:
        side_by_side(log, 13, 40, (20, 30), live, ("1", "2"))
    shard = play(log.until(41), declared(shadow=timedelta(hours=6)))
    assert states(shard)[1] == ("1", "shadow", "2", "2 stands beside it")
    assert ends in case_story(shard)
    assert states(shard)[-1][0] == serves
    assert states(shard)[-1][2] is (None if live is not None else "2") or live is None


def test_live_figures_that_swing_are_no_gain():
    log = bad_hours(BETTER, verdict(BETTER)).until(12)
    for quarter in range(13, 40):
        swing = (40, 10) if quarter % 3 else (10, 40)
        side_by_side(log, quarter, quarter + 1, (30, 20), swing, ("1", "2"))
    shard = play(log.until(41), declared(shadow=timedelta(hours=6)))
    assert "open: attempt-1-refused" in case_story(shard)


def test_a_candidate_about_which_nobody_decides_in_time_does_not_go_on_standing_beside_the_champion():
    log = bad_hours(BETTER, verdict(BETTER)).until(12)
    hours(log, 4, 30, right=20, wrong=30)
    shard = play(log.until(124), declared(shadow=timedelta(hours=6)))
    held, refused = (
        next(c for c in shard.events(Topic.CASES, Case) if c.reason == f"attempt-1-{how}")
        for how in ("held", "refused")
    )
    assert (held.attempts[0].reason, refused.attempts[0].reason) == (Why.SHADOW_UNSEEN, Why.NOT_DECIDED)
    last = shard.events(Topic.MODELS, ModelState)[-1]
    assert (last.state, last.shadow, last.caused_by) == ("stable", None, (refused.id,))


def test_a_rollback_sends_the_candidate_away_that_stood_beside_the_bad_version_and_retraining_goes_on():
    second = candidate(attempt=2, version="3")
    log = bad_hours(BETTER, verdict(BETTER)).until(12)
    log.say(22.2, second).say(22.4, verdict(second, champion="2")).say(24.5, command("rollback"))
    for quarter in range(13, 60):
        serves = "2" if quarter < 25 else "1"
        marks = ["spec m@2"] if quarter in (14, 15) else []
        log.slice(quarter % 2, quarter, delta(quarter, right=20, wrong=30, version=serves), marks=marks)
    shard = play(log.until(60), declared_in_turn({}, {"shadow": timedelta(hours=4)}))
    assert [state[:3] for state in states(shard)][1:] == [
        ("2", "stable", None),
        ("2", "shadow", "3"),
        ("1", "rolled-back", None),
    ]
    (outdated,) = [c for c in shard.events(Topic.CASES, Case) if c.reason == "attempt-2-refused"]
    assert outdated.attempts[1].reason == Why.OUTDATED
    assert case_story(shard)[7:9] == ["rolled-back: rolled back by a", "open: attempt-1-requested"]


# --- on probation ---


def promoted_on_probation(champion, before, until=60):
    log = bad_hours(BETTER, verdict(BETTER)).until(12)
    side_by_side(log, 13, 40, champion, before, ("2", "1"))
    return play(log.until(until), declared(probation=timedelta(hours=6)))


def test_a_promoted_version_that_does_certainly_worse_is_rolled_back_and_its_case_says_so():
    shard = promoted_on_probation((15, 35), (40, 10))
    assert states(shard)[1][:3] == ("2", "probation", "1")
    version, state, beside, reason = states(shard)[2]
    assert (version, state, beside) == ("1", "rolled-back", None)
    assert reason.startswith("worse-than-the-version-before: accuracy 0.3, 0.8 before")
    assert any("worse-than-the-version-before" in told for told in case_story(shard))
    back = shard.events(Topic.MODELS, ModelState)[2]
    assert (back.champion.since, back.previous.version) == (back.at, "2")
    assert back.at <= 12.5 * QUARTER + 6 * HOUR


@pytest.mark.parametrize("shadow", [timedelta(0), timedelta(hours=4)])
def test_the_next_attempt_neither_ends_a_probation_nor_stands_in_its_way(shadow):
    """The version before stands beside the champion until it is settled who is better; a new candidate waits."""
    second = candidate(attempt=2, version="3")
    log = bad_hours(BETTER, verdict(BETTER)).until(12)
    log.say(22.2, second).say(22.4, verdict(second, "promote" if shadow else "refuse", champion="2"))
    for quarter in range(13, 50):
        told = [delta(quarter, right=15, wrong=35, version="2")]
        if quarter >= 24:  # until then the version before says nothing, so nothing can be compared
            told.append(delta(quarter, right=40, wrong=10, version="1", role="shadow"))
        log.slice(quarter % 2, quarter, *told, marks=["spec m@2"] if quarter in (14, 15) else [])
    revisions = [PROBATION, PROBATION | {"shadow": shadow}]
    shard = play(log.until(60), declared_in_turn(*revisions))
    assert [state[:3] for state in states(shard)][1:3] == [("2", "probation", "1"), ("1", "rolled-back", None)]
    attempts = next(c for c in shard.events(Topic.CASES, Case) if c.reason == "attempt-2-refused").attempts
    assert attempts[1].reason == (Why.OUTDATED if shadow else "no-certain-gain")


def test_a_candidate_that_came_during_a_probation_stands_beside_the_champion_afterwards():
    second = candidate(attempt=2, version="3")
    log = bad_hours(BETTER, verdict(BETTER)).until(12)
    log.say(22.2, second).say(22.4, verdict(second, champion="2"))
    side_by_side(log, 13, 14, (30, 20), (30, 20), ("2", "1"))
    for quarter in range(14, 38):
        beside = [delta(quarter, right=30, wrong=20, version="1", role="shadow")]
        log.slice(
            quarter % 2,
            quarter,
            delta(quarter, right=30, wrong=20, version="2"),
            *beside,
            marks=["spec m@2"] if quarter in (14, 15) else [],
        )
    side_by_side(log, 38, 56, (30, 20), (48, 2), ("2", "3"))
    shard = play(log.until(60), declared_in_turn(PROBATION, PROBATION | {"shadow": timedelta(hours=4)}))
    assert [state[:3] for state in states(shard)][1:4] == [
        ("2", "probation", "1"),
        ("2", "shadow", "3"),
        ("3", "probation", "2"),
    ]


def test_versions_that_differ_from_day_to_day_are_not_taken_back_for_one_day():
    """The verdict has seen days in which the new version was worse by as much."""
    rows = Rows(span=Span(start=0, end=1), n=1000, blocks=7, digest="d")
    stories = []
    for seen in ({}, {"metrics": (GAIN,), "rows": rows, "confidence": 0.95}):
        log = bad_hours(BETTER, verdict(BETTER, **seen)).until(12)
        side_by_side(log, 13, 40, (28, 22), (35, 15), ("2", "1"))
        stories.append([state[:2] for state in states(play(log.until(60), declared(**PROBATION)))])
    assert stories[0][2] == ("1", "rolled-back")
    assert stories[1][2] == ("2", "stable")


def test_a_promoted_version_that_keeps_its_promise_becomes_stable():
    shard = promoted_on_probation((45, 5), (20, 30))
    assert [state[:3] for state in states(shard)[1:]] == [("2", "probation", "1"), ("2", "stable", None)]
    last = shard.events(Topic.MODELS, ModelState)[-1]
    assert last.at == pytest.approx(13 * QUARTER + 6 * HOUR, abs=QUARTER)


def test_without_answers_of_the_version_before_nothing_is_taken_back():
    log = bad_hours(BETTER, verdict(BETTER)).until(12)
    hours(log, 4, 9, right=15, wrong=35, version="2")
    shard = play(log.until(44), declared(probation=timedelta(hours=6)))
    assert [state[1] for state in states(shard)][:3] == ["stable", "probation", "stable"]


def test_a_version_that_comes_back_goes_on_counting_the_episodes_of_its_alerts():
    log = bad_hours(BETTER, verdict(BETTER)).until(12)
    log = hours(log, 4, 4, version="2").say(20, command("rollback")).until(20)
    log = hours(log, 6, 7, right=20, wrong=30).until(36)
    alerts = [a for a in play(log, declared()).events(Topic.ALERTS, Alert) if a.kind == "metric"]
    assert [(a.version, a.episode, a.state) for a in alerts if a.state == "firing"] == [
        ("1", 1, "firing"),
        ("1", 2, "firing"),
    ]
    assert len({a.id for a in alerts}) == len(alerts)


def test_a_rollback_is_not_taken_back_by_somebody_who_wanted_the_same():
    log = bad_hours(BETTER, verdict(BETTER)).until(12)
    log.say(14, command("rollback", id="first", version="1")).say(14.1, command("rollback", id="same", version="1"))
    log.say(16, command("rollback", id="blindly")).until(17)
    log.say(18, command("rollback", id="knowingly", version="2")).until(20)
    shard = play(log, declared())
    assert results(shard)["first"] == (True, "rolled back to version 1")
    assert results(shard)["same"] == (False, "version 1 serves, and the one before it is 2")
    assert results(shard)["blindly"][0] is False
    assert "version 2 was taken back itself" in results(shard)["blindly"][1]
    assert results(shard)["knowingly"] == (True, "rolled back to version 2")
    assert [state[0] for state in states(shard)] == ["1", "2", "1", "2"]


def test_there_is_no_way_back_from_the_first_version():
    shard = play(begun().say(2, command("rollback")).until(4), declared())
    assert results(shard)["rollback-command"] == (False, "there is no version to go back to")


def test_a_candidate_that_was_compared_with_a_version_that_serves_no_more_is_not_promoted():
    second = candidate(attempt=2, version="3")
    log = bad_hours(BETTER, verdict(BETTER)).until(12)
    log = hours(log, 4, 5, right=20, wrong=30, version="2").until(24)
    log.say(24.5, command("rollback")).say(24.6, second).say(24.7, verdict(second, champion="2")).until(28)
    shard = play(log, declared())
    assert [state[0] for state in states(shard)] == ["1", "2", "1"]
    assert "watching: attempt-2-refused" in case_story(shard)
    assert shard.events(Topic.CASES, Case)[-1].attempts[1].reason == Why.OUTDATED


# --- artifacts ---


def test_a_refused_artifact_is_an_alert_until_one_could_be_used_and_the_old_version_serves():
    refused = verdict(BETTER, "refuse", reason="candidate-unusable: its signature is unknown")
    second, third = candidate(attempt=2, version="3"), candidate(attempt=3, version="4")
    unseen = verdict(second, "hold", reason="not-compared: no rows")
    judged = verdict(third, "refuse", metrics=(GAIN,))
    log = bad_hours(BETTER, refused, until=36).say(20.5, second).say(20.6, unseen)
    log.say(22, command("reject", verdict=unseen.id)).say(32.5, third).say(32.6, judged).until(38)
    shard = play(log, declared())
    alerts = [a for a in shard.events(Topic.ALERTS, Alert) if a.kind not in ("metric", "manual-intervention")]
    assert [(a.kind, a.state, a.reason, a.caused_by) for a in alerts] == [
        ("artifact", "firing", "candidate-unusable", (refused.id,)),
        ("artifact", "resolved", "artifact-usable", (alerts[0].id, judged.id)),
    ]
    assert "its signature is unknown" in alerts[0].summary
    assert [state[0] for state in states(shard)] == ["1"]


# --- retries ---


def test_a_failed_attempt_is_made_again_by_itself():
    retrying = spec(windows=WINDOWS)
    retrying = msgspec.structs.replace(retrying, retrain=msgspec.structs.replace(retrying.retrain, retries=1))
    failed = candidate(error="the disk was full", artifact=None)
    shard = play(bad_hours(failed, until=16).until(20), catalog(retrying))
    assert case_story(shard)[:3] == [
        "open: attempt-1-requested",
        "open: attempt-1-failed",
        "open: attempt-2-requested",
    ]


def test_a_human_closes_a_case_of_this_name_only():
    refused = verdict(BETTER, "refuse")
    log = bad_hours(BETTER, refused).until(13).say(14, command("close", case="another")).until(15)
    shard = play(log, declared())
    assert results(shard)["close-command"] == (False, "no such case is open without a running attempt")
    log.say(15.5, command("close", id="right", case=BETTER.case, comment="known")).until(16)
    again = play(log, declared())
    assert results(again)["right"] == (True, "closed")
    assert case_story(again)[-1] == "closed: closed by a: known"


# --- calls for a human ---


def test_a_case_calls_a_human_once_whichever_version_serves_meanwhile():
    declare = spec(windows=WINDOWS)
    once = msgspec.structs.replace(declare.retrain, max_refusals=1)
    second = candidate(attempt=2, version="3")
    log = bad_hours(BETTER, verdict(BETTER, "refuse"), until=20).until(20)
    log.say(20.5, second).say(20.6, verdict(second)).until(21)
    hours(log, 6, 19, right=20, wrong=30, version="3")
    shard = play(log.until(80), catalog(msgspec.structs.replace(declare, retrain=once)))
    assert "escalated: not-improved-in-time" in case_story(shard)
    calls = [a for a in shard.events(Topic.ALERTS, Alert) if a.kind == "manual-intervention"]
    first = [a for a in calls if a.evidence.tried[0].startswith("attempt 1 (rule): refused 2")]
    assert [(a.version, a.reason, a.state) for a in first] == [("1", "no-candidate-passes-the-gate", "firing")]


def test_a_case_that_a_rule_opened_calls_a_human_also_where_the_spec_declares_no_retrain_any_more():
    declare = spec(windows=WINDOWS)
    without = spec(windows=WINDOWS, retrain=None, rules=(msgspec.structs.replace(LOW_ACCURACY, retrain=False),))
    log = bad_hours(BETTER, verdict(BETTER, "refuse"))
    for partition in (0, 1):
        log.slice(partition, 14, marks=["spec m@2"])
    hours(log, 4, 12, right=20, wrong=30)
    shard = play(log.until(52), catalog(declare, without))
    assert case_story(shard)[-1] == "escalated: not-improved-in-time"
    assert [a.reason for a in shard.events(Topic.ALERTS, Alert) if a.kind == "manual-intervention"] == [
        "not-improved-in-time"
    ]
