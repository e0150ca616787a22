"""Every metric of a window is the one that scikit-learn computes from the rows, at the edges too."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from tests.panes import binary_layout, panes_of, regression_layout

from driftline.core.metrics import FORMULAS, Draws, compute, formula_of
from driftline.core.metrics.confusion import matrix_of
from driftline.core.pane import FINE_BITS, SCALE, SCALE_BITS, Totals, fine
from driftline.spec.metrics import CALIBRATION_BINS, METRIC_TABLE, METRICS

LABELS = ("no", "yes")


def binary(predicted, actual, scores=None, reference=None):
    layout = binary_layout(reference)
    return Totals.of(layout, panes_of(layout, predicted, actual, scores))


def regression(predicted, actual):
    layout = regression_layout()
    return Totals.of(layout, panes_of(layout, predicted, actual))


@pytest.mark.parametrize("beta", [0.1, 0.7, 1.5, 3, 10])
def test_f_of_any_beta_goes_by_its_name(beta):
    actual, predicted, scores = a_thousand()
    found = compute(binary(predicted, actual, scores), f"f{beta}")
    assert found.value == pytest.approx(sk.fbeta_score(actual, predicted, beta=beta, pos_label="yes"), abs=1e-12)


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


def rates(actual, predicted):
    """What scikit-learn says of the confusion matrix."""
    a, p = np.array(actual) == "yes", np.array(predicted) == "yes"
    return {
        "accuracy": sk.accuracy_score(a, p),
        "precision": sk.precision_score(a, p, zero_division=np.nan),
        "recall": sk.recall_score(a, p, zero_division=np.nan),
        "specificity": sk.recall_score(~a, ~p, zero_division=np.nan),
        "balanced_accuracy": sk.balanced_accuracy_score(a, p) if a.any() and not a.all() else np.nan,
        "f1": sk.f1_score(a, p, zero_division=0),
        "f2": sk.fbeta_score(a, p, beta=2, zero_division=0),
        "f0.5": sk.fbeta_score(a, p, beta=0.5, zero_division=0),
        "mcc": sk.matthews_corrcoef(a, p),
        "kappa": sk.cohen_kappa_score(a, p) if len({*actual, *predicted}) > 1 else np.nan,
        "predicted_positive_rate": p.mean(),
        "actual_positive_rate": a.mean(),
    }


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=40))
def test_metrics_of_the_confusion_matrix_are_those_of_scikit_learn(pairs):
    actual, predicted = zip(*pairs, strict=True)
    found = figures(binary(predicted, actual))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = rates(actual, predicted)
    for name, value in expected.items():
        assert found[name] == (None if np.isnan(value) else pytest.approx(value, abs=1e-12)), name


def test_a_share_says_of_how_many_it_is_one():
    found = binary(["yes", "yes", "no", "no", "no"], ["yes", "no", "no", "no", None])
    assert {name: compute(found, name).n for name in ("accuracy", "precision", "recall", "specificity")} == {
        "accuracy": 4, "precision": 2, "recall": 1, "specificity": 3,
    }  # fmt: skip
    assert compute(found, "predicted_positive_rate").n == 5
    assert matrix_of(found) == {"no": {"no": 2, "yes": 1}, "yes": {"no": 0, "yes": 1}}


def test_the_confusion_matrix_may_have_millions_of_millions():
    found = binary(["yes"], ["yes"])
    start = found.layout.cells["confusion"].start
    found.vector[start : start + 4] = np.array([90, 4, 3, 3]) * 10**13
    few = rates(["no"] * 94 + ["yes"] * 6, ["no"] * 90 + ["yes"] * 4 + ["no"] * 3 + ["yes"] * 3)
    assert compute(found, "mcc").value == pytest.approx(few["mcc"], abs=1e-12)
    assert compute(found, "kappa").value == pytest.approx(few["kappa"], abs=1e-12)


def test_a_cost_is_that_of_the_spec_by_outcome_and_prediction():
    actual, predicted, _ = a_thousand()
    costs = {"yes": {"no": 5.0}, "no": {"yes": 1.5}}
    found = formula_of("expected_cost", costs).point(binary(predicted, actual))
    expected = np.mean([costs[a].get(p, 0) for a, p in zip(actual, predicted, strict=True)])
    assert (found.value, found.n) == (pytest.approx(expected, abs=1e-12), 1000)


def test_scores_are_judged_as_by_scikit_learn():
    actual, predicted, scores = a_thousand()
    found, truth = binary(predicted, actual, scores, reference=scores), np.array(actual) == "yes"
    assert compute(found, "brier").value == pytest.approx(sk.brier_score_loss(truth, scores), abs=1e-12)
    precision = compute(found, "average_precision")
    error = abs(precision.value - sk.average_precision_score(truth, scores))
    assert error <= precision.error_bound + 1e-12
    assert error < 0.002


def ece_of(truth, scores):
    truth, scores = np.array(truth), np.clip(scores, 0, 1)
    which = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [abs(scores[which == k].sum() - truth[which == k].sum()) for k in range(CALIBRATION_BINS)]
    return sum(gaps) / truth.size


def test_calibration_error_is_near_that_of_the_rows():
    actual, predicted, scores = a_thousand()
    found = compute(binary(predicted, actual, scores, reference=scores), "ece")
    assert found.error_bound < 1 / 512
    assert abs(found.value - ece_of(np.array(actual) == "yes", scores)) <= found.error_bound


reference_scores = st.none() | st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=1, max_size=50
    ),
    reference_scores,
)
def test_precision_and_calibration_are_never_further_off_than_they_say(rows, reference):
    truth, scores = [t for t, _ in rows], [s for _, s in rows]
    totals = binary(["no"] * len(rows), [LABELS[t] for t in truth], scores, reference)
    calibration, precision = compute(totals, "ece"), compute(totals, "average_precision")
    assert abs(calibration.value - ece_of(truth, scores)) <= calibration.error_bound + 1e-9
    assert compute(totals, "brier").value == pytest.approx(sk.brier_score_loss(truth, scores), abs=1e-9)
    if not any(truth):
        assert precision.value is None
    else:
        assert abs(precision.value - sk.average_precision_score(truth, scores)) <= precision.error_bound + 1e-9


def test_every_metric_of_the_table_is_computed_and_none_beside():
    assert FORMULAS.keys() == METRIC_TABLE.keys()
    assert {task: names for task, names in METRICS.items() if not names} == {}
    for metric in METRIC_TABLE.values():
        assert metric.low < metric.high
        assert metric.sentence.endswith(".")
        assert metric.source


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
    labelled = set(METRICS["binary"]) - {"predicted_positive_rate"}  # which is of all predictions
    for name in labelled:
        assert compute(whole, name) == compute(part, name)
    assert (whole.n, whole.labelled) == (1000, len(some))


def test_nothing_is_known_of_no_rows_and_of_rows_without_outcomes():
    for totals, rate in ((binary([], []), None), (binary(["yes", "no"], [None, None], [0.9, 0.1]), 0.5)):
        # what is predicted is known without outcomes
        assert figures(totals) == {**dict.fromkeys(METRICS["binary"]), "predicted_positive_rate": rate}
        assert {compute(totals, name).n for name in METRICS["binary"]} <= {0, totals.n}
    for totals in (regression([], []), regression([1.0], [None])):
        assert figures(totals, "regression") == dict.fromkeys(METRICS["regression"])


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
    assert found["bias"] == pytest.approx(np.mean(predicted - actual), rel=1e-9)
    assert found["r2"] == pytest.approx(sk.r2_score(actual, predicted), rel=1e-9)
    assert found["mape"] == pytest.approx(sk.mean_absolute_percentage_error(actual, predicted), rel=1e-9)
    relative = 2 * np.abs(predicted - actual) / (np.abs(predicted) + np.abs(actual))
    assert found["smape"] == pytest.approx(relative.mean(), rel=1e-9)
    fine = (actual >= 0) & (predicted >= 0)
    expected = sk.root_mean_squared_log_error(actual[fine], predicted[fine])
    assert found["rmsle"] == pytest.approx(expected, rel=1e-9)
    assert compute(regression(predicted.tolist(), actual.tolist()), "rmsle").n == fine.sum() < 1000


def test_quantiles_of_the_error_are_never_further_off_than_they_say():
    chance = np.random.default_rng(6)
    actual = chance.normal(1000, 300, 3000)
    errors = np.concatenate([chance.normal(0, 20, 2900), np.zeros(100)])
    totals = regression((actual + errors).tolist(), actual.tolist())
    for share in (50, 90, 95, 99):
        found = compute(totals, f"absolute_error_p{share}")
        exact = np.quantile(np.abs((actual + errors) - actual), share / 100, method="inverted_cdf")
        assert abs(found.value - exact) <= found.error_bound <= 0.2 * exact
        assert found.value == pytest.approx(exact, rel=0.05)  # as rows lie about evenly within a bin
    assert compute(regression([1e140], [0.0]), "absolute_error_p50").value is None


def test_what_cannot_be_divided_or_logged_is_left_out_and_said():
    totals = regression([1.0, -2.0, 3.0, 0.0], [0.0, -1.0, 6.0, 0.0])
    found = {name: compute(totals, name) for name in METRICS["regression"]}
    assert (found["mape"].value, found["mape"].n) == (0.75, 2)
    assert found["rmsle"].n == 3
    assert found["smape"].value == pytest.approx((2 + 2 / 3 + 2 / 3 + 0) / 4)
    of_zero = figures(regression([1.0, 2.0], [0.0, 0.0]), "regression")
    assert (of_zero["mape"], of_zero["r2"]) == (None, None)
    assert figures(regression([-1.0], [-1.0]), "regression")["rmsle"] is None
    assert compute(regression([1.0], [1e-300]), "mape").value == 1e9


@pytest.mark.parametrize("truth", [0.1, 1 / 3, 1e6 / 7, -1e12 / 3, 1e-9])
def test_constant_truth_has_no_r2(truth):
    assert compute(regression([truth + i for i in range(5)], [truth] * 5), "r2").value is None


numbers = st.floats(-1e140, 1e140) | st.floats(-1e3, 1e3)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20))
def test_no_number_makes_a_regression_metric_that_is_none(rows):
    found = figures(regression(*(list(column) for column in zip(*rows, strict=True))), "regression")
    assert all(value is None or np.isfinite(value) for value in found.values())
    errors = np.array([p - a for p, a in rows])
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-9, abs=1 / SCALE)
    assert found["bias"] == pytest.approx(errors.mean(), rel=1e-9, abs=1e-9 * np.abs(errors).max() + 1 / SCALE)


@pytest.mark.parametrize(
    ("predicted", "actual"),
    [([7.0], [7.0]), ([1.0, 1.0, 1.0], [1.0, 2.0, -1.0]), ([1e140, 0.0], [0.0, 1e-140]), ([-0.0, 0.0], [0.0, -0.0])],
)
def test_constant_equal_and_huge_regression_values(predicted, actual):
    found = figures(regression(predicted, actual), "regression")
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(actual, predicted), rel=1e-12, abs=1 / SCALE)
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(actual, predicted), rel=1e-12, abs=1 / SCALE)


@pytest.mark.parametrize("unit", [1e12, 1.0, 1e-6, 1e-9, 1e-12, 1e-15])
def test_figures_of_a_regression_are_those_of_its_rows_in_any_unit(unit):
    chance = np.random.default_rng(4)
    actual = unit * chance.lognormal(size=200)
    predicted = actual + unit * 1e-3 * chance.standard_normal(200)
    found = figures(regression(predicted.tolist(), actual.tolist()), "regression")
    errors, sizes = predicted - actual, np.abs(predicted) + np.abs(actual)
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-9)
    assert found["bias"] == pytest.approx(errors.mean(), rel=1e-9)
    assert found["rmse"] == pytest.approx((errors**2).mean() ** 0.5, rel=1e-9)
    assert found["r2"] == pytest.approx(sk.r2_score(actual / unit, predicted / unit), abs=1e-9)
    logs = np.log1p(predicted) - np.log1p(actual)
    assert found["rmsle"] == pytest.approx((logs**2).mean() ** 0.5, rel=1e-9)
    assert found["mape"] == pytest.approx(np.abs(errors / actual).mean(), abs=1e-9)
    assert found["smape"] == pytest.approx((2 * np.abs(errors) / sizes).mean(), abs=1e-9)


def test_sums_of_panes_that_were_counted_less_finely_are_read_and_added_as_before():
    layout = regression_layout()
    (new,) = panes_of(layout, [1.5, 2.0], [1.0, 4.0])
    old = replace(new, sums={name.split(".")[0]: as_counted_before(name, value) for name, value in new.sums.items()})
    for totals in (Totals.of(layout, [old]), Totals.of(layout, [old, new])):
        assert figures(totals, "regression") == pytest.approx(figures(Totals.of(layout, [new]), "regression"))
    assert compute(Totals.of(layout, [old]), "rmse").value == ((0.25 + 4) / 2) ** 0.5


def as_counted_before(name, value):
    return value >> (FINE_BITS - SCALE_BITS) if name == fine(name.split(".")[0]) else value


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
        np.testing.assert_allclose(FORMULAS[name].resampled(Draws(each, draws)), expected, rtol=1e-12, atol=1e-12)
