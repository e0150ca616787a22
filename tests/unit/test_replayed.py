"""Figures of many windows at once are those that reports tell of each, turned so that greater is worse."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from tests.panes import BINARY, REGRESSION, binary_layout, panes_of, regression_layout

from driftline.core.budget import Course
from driftline.core.drift import drift_of
from driftline.core.estimation import calibration, estimates
from driftline.core.metrics import compute
from driftline.core.pane import Pane, Totals
from driftline.core.references import baseline_of
from driftline.core.replayed import figures_of
from driftline.spec.metrics import higher_is_better
from driftline.spec.model import RuleSpec

COURSE = Course(panes=24, span=4, every=2)
EVERY = np.arange(COURSE.panes)
ALL = np.ones(COURSE.panes)
CHANCE = np.random.default_rng(8)
TRUTH = CHANCE.random(960) < 0.4
SCORES = 1 / (1 + np.exp(-(1.5 * TRUTH - 0.8 + CHANCE.standard_normal(960))))
TOLD = [None if i % 11 == 0 else ("yes" if truth else "no") for i, truth in enumerate(TRUTH)]


def rule(kind, target, **changes):
    return RuleSpec(name="r", kind=kind, target=target, window="hour", **({"min_samples": 10} | changes))


def classified():
    layout = binary_layout()
    said = ["yes" if score > 0.5 else "no" for score in SCORES]
    panes = panes_of(layout, said, TOLD, SCORES.tolist(), COURSE.panes)
    return layout, [*panes[:7], Pane(), *panes[8:]]


def windows(layout, panes):
    starts = range(0, COURSE.panes - COURSE.span + 1, COURSE.every)
    return [Totals.of(layout, panes[start : start + COURSE.span]) for start in starts]


@pytest.mark.parametrize("metric", ["accuracy", "precision", "f1", "auc", "log_loss", "ece"])
def test_metrics_of_a_binary_model(metric):
    layout, panes = classified()
    found = figures_of(BINARY, rule("metric", metric), layout, panes)(COURSE.windows(EVERY), ALL, ALL)
    sign = -1 if higher_is_better(metric) else 1
    assert found == pytest.approx([sign * compute(each, metric).value for each in windows(layout, panes)])


@pytest.mark.parametrize("metric", ["mae", "rmse", "r2", "absolute_error_p90"])
def test_metrics_of_a_regression(metric):
    layout, truth = regression_layout(), CHANCE.normal(size=960)
    panes = panes_of(layout, (truth + CHANCE.normal(size=960)).tolist(), truth.tolist(), None, COURSE.panes)
    found = figures_of(REGRESSION, rule("metric", metric), layout, panes)(COURSE.windows(EVERY), ALL, ALL)
    sign = -1 if higher_is_better(metric) else 1
    assert found == pytest.approx([sign * compute(each, metric).value for each in windows(layout, panes)])


def test_estimates():
    layout, panes = classified()
    formula = estimates(calibration(Totals.of(layout, panes)))["f1"]
    found = figures_of(BINARY, rule("estimate", "f1"), layout, panes)(COURSE.windows(EVERY), ALL, ALL)
    assert found == pytest.approx([-formula.point(each).value for each in windows(layout, panes)])


def test_drift_is_that_of_the_feature_that_has_moved_furthest():
    layout, panes = classified()
    of = rule("drift", "psi", features=("score", "prediction"))
    found = figures_of(BINARY, of, layout, panes)(COURSE.windows(EVERY), ALL, ALL)
    reference = baseline_of("m", "1", BINARY.baseline, [], Totals.of(layout, panes))
    told = [drift_of(each, reference) for each in windows(layout, panes)]
    assert found == pytest.approx([max(each["score"].psi, each["prediction"].psi) for each in told])


def test_what_a_rule_would_not_judge_is_no_figure():
    layout, panes = classified()
    every = COURSE.windows(EVERY)
    many = figures_of(BINARY, rule("metric", "accuracy", min_samples=130), layout, panes)(every, ALL, ALL)
    assert np.isnan(many).sum() == 2  # those that hold the pane in which nothing came
    covered = figures_of(BINARY, rule("metric", "accuracy", min_coverage=0.95), layout, panes)(every, ALL, ALL)
    assert np.isnan(covered).all()
    few = msgspec.structs.replace(rule("drift", "psi", features=("score",)), min_samples=1000)
    assert np.isnan(figures_of(BINARY, few, layout, panes)(every, ALL, ALL)).all()


def test_one_class_has_no_figure_that_needs_two():
    layout = binary_layout()
    panes = panes_of(layout, ["no"] * 960, ["no"] * 960, SCORES.tolist(), COURSE.panes)
    found = figures_of(BINARY, rule("metric", "auc"), layout, panes)(COURSE.windows(EVERY), ALL, ALL)
    assert np.isnan(found).all()
