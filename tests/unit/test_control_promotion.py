"""Who serves, as control decides it: approvals, shadows, probations, rollbacks, artifacts that are refused."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from tests.timeline.shards import HOUR, QUARTER, candidate, catalog, command, delta, play, spec, verdict
from tests.unit.test_control_work import begun, case_story, hours

from driftline.core.case_book import Why
from driftline.events.admin import CommandResult
from driftline.events.alerts import Alert
from driftline.events.retraining import Case, ModelState
from driftline.events.topics import Topic
from driftline.spec.model import PromotionSpec, WindowSpec

BETTER = candidate()
WINDOWS = {
    "hour": WindowSpec(span=timedelta(hours=1), every=timedelta(hours=1)),
    "day": WindowSpec(span=timedelta(days=1), every=timedelta(hours=1)),
}


def declared(**promotion):
    fields = {"metric": "accuracy", "min_effect": 0} | promotion
    return catalog(spec(promotion=PromotionSpec(**fields), windows=WINDOWS))


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


def test_an_approval_is_outdated_once_another_version_serves():
    first = verdict(BETTER)
    log = bad_hours(BETTER, first).until(13).say(14, command("promote", verdict=first.id)).until(15)
    second = candidate(attempt=2, version="3")
    passed = verdict(second, champion="2")
    log = hours(log, 4, 6, right=20, wrong=30, version="2").say(28, second).say(28, passed).until(29)
    log.say(30, command("rollback", id="back")).say(31, command("promote", id="late", verdict=passed.id)).until(33)
    shard = play(log, declared(policy="approve"))
    assert results(shard)["back"] == (True, "rolled back to version 1")
    assert results(shard)["late"] == (False, "the verdict is outdated: another version has become champion since")
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


def test_a_refused_artifact_is_an_alert_until_one_can_be_used_and_the_old_version_serves():
    refused = verdict(BETTER, "refuse", reason="candidate-unusable: its signature is unknown")
    second = candidate(attempt=2, version="3")
    log = bad_hours(BETTER, refused, until=28).say(20.5, second).say(20.6, verdict(second, "refuse")).until(30)
    shard = play(log, declared())
    alerts = [a for a in shard.events(Topic.ALERTS, Alert) if a.kind not in ("metric", "manual-intervention")]
    assert [(a.kind, a.state, a.reason) for a in alerts] == [
        ("artifact", "firing", "candidate-unusable"),
        ("artifact", "resolved", "artifact-usable"),
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
