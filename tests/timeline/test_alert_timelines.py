"""The life of alerts, one window a word."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from tests.timeline.stories import DAY, EMPTY, HOUR, CaseStory, alert_life, reading, report, rule

from driftline.core import alerts, muting
from driftline.core.alert_events import fingerprint
from driftline.core.alerts import Change, Standing
from driftline.core.case_book import Call
from driftline.core.muting import Silence
from driftline.core.rules import Reason, judge
from driftline.events.alerts import AlertKind, AlertState, Severity
from driftline.events.slices import Breach, BreachReason
from driftline.spec.model import RuleSpec


@pytest.mark.parametrize(
    ("of", "windows", "life"),
    [
        ("auc below 0.64", ".70 .60 .60 .70", ". firing . resolved"),
        ("auc below 0.64 clear 0.66", ".60 .65 .65 .66", "firing . . resolved"),
        ("auc below 0.64 clear 0.66", ".60 .65 .60 .65", "firing . . ."),
        ("auc below 0.64 for 2 of 3", ".60 .60", "pending firing"),
        ("auc below 0.64 for 2 of 3", ".60 .70 .60", "pending . firing"),
        ("auc below 0.64 for 2 of 3", ".60 .70 .70 .70", "pending . . resolved"),
        ("auc below 0.64 for 2 of 3", ".60 .70 .70 .60", "pending . . ."),
        ("auc below 0.64 for 3 of 3", ".60 .60 .70 .60 .60 .60", "pending . . . . firing"),
        ("auc below 0.64 for 2 of 2", ".60 .60 .70 .60 .60", "pending firing resolved pending firing"),
        ("log_loss above 0.5 clear 0.4", ".6 .45 .39 .6", "firing . resolved firing"),
    ],
)
def test_an_alert_lives_as_its_rule_says(of, windows, life):
    assert alert_life(rule(of), windows)[0] == life


def test_each_episode_is_numbered_and_every_event_has_its_own_id():
    _, events = alert_life(rule("auc below 0.64 for 2 of 2"), ".60 .60 .70 .60 .60 .70")
    assert [e.episode for e in events] == [1, 1, 1, 2, 2, 2]
    assert len({e.id for e in events}) == 6
    assert len({e.fingerprint for e in events}) == 1


def test_the_same_windows_give_the_same_events():
    of = rule("auc below 0.64 for 2 of 3")
    assert alert_life(of, ".60 .60 .70")[1] == alert_life(of, ".60 .60 .70")[1]


def test_an_episode_keeps_its_beginning():
    _, events = alert_life(rule("auc below 0.64 for 2 of 2"), ".70 .60 .60 .60 .70")
    assert [(e.state.value, e.since // DAY, e.at // DAY) for e in events] == [
        ("pending", 2, 2),
        ("firing", 2, 3),
        ("resolved", 2, 5),
    ]


def test_an_alert_carries_its_evidence_and_reason():
    (alert,) = alert_life(rule("auc below 0.64", severity=Severity.CRITICAL), ".60~.02/500@.95")[1]
    assert (alert.value, alert.low, alert.high, alert.threshold) == (0.60, 0.58, 0.62, 0.64)
    assert (alert.n, alert.coverage, alert.reason) == (500, 0.95, "breach-certain")
    assert (alert.severity, alert.kind, alert.caused_by) == (Severity.CRITICAL, AlertKind.METRIC, (report(0).id,))
    assert alert.window == report(0).window


def test_a_summary_is_one_plain_sentence():
    _, (fires, ends) = alert_life(rule("auc below 0.64"), ".60~.02 .70")
    assert fires.summary == (
        "auc of m version 1 is 0.6 (95 % 0.58 to 0.62) in the day up to 1970-01-02T00:00:00Z, n = 1000: "
        "below the threshold 0.64."
    )
    assert ends.summary == (
        "auc of m version 1 is 0.7 in the day up to 1970-01-03T00:00:00Z, n = 1000: no longer below 0.64."
    )


def test_a_pending_alert_says_that_it_waits_for_more_windows():
    (alert,) = alert_life(rule("auc below 0.64 for 2 of 3"), ".60")[1]
    assert (alert.reason, alert.summary.endswith("2 of 3 windows needed.")) == (Change.PENDING, True)


def firing(of=None):
    of = of or rule("auc below 0.64")
    standing, seen = Standing(), reading(".60")
    alert = alerts.observe(standing, of, seen, judge(of, seen), report(0), EMPTY, DAY)
    return standing, alert


def test_a_replaced_version_ends_its_alert_and_names_what_replaced_it():
    standing, fired = firing()
    ended = alerts.resolve(standing, Change.VERSION_REPLACED, 2 * DAY, ("models-event",))
    assert (ended.state, ended.reason, ended.at) == (AlertState.RESOLVED, "version-replaced", 2 * DAY)
    assert ended.caused_by == (fired.id, "models-event")
    assert (ended.since, ended.value) == (fired.since, fired.value)


def test_what_is_over_cannot_end_again():
    standing, _ = firing()
    alerts.resolve(standing, Change.VERSION_REPLACED, 2 * DAY)
    assert alerts.resolve(standing, Change.VERSION_REPLACED, 3 * DAY) is None
    assert alerts.resolve(Standing(), Change.QUIET, DAY) is None


def breach(worst=150.0, n=1, samples=("p1",)):
    return Breach(model="m", version="1", name="temp", n=n, low=-60.0, high=130.0, worst=worst, samples=samples)


RANGE = RuleSpec(name="range:temp", kind="range", target="temp")


def test_the_first_value_outside_its_range_fires_at_once():
    alert = alerts.observe_breach(Standing(), RANGE, breach(), HOUR, "slice/0/1")
    assert (alert.state, alert.kind, alert.severity) == (AlertState.FIRING, AlertKind.RANGE, Severity.WARNING)
    assert (alert.value, alert.threshold, alert.reason) == (150.0, 130.0, "out-of-range")
    assert alert.caused_by == ("slice/0/1", "p1")
    assert alert.evidence.samples == ("p1",)
    assert alert.summary == "temp of m version 1 left its range [-60, 130]: 150, in 1 prediction so far."


def test_a_value_under_its_range_names_the_lower_bound():
    assert alerts.observe_breach(Standing(), RANGE, breach(-70.0), HOUR, "c").threshold == -60.0


def test_further_breaches_belong_to_the_same_episode_and_are_counted():
    standing = Standing()
    alerts.observe_breach(standing, RANGE, breach(n=2), HOUR, "a")
    assert alerts.observe_breach(standing, RANGE, breach(n=3), 2 * HOUR, "b") is None
    ended = alerts.resolve(standing, Change.QUIET, 3 * HOUR)
    assert (ended.episode, ended.n, ended.since, ended.reason) == (1, 5, HOUR, "back-in-range")
    again = alerts.observe_breach(standing, RANGE, breach(), 9 * HOUR, "c")
    assert (again.episode, again.n) == (2, 1)


def test_an_episode_collects_five_samples_and_the_value_farthest_outside():
    standing = Standing()
    alerts.observe_breach(standing, RANGE, breach(131.0), HOUR, "a")
    alerts.observe_breach(standing, RANGE, breach(-75.0, n=2, samples=("p2", "p1")), 2 * HOUR, "b")
    alerts.observe_breach(standing, RANGE, breach(140.0, n=4, samples=("p3", "p4", "p5", "p6")), 3 * HOUR, "c")
    again = alerts.retell(standing, 4 * HOUR)
    assert again.evidence.samples == ("p1", "p2", "p3", "p4", "p5")
    assert (again.n, again.value, again.threshold) == (7, -75.0, -60.0)
    assert again.summary == (
        "temp of m version 1: 7 values that are not allowed since 1970-01-01T01:00:00Z, -75 the farthest outside "
        "[-60, 130]."
    )
    ended = alerts.resolve(standing, Change.QUIET, 5 * HOUR)
    assert (ended.evidence, ended.n, ended.value, ended.threshold) == (again.evidence, 7, -75.0, -60.0)


def test_an_episode_that_a_gap_opened_tells_the_values_that_left_the_range_too():
    standing = Standing()
    gap = msgspec.structs.replace(breach(None), reason=BreachReason.MISSING, low=None, high=None)
    alerts.observe_breach(standing, RANGE, gap, HOUR, "a")
    alerts.observe_breach(standing, RANGE, gap, HOUR, "b")
    assert alerts.retell(standing, HOUR).summary == (
        "temp of m version 1: 2 values that are not allowed since 1970-01-01T01:00:00Z."
    )
    alerts.observe_breach(standing, RANGE, breach(140.0), 2 * HOUR, "c")
    again = alerts.retell(standing, 3 * HOUR)
    assert (again.reason, again.n, again.value, again.low, again.high) == ("missing", 3, 140.0, -60.0, 130.0)


def test_quiet_is_counted_from_the_last_breach():
    standing = Standing()
    alerts.observe_breach(standing, RANGE, breach(), HOUR, "a")
    alerts.observe_breach(standing, RANGE, breach(), 5 * HOUR, "b")
    assert standing.quiet_since == 5 * HOUR


def test_a_call_for_a_human_lists_what_was_tried():
    tried = ("attempt 1 (rule): refused", "attempt 2")
    standing = Standing()
    case, _ = CaseStory().tell("day 0 rule breaches -> open: attempt-1-requested")
    alert = alerts.call_human(standing, "1", case, Call.BUDGET_USED_UP, tried, DAY)
    assert (alert.kind, alert.severity, alert.state) == (
        AlertKind.MANUAL_INTERVENTION,
        Severity.CRITICAL,
        AlertState.FIRING,
    )
    assert alert.evidence.tried == ("attempt 1 (rule): refused", "attempt 2")
    assert alert.reason == "budget-used-up"
    assert "(budget used up): a human is needed" in alert.summary
    assert alerts.call_human(standing, "1", case, Call.NONE_PASSES, tried, 2 * DAY) is None


def test_fingerprints_tell_models_versions_and_rules_apart():
    names = [("m", "1", "all", "r"), ("n", "1", "all", "r"), ("m", "2", "all", "r"), ("m", "1", "all", "s")]
    assert len({fingerprint(*name) for name in names}) == 4


def test_what_is_foretold_changes_nothing_and_has_an_id_of_its_own():
    standing = Standing()
    foretold = alerts.foretell_breach(standing, RANGE, breach(), HOUR, "notice")
    assert standing == Standing()
    fired = alerts.observe_breach(standing, RANGE, breach(), 2 * HOUR, "slice")
    assert (foretold.provisional, fired.provisional) == (True, False)
    assert (foretold.fingerprint, foretold.episode) == (fired.fingerprint, fired.episode)
    assert foretold.id != fired.id
    assert alerts.foretell_breach(standing, RANGE, breach(), 3 * HOUR, "again") is None


def test_what_is_withdrawn_says_what_it_takes_back():
    foretold = alerts.foretell_breach(None, RANGE, breach(), HOUR, "notice")
    taken_back = alerts.withdraw(foretold, 2 * HOUR)
    assert (taken_back.state, taken_back.reason, taken_back.caused_by) == (
        AlertState.RESOLVED,
        "not-confirmed",
        (foretold.id,),
    )
    assert (taken_back.since, taken_back.at) == (HOUR, 2 * HOUR)
    assert taken_back.summary == "range:temp on m version 1 is withdrawn: its values did not count."


# --- two thresholds, certainty, the baseline ---


def test_one_rule_warns_and_then_becomes_critical_and_stays_so_until_it_is_over():
    story, events = alert_life(rule("auc below 0.7 clear 0.72", critical=0.6), ".69 .65 .59 .55 .65 .73")
    assert story == "firing . firing . . resolved"
    assert [alert.severity for alert in events] == [Severity.WARNING, Severity.CRITICAL, Severity.CRITICAL]
    assert [alert.threshold for alert in events] == [0.7, 0.6, 0.7]
    assert "below the critical threshold 0.6" in events[1].summary
    assert events[1].since == events[0].since
    assert len({alert.id for alert in events}) == 3


def test_a_breach_past_both_thresholds_is_critical_at_once():
    _, (alert,) = alert_life(rule("psi above 0.2", critical=0.5), ".6")
    assert (alert.severity, alert.threshold) == (Severity.CRITICAL, 0.5)


def test_where_certainty_is_asked_for_the_interval_decides():
    of = rule("auc below 0.7 clear 0.7", certain=True)
    assert alert_life(of, ".69~.02 .65~.02 .69~.02 .71~.05")[0] == ". firing . resolved"
    assert judge(of, reading(".69~.02")) is Reason.NOT_CERTAIN


def test_where_certainty_is_asked_for_the_second_threshold_needs_it_too():
    of = rule("auc below 0.7", critical=0.6, certain=True)
    story, events = alert_life(of, ".55~.1 .65~.02 .59~.02 .55~.02")
    assert story == "firing . . firing"
    assert [(alert.severity, alert.threshold) for alert in events] == [
        (Severity.WARNING, 0.7),
        (Severity.CRITICAL, 0.6),
    ]


def test_all_thresholds_follow_the_baseline_together():
    of = rule("auc below 0.05 clear 0.02", relative=True, critical=0.1)
    seen = [replace(reading(text), baseline=0.8) for text in (".77", ".75", ".73", ".71", ".78", ".79")]
    assert [judge(of, each).value for each in seen] == [
        *("within", "breach-uncertain", "breach-uncertain", "breach-uncertain", "within", "cleared"),
    ]
    standing = Standing()
    told = [
        alerts.observe(standing, of, each, judge(of, each), report(day), EMPTY, (day + 1) * DAY)
        for day, each in enumerate(seen)
    ]
    found = [(day, t.state.value, t.severity.value, round(t.threshold, 9)) for day, t in enumerate(told) if t]
    assert found == [
        (1, "firing", "warning", 0.76),
        (3, "firing", "critical", 0.72),
        (5, "resolved", "critical", 0.76),
    ]


def test_a_threshold_may_follow_the_baseline():
    of = rule("auc below 0.05", relative=True)
    assert judge(of, reading(".70")) is Reason.NO_BASELINE
    known = replace(reading(".70"), baseline=0.75)
    assert judge(of, known) is Reason.BREACH_UNCERTAIN
    assert judge(of, replace(known, value=0.72)) is Reason.CLEARED
    standing = Standing()
    alert = alerts.observe(standing, of, known, judge(of, known), report(0), EMPTY, DAY)
    assert alert.threshold == pytest.approx(0.7125)
    assert "below the threshold 0.7125" in alert.summary


def test_a_relative_threshold_above_a_negative_baseline_lies_above_it():
    of = rule("bias above 0.1", relative=True)
    assert judge(of, replace(reading(".0"), value=-0.95, baseline=-1.0)) is Reason.CLEARED
    assert judge(of, replace(reading(".0"), value=-0.85, baseline=-1.0)) is Reason.BREACH_UNCERTAIN


# --- people ---


def test_who_looks_into_an_alert_stands_in_all_that_follows():
    standing, fired = firing()
    told = alerts.acknowledge(standing, "Ann", "on it", 2 * DAY, "command")
    assert (told.state, told.acknowledged.by, told.acknowledged.comment, told.at) == (
        AlertState.FIRING,
        "Ann",
        "on it",
        2 * DAY,
    )
    assert told.id != fired.id
    assert told.caused_by == (fired.id, "command")
    assert alerts.acknowledge(standing, "Bob", "", 3 * DAY, "other") is None
    ended = alerts.resolve(standing, Change.RULE_REMOVED, 4 * DAY)
    assert ended.acknowledged == told.acknowledged


def test_a_new_episode_is_nobodys():
    standing, _ = firing()
    alerts.acknowledge(standing, "Ann", "", DAY, "command")
    of, good, bad = rule("auc below 0.64"), reading(".70"), reading(".60")
    alerts.observe(standing, of, good, judge(of, good), report(2), EMPTY, 3 * DAY)
    again = alerts.observe(standing, of, bad, judge(of, bad), report(3), EMPTY, 4 * DAY)
    assert (again.episode, again.acknowledged) == (2, None)


def test_what_is_over_is_not_acknowledged():
    standing, _ = firing()
    alerts.resolve(standing, Change.RULE_REMOVED, DAY)
    assert alerts.acknowledge(standing, "Ann", "", DAY, "command") is None


def silence(**changes):
    return Silence(**({"id": "s", "until": 9 * DAY, "author": "Ann"} | changes))


def test_a_silence_is_about_what_it_matches_and_never_about_a_call_for_a_human():
    _, alert = firing()
    assert muting.mute(alert, [silence()], []).muted == "silenced by s"
    assert muting.mute(alert, [silence(rule="auc-rule", severity=Severity.WARNING)], []).muted == "silenced by s"
    for other in ({"rule": "other"}, {"version": "2"}, {"segment": "a=b"}, {"severity": Severity.CRITICAL}):
        assert muting.mute(alert, [silence(**other)], []).muted == ""
    human = msgspec.structs.replace(alert, kind=AlertKind.MANUAL_INTERVENTION)
    assert muting.mute(human, [silence()], []).muted == ""


# --- one incident ---


def quiet_model(standing=None):
    of = RuleSpec(name="silence", kind="silence", target="predictions", quiet=timedelta(hours=8))
    return alerts.observe_silence(standing or Standing(), of, "m", 0, DAY)


def of_data(figure="missing(temp)", **changes):
    _, alert = firing()
    fields = {"kind": AlertKind.DATA, "figure": figure, "fingerprint": "data", "rule": "gaps"}
    return msgspec.structs.replace(alert, **(fields | changes))


def of_range(reason=Change.FEATURE_BROKEN, **changes):
    return of_data("temp", kind=AlertKind.RANGE, reason=reason, rule="range:temp", **changes)


def test_a_model_that_is_silent_says_since_when_and_is_over_when_it_is_heard():
    standing = Standing()
    alert = quiet_model(standing)
    assert (alert.kind, alert.reason, alert.since) == (AlertKind.SILENCE, "no-predictions", 0)
    assert alert.summary == "No prediction of m has come for 8h: the last ones came at 1970-01-01T00:00:00Z."
    of = RuleSpec(name="silence", kind="silence", target="predictions", quiet=timedelta(hours=8))
    assert alerts.observe_silence(standing, of, "m", 0, 2 * DAY) is None
    assert alerts.observe_silence(standing, of, "m", 2 * DAY, 2 * DAY).reason == "predictions-come-again"


def test_what_follows_from_a_dead_feed_is_muted_under_it():
    _, alert = firing()
    cause = quiet_model()
    muted = muting.mute(alert, [], [cause])
    assert (muted.muted, muted.incident) == (f"caused by {cause.fingerprint}", cause.fingerprint)


@pytest.mark.parametrize(
    ("cause", "alert", "follows"),
    [
        (of_data(), {"kind": AlertKind.METRIC, "figure": "auc"}, True),
        (of_data(), {"kind": AlertKind.DRIFT, "figure": "psi(temp)"}, True),
        (of_data(), {"kind": AlertKind.DRIFT, "figure": "psi(wind)"}, False),
        (of_data(), {"kind": AlertKind.COVERAGE, "figure": "coverage"}, False),
        (of_data(""), {"kind": AlertKind.COVERAGE, "figure": "coverage"}, True),
        (of_data(""), {"kind": AlertKind.METRIC, "figure": "auc"}, False),
        (of_data(version="2"), {"kind": AlertKind.METRIC}, False),
        (of_data(segment="a=b"), {"kind": AlertKind.METRIC}, False),
        (of_data(model="other"), {"kind": AlertKind.METRIC}, False),
        (of_data(kind=AlertKind.DRIFT), {"kind": AlertKind.METRIC}, False),
        (of_data(kind=AlertKind.LAG, model="", version="", segment="partition:1"), {"kind": AlertKind.SILENCE}, True),
        (of_data(), {"kind": AlertKind.MANUAL_INTERVENTION}, False),
        (of_range(), {"kind": AlertKind.METRIC, "figure": "auc"}, True),
        (of_range(), {"kind": AlertKind.DRIFT, "figure": "psi(temp)"}, True),
        (of_range(), {"kind": AlertKind.DRIFT, "figure": "psi(wind)"}, False),
        (of_range(), {"kind": AlertKind.COVERAGE, "figure": "coverage"}, False),
        (of_range(), {"kind": AlertKind.RANGE, "figure": "wind"}, False),
        (of_range(version="2"), {"kind": AlertKind.METRIC}, False),
        (of_range("out-of-range"), {"kind": AlertKind.METRIC, "figure": "auc"}, False),
        (of_range("missing"), {"kind": AlertKind.DRIFT, "figure": "psi(temp)"}, False),
    ],
)
def test_only_what_explains_an_alert_is_its_cause(cause, alert, follows):
    _, fired = firing()
    found = muting.mute(msgspec.structs.replace(fired, **alert), [], [cause])
    assert bool(found.incident) is follows


def test_an_incident_grows_and_falls_apart_with_its_cause():
    effect, cause = Standing(), Standing()
    of, bad = rule("auc below 0.64"), reading(".60")
    first = alerts.observe(effect, of, bad, judge(of, bad), report(0), EMPTY, DAY)
    assert muting.settle({first.fingerprint: effect}, [], [], DAY) == []
    told = quiet_model(cause)
    book = {first.fingerprint: effect, told.fingerprint: cause}
    muted, root = muting.settle(book, [], [], 2 * DAY)
    assert (muted.fingerprint, muted.incident, muted.state) == (first.fingerprint, told.fingerprint, AlertState.FIRING)
    assert root.evidence.effects == (first.fingerprint,)
    assert muting.settle(book, [], [], 2 * DAY) == []
    alerts.resolve(cause, Change.HEARD_AGAIN, 3 * DAY)
    (loud,) = muting.settle(book, [], [], 3 * DAY)
    assert (loud.fingerprint, loud.muted, loud.incident) == (first.fingerprint, "", "")
    assert len({alert.id for alert in (first, muted, loud)}) == 3


def test_a_muted_alert_still_ends():
    standing, _ = firing()
    muting.settle({"x": standing}, [silence()], [], DAY)
    ended = alerts.resolve(standing, Change.RULE_REMOVED, 2 * DAY)
    assert (ended.state, ended.muted) == (AlertState.RESOLVED, "silenced by s")
