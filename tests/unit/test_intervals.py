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
from driftline.core.metrics.closed_forms import hanley_mcneil, score_of_table, wilson
from driftline.core.pane import Pane, Totals
from driftline.spec.metrics import METRICS, metric_of

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
    chance = np.random.default_rng(11)
    high_ones = chance.normal(2**0.5 * stats.norm.ppf(auc), 1, (1500, positive))
    low_ones = chance.normal(0, 1, (1500, negative))
    sampled = stats.mannwhitneyu(high_ones, low_ones, axis=1).statistic / (positive * negative)
    low, high = hanley_mcneil(auc, positive, negative)
    assert np.mean(sampled) == pytest.approx(auc, abs=0.005)
    assert (high - low) / 2 / stats.norm.ppf(0.975) == pytest.approx(np.std(sampled), rel=0.15)


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
        methods = {name: value.method for name, value in found.items() if name != "ece"}
        assert {method == "block-bootstrap" for method in methods.values()} == {panes >= MIN_BLOCKS}


def test_few_panes_get_a_closed_form_or_none():
    predicted, actual, scores = week()
    layout = binary_layout(scores)
    found = metrics_of(layout, panes_of(layout, predicted, actual, scores, panes=9), NAMES, [])
    shares = ("accuracy", "precision", "recall", "specificity", "predicted_positive_rate", "actual_positive_rate")
    assert {name: value.method for name, value in found.items()} == {
        **dict.fromkeys(NAMES, "delta"), **dict.fromkeys(shares, "wilson"), "auc": "hanley-mcneil",
        "average_precision": "wilson", "log_loss": "t", "brier": "t", "ece": "",
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
    assert found.pop("absolute_error_p99").low is None  # the largest of 300 may be smaller
    assert all(value.low <= value.value <= value.high for value in found.values())


def test_the_interval_of_a_share_of_a_table_is_nearly_that_of_the_share():
    matrix = np.array([[[300.0, 50.0], [40.0, 200.0]]])
    low, high, method = score_of_table(
        lambda m: (m[:, 0, 0] + m[:, 1, 1]) / m.sum(axis=(1, 2)), matrix, (0.0, 1.0), 0.0
    )
    assert (low, high) == pytest.approx(wilson(500 / 590, 590), abs=1e-3)
    assert method == "delta"


def test_a_figure_of_a_table_varies_as_repeated_samples_do():
    shares, rows = np.array([0.55, 0.1, 0.1, 0.25]), 2000

    def f2(m):
        return 5 * m[:, 1, 1] / (4 * m[:, 1].sum(axis=1) + m[:, :, 1].sum(axis=1))

    sampled = f2(np.random.default_rng(3).multinomial(rows, shares, 4000).reshape(-1, 2, 2))
    low, high, _ = score_of_table(f2, (rows * shares).reshape(1, 2, 2), (0.0, 1.0), 0.0)
    assert high - low == pytest.approx(2 * stats.norm.ppf(0.975) * sampled.std(), rel=0.05)


def test_what_never_went_wrong_in_few_rows_is_not_certain():
    layout = binary_layout()
    panes = panes_of(layout, ["no", "yes"] * 20, ["no", "yes"] * 20, [0.1, 0.9] * 20, panes=20)
    for name, value in metrics_of(layout, panes, [n for n in NAMES if metric_of(n).interval], []).items():
        assert value.method != "block-bootstrap" or name in ("log_loss", "brier"), name
        if name in ("recall", "precision", "specificity", "f1", "mcc", "auc", "balanced_accuracy"):
            assert value.value == value.high == 1
            assert value.low < 0.92


def test_few_errors_that_come_together_say_less_than_as_many_that_do_not():
    layout = binary_layout()
    scattered, together = (
        panes_of(layout, ["no"] * 1000, ["yes" if i in wrong else "no" for i in range(1000)], panes=20)
        for wrong in (range(0, 1000, 50), range(20))
    )
    apart, one_block = (metrics_of(layout, panes, ["accuracy"], [])["accuracy"] for panes in (scattered, together))
    assert apart.value == one_block.value == 0.98
    assert {apart.method, one_block.method} == {"wilson"}
    assert one_block.high - one_block.low > 2 * (apart.high - apart.low)


def test_calibration_errors_have_no_interval():
    predicted, actual, scores = week()
    layout = binary_layout(scores)
    for panes in (1, 9, 60):
        found = metrics_of(layout, panes_of(layout, predicted, actual, scores, panes=panes), ["ece"], [])["ece"]
        assert found.value > 0
        assert (found.low, found.high, found.method) == (None, None, "")


def test_the_largest_errors_of_few_rows_have_no_interval():
    layout = regression_layout()
    panes = panes_of(layout, [0.0] * 50, np.linspace(1, 2, 50).tolist())
    found = metrics_of(layout, panes, ["absolute_error_p50", "absolute_error_p99"], [])
    assert found["absolute_error_p50"].low is not None
    assert found["absolute_error_p99"].low is None
