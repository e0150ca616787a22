"""From a figure to a named reason."""

from __future__ import annotations

import pytest
from tests.timeline.stories import reading, rule

from driftline.core.rules import BREACHES, Reading, Reason, judge, judge_worst, read, threshold
from driftline.events.reports import Drift, MetricValue, Segment, Window, WindowReport


@pytest.mark.parametrize(
    ("text", "seen", "reason"),
    [
        ("auc below 0.64", ".60~.02", Reason.BREACH_CERTAIN),
        ("auc below 0.64", ".60~.05", Reason.BREACH_UNCERTAIN),
        ("auc below 0.64", ".60", Reason.BREACH_UNCERTAIN),
        ("auc below 0.64", ".64", Reason.CLEARED),
        ("auc below 0.64 clear 0.66", ".65", Reason.WITHIN),
        ("auc below 0.64 clear 0.66", ".66", Reason.CLEARED),
        ("log_loss above 0.5", ".60~.05", Reason.BREACH_CERTAIN),
        ("log_loss above 0.5", ".60~.10", Reason.BREACH_UNCERTAIN),
        ("log_loss above 0.5", ".50", Reason.CLEARED),
        ("log_loss above 0.5 clear 0.4", ".45", Reason.WITHIN),
        ("log_loss above 0.5 clear 0.4", ".40", Reason.CLEARED),
        ("auc below 0.64", ".60/99", Reason.TOO_FEW_SAMPLES),
        ("auc below 0.64", ".60/100", Reason.BREACH_UNCERTAIN),
        ("auc below 0.64", ".60@.89", Reason.TOO_LITTLE_COVERAGE),
        ("auc below 0.64", ".60@.9", Reason.BREACH_UNCERTAIN),
        ("auc below 0.64", "?", Reason.UNDEFINED),
    ],
)
def test_every_reading_has_its_named_reason(text, seen, reason):
    assert judge(rule(text), reading(seen)) is reason


def test_too_few_samples_are_named_before_too_little_coverage():
    assert judge(rule("auc below 0.64"), reading(".60/5@.1")) is Reason.TOO_FEW_SAMPLES


def test_coverage_plays_no_part_where_no_outcome_does():
    assert judge(rule("psi above 0.2"), Reading("psi(x)", 0.3, None, None, 1000, None)) in BREACHES


def test_the_threshold_is_the_one_that_fires():
    assert threshold(rule("auc below 0.64 clear 0.66")) == 0.64
    assert threshold(rule("psi above 0.2 clear 0.1")) == 0.2


def psi(name, value, n=1000):
    return Reading(name, value, None, None, n, None)


def test_the_worst_feature_decides():
    found = judge_worst(rule("psi above 0.2"), [psi("a", 0.1), psi("b", 0.4), psi("c", 0.3)])
    assert found == (psi("b", 0.4), Reason.BREACH_UNCERTAIN)


def test_for_a_metric_that_should_be_high_the_worst_is_the_lowest():
    assert judge_worst(rule("auc below 0.64"), [reading(".70"), reading(".60")])[0].value == 0.60


def test_a_feature_with_too_few_values_hides_no_breach_of_another():
    found = judge_worst(rule("psi above 0.2"), [psi("rare", 9.0, n=3), psi("common", 0.3)])
    assert found == (psi("common", 0.3), Reason.BREACH_UNCERTAIN)


def test_an_undefined_feature_hides_no_breach_of_another():
    found = judge_worst(rule("psi above 0.2"), [psi("new", None), psi("known", 0.3)])
    assert found[1] is Reason.BREACH_UNCERTAIN


def test_clear_means_that_the_worst_is_clear():
    of = rule("psi above 0.2 clear 0.1")
    assert judge_worst(of, [psi("a", 0.05), psi("b", 0.15)])[1] is Reason.WITHIN
    assert judge_worst(of, [psi("a", 0.05), psi("b", 0.1)])[1] is Reason.CLEARED


def test_nothing_to_judge_is_no_judgement():
    assert judge_worst(rule("psi above 0.2"), []) is None
    assert judge_worst(rule("psi above 0.2"), [psi("a", 0.9, n=1)]) is None


def window_report():
    everybody = Segment(
        segment="all",
        n=200,
        labelled=150,
        coverage=0.75,
        metrics={"auc": MetricValue(value=0.6, low=0.5, high=0.7, n=150)},
        drift={
            name: Drift(psi=0.1, n=n, missing=0, out_of_range=0, unseen=0, hellinger=0.3)
            for name, n in (("a", 200), ("b", 190))
        },
    )
    return WindowReport(
        id="r",
        model="m",
        version="1",
        role="champion",
        window=Window(name="day", start=0, end=1),
        revision=1,
        completeness=1.0,
        baseline="b",
        segments=(everybody,),
    )


def test_a_metric_is_read_with_its_interval_n_and_coverage():
    assert read(rule("auc below 0.64"), window_report().segments[0]) == [Reading("auc", 0.6, 0.5, 0.7, 150, 0.75)]


def test_a_metric_that_the_report_does_not_hold_is_no_reading():
    assert read(rule("mae above 1"), window_report().segments[0]) == []


def test_drift_is_read_for_the_features_of_the_rule_only():
    of = rule("psi above 0.2", kind="drift", features=("b", "unknown"))
    (everybody,) = window_report().segments
    assert read(of, everybody) == [Reading("psi(b)", 0.1, None, None, 190, None)]
    of = rule("hellinger above 0.2", kind="drift", features=("b",))
    assert read(of, everybody) == [Reading("hellinger(b)", 0.3, None, None, 190, None)]
    of = rule("ks above 0.2", kind="drift", features=("b",))
    assert [reading.value for reading in read(of, everybody)] == [None]
