"""Which drifted feature goes with the errors: worked out by hand, and told first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine import Engine

from driftline.core.baseline import make_baseline
from driftline.core.pane import Layout, Pane, Totals
from driftline.core.ranking import PRIOR, error_effects, ranked
from driftline.core.reports import Circumstances, report
from driftline.events.inputs import Outcome, Prediction
from driftline.events.reports import Drift, Window
from driftline.spec.reader import parse_spec

SPEC = parse_spec(
    """
model: m
task: binary
labels: [no, yes]
positive: yes
features:
  harmful: {type: category, missing: allowed}
  harmless: {type: category, missing: allowed}
horizon: 1h
windows: {hour: {span: 1h}}
""",
    "spec",
)
KNOWN = {"harmful": ["a"] * 90 + ["b"] * 10, "harmless": ["a"] * 90 + ["b"] * 10}
BASELINE = make_baseline(SPEC, KNOWN, np.linspace(0, 1, 100), None, "1", "test")


def totals_of(rows):
    """Rows of (harmful, harmless, right); None: no outcome yet."""
    engine = Engine(SPEC, {"1": Layout(BASELINE.bins)}, 60_000)
    events = []
    for i, (harmful, harmless, right) in enumerate(rows):
        values = {"harmful": harmful, "harmless": harmless}
        told = Prediction(id=str(i), model="m", version="1", time=0, features=values, prediction="yes", score=0.9)
        events.append((0, told))
        if right is not None:
            events.append((0, Outcome(id=str(i), model="m", time=1, outcome="yes" if right else "no")))
    result = engine.feed(events)
    (delta,) = result.panes[0]
    layout = Layout(BASELINE.bins)
    pane = Pane.of(np.array(delta.cells), np.array(delta.counts), delta.sums)
    return layout, pane, Totals.of(layout, [pane])


# both features have moved to `b` in half of the rows; errors come only where `harmful` is `b`
MOVED = [("a", "a", True), ("b", "a", False), ("a", "b", True), ("b", "b", False)] * 250


def test_the_effect_is_the_shift_of_mass_times_the_share_of_errors_in_each_bin():
    _, _, totals = totals_of(MOVED)
    found = error_effects(totals, BASELINE)
    smoothed_b, smoothed_a = (500 + PRIOR / 2) / (500 + PRIOR), (PRIOR / 2) / (500 + PRIOR)
    assert found["harmful"] == pytest.approx((0.5 - 0.1) * smoothed_b + (0.5 - 0.9) * smoothed_a)
    assert found["harmless"] == pytest.approx(0, abs=1e-12)


def test_the_alert_names_the_feature_that_goes_with_the_errors_first():
    layout, pane, _ = totals_of(MOVED)
    window = Window(name="hour", start=0, end=3_600_000)
    panes = {("", "all"): {0: pane}}
    told = report(SPEC, "1", "champion", window, 0, "b", layout, panes, lambda *_: BASELINE, Circumstances())
    drift = told.segments[0].drift
    assert drift["harmful"].psi == drift["harmless"].psi
    assert ranked(drift)[0].feature == "harmful"
    assert ranked(drift)[0].error_effect > 0.3


def drift(psi, effect=None):
    return Drift(psi=psi, n=10, missing=0, out_of_range=0, unseen=0, error_effect=effect)


def test_where_errors_are_not_known_the_distance_decides():
    order = [e.feature for e in ranked({"x": drift(0.1), "y": drift(0.9), "z": drift(None), "w": drift(0.1)})]
    assert order == ["y", "w", "x"]


def test_drift_that_lessens_errors_comes_after_drift_that_makes_more():
    told = {"better": drift(2.0, -0.5), "worse": drift(0.1, 0.01), "neither": drift(0.5, 0.0)}
    assert [e.feature for e in ranked(told)] == ["worse", "better", "neither"]


@pytest.mark.parametrize("rows", [[("a", "a", None)] * 5, [(None, None, None)]])
def test_without_outcomes_there_is_no_effect(rows):
    assert error_effects(totals_of(rows)[2], BASELINE) == {}


def test_without_a_baseline_there_is_no_effect():
    assert error_effects(totals_of(MOVED)[2], None) == {}


values = st.sampled_from(["a", "b", "c", None])


@given(st.lists(st.tuples(values, values, st.sampled_from([True, False, None])), min_size=1, max_size=40))
def test_right_and_wrong_add_up_to_the_labelled_rows_of_each_bin(rows):
    _, _, totals = totals_of(rows)
    for place, name in enumerate(("harmful", "harmless")):
        cells = {"a": 0, "b": 1, None: 3}
        for side, was in (("right", True), ("wrong", False)):
            expected = np.zeros(4, np.int64)
            for row in rows:
                if row[2] is was:
                    expected[cells.get(row[place], 2)] += 1
            assert totals.histogram(f"{side}:{name}").tolist() == expected.tolist()


@given(st.lists(st.tuples(values, values, st.booleans()), min_size=1, max_size=40))
def test_an_effect_is_no_larger_than_all_errors(rows):
    for effect in error_effects(totals_of(rows)[2], BASELINE).values():
        assert -1 <= effect <= 1


BIKE = parse_spec("model: m\ntask: regression\nfeatures: {x: {type: category}}\nwindows: {hour: {span: 1h}}\n", "bike")


def test_in_a_regression_an_error_is_large_beyond_the_median_error_of_the_reference():
    truths = [0.0, 0.0, 0.0, None]
    known = make_baseline(BIKE, {"x": list("aabb")}, None, np.array([1.0, 2.0, 9.0, 5.0]), "1", "test", truths)
    assert known.bins.large_error == 2.0
    engine = Engine(BIKE, {"1": Layout(known.bins)}, 60_000)
    events = []
    for i, (x, error) in enumerate([("a", 2.0), ("a", -2.1), ("b", 0.0), ("b", 1e300), ("b", -5.0)]):
        told = Prediction(id=str(i), model="m", version="1", time=0, features={"x": x}, prediction=0.0)
        events += [(0, told), (0, Outcome(id=str(i), model="m", time=1, outcome=min(error, 1e140)))]
    (delta,) = engine.feed(events).panes[0]
    pane = Pane.of(np.array(delta.cells), np.array(delta.counts), delta.sums)
    totals = Totals.of(Layout(known.bins), [pane])
    assert totals.histogram("wrong:x").tolist() == [1, 2, 0, 0]
    assert totals.histogram("right:x").tolist() == [1, 1, 0, 0]


def test_reference_rows_with_numbers_that_would_be_refused_have_no_errors():
    said = np.array([1.0, 1e200, 3.0])
    known = make_baseline(BIKE, {"x": list("aab")}, None, said, "1", "test", [1.0, 2.0, -1e300])
    assert known.n == 3
    assert known.counts["labelled"] == (1,)


@pytest.mark.parametrize("truths", [[], [None] * 4, [float("nan")] * 4])
def test_a_regression_without_known_truths_tells_no_errors_by_feature(truths):
    known = make_baseline(BIKE, {"x": list("aabb")}, None, np.arange(4.0), "1", "test", truths)
    assert known.bins.large_error is None
    assert "wrong:x" not in Layout(known.bins).cells
