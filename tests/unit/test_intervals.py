"""Intervals of a window: closed forms as scipy has them, resampling as scipy does it, and always around the value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.panes import binary_layout, panes_of, regression_layout

from driftline.core.intervals import MIN_BLOCKS, hanley_mcneil, metrics_of_window, wilson
from driftline.core.pane import Pane, Totals
from driftline.spec.model import METRICS

NAMES = METRICS["binary"]


@given(st.integers(1, 10**9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_a_share_is_the_score_interval_of_scipy(pair):
    hits, n = pair
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits / n, n) == pytest.approx((expected.low, expected.high), rel=1e-7, abs=1e-12)


@pytest.mark.parametrize(("auc", "positive", "negative"), [(0.893, 51, 58), (0.6, 200, 1000), (0.75, 30, 30)])
def test_the_interval_of_an_auc_has_the_width_that_repeated_samples_show(auc, positive, negative):
    # the formula is exact for exponential scores: the positives' rate is that which gives this AUC
    chance = np.random.default_rng(11)
    rate = 1.0 / (1 / (1 - auc) - 1)
    high_ones, low_ones = chance.exponential(1 / rate, (1500, positive)), chance.exponential(1.0, (1500, negative))
    sampled = stats.mannwhitneyu(high_ones, low_ones, axis=1).statistic / (positive * negative)
    low, high = hanley_mcneil(auc, positive, negative)
    assert np.mean(sampled) == pytest.approx(auc, abs=0.005)
    assert (high - low) / 2 / stats.norm.ppf(0.975) == pytest.approx(np.std(sampled), rel=0.07)


@pytest.mark.parametrize("auc", [0.0, 0.5, 1.0])
def test_an_auc_of_one_pair_is_held_within_zero_and_one(auc):
    low, high = hanley_mcneil(auc, 1, 1)
    assert 0 <= low <= auc <= high <= 1


def metrics_of(layout, panes, names, seed_parts):
    return metrics_of_window(Totals.of(layout, panes), panes, names, seed_parts)


def week(days=20, a_day=50, seed=4, skill=0.3):
    chance = np.random.default_rng(seed)
    truth = chance.random(days * a_day) < 0.4
    # the skill of whole days differs: neighbours are not independent
    level = np.repeat(chance.normal(skill, 0.25, days), a_day)
    scores = np.clip(0.4 + level * (truth - 0.4) + 0.2 * chance.standard_normal(truth.size), 0.001, 0.999)
    actual = np.where(truth, "yes", "no").tolist()
    predicted = np.where(scores > 0.5, "yes", "no").tolist()
    return predicted, actual, scores.tolist()


def test_whole_panes_are_drawn_again_as_scipy_draws_them():
    predicted, actual, scores = week()
    layout = binary_layout(scores)
    found = metrics_of(layout, panes_of(layout, predicted, actual, scores, panes=20), ["accuracy"], ["seed"])
    right = (np.array(predicted) == np.array(actual)).reshape(20, -1)
    expected = stats.bootstrap(
        (right.sum(axis=1), np.full(20, right.shape[1])),
        lambda hits, n, axis: hits.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    width = expected.high - expected.low
    accuracy = found["accuracy"]
    assert accuracy.method == "block-bootstrap"
    assert accuracy.low == pytest.approx(expected.low, abs=0.15 * width)
    assert accuracy.high == pytest.approx(expected.high, abs=0.15 * width)
    # rows taken for independent would promise more than there is
    low, high = wilson(accuracy.value, right.size)
    assert width > 1.2 * (high - low)


def test_a_replay_gives_the_same_interval_and_another_window_its_own():
    predicted, actual, scores = week()
    layout = binary_layout(scores)
    panes = panes_of(layout, predicted, actual, scores, panes=20)
    once, again, other = (metrics_of(layout, panes, NAMES, seed) for seed in (["a", 1], ["a", 1], ["a", 2]))
    assert once == again
    assert once["auc"].value == other["auc"].value
    assert once["auc"].low != other["auc"].low


def test_a_value_always_lies_within_its_interval():
    predicted, actual, scores = week(skill=0.0)
    layout = binary_layout(scores)
    for panes in (3, MIN_BLOCKS, 60):
        found = metrics_of(layout, panes_of(layout, predicted, actual, scores, panes=panes), NAMES, [panes])
        for value in found.values():
            assert value.low is None or value.low <= value.value <= value.high
        assert (found["log_loss"].low is None) is (panes < MIN_BLOCKS)


def test_few_panes_get_a_closed_form_or_none():
    predicted, actual, scores = week()
    layout = binary_layout(scores)
    found = metrics_of(layout, panes_of(layout, predicted, actual, scores, panes=9), NAMES, [])
    assert {name: value.method for name, value in found.items()} == {
        "accuracy": "wilson", "auc": "hanley-mcneil", "log_loss": "", "f1": "",
    }  # fmt: skip
    accuracy, auc = found["accuracy"], found["auc"]
    positive = actual.count("yes")
    assert (accuracy.low, accuracy.high) == wilson(accuracy.value, len(actual))
    assert (auc.low, auc.high) == hanley_mcneil(auc.value, positive, len(actual) - positive)


def test_panes_without_outcomes_are_no_blocks():
    predicted, actual, scores = week(days=4)
    known = [a if i < 100 else None for i, a in enumerate(actual)]
    layout = binary_layout(scores)
    panes = panes_of(layout, predicted, known, scores, panes=MIN_BLOCKS)
    assert metrics_of(layout, panes, ["accuracy"], [])["accuracy"].method == "wilson"


def test_no_panes_no_labels_and_one_class_have_no_interval_to_show():
    layout = binary_layout()
    unlabelled = panes_of(layout, ["no"] * 20, [None] * 20, [0.1] * 20, panes=20)
    for panes in ([], [Pane()], unlabelled):
        for value in metrics_of(layout, panes, NAMES, []).values():
            assert (value.value, value.low, value.high, value.method) == (None, None, None, "")
    one_class = panes_of(layout, ["no"] * 20, ["no"] * 20, [0.1] * 20, panes=20)
    found = metrics_of(layout, one_class, NAMES, [])
    assert (found["auc"].value, found["auc"].low) == (None, None)
    assert found["accuracy"].low <= found["accuracy"].value == 1


def test_regression_is_resampled_too():
    chance = np.random.default_rng(8)
    actual = chance.normal(size=600)
    predicted = actual + chance.normal(size=600) * np.repeat(chance.uniform(0.5, 2, 20), 30)
    layout = regression_layout()
    found = metrics_of(layout, panes_of(layout, predicted.tolist(), actual.tolist(), panes=20), ["mae"], [])
    errors = np.abs(predicted - actual).reshape(20, -1).mean(axis=1)
    expected = stats.bootstrap(
        (errors,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0)
    )
    width = expected.confidence_interval.high - expected.confidence_interval.low
    assert found["mae"].low == pytest.approx(expected.confidence_interval.low, abs=0.15 * width)
    assert found["mae"].high == pytest.approx(expected.confidence_interval.high, abs=0.15 * width)
