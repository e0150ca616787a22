"""Intervals of a window: closed forms as scipy has them, resampling as scipy does it, and always around the value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.panes import binary_layout, panes_of, regression_layout

from driftline.core.intervals import MIN_BLOCKS, metrics_of_window
from driftline.core.metrics import FORMULAS
from driftline.core.metrics.closed_forms import hanley_mcneil, row_jackknife, wilson
from driftline.core.pane import Pane, Totals
from driftline.spec.metrics import METRICS

NAMES = METRICS["binary"]
STRETCH = stats.t.ppf(0.975, 9) / stats.norm.ppf(0.975) * (10 / 9) ** 0.5
"""How much wider than by percentiles an interval of ten blocks is."""


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
    return metrics_of_window(Totals.of(layout, panes), panes, {name: FORMULAS[name] for name in names}, seed_parts)


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
    right = (np.array(predicted) == np.array(actual)).reshape(10, -1)  # two neighbours a block
    expected = stats.bootstrap(
        (right.sum(axis=1), np.full(10, right.shape[1])),
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
    assert accuracy.value - accuracy.low == pytest.approx(STRETCH * (accuracy.value - expected.low), abs=0.15 * width)
    assert accuracy.high - accuracy.value == pytest.approx(STRETCH * (expected.high - accuracy.value), abs=0.15 * width)
    # of a mean of equal blocks it is Student's interval
    blocks = right.mean(axis=1)
    half = stats.t.ppf(0.975, 9) * stats.sem(blocks)
    assert accuracy.high - accuracy.low == pytest.approx(2 * half, rel=0.15)
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
        assert {value.method == "block-bootstrap" for value in found.values()} == {panes >= MIN_BLOCKS}


def test_few_panes_get_a_closed_form_or_none():
    predicted, actual, scores = week()
    layout = binary_layout(scores)
    found = metrics_of(layout, panes_of(layout, predicted, actual, scores, panes=9), NAMES, [])
    shares = ("accuracy", "precision", "recall", "specificity", "predicted_positive_rate", "actual_positive_rate")
    assert {name: value.method for name, value in found.items()} == {
        **dict.fromkeys(NAMES, "jackknife"), **dict.fromkeys(shares, "wilson"), "auc": "hanley-mcneil",
        "average_precision": "logit", "log_loss": "t", "brier": "t", "ece": "jackknife-t",
    }  # fmt: skip
    two = metrics_of(layout, panes_of(layout, predicted, actual, scores, panes=2), ["ece"], [])["ece"]
    assert (two.low, two.method) == (None, "")
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
        names = [name for name in NAMES if name != "predicted_positive_rate"]  # which needs no labels
        for value in metrics_of(layout, panes, names, []).values():
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
    errors = np.abs(predicted - actual).reshape(10, -1).mean(axis=1)
    expected = stats.bootstrap(
        (errors,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0)
    )
    width = expected.confidence_interval.high - expected.confidence_interval.low
    assert found["mae"].high - found["mae"].low == pytest.approx(STRETCH * width, rel=0.15)


def test_few_panes_of_a_regression_have_the_intervals_of_scipy():
    chance = np.random.default_rng(12)
    actual = chance.normal(size=300)
    errors = chance.normal(0.5, 1, size=300)
    layout = regression_layout()
    panes = panes_of(layout, (actual + errors).tolist(), actual.tolist(), panes=3)
    found = metrics_of(layout, panes, METRICS["regression"], [])
    for name, values in (("mae", np.abs(errors)), ("bias", errors)):
        low, high = stats.t.interval(0.95, 299, values.mean(), stats.sem(values))
        assert (found[name].low, found[name].high) == (pytest.approx(low), pytest.approx(high))
    assert found["rmse"].method == found["r2"].method == "jackknife-t"
    median = found["absolute_error_p50"]
    ranks = np.sort(np.abs(errors))[[132, 166]]
    assert (median.low, median.high) == (pytest.approx(ranks[0], rel=0.2), pytest.approx(ranks[1], rel=0.2))
    assert all(value.low <= value.value <= value.high for value in found.values())


def test_leaving_out_each_row_is_what_the_jackknife_of_a_table_does():
    matrix = np.array([[[30.0, 5.0], [4.0, 20.0]]])

    def f1(m):
        return 2 * m[:, 1, 1] / (2 * m[:, 1, 1] + m[:, 0, 1] + m[:, 1, 0])

    rows = [cell for cell in np.ndindex(2, 2) for _ in range(int(matrix[0][cell]))]
    without = []
    for cell in rows:
        less = matrix.copy()
        less[0][cell] -= 1
        without.append(f1(less)[0])
    error = np.sqrt((59 - 1) * np.var(without))
    half = stats.t.ppf(0.975, 58) * error
    low, high, method = row_jackknife(f1, matrix)
    assert (low, high) == (pytest.approx(f1(matrix)[0] - half), pytest.approx(f1(matrix)[0] + half))
    assert method == "jackknife"
