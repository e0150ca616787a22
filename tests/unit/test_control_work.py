"""Control's work on one shard, without Kafka: slices and inputs in, decisions out."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from tests.timeline.shards import (
    HOUR,
    LOW_ACCURACY,
    QUARTER,
    SOURCES,
    Shard,
    ShardLog,
    breach,
    candidate,
    catalog,
    command,
    delta,
    play,
    register,
    request_id,
    spec,
    verdict,
)

from driftline.core.alert_events import fingerprint
from driftline.core.binning import default_bins
from driftline.core.pane import Layout
from driftline.events.admin import CommandResult
from driftline.events.alerts import Alert, Severity
from driftline.events.baselines import Baseline
from driftline.events.partitioning import partition_of
from driftline.events.reports import WindowReport
from driftline.events.retraining import Case, ModelState, RetrainRequest
from driftline.events.slices import Slice
from driftline.events.topics import MARK_HEADER, Topic
from driftline.spec.model import RuleSpec, WindowSpec


def begun(version="1") -> ShardLog:
    """The spec is in force from slice 1 on, and a champion is registered."""
    log = ShardLog()
    for partition in (0, 1):
        log.slice(partition, 0, marks=["spec m@1"])
    return log.say(0.5, register(version))


def hours(log: ShardLog, first: int, last: int, right=45, wrong=5, version="1") -> ShardLog:
    """Predictions with outcomes at once, in every quarter of the hours `first` to `last`, over both partitions."""
    for quarter in range(max(first * 4, 1), (last + 1) * 4):
        log.slice(quarter % 2, quarter, delta(quarter, right=right, wrong=wrong, version=version))
    return log


def changes(shard: Shard) -> list[str]:
    """The alerts' changes: rule, state and reason."""
    return [f"{a.rule} {a.state} {a.reason}" for a in shard.events(Topic.ALERTS, Alert)]


def reports(shard: Shard) -> list[WindowReport]:
    return shard.events(Topic.METRICS, WindowReport)


def case_story(shard: Shard) -> list[str]:
    return [f"{c.state}: {c.reason}" for c in shard.events(Topic.CASES, Case)]


# --- windows ---


def test_a_window_adds_up_the_panes_of_all_partitions():
    log = begun().slice(0, 1, delta(1, right=3)).slice(1, 1, delta(1, wrong=1)).slice(1, 2, delta(2, open_=4)).until(3)
    (report,) = reports(play(log))
    everybody = report.segments[0]
    assert (everybody.n, everybody.labelled, everybody.coverage) == (8, 4, 0.5)
    assert everybody.metrics["accuracy"].value == 0.75
    assert (report.window.start, report.window.end, report.revision) == (0, HOUR, HOUR)


def test_a_window_waits_for_its_lateness():
    late = spec(lateness=timedelta(minutes=30))
    log = begun().slice(0, 1, delta(1, right=3)).slice(0, 5, delta(3, right=1)).until(6)
    (report,) = reports(play(log, catalog(late)))
    assert (report.revision, report.segments[0].n) == (HOUR + HOUR // 2, 4)


def test_late_labels_restate_a_window_when_coverage_has_grown_by_five_points():
    log = begun().slice(0, 1, delta(1, right=10, open_=90))
    log.slice(0, 5, delta(1, right=4, labels_only=True)).slice(0, 6, delta(1, right=1, labels_only=True)).until(20)
    found = [(r.revision // QUARTER, r.segments[0].labelled) for r in reports(play(log))]
    assert found == [(4, 10), (7, 15)]


def test_the_last_report_comes_at_the_horizon_if_anything_came_since():
    log = begun().slice(0, 1, delta(1, right=10, open_=90)).slice(0, 5, delta(1, right=1, labels_only=True)).until(20)
    found = [(r.revision // HOUR, r.segments[0].labelled) for r in reports(play(log))]
    assert found == [(1, 10), (3, 11)]


def test_a_window_without_news_is_told_once():
    assert len(reports(play(begun().slice(0, 1, delta(1, right=10)).until(30)))) == 1


def test_a_version_that_comes_late_to_a_window_is_told_of_at_its_horizon():
    log = begun().slice(0, 1, delta(1, right=10)).slice(0, 6, delta(2, open_=10, version="s", role="shadow")).until(20)
    found = [(r.version, r.role, r.revision // HOUR, r.segments[0].n) for r in reports(play(log))]
    assert found == [("1", "champion", 1, 10), ("s", "shadow", 3, 10)]


def test_a_window_that_shows_up_late_is_not_told_before_its_lateness():
    late = spec(lateness=timedelta(hours=1))
    log = begun().slice(0, 5, delta(5, right=1)).slice(0, 6, delta(2, right=1)).until(20)
    found = [(r.window.end // HOUR, r.revision // QUARTER) for r in reports(play(log, catalog(late)))]
    assert found == [(1, 12), (2, 12)]


def test_champion_and_shadow_are_reported_apart():
    log = begun().slice(0, 1, delta(1, right=9, wrong=1), delta(1, right=5, wrong=5, version="0", role="shadow"))
    found = {(r.version, r.role): r.segments[0].metrics["accuracy"].value for r in reports(play(log.until(3)))}
    assert found == {("1", "champion"): 0.9, ("0", "shadow"): 0.5}


def test_panes_that_no_window_needs_are_forgotten():
    shard = play(hours(begun(), 0, 9).until(40))
    assert len(shard.stored["panes:m"]) == 12  # three hours: a window of an hour is final two hours after its end
    shard.log.until(200)
    assert shard.run().stored["panes:m"] == {}


def test_predictions_counted_in_foreign_bins_lower_the_coverage_and_nothing_else():
    log = begun().slice(0, 1, delta(1, right=9, wrong=1)).slice(1, 1, delta(1, wrong=10, bins="default:m@9"))
    shard = play(log.until(3))
    everybody = reports(shard)[0].segments[0]
    assert (everybody.n, everybody.labelled, everybody.metrics["accuracy"].value) == (20, 10, 0.9)
    assert reports(shard)[0].counters == {"foreign_bins": 10}


# --- specs ---


def test_no_prediction_is_lost_between_the_first_and_the_last_mark_of_the_first_spec():
    log = ShardLog().slice(0, 0, marks=["spec m@1"]).slice(0, 1, delta(1, right=7)).slice(1, 2, marks=["spec m@1"])
    log.slice(1, 3, delta(3, right=2)).until(3)
    assert reports(play(log))[0].segments[0].n == 9


def test_a_later_spec_holds_from_the_slice_after_its_last_mark():
    strict = spec(rules=(msgspec.structs.replace(LOW_ACCURACY, below=0.95, clear_above=0.96),))
    log = hours(begun(), 0, 0).slice(0, 4, marks=["spec m@2"])
    hours(log, 2, 2).slice(1, 12, marks=["spec m@2"])
    hours(log, 4, 4).until(30)
    alert, _nobody_trains = play(log, catalog(spec(), strict)).events(Topic.ALERTS, Alert)
    assert alert.at == 5 * HOUR


def test_a_rule_that_a_new_spec_does_not_have_ends_its_alert():
    log = hours(begun(), 0, 1, right=20, wrong=30)
    log.slice(0, 8, marks=["spec m@2"]).slice(1, 8, marks=["spec m@2"]).until(12)
    shard = play(log, catalog(spec(), spec(rules=())))
    assert changes(shard)[:2] == ["accuracy-low firing breach-certain", "accuracy-low resolved rule-removed"]
    assert shard.events(Topic.ALERTS, Alert)[1].at == 10 * QUARTER


def test_an_older_spec_that_all_partitions_have_shown_later_than_a_newer_one_stays_out_of_force():
    log = begun().slice(0, 2, marks=["spec m@2"]).slice(0, 4, marks=["spec m@3"]).slice(1, 4, marks=["spec m@3"])
    shard = play(log.slice(1, 6, marks=["spec m@2"]).until(12), catalog(spec(), spec(), spec()))
    assert shard.work._shard.desks["m"].book.revision == 3


def test_models_are_decided_in_one_order_whatever_the_store_gives_back():
    def of_b(delta):
        return msgspec.structs.replace(delta, model="b")

    declared = catalog(spec(), spec(rules=()))
    declared.specs |= {("b", 1): spec(model="b"), ("b", 2): spec(model="b", rules=())}
    log = ShardLog()
    for partition in (0, 1):
        log.slice(partition, 0, marks=["spec b@1", "spec m@1"])
    log.slice(0, 1, delta(1, wrong=50), of_b(delta(1, wrong=50))).until(5)
    for partition in (0, 1):
        log.slice(partition, 6, marks=["spec m@2", "spec b@2"])
    log.until(9)
    unbroken, killed = play(log, declared), Shard(log, declared)
    for source in SOURCES:
        killed.fetch(source, 3)
    killed.go_on()
    killed.restart()
    killed.run()
    assert len(unbroken.events(Topic.ALERTS)) == 4
    assert killed.outbox == unbroken.outbox


def test_a_spec_that_was_written_after_the_service_began_is_looked_up():
    declared = catalog()
    declared.coming, declared.specs = declared.specs, {}
    assert len(reports(play(begun().slice(0, 1, delta(1, right=1)).until(3), declared))) == 1


def test_a_model_without_a_spec_changes_nothing_and_breaks_nothing():
    log = ShardLog().slice(0, 0, delta(0, right=5), breaches=[breach()], counters={"m": {"duplicates": 1}})
    shard = play(log.say(1, candidate()).say(1, command("retrain")).until(9))
    (result,) = shard.events(Topic.COMMAND_RESULTS, CommandResult)
    assert (result.accepted, result.reason) == (False, "the-spec-declares-no-retrain")
    assert len(shard.outbox) == 1


# --- alerts ---


def test_a_champion_that_gets_worse_raises_an_alert_that_asks_for_a_retrain():
    shard = play(hours(hours(begun(), 0, 1), 2, 2, right=20, wrong=30).until(11))
    assert changes(shard) == ["accuracy-low firing breach-certain"]
    (alert,) = shard.events(Topic.ALERTS, Alert)
    (request,) = shard.events(Topic.RETRAIN_REQUESTS, RetrainRequest)
    assert (alert.value, alert.n, alert.at, alert.window.name) == (0.4, 200, 3 * HOUR, "hour")
    assert request.caused_by == (alert.id,)
    assert request.id == request_id(1, 1)
    assert request.recipe.known_by == request.requested_at == 3 * HOUR


def test_a_shadow_never_raises_an_alert():
    log = begun()
    for quarter in range(1, 16):
        log.slice(0, quarter, delta(quarter, wrong=90, version="0", role="shadow"))
    shard = play(log.slice(1, 15, breaches=[breach(version="0")]).until(20))
    assert len(reports(shard)) == 4
    assert changes(shard) == []


def test_a_window_that_waits_for_labels_is_judged_when_they_come():
    log = begun().slice(0, 1, delta(1, wrong=50, open_=50)).slice(0, 6, delta(1, wrong=50, labels_only=True)).until(9)
    (alert,) = play(log).events(Topic.ALERTS, Alert)
    assert (alert.at, alert.coverage) == (7 * QUARTER, 1.0)


def test_a_window_is_judged_once():
    two_of_two = spec(rules=(msgspec.structs.replace(LOW_ACCURACY, k=2, of=2, min_coverage=0.1),))
    log = begun().slice(0, 1, delta(1, wrong=50, open_=50)).slice(0, 6, delta(1, wrong=50, labels_only=True)).until(20)
    assert changes(play(log, catalog(two_of_two))) == ["accuracy-low pending not-yet-often-enough"]


def test_a_window_older_than_the_last_one_judged_is_not_judged_any_more():
    log = begun().slice(0, 1, delta(1, open_=100)).slice(0, 5, delta(5, right=100))
    log.slice(0, 9, delta(1, wrong=100, labels_only=True)).until(30)
    shard = play(log)
    assert [r.segments[0].metrics["accuracy"].value for r in reports(shard)] == [None, 1.0, 0.0]
    assert changes(shard) == []


def test_a_declared_range_raises_a_warning_without_a_rule():
    shard = play(begun().slice(1, 2, breaches=[breach()]).until(3))
    (alert,) = shard.events(Topic.ALERTS, Alert)
    assert (alert.rule, alert.severity, alert.at) == ("range:x", Severity.WARNING, 3 * QUARTER)
    assert alert.caused_by == ("slice/1/2", "p")


def test_a_range_rule_gives_the_warning_its_name_and_severity():
    rule = RuleSpec(name="impossible-x", kind="range", target="x", severity=Severity.CRITICAL)
    (alert,) = play(begun().slice(1, 2, breaches=[breach()]).until(3), catalog(spec(rules=(rule,)))).events(
        Topic.ALERTS, Alert
    )
    assert (alert.rule, alert.severity) == ("impossible-x", Severity.CRITICAL)


def test_a_range_rule_may_ask_for_a_retrain_and_quiet_is_its_recovery():
    rule = RuleSpec(name="impossible-x", kind="range", target="x", retrain=True)
    log = begun().slice(1, 2, breaches=[breach()]).say(3.5, candidate(error="no data")).until(20)
    assert case_story(play(log, catalog(spec(rules=(rule,))))) == [
        "open: attempt-1-requested",
        "open: attempt-1-failed",
        "recovered: metric-is-back",
    ]


def test_a_range_alert_ends_an_hour_of_decision_time_after_the_last_breach():
    shard = play(begun().slice(0, 2, breaches=[breach()]).slice(1, 4, breaches=[breach(n=2)]).until(20))
    assert changes(shard) == ["range:x firing out-of-range", "range:x resolved back-in-range"]
    ended = shard.events(Topic.ALERTS, Alert)[1]
    assert (ended.at, ended.n) == (5 * QUARTER + HOUR, 3)


def test_breaches_of_another_version_than_the_champion_are_no_alert():
    assert changes(play(begun().slice(0, 2, breaches=[breach(version="7")]).until(3))) == []


# --- commands and champions ---


def test_the_first_champion_is_registered_and_the_second_refused():
    shard = play(begun().say(1, register("2")).until(3))
    results = shard.events(Topic.COMMAND_RESULTS, CommandResult)
    assert [(r.command, r.accepted, r.reason) for r in results] == [
        ("register-1", True, "registered"),
        ("register-2", False, "version 1 serves already"),
    ]
    (state,) = shard.events(Topic.MODELS, ModelState)
    assert (state.champion.version, state.previous, state.caused_by) == ("1", None, ("register-1",))


def test_the_marks_of_a_baseline_stand_before_its_version_is_named():
    shard = play(ShardLog().say(0, register(baseline="b1")).until(1))
    kinds = [(r.topic, r.partition, dict(r.headers).get(MARK_HEADER)) for r in shard.outbox[:3]]
    assert kinds == [
        (Topic.PREDICTIONS, 0, b"baseline b1"),
        (Topic.PREDICTIONS, 1, b"baseline b1"),
        (Topic.MODELS, 0, None),
    ]


def test_registering_a_version_keeps_the_alerts_that_it_already_has():
    log = ShardLog()
    for partition in (0, 1):
        log.slice(partition, 0, marks=["spec m@1"])
    log.slice(0, 1, breaches=[breach()]).say(2, register("1")).until(3)
    assert changes(play(log)) == ["range:x firing out-of-range"]


def test_a_retrain_on_command_is_asked_for_once():
    log = begun().say(2, command("retrain")).say(3, command("retrain", id="again")).until(5)
    shard = play(log)
    results = {r.command: r.reason for r in shard.events(Topic.COMMAND_RESULTS, CommandResult)}
    assert results["retrain-command"] == "requested"
    assert results["again"] == "an-attempt-is-running"
    assert len(shard.events(Topic.RETRAIN_REQUESTS)) == 1


def test_a_retrain_without_a_champion_is_refused_with_that_reason():
    log = ShardLog().slice(0, 0, marks=["spec m@1"]).say(2, command("retrain")).until(5)
    (result,) = play(log).events(Topic.COMMAND_RESULTS, CommandResult)
    assert result.reason == "no-champion-is-registered"


@pytest.mark.parametrize("topic", [Topic.COMMANDS, Topic.CANDIDATES, Topic.VERDICTS])
@pytest.mark.parametrize("value", [b"", b"{", b"{}", b"\xff", b'{"model": 3}'])
def test_a_record_that_is_no_event_stops_nothing(topic, value):
    log = begun().junk(1, topic, value).slice(0, 1, delta(1, right=1)).until(3)
    assert len(reports(play(log))) == 1


def test_a_command_in_a_wrong_partition_is_skipped():
    assert (partition_of("m", 2), partition_of("n", 2)) == (0, 1)
    log = begun().say(1, command("retrain", model="n", id="x")).until(3)
    results = play(log, catalog(shards=2)).events(Topic.COMMAND_RESULTS, CommandResult)
    assert [r.model for r in results] == ["m"]


# --- cases, end to end ---


def worse_then(*answers) -> ShardLog:
    """Two good hours, then bad ones; `answers` are told in the quarter after the request."""
    log = hours(hours(begun(), 0, 1), 2, 2, right=20, wrong=30)
    for answer in answers:
        log.say(12.5, answer)
    return log


def test_a_promoted_candidate_replaces_the_champion_and_its_alerts_and_the_case_improves():
    better = candidate()
    log = worse_then(better, verdict(better))
    shard = play(hours(log, 4, 5, version="2").until(25))
    assert changes(shard) == ["accuracy-low firing breach-certain", "accuracy-low resolved version-replaced"]
    assert case_story(shard) == [
        "open: attempt-1-requested",
        "open: attempt-1-comparing",
        "watching: attempt-1-promoted",
        "improved: metric-is-back",
    ]
    first, second = shard.events(Topic.MODELS, ModelState)
    assert (second.champion.version, second.previous, second.reason) == ("2", first.champion, "certain-gain")
    assert second.caused_by == (verdict(better).id, better.id)
    assert second.champion.artifact == better.artifact


def test_a_refused_candidate_changes_no_champion_and_the_next_breach_asks_again():
    worse = candidate()
    log = worse_then(worse, verdict(worse, "refuse"))
    shard = play(hours(log, 4, 5, right=20, wrong=30).until(24))
    assert len(shard.events(Topic.MODELS)) == 1
    assert [r["attempt"] for r in shard.events(Topic.RETRAIN_REQUESTS)] == [1, 2]


def test_a_verdict_on_another_artifact_is_ignored():
    better = candidate()
    log = worse_then(better, verdict(better, artifact_sha256="other")).until(15)
    assert case_story(play(log))[-1] == "open: attempt-1-comparing"


def test_only_the_first_verdict_counts():
    better = candidate()
    log = worse_then(better, verdict(better, "refuse"), verdict(better, id="second")).until(15)
    shard = play(log)
    assert len(shard.events(Topic.MODELS)) == 1
    assert case_story(shard)[-1] == "open: attempt-1-refused"


def test_a_trainer_that_never_delivers_better_ends_in_a_call_for_a_human_whom_alone_it_obeys():
    log = hours(begun(), 0, 1)
    first, second = candidate(), candidate(attempt=2, version="3")
    hours(log, 2, 12, right=20, wrong=30)
    log.say(12.5, first).say(12.6, verdict(first, "refuse")).say(20.5, second).say(20.6, verdict(second, "refuse"))
    log.until(48)
    called = [a for a in play(log).events(Topic.ALERTS, Alert) if a.kind == "manual-intervention"]
    alert, _ = called  # the trainer is dead for the next case as well
    assert alert.severity is Severity.CRITICAL
    assert alert.reason == "trainer-does-not-answer"
    assert alert.at == 9 * HOUR + QUARTER  # the request at 3 h, six hours, and the first slice past them
    assert alert.evidence.tried[:2] == (
        "attempt 1 (rule): refused 2 no-certain-gain",
        "attempt 2 (rule): refused 3 no-certain-gain",
    )
    log.say(49, command("close", fingerprint=alert.fingerprint, comment="new sensor")).until(60)
    shard = play(log)
    (*_, closed) = [a for a in shard.events(Topic.ALERTS, Alert) if a.fingerprint == alert.fingerprint]
    assert (closed.kind, closed.state, closed.reason) == ("manual-intervention", "resolved", "closed-by-a-human")
    assert closed.caused_by == (alert.id, "close-command")
    assert "new sensor" in closed.summary


def test_a_human_closes_calls_for_humans_and_nothing_else():
    log = begun().slice(0, 1, breaches=[breach()])
    log.say(2, command("close", fingerprint=fingerprint("m", "1", "all", "range:x")))
    log.say(2, command("close", fingerprint="unknown", id="c2")).until(3)
    reasons = {r.command: r.reason for r in play(log).events(Topic.COMMAND_RESULTS, CommandResult)}
    assert reasons["close-command"] == "only a call for manual intervention is closed by a human"
    assert reasons["c2"] == "no such alert is firing"


def test_a_schedule_asks_at_its_instant_of_decision_time():
    retrain = msgspec.structs.replace(spec().retrain, schedule="30 4 * * *")
    shard = play(hours(begun(), 0, 5).until(40), catalog(spec(retrain=retrain)))
    (request,) = shard.events(Topic.RETRAIN_REQUESTS, RetrainRequest)
    assert (request.requested_at, request.trigger) == (4 * HOUR + HOUR // 2, "schedule")
    (case, *_) = shard.events(Topic.CASES, Case)
    assert (case.before, case.metric) == (0.9, "accuracy")


def test_a_scheduled_case_is_settled_by_the_first_full_window_of_the_promoted_version():
    retrain = msgspec.structs.replace(spec().retrain, schedule="30 4 * * *")
    better = candidate()
    log = hours(begun(), 0, 4).say(18.5, better).say(18.6, verdict(better))
    for quarter in range(20, 32):
        log.slice(0, quarter, delta(quarter, right=48, wrong=2, version="2"))
    shard = play(log.until(40), catalog(spec(retrain=retrain)))
    ended = shard.events(Topic.CASES, Case)[-1]
    assert (ended.state, ended.reason, ended.before, ended.after) == (
        "improved",
        "metric-is-not-worse-than-before",
        0.9,
        0.96,
    )
    assert ended.at == 6 * HOUR


def test_a_figure_of_the_replaced_champion_is_not_held_against_the_next_candidate():
    better = candidate()
    log = worse_then(better, verdict(better)).say(14, command("retrain")).until(16)
    shard = play(log)
    last = shard.events(Topic.CASES, Case)[-1]
    assert (last.attempts[-1].trigger, shard.work._shard.desks["m"].book.latest) == ("command", None)


def test_an_older_window_that_is_told_again_is_not_the_latest_figure():
    log = begun().slice(0, 1, delta(1, open_=200)).slice(0, 5, delta(5, right=180, wrong=20))
    log.slice(0, 9, delta(1, right=50, wrong=150, labels_only=True)).say(10, command("retrain")).until(12)
    (case,) = play(log, catalog(spec(rules=()))).events(Topic.CASES, Case)
    assert case.before == 0.9


def test_a_figure_with_few_labels_settles_no_case():
    retrain = msgspec.structs.replace(spec().retrain, schedule="30 4 * * *")
    better = candidate()
    log = hours(begun(), 0, 4).say(18.5, better).say(18.6, verdict(better))
    log.slice(0, 21, delta(21, wrong=60, open_=140, version="2")).until(30)
    assert case_story(play(log, catalog(spec(retrain=retrain))))[-1] == "watching: attempt-1-promoted"


# --- reading ---


def test_a_slice_is_applied_only_when_every_partition_has_finished_it():
    log = begun().slice(0, 1, delta(1, right=1)).until(3)
    shard = Shard(log, catalog())
    for source in SOURCES[:1] + SOURCES[2:]:
        shard.fetch(source, 99)
    shard.go_on()
    assert shard.outbox == []
    shard.run()
    assert len(reports(shard)) == 1


def test_a_slice_is_applied_only_when_the_other_inputs_are_read_past_its_end():
    log = begun().slice(0, 1, delta(1, right=1)).until(3)
    shard = Shard(log, catalog())
    for source in SOURCES[:-1]:
        shard.fetch(source, 99)
    shard.go_on()
    assert shard.outbox == []


def test_a_slice_that_comes_again_is_counted_once():
    log = begun().slice(0, 1, delta(1, right=3)).until(2)
    log.slice(0, 1, delta(1, right=3)).slice(0, 3, delta(3, right=1)).until(3).slice(0, 3, delta(3, right=1)).until(8)
    assert reports(play(log))[0].segments[0].n == 4


def test_slices_of_another_shard_are_skipped():
    log = begun().slice(0, 1, delta(1, right=3), shard=1).until(3)
    assert reports(play(log)) == []


def test_progress_tells_the_decision_time_and_the_attempts_that_wait():
    shard = play(begun().say(2, command("retrain")).until(5))
    assert shard.progress[-1].decision_time == 6 * QUARTER
    assert shard.progress[-1].open_attempts == (request_id(1, 1),)


def test_a_replayed_log_reads_in_replayed_time_and_a_live_one_in_the_brokers():
    log = begun().slice(0, 1, delta(1, right=3)).until(3)
    assert {r.timestamp for r in play(log).outbox} == {None}
    assert [r.timestamp for r in play(log, catalog(clock="events")).outbox] == [QUARTER, QUARTER, 4 * QUARTER]


def test_events_carry_cloudevents_headers():
    headers = dict(play(begun().until(0)).outbox[0].headers)
    assert headers["ce_type"] == b"dev.driftline.model-state.v1"
    assert headers["ce_source"] == b"driftline/control"


def test_only_what_has_changed_is_stored():
    shard = play(hours(begun(), 0, 3).until(20))
    before = {name: dict(fields) for name, fields in shard.stored.items()}
    shard.log.until(21)
    shard.run()
    assert shard.stored["books"] == before["books"]


def with_baseline(declared):
    """Baseline `b` of version 1: the same count in every cell."""
    layout = Layout(default_bins(spec()))
    counts = {name: (1,) * cells.size for name, cells in layout.cells.items()}
    declared.baselines["b"] = Baseline(
        id="b", model="m", version="1", bins=layout.bins, n=100, counts=counts, source="test"
    )
    return declared


def test_windows_are_measured_against_the_baseline_of_their_version():
    log = begun().slice(0, 1, delta(1, right=300, bins="b")).until(3)
    (report,) = reports(play(log, with_baseline(catalog())))
    assert report.baseline == "b"
    assert report.segments[0].drift["x"].psi > 1


def test_a_drift_rule_fires_on_the_feature_that_moved():
    rule = RuleSpec(name="drift", kind="drift", target="psi", features=("x",), window="hour", above=0.2)
    log = begun().slice(0, 1, delta(1, right=300, bins="b")).until(3)
    (alert,) = play(log, with_baseline(catalog(spec(rules=(rule,))))).events(Topic.ALERTS, Alert)
    assert (alert.kind, alert.threshold, alert.evidence.baseline) == ("drift", 0.2, "b")
    assert {effect.feature for effect in alert.evidence.features} == {"x", "score"}
    assert alert.summary.startswith("psi(x) of m version 1 is ")


def test_two_windows_of_different_length_are_both_told():
    windows = {
        "hour": WindowSpec(span=timedelta(hours=1), every=timedelta(hours=1)),
        "shift": WindowSpec(span=timedelta(hours=2), every=timedelta(hours=1)),
    }
    shard = play(hours(begun(), 0, 1).until(8), catalog(spec(windows=windows)))
    found = [(r.window.name, r.window.end // HOUR, r.segments[0].n) for r in reports(shard)]
    assert found == [("hour", 1, 150), ("shift", 1, 150), ("hour", 2, 200), ("shift", 2, 350)]


# --- records that a step cannot be taken on ---


def emptied(record):
    """The slice as if nothing had happened in it: one that is not there at all would be a hole."""
    told = msgspec.json.decode(record.value, type=Slice)
    nothing = Slice(partition=told.partition, slice=told.slice, previous=told.previous, shard=told.shard)
    return record._replace(value=msgspec.json.encode(nothing))


def test_a_refused_record_is_a_dead_letter_and_everything_else_is_decided_as_without_it():
    log = hours(begun(), 0, 2).until(12)
    refused = {(SOURCES[1], 2): "ValueError: x"}
    shard = Shard(log, catalog())
    shard.work.refuse(refused)
    shard.run()
    (letter,) = [dict(record.headers) for record in shard.outbox if record.topic is Topic.DEAD_LETTERS]
    assert (letter["driftline.topic"], letter["driftline.partition"], letter["driftline.offset"]) == (
        b"slices",
        b"1",
        b"2",
    )
    assert (letter["driftline.reason"], letter["driftline.detail"]) == (b"step-failed", b"ValueError: x")
    without = ShardLog()
    without.records = {
        source: [emptied(r) if (source, r.offset) in refused else r for r in records]
        for source, records in log.records.items()
    }
    expected = play(without)
    assert shard.events(Topic.METRICS) == expected.events(Topic.METRICS)
    assert shard.events(Topic.METRICS) != play(log).events(Topic.METRICS)


def test_a_refused_command_is_not_carried_out():
    log = begun().say(2, command("retrain")).until(8)
    shard = Shard(log, catalog())
    (place,) = [(s, r.offset) for s, rs in log.records.items() for r in rs if b'"retrain"' in (r.value or b"")]
    shard.work.refuse({place: "ValueError: x"})
    shard.run()
    assert shard.events(Topic.RETRAIN_REQUESTS) == []
    assert [r.topic for r in shard.outbox].count(Topic.DEAD_LETTERS) == 1
