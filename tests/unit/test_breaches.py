"""What the spec forbids is noticed in the slice in which it arrives, feature by feature."""

from __future__ import annotations

import math

from driftline.core.alerts import Standing, observe_breach
from driftline.core.arrivals import ArrivedPrediction
from driftline.core.breaches import SAMPLES, breaches_of
from driftline.events.slices import BreachReason
from driftline.spec.model import RuleSpec
from driftline.spec.reader import parse_spec

SPEC = parse_spec(
    """
model: m
task: binary
labels: ["no", "yes"]
positive: "yes"
features:
  temp: {type: number, range: [-60, 130], missing: allowed}
  origin: {type: category, allowed: [EWR, JFK, "7", "true"]}
outputs: {score: {range: [0, 1]}}
horizon: 1h
windows: {day: {span: 24h}}
""",
    "spec",
)


def arrived(*rows, slice_number=3):
    """Predictions p0, p1, ... with (temp, origin, score)."""
    return [
        ArrivedPrediction(slice_number, f"p{i}", "1", "champion", 0, 1.0, score, (temp, origin), i)
        for i, (temp, origin, score) in enumerate(rows)
    ]


def test_what_is_declared_breaks_nothing():
    rows = arrived((20.0, "EWR", 0.5), (None, "JFK", None), (-60, 7, 0.0), (130, True, 1.0))
    assert breaches_of(SPEC, "1", rows) == []


def test_no_rows_no_breaches():
    assert breaches_of(SPEC, "1", []) == []


def test_the_number_farthest_outside_its_range_is_told_with_the_range():
    ((number, breach),) = breaches_of(SPEC, "1", arrived((131, "EWR", 0.5), (-300.5, "EWR", 0.5), (0, "EWR", 0.5)))
    assert (number, breach.name, breach.reason, breach.n) == (3, "temp", BreachReason.OUT_OF_RANGE, 2)
    assert (breach.low, breach.high, breach.worst, breach.samples) == (-60, 130, -300.5, ("p0", "p1"))


def test_a_huge_number_is_out_of_range_like_any_other():
    ((_, breach),) = breaches_of(SPEC, "1", arrived((1e308, "EWR", 0.5)))
    assert breach.worst == 1e308


def test_a_score_outside_its_range_is_a_breach_and_a_missing_score_is_none():
    ((_, breach),) = breaches_of(SPEC, "1", arrived((0, "EWR", math.nextafter(1, 2)), (0, "EWR", None)))
    assert (breach.name, breach.n) == ("score", 1)


def test_a_category_outside_the_allowed_set_is_told_by_its_first_value():
    rows = arrived((0, "LAX", 0.5), (0, "EWR", 0.5), (0, "", 0.5))
    ((_, breach),) = breaches_of(SPEC, "1", rows)
    assert (breach.name, breach.reason, breach.n, breach.worst) == ("origin", BreachReason.NOT_ALLOWED, 2, "LAX")
    assert (breach.low, breach.high) == (None, None)


def test_a_missing_value_is_a_breach_unless_the_feature_allows_it():
    ((_, breach),) = breaches_of(SPEC, "1", arrived((None, None, 0.5)))
    assert (breach.name, breach.reason, breach.worst) == ("origin", BreachReason.MISSING, None)


def test_each_slice_has_breaches_of_its_own():
    rows = [*arrived((0, "LAX", 0.5), slice_number=4), *arrived((0, "SFO", 0.5), slice_number=9)]
    assert [(number, breach.worst) for number, breach in breaches_of(SPEC, "1", rows)] == [(4, "LAX"), (9, "SFO")]


def test_a_breach_carries_the_first_few_sample_ids():
    rows = arrived(*[(0, None, 0.5)] * 20)
    ((_, breach),) = breaches_of(SPEC, "1", rows)
    assert (breach.n, breach.samples) == (20, tuple(f"p{i}" for i in range(SAMPLES)))


def test_the_alert_says_what_was_wrong_with_the_value():
    rule = RuleSpec(name="range:origin", kind="range", target="origin")
    told = {}
    for origin in ("LAX", None):
        ((_, breach),) = breaches_of(SPEC, "1", arrived((0, origin, 0.5)))
        alert = observe_breach(Standing(), rule, breach, 1000, "slice/0/3")
        told[alert.reason] = (alert.value, alert.threshold, alert.summary)
    assert told == {
        "not-allowed": (
            None,
            None,
            "origin of m version 1 is none of its allowed values: 'LAX', in 1 prediction so far.",
        ),
        "missing": (None, None, "origin of m version 1 is missing, in 1 prediction so far."),
    }
