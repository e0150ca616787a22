"""Every metric of a window is the one that scikit-learn computes from the rows, at the edges too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from tests.panes import binary_layout, panes_of, regression_layout

from driftline.core.metrics import Draws, compute, resampled
from driftline.core.pane import SCALE, Totals
from driftline.spec.model import METRICS

LABELS = ("no", "yes")


def binary(predicted, actual, scores=None, reference=None):
    layout = binary_layout(reference)
    return Totals.of(layout, panes_of(layout, predicted, actual, scores))


def regression(predicted, actual):
    layout = regression_layout()
    return Totals.of(layout, panes_of(layout, predicted, actual))


def figures(totals, task="binary"):
    return {name: compute(totals, name).value for name in METRICS[task]}


def a_thousand(n=1000, seed=3, skill=1.5, decimals=16):
    chance = np.random.default_rng(seed)
    truth = chance.random(n) < 0.3
    scores = np.round(1 / (1 + np.exp(-(skill * truth - 1 + chance.standard_normal(n)))), decimals)
    return [LABELS[t] for t in truth.astype(int)], [LABELS[s] for s in (scores > 0.5).astype(int)], scores.tolist()


def test_binary_metrics_are_those_of_scikit_learn():
    actual, predicted, scores = a_thousand()
    found = binary(predicted, actual, scores, reference=scores)
    truth = np.array(actual) == "yes"
    assert compute(found, "accuracy").value == pytest.approx(sk.accuracy_score(actual, predicted), abs=1e-12)
    assert compute(found, "f1").value == pytest.approx(sk.f1_score(actual, predicted, pos_label="yes"), abs=1e-12)
    assert compute(found, "log_loss").value == pytest.approx(sk.log_loss(truth, scores), abs=1e-12)
    auc = compute(found, "auc")
    assert abs(auc.value - sk.roc_auc_score(truth, scores)) <= auc.error_bound + 1e-12
    assert auc.error_bound < 0.001
    assert {compute(found, name).n for name in METRICS["binary"]} == {1000}


def test_auc_is_exact_where_equal_scores_share_a_bin_of_their_own():
    actual, predicted, scores = a_thousand(decimals=1)
    found = compute(binary(predicted, actual, scores, reference=scores), "auc")
    # ties count half, as in scikit-learn
    assert found.value == pytest.approx(sk.roc_auc_score(np.array(actual) == "yes", scores), abs=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=2, max_size=60))
def test_auc_is_never_further_off_than_it_says(rows):
    truth, scores = [t for t, _ in rows], [s for _, s in rows]
    found = compute(binary(["no"] * len(rows), [LABELS[t] for t in truth], scores), "auc")
    if len(set(truth)) < 2:
        assert found.value is None
    else:
        assert abs(found.value - sk.roc_auc_score(truth, scores)) <= found.error_bound + 1e-12


def test_predictions_without_an_outcome_change_nothing_but_coverage():
    actual, predicted, scores = a_thousand()
    known = [a if i % 3 else None for i, a in enumerate(actual)]
    some = [i for i, a in enumerate(known) if a is not None]
    whole = binary(predicted, known, scores)
    part = binary([predicted[i] for i in some], [actual[i] for i in some], [scores[i] for i in some])
    assert figures(whole) == figures(part)
    assert (whole.n, whole.labelled) == (1000, len(some))


def test_nothing_is_known_of_no_rows_and_of_rows_without_outcomes():
    for totals in (binary([], []), binary(["yes", "no"], [None, None], [0.9, 0.1])):
        assert figures(totals) == dict.fromkeys(METRICS["binary"])
        assert {compute(totals, name).n for name in METRICS["binary"]} == {0}
    assert figures(regression([1.0], [None]), "regression") == {"mae": None, "rmse": None}


@pytest.mark.parametrize("only", LABELS)
def test_one_class_has_no_auc_and_the_rest_as_scikit_learn_says(only):
    predicted, scores = ["yes", "no", "no"], [0.9, 0.2, 0.4]
    found = figures(binary(predicted, [only] * 3, scores))
    assert found["auc"] is None
    assert found["accuracy"] == pytest.approx(sk.accuracy_score([only] * 3, predicted), abs=1e-12)
    assert found["f1"] == pytest.approx(sk.f1_score([only] * 3, predicted, pos_label="yes", zero_division=0), abs=1e-12)
    assert found["log_loss"] == pytest.approx(sk.log_loss([only == "yes"] * 3, scores, labels=[False, True]), abs=1e-12)


def test_f1_is_zero_where_nothing_is_positive_and_nothing_was_called_so():
    actual, predicted = ["no", "no"], ["no", "no"]
    assert figures(binary(predicted, actual))["f1"] == sk.f1_score(actual, predicted, pos_label="yes", zero_division=0)


def test_a_constant_score_tells_nothing():
    found = compute(binary(["no"] * 4, ["yes", "no", "no", "yes"], [0.3] * 4, reference=[0.3] * 4), "auc")
    assert found.value == 0.5 == sk.roc_auc_score([1, 0, 0, 1], [0.3] * 4)


def test_a_certain_and_wrong_score_costs_much_and_not_infinitely_much():
    actual, scores = ["no", "yes", "yes"], [1.0, 0.0, 1.0]
    found = figures(binary(["yes", "no", "yes"], actual, scores))["log_loss"]
    assert found == pytest.approx(sk.log_loss([0, 1, 1], scores), abs=1e-9)


def test_scores_that_are_missing_are_left_out_of_what_needs_a_score():
    actual, predicted = ["yes", "no", "yes", "no"], ["yes", "no", "no", "no"]
    found = binary(predicted, actual, [0.9, None, 0.4, 0.6])
    assert compute(found, "auc").n == compute(found, "log_loss").n == 3
    assert compute(found, "log_loss").value == pytest.approx(sk.log_loss([1, 1, 0], [0.9, 0.4, 0.6]), abs=1e-12)
    assert compute(found, "auc").value == sk.roc_auc_score([1, 1, 0], [0.9, 0.4, 0.6])
    assert compute(found, "accuracy").value == sk.accuracy_score(actual, predicted)


@pytest.mark.parametrize("scores", [[-0.0, 0.0, 1.0], [-5.0, 0.2, 7.0], [-1e308, 0.5, 1e308]])
def test_scores_beyond_zero_and_one_count_as_the_nearest_probability(scores):
    found = binary(["no", "no", "yes"], ["no", "yes", "yes"], scores)
    held = np.clip(scores, 0, 1)
    assert compute(found, "log_loss").value == pytest.approx(sk.log_loss([0, 1, 1], held), abs=1e-9)
    assert compute(found, "auc").value == sk.roc_auc_score([0, 1, 1], held)


def test_regression_metrics_are_those_of_scikit_learn():
    chance = np.random.default_rng(5)
    actual = chance.normal(100, 30, 1000)
    predicted = actual + chance.standard_cauchy(1000)  # a few errors much larger than all the others
    found = figures(regression(predicted.tolist(), actual.tolist()), "regression")
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(actual, predicted), rel=1e-12)
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(actual, predicted), rel=1e-12)


@pytest.mark.parametrize(
    ("predicted", "actual"),
    [([7.0], [7.0]), ([1.0, 1.0, 1.0], [1.0, 2.0, -1.0]), ([1e150, 0.0], [0.0, 1e-150]), ([-0.0, 0.0], [0.0, -0.0])],
)
def test_constant_equal_and_huge_regression_values(predicted, actual):
    found = figures(regression(predicted, actual), "regression")
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(actual, predicted), rel=1e-12, abs=1 / SCALE)
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(actual, predicted), rel=1e-12, abs=1 / SCALE)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_the_form_for_many_totals_says_the_same_as_the_exact_one(task):
    actual, predicted, scores = a_thousand()
    if task == "binary":
        layout = binary_layout(scores)
        panes = [
            *panes_of(layout, predicted, actual, scores, panes=5),
            *panes_of(layout, [], []),  # nothing at all
            *panes_of(layout, ["no", "no"], ["no", "no"], [0.1, 0.2]),  # one class, nothing called positive
            *panes_of(layout, ["yes", "no"], ["yes", "no"], [None, None]),  # no scores
        ]
    else:
        layout = regression_layout()
        numbers = np.cumsum(scores)
        panes = [*panes_of(layout, scores, numbers.tolist(), panes=5), *panes_of(layout, [], [])]
    each = [Totals.of(layout, [pane]) for pane in panes]
    draws = np.vstack([np.eye(len(each)), np.arange(len(each)), np.ones(len(each))])
    drawn = [
        Totals.of(layout, [pane for pane, times in zip(panes, w, strict=True) for _ in range(int(times))])
        for w in draws
    ]
    for name in METRICS[task]:
        expected = [np.nan if (value := compute(totals, name).value) is None else value for totals in drawn]
        np.testing.assert_allclose(resampled(name, Draws(each, draws)), expected, rtol=1e-12, atol=1e-12)
