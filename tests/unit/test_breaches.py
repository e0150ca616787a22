"""What the spec forbids is noticed in the slice in which it arrives, feature by feature."""

from __future__ import annotations

import math

from tests.engine import Engine

from driftline.core.alerts import Standing, observe_breach
from driftline.core.binning import default_bins
from driftline.core.breaches import SAMPLES
from driftline.core.pane import Layout
from driftline.events.inputs import Prediction
from driftline.events.slices import BreachReason
from driftline.spec.model import RuleSpec
from driftline.spec.reader import parse_spec

SLICE_MS = 1000
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


def found_in(*rows, slice_number=3):
    """(slice, breach) of predictions p0, p1, ... with (temp, origin, score), as they come through the monitor."""
    engine = Engine(SPEC, {"1": Layout(default_bins(SPEC))}, SLICE_MS)
    return found_by(engine, rows, slice_number)


def found_by(engine, rows, slice_number):
    time = slice_number * SLICE_MS
    arrivals = [
        (
            time,
            Prediction(
                id=f"{slice_number}p{i}",
                model="m",
                version="1",
                time=time,
                prediction="yes",
                score=score,
                features={"temp": temp, "origin": origin},
            ),
        )
        for i, (temp, origin, score) in enumerate(rows)
    ]
    return [(number, breach) for number, each in engine.feed(arrivals).breaches.items() for breach in each]


def test_what_is_declared_breaks_nothing():
    assert found_in((20.0, "EWR", 0.5), (None, "JFK", None), (-60, 7, 0.0), (130, True, 1.0)) == []


def test_the_number_farthest_outside_its_range_is_told_with_the_range():
    ((number, breach),) = found_in((131, "EWR", 0.5), (-300.5, "EWR", 0.5), (0, "EWR", 0.5))
    assert (number, breach.name, breach.reason, breach.n) == (3, "temp", BreachReason.OUT_OF_RANGE, 2)
    assert (breach.low, breach.high, breach.worst, breach.samples) == (-60, 130, -300.5, ("3p0", "3p1"))


def test_a_huge_number_is_out_of_range_like_any_other():
    ((_, breach),) = found_in((1e308, "EWR", 0.5))
    assert breach.worst == 1e308


def test_a_score_outside_its_range_is_a_breach_and_a_missing_score_is_none():
    ((_, breach),) = found_in((0, "EWR", math.nextafter(1, 2)), (0, "EWR", None))
    assert (breach.name, breach.n) == ("score", 1)


def test_a_category_outside_the_allowed_set_is_told_by_its_first_value():
    ((_, breach),) = found_in((0, "LAX", 0.5), (0, "EWR", 0.5), (0, "", 0.5))
    assert (breach.name, breach.reason, breach.n, breach.worst) == ("origin", BreachReason.NOT_ALLOWED, 2, "LAX")
    assert (breach.low, breach.high) == (None, None)


def test_a_missing_value_is_a_breach_unless_the_feature_allows_it():
    ((_, breach),) = found_in((None, None, 0.5))
    assert (breach.name, breach.reason, breach.worst) == ("origin", BreachReason.MISSING, None)


def test_each_slice_has_breaches_of_its_own():
    engine = Engine(SPEC, {"1": Layout(default_bins(SPEC))}, SLICE_MS)
    found = [*found_by(engine, [(0, "LAX", 0.5)], 4), *found_by(engine, [(0, "SFO", 0.5)], 9)]
    assert [(number, breach.worst) for number, breach in found] == [(4, "LAX"), (9, "SFO")]


def test_a_breach_carries_the_first_few_sample_ids():
    ((_, breach),) = found_in(*[(0, None, 0.5)] * 20)
    assert (breach.n, breach.samples) == (20, tuple(f"3p{i}" for i in range(SAMPLES)))


def test_the_alert_says_what_was_wrong_with_the_value():
    rule = RuleSpec(name="range:origin", kind="range", target="origin")
    told = {}
    for origin in ("LAX", None):
        ((_, breach),) = found_in((0, origin, 0.5))
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
