"""Metrics of a multiclass model are those that scikit-learn computes from the rows, at the edges too."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from tests.panes import ANIMALS, multiclass_layout, panes_of

from driftline.core.intervals import metrics_of_window
from driftline.core.metrics import FORMULAS, Draws, compute, formula_of
from driftline.core.metrics.confusion import matrix_of
from driftline.core.metrics.scores import calibration_of
from driftline.core.pane import Totals
from driftline.spec.metrics import METRIC_TABLE, METRICS, OF_LABEL, of_labels

AVERAGES = ("macro", "micro", "weighted")
PLACES = range(len(ANIMALS))


def some(n=1500, seed=5, skill=1.5):
    """Outcomes, predictions and the probability of each label, (rows, labels); one label hardly ever comes."""
    chance = np.random.default_rng(seed)
    truth = chance.choice(len(ANIMALS), n, p=[0.4, 0.3, 0.2, 0.09, 0.01])
    logits = chance.standard_normal((n, len(ANIMALS)))
    logits[np.arange(n), truth] += skill
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return truth, shares.argmax(axis=1), shares


def told(shares):
    return [dict(zip(ANIMALS, row, strict=True)) for row in shares.tolist()]


def counted(truth, said, shares=None, reference=None, panes=1):
    layout = multiclass_layout(reference)
    actual, predicted = ([None if i is None else ANIMALS[i] for i in each] for each in (truth, said))
    found = panes_of(layout, predicted, actual, None if shares is None else told(shares), panes)
    return Totals.of(layout, found), found


def theirs(truth, said):
    """What scikit-learn says of labels."""
    found = {
        "accuracy": sk.accuracy_score(truth, said),
        "mcc": sk.matthews_corrcoef(truth, said),
        "kappa": sk.cohen_kappa_score(truth, said) if len({*truth, *said}) > 1 else np.nan,
    }
    scores = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
    for name, score in scores.items():
        found |= {f"{name}_{way}": score(truth, said, average=way, zero_division=0) for way in AVERAGES}
        undefined = 0 if name == "f1" else np.nan
        each = score(truth, said, average=None, labels=list(PLACES), zero_division=undefined)
        found |= dict(zip(of_labels(name, ANIMALS), each.tolist(), strict=True))
    return found


@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(PLACES)), min_size=1, max_size=40))
def test_metrics_of_labels_are_those_of_scikit_learn(pairs):
    truth, said = zip(*pairs, strict=True)
    totals, _ = counted(truth, said)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs(truth, said)
    for name, value in expected.items():
        found = compute(totals, name).value
        assert (np.nan if found is None else found) == pytest.approx(value, abs=1e-9, nan_ok=True), name


def test_log_loss_is_that_of_scikit_learn_to_a_billionth():
    truth, said, shares = some()
    totals, _ = counted(truth, said, shares)
    assert compute(totals, "log_loss").value == pytest.approx(sk.log_loss(truth, shares), abs=1e-9)


def test_auc_of_each_label_and_of_all_are_those_of_scikit_learn_within_their_bounds():
    truth, said, shares = some()
    totals, _ = counted(truth, said, shares, reference=shares)
    for place, label in enumerate(ANIMALS):
        found = compute(totals, f"auc:{label}")
        assert abs(found.value - sk.roc_auc_score(truth == place, shares[:, place])) <= found.error_bound + 1e-12
    found = compute(totals, "auc_ovr")
    assert abs(found.value - sk.roc_auc_score(truth, shares, multi_class="ovr")) <= min(found.error_bound + 1e-12, 5e-4)


def test_on_handwritten_digits_each_figure_is_that_of_the_rows():
    """Real data: of ten labels the five first, by a model that has seen the other half."""
    images, digits = load_digits(n_class=5, return_X_y=True)
    half = len(digits) // 2
    chance = np.random.default_rng(1)
    blurred = images + chance.normal(0, 8, images.shape)
    model = LogisticRegression(max_iter=2000).fit(blurred[:half], digits[:half])
    shares, truth = model.predict_proba(blurred[half:]), digits[half:]
    said = shares.argmax(axis=1)
    totals, _ = counted(truth, said, shares, reference=model.predict_proba(blurred[:half]))
    for name, value in theirs(truth, said).items():
        assert compute(totals, name).value == pytest.approx(value, abs=1e-9), name
    assert compute(totals, "log_loss").value == pytest.approx(sk.log_loss(truth, shares), abs=1e-9)
    auc = compute(totals, "auc_ovr")
    assert abs(auc.value - sk.roc_auc_score(truth, shares, multi_class="ovr")) <= min(auc.error_bound, 5e-4)


def test_calibration_is_of_what_the_model_said_of_its_answers():
    truth, said, shares = some()
    totals, _ = counted(truth, said, shares)
    bins = calibration_of(totals)
    assert sum(each.n for each in bins) == truth.size
    assert sum(each.positives for each in bins) == (truth == said).sum()
    confidence, right = shares.max(axis=1), truth == said
    for each in bins:
        inside = (confidence >= each.low) & (confidence < each.high)
        assert (each.n, each.positives) == (inside.sum(), right[inside].sum())
        assert each.score == pytest.approx(confidence[inside].mean(), abs=1e-3)


def test_the_confusion_matrix_leaves_out_what_did_not_come():
    totals, _ = counted([0, 0, 1, 2], [0, 1, 1, 2])
    assert matrix_of(totals) == {"ant": {"ant": 1, "bee": 1}, "bee": {"bee": 1}, "cat": {"cat": 1}}


def test_without_scores_what_needs_them_is_undefined():
    truth, said, _ = some(200)
    totals, _ = counted(truth, said)
    for name in ("log_loss", "ece", "auc_ovr", "auc:cat"):
        found = compute(totals, name)
        assert (found.value, found.n) == (None, 0)
    assert compute(totals, "accuracy").value == pytest.approx((truth == said).mean())


def test_without_outcomes_everything_is_undefined():
    totals, _ = counted([None] * 3, [0, 1, 2])
    names = (*METRICS["multiclass"], *(name for each in OF_LABEL for name in of_labels(each, ANIMALS)))
    assert {compute(totals, name).value for name in names} == {None}


def test_with_one_label_only_auc_is_undefined_and_the_rest_is_perfect():
    truth, said, shares = some(100)
    truth[:], said[:] = 2, 2
    totals, _ = counted(truth, said, shares)
    assert compute(totals, "auc_ovr").value is None
    assert compute(totals, "kappa").value is None
    assert compute(totals, "f1_macro").value == compute(totals, "accuracy").value == 1.0


def test_a_label_that_scores_leave_out_has_no_chance():
    layout = multiclass_layout()
    sent = [{"ant": 0.75, "bee": 0.25}, {"ant": 0.5, "bee": 0.5}]
    totals = Totals.of(layout, panes_of(layout, ["ant", "ant"], ["ant", "cat"], sent))
    eps = np.finfo(np.float64).eps
    assert compute(totals, "log_loss").value == pytest.approx((-np.log(0.75) - np.log(eps)) / 2, abs=1e-9)


@pytest.mark.parametrize("panes", [1, 12])
def test_every_metric_has_an_interval_that_holds_it(panes):
    truth, said, shares = some(1200)
    totals, found = counted(truth, said, shares, panes=panes)
    names = (*METRICS["multiclass"], *(name for each in OF_LABEL for name in of_labels(each, ANIMALS)))
    told = metrics_of_window(totals, found, {name: formula_of(name) for name in names}, ("seed",))
    without = {name for name, value in told.items() if value.low is None}
    assert without == ({"auc_ovr", "ece"} if panes == 1 else {"ece"})  # of one pane nothing is known of these
    for name, value in told.items():
        if value.low is not None:
            assert value.low <= value.value <= value.high, name
    few = {"block-bootstrap", "wilson", "delta", "hanley-mcneil"}  # of some labels there are few rows
    methods = {value.method for name, value in told.items() if name not in without}
    assert methods == ({"wilson", "jackknife", "delta", "t", "hanley-mcneil"} if panes == 1 else few)


def test_resampled_sums_give_what_the_sums_give():
    truth, said, shares = some(1200)
    totals, found = counted(truth, said, shares, panes=4)
    blocks = [Totals.of(totals.layout, [pane]) for pane in found]
    weights = np.array([[1.0, 1.0, 1.0, 1.0], [2.0, 0.0, 1.0, 1.0]])
    draws = Draws(blocks, weights)
    twice = Totals.of(totals.layout, [found[0], found[0], found[2], found[3]])
    names = [*METRICS["multiclass"], *(name for each in OF_LABEL for name in of_labels(each, ANIMALS))]
    for name in names:
        expected = [compute(totals, name).value, compute(twice, name).value]
        assert formula_of(name).resampled(draws) == pytest.approx(np.array(expected, float), abs=1e-9), name


def test_every_metric_of_many_labels_is_in_the_table():
    assert {name for name in FORMULAS if "multiclass" in METRIC_TABLE[name].tasks} == set(METRICS["multiclass"])


def test_macro_averages_leave_out_labels_that_never_came():
    totals, _ = counted([0, 0, 1, 1], [0, 0, 1, 0])
    assert compute(totals, "recall_macro").value == pytest.approx((1 + 0.5) / 2)
