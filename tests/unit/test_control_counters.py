"""What control makes of the monitor's counters, and of triggers that ask for nothing."""

from __future__ import annotations

import pytest
from tests.timeline.partitions import begun, lines, reports, told
from tests.timeline.shards import (
    HOUR,
    QUARTER,
    Shard,
    candidate,
    catalog,
    command,
    delta,
    play,
    spec,
    verdict,
)

from driftline.events.admin import CommandResult
from driftline.events.alerts import AlertKind
from driftline.events.topics import Topic
from driftline.spec.model import RetrainSpec


def test_reports_tell_the_counters_since_the_first_slice():
    log = begun().slice(0, 1, delta(1, right=5), counters={"m": {"duplicates": 2, "dead_letters": 1}})
    log.slice(1, 5, delta(5, right=5), counters={"m": {"duplicates": 3}}).until(9)
    assert [r.counters for r in reports(play(log))] == [
        {"dead_letters": 1, "duplicates": 2},
        {"dead_letters": 1, "duplicates": 5},
    ]


def test_predictions_that_are_forgotten_early_raise_an_alert_that_ends_a_horizon_later():
    log = begun().slice(0, 1, delta(1, right=5), counters={"m": {"evicted": 2}})
    log.slice(1, 3, counters={"m": {"evicted": 3}}).until(30)
    fired, ended = told(play(log).outbox)
    assert (fired.kind, fired.rule, fired.model, fired.version) == (AlertKind.DATA, "max-kept", "m", "")
    assert "hit max_kept" in fired.summary
    assert (fired.at, fired.n, fired.caused_by) == (2 * QUARTER, 2, ("slice/0/1",))
    assert (ended.reason, ended.at, ended.n) == ("nothing-evicted-for-a-horizon", 4 * QUARTER + 2 * HOUR, 5)


def test_a_report_says_how_many_were_forgotten_early_since_its_window_began():
    log = begun().slice(0, 1, delta(1, right=5), counters={"m": {"evicted": 2}})
    log.slice(0, 5, delta(5, right=5), counters={"m": {"evicted": 30}}).until(9)
    found = [(r.window.end // HOUR, r.segments[0].evicted) for r in reports(play(log))]
    assert found == [(1, 2), (2, 30)]


def test_alerts_about_a_model_outlive_its_versions():
    log = begun().slice(0, 1, delta(1, right=5), counters={"m": {"evicted": 2}}).until(1)
    shard = play(log)
    better = candidate()
    log.say(3, command("retrain")).until(3).say(4, better).say(4.5, verdict(better)).until(5)
    assert lines(shard.run().outbox) == ["max-kept firing max-kept"]
    assert len(shard.events(Topic.MODELS)) == 2


def sampled(predictions, outcomes, **more):
    """A slice's counters: (sampled, misplaced) of each topic."""
    names = ("sampled_predictions", "misplaced_predictions", "sampled_outcomes", "misplaced_outcomes")
    return {"m": dict(zip(names, (*predictions, *outcomes), strict=True)) | more}


def test_topics_that_are_spread_differently_are_told_with_the_setting_to_change():
    log = begun().slice(0, 1, delta(1, right=30, open_=70), counters=sampled((60, 45), (30, 0), orphans=10))
    shard = play(log.until(1))
    assert told(shard.outbox) == []
    log.slice(0, 2, counters=sampled((0, 0), (30, 1))).until(9)
    (alert,) = told(shard.run().outbox)
    assert (alert.kind, alert.rule, alert.n) == (AlertKind.DATA, "partitioners-differ", 60)
    assert alert.value == pytest.approx(0.75 - 1 / 60)
    assert "75% of predictions and 2% of outcomes" in alert.summary
    assert "partitioner=murmur2_random in the librdkafka producer of the predictions" in alert.summary
    assert "25% of 40 outcomes were orphans" in alert.summary


def test_it_ends_when_the_next_two_hundred_of_each_agree():
    log = begun().slice(0, 1, counters=sampled((60, 45), (60, 0)))
    log.slice(0, 2, counters=sampled((199, 0), (300, 0))).slice(0, 3, counters=sampled((1, 0), (0, 0))).until(9)
    fired, ended = told(play(log).outbox)
    assert (fired.at, ended.at, ended.reason) == (2 * QUARTER, 4 * QUARTER, "partitioners-agree")


def test_topics_that_are_spread_alike_are_no_trouble_whatever_the_partitioner():
    log = begun().slice(0, 1, counters=sampled((60, 45), (60, 44))).slice(0, 2, counters=sampled((60, 0), (60, 9)))
    assert told(play(log.until(9)).outbox) == []


def test_it_goes_on_while_they_differ():
    log = begun()
    for quarter in range(1, 9):
        log.slice(0, quarter, counters=sampled((60, 0), (60, 45)))
    assert len(told(play(log.until(9)).outbox)) == 1


def skipped(shard: Shard) -> list[tuple[str, str, int]]:
    results = shard.events(Topic.COMMAND_RESULTS, CommandResult)
    return [(r.command, r.reason, r.at // QUARTER) for r in results if not r.accepted]


def test_a_schedule_that_asks_in_vain_is_told_each_time():
    retrain = spec().retrain
    fields = {f: getattr(retrain, f) for f in retrain.__struct_fields__}
    never = RetrainSpec(**fields | {"schedule": "0 * * * *", "budget": 0})
    shard = play(begun().until(9), catalog(spec(retrain=never)))
    assert skipped(shard) == [("schedule", "budget", 4), ("schedule", "budget", 8)]


def test_a_rule_that_asks_in_vain_is_told_once_a_reason_and_counted_in_the_reports():
    log = begun()
    for quarter in range(1, 32):
        log.slice(quarter % 2, quarter, delta(quarter, right=20, wrong=30))
    shard = play(log.until(32))
    assert [r["requested_at"] // QUARTER for r in shard.events(Topic.RETRAIN_REQUESTS)] == [4, 16, 28]
    assert skipped(shard) == [("rule accuracy-low", "an-attempt-is-running", quarter) for quarter in (8, 20, 32)]
    assert reports(shard)[-1].counters == {"skipped:an-attempt-is-running": 4}
