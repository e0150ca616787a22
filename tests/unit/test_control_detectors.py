"""Detectors at work in control: fed slice by slice, one alert a change, the same after a restart."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np
import pytest
from tests.timeline.partitions import begun, line
from tests.timeline.shards import Shard, candidate, catalog, command, delta, play, spec, verdict

from driftline.control import detecting
from driftline.core.alerts import SETTLED_AFTER
from driftline.core.binning import default_bins
from driftline.core.pane import Layout
from driftline.core.probes import mean, weights
from driftline.errors import SpecError
from driftline.events.alerts import AlertKind
from driftline.events.baselines import Bins, Calibration, NumberBins
from driftline.events.topics import Topic
from driftline.spec.model import BaselineSpec, FalseAlarms, RuleSpec
from driftline.spec.reader import parse_spec

WATCHED = RuleSpec(name="errors-shifted", kind="detector", target="error", detector="page_hinkley", min_samples=30)
SPEC = spec(rules=(WATCHED,), metrics=())


def log_of(shares, seed=1):
    """30 labelled predictions a slice, with these shares of errors."""
    wrong = np.random.default_rng(seed).binomial(30, shares).tolist()
    log = begun()
    for number, bad in enumerate(wrong, start=1):
        log.slice(number % 2, number, delta(number, right=30 - bad, wrong=bad))
    return log.until(len(wrong) + 1)


SHIFTED = np.concatenate([np.full(150, 0.1), np.full(60, 0.5)])


def told(shard):
    return [a for a in shard.alerts_in(shard.outbox) if a.rule == "errors-shifted"]


def test_a_change_is_one_alert_that_says_what_changed():
    (alert,) = told(play(log_of(SHIFTED), catalog(SPEC)))
    assert (alert.kind, alert.reason, alert.state) == (AlertKind.DETECTOR, "change-found", "firing")
    assert alert.summary.startswith("page_hinkley finds a change in error of m version 1: ")
    assert alert.value > 0.2
    assert 150 < alert.n < 175


def test_no_change_is_no_alert():
    assert told(play(log_of(np.full(210, 0.1)), catalog(SPEC))) == []


def test_an_alert_is_over_when_no_further_change_is_found_for_long():
    shares = np.concatenate([SHIFTED, np.full(2 * SETTLED_AFTER, 0.5)])
    found = told(play(log_of(shares), catalog(SPEC)))
    assert [line(alert) for alert in found][:2] == [
        "errors-shifted firing change-found",
        "errors-shifted resolved no-further-change",
    ]


@pytest.mark.parametrize("at", [40, 120, 160, 185, 205])
def test_a_restart_changes_nothing(at, monkeypatch):
    monkeypatch.setattr(detecting, "CHUNK", 16)
    log = log_of(SHIFTED)
    whole, restarted = play(log, catalog(SPEC)), Shard(log, catalog(SPEC))
    for source, records in log.records.items():
        restarted.fetch(source, sum(1 for r in records if r.arrival < at * 900_000))
    restarted.go_on()
    restarted.restart()
    restarted.run()
    assert len(told(whole)) == 1
    assert [o.value for o in restarted.outbox if o.value] == [o.value for o in whole.outbox if o.value]


def test_what_came_before_a_change_is_forgotten():
    shard = play(log_of(SHIFTED), catalog(SPEC))
    (alert,) = told(shard)
    (data,) = shard.stored["detectors:m"].values()
    assert np.frombuffer(data).size == len(SHIFTED) - alert.n


BUDGETED = msgspec.structs.replace(WATCHED, false_alarms=FalseAlarms(alarms=1, per=timedelta(days=30)))
FIRST = BaselineSpec(kind="first", span=timedelta(days=6))
LONG = np.concatenate([np.full(620, 0.1), np.full(60, 0.5)])
"""From the 576th slice on the first six days are over."""


@pytest.fixture(scope="module")
def budgeted():
    log, declared = log_of(LONG), catalog(spec(rules=(BUDGETED,), metrics=(), baseline=FIRST))
    return log, declared, play(log, declared)


def test_a_detector_with_a_budget_is_calibrated_on_what_it_was_fed_in_its_first_days(budgeted):
    _, _, shard = budgeted
    (found,) = shard.events(Topic.BASELINES, Calibration)
    assert (found.rule, found.argument, found.windows, found.clear) == ("errors-shifted", "threshold", 576, None)
    assert found.threshold >= 5
    assert f"finds changes with the threshold {found.threshold:.4g}: about 1 a month at your traffic." in found.summary
    (alert,) = told(shard)
    assert alert.at > found.at
    assert alert.evidence.false_alarms.calibration == found.id
    assert alert.terms.params == {"threshold": found.threshold}
    assert alert.summary.endswith("; by chance this happens about 1 a month at your traffic.")


@pytest.mark.parametrize("at", [300, 577, 579, 660])
def test_a_restart_changes_nothing_of_a_calibrated_detector(budgeted, at):
    log, declared, whole = budgeted
    restarted = Shard(log, declared)
    for source, records in log.records.items():
        restarted.fetch(source, sum(1 for r in records if r.arrival < at * 900_000))
    restarted.go_on()
    restarted.restart()
    restarted.run()
    assert [o.value for o in restarted.outbox if o.value] == [o.value for o in whole.outbox if o.value]
    assert restarted.stored == whole.stored


def test_a_detector_whose_first_days_hold_too_few_values_is_not_judged():
    short = spec(rules=(BUDGETED,), metrics=(), baseline=BaselineSpec(kind="first", span=timedelta(days=1)))
    shard = play(log_of(SHIFTED), catalog(short))
    (found,) = shard.events(Topic.BASELINES, Calibration)
    assert (
        "is not judged, as no threshold follows from its baseline: it has 97 values, 500 are needed." in found.summary
    )
    assert told(shard) == []


def test_a_rule_may_ask_for_a_retrain_once_a_change():
    asking = spec(rules=(msgspec.structs.replace(WATCHED, retrain=True),), metrics=())
    shard = play(log_of(SHIFTED[:165]), catalog(asking))
    (request,) = shard.events(Topic.RETRAIN_REQUESTS)
    assert request["caused_by"] == [told(shard)[0].id]


def test_a_version_that_is_replaced_leaves_no_detector_behind():
    log = log_of(SHIFTED[:100])
    better = candidate()
    log.say(102, command("retrain")).until(102).say(103, better).say(104, verdict(better)).until(105)
    shard = play(log, catalog(SPEC))
    assert len(shard.events(Topic.MODELS)) == 2
    assert shard.stored.get("detectors:m", {}) == {}


def test_a_rule_that_is_changed_begins_anew():
    changed = spec(rules=(msgspec.structs.replace(WATCHED, min_samples=60),), metrics=())
    log = log_of(SHIFTED[:100])
    for partition in (0, 1):
        log.slice(partition, 102, marks=["spec m@2"])
    shard = play(log.until(104), catalog(SPEC, changed))
    assert shard.stored.get("detectors:m", {}) == {}


def test_fewer_values_than_asked_for_wait():
    log = begun()
    for number in range(1, 10):
        log.slice(0, number, delta(number, right=14, wrong=1))
    shard = play(log.until(12), catalog(SPEC))
    (data,) = shard.stored["detectors:m"].values()
    assert np.frombuffer(data).tolist() == pytest.approx([1 / 15] * 4)


ON_A_METRIC = RuleSpec(
    name="errors-shifted", kind="detector", target="accuracy", window="hour", detector="page_hinkley", min_samples=30
)


def hours_of(accuracies):
    """An hour with 100 labelled predictions each."""
    log = begun()
    for hour, share in enumerate(accuracies):
        right = round(100 * share)
        log.slice(0, 4 * hour + 1, delta(4 * hour + 1, right=right, wrong=100 - right)).until(4 * hour + 2)
    return log.until(4 * len(accuracies) + 12)


def test_a_detector_may_watch_a_metric_window_by_window():
    rng = np.random.default_rng(3)
    accuracies = np.concatenate([0.9 + 0.02 * rng.normal(size=110), 0.7 + 0.02 * rng.normal(size=20)]).clip(0, 1)
    watched = spec(rules=(ON_A_METRIC,), metrics=("accuracy",))
    found = told(play(hours_of(accuracies), catalog(watched)))
    assert [alert.state for alert in found] == ["firing"]
    assert 110 < found[0].n < 120
    assert "each is that of one `hour`" in found[0].summary


def test_a_window_is_fed_once_whatever_its_revisions():
    watched = spec(rules=(ON_A_METRIC,), metrics=("accuracy",))
    log = begun().slice(0, 1, delta(1, right=60, wrong=30, open_=10)).until(5)
    log.slice(0, 6, delta(1, right=10, labels_only=True)).until(20)
    shard = play(log, catalog(watched))
    (data,) = shard.stored["detectors:m"].values()
    assert np.frombuffer(data).tolist() == pytest.approx([60 / 90])


def layout(**bins):
    return Layout(Bins(features={"x": NumberBins(edges=(2.0, 4.0), low=0.0, high=10.0)}, **bins))


def watching(target):
    return RuleSpec(name="r", kind="detector", target=target, detector="adwin")


def test_a_feature_is_the_centre_of_its_bin_as_a_share_of_its_range():
    of = layout(labels=("no", "yes"), positive="yes", score=(0.5,))
    start = of.cells["feature:x"].start
    known = weights(watching("x"), of)
    assert [known.get(start + i) for i in range(6)] == [0.1, 0.3, 0.7, 0.0, 1.0, None]


def test_the_error_of_a_regression_is_the_share_of_large_errors():
    prediction = NumberBins(edges=(5.0,), low=0.0, high=10.0)
    assert weights(watching("error"), layout(prediction=prediction)) == {}
    of = layout(prediction=prediction, large_error=2.0)
    known = weights(watching("error"), of)
    right, wrong = of.cells["right:x"].start, of.cells["wrong:x"].start
    assert mean({right: 3, wrong + 1: 1}, known) == 0.25


def test_a_score_is_the_centre_of_its_bin():
    of = layout(labels=("no", "yes"), positive="yes", score=(0.5,))
    start = of.cells["score"].start
    assert mean({start: 1, start + 1: 3}, weights(watching("score"), of)) == 0.625
    assert weights(watching("prediction"), of) == {}


def test_bins_without_a_range_have_none_beyond_their_edges():
    bins = default_bins(
        parse_spec("model: m\ntask: regression\nfeatures: {x: {type: number}}\nwindows: {h: {span: 1h}}", "s")
    )
    assert all(0 <= weight <= 1 for weight in weights(watching("x"), Layout(bins)).values())


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{name: r, detector: adwn, on: error}", "did you mean `adwin`"),
        ("{name: r, detector: adwin}", "rule `r` needs `on`: error, score, prediction, a numeric feature, or with"),
        ("{name: r, detector: adwin, on: c}", "`c` is no figure to watch"),
        ("{name: r, detector: adwin, on: error, window: day}", "`error` is no figure to watch"),
        ("{name: r, detector: adwin, on: x, for: 1 of 2}", "`for` is not for detectors"),
        ("{name: r, detector: adwin, on: auc, window: dya}", "unknown window `dya`; did you mean `day`"),
        ("{name: r, detector: adwin, on: error, min_coverage: 0.5}", "`min_coverage` is for a detector on a metric"),
        ("{name: r, detector: ADWIN, on: error, params: {delt: 1}}", "`ADWIN` does not take these `params`"),
        ("{name: r, metric: auc, on: error, window: day, below: 1}", "`on` is for detectors"),
    ],
)
def test_a_wrong_rule_is_told(rule, said):
    text = f"""
model: m
task: binary
labels: [no, yes]
positive: yes
features: {{x: {{type: number}}, c: {{type: category}}}}
windows: {{day: {{span: 1d}}}}
rules: [{rule}]
"""
    with pytest.raises(SpecError, match=said):
        parse_spec(text, "spec")
