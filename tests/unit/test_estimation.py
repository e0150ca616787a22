"""What figures are expected to be before outcomes are known: by hand, against rows, and withdrawn when wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.isotonic import IsotonicRegression
from tests.panes import ANIMALS, BINARY, binary_layout, multiclass_layout, panes_of

from driftline.core.baseline import make_baseline
from driftline.core.estimation import ESTIMATES, MANY_ESTIMATES, calibration, estimates, failed, withdrawn
from driftline.core.intervals import metrics_of_window
from driftline.core.metrics import formula_of
from driftline.core.pane import Layout, Totals
from driftline.events.reports import MetricValue
from driftline.spec.metrics import ESTIMATED


def stream(n, seed=0, shift=0.0):
    """Scores, predictions and outcomes of a model whose scores mean what they say, but for `shift`."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.beta(2, 2, n), 3)
    outcomes = rng.random(n) < np.clip(scores + shift, 0, 1)
    return scores, scores >= 0.5, outcomes


def words(flags):
    return ["yes" if flag else "no" for flag in flags]


def totals_of(layout, scores, said, outcomes=None, panes=1):
    truth = [None] * len(scores) if outcomes is None else words(outcomes)
    found = panes_of(layout, words(said), truth, scores.tolist(), panes=panes)
    return Totals.of(layout, found), found


LAYOUT = binary_layout(stream(5_000)[0])
BASELINE, _ = totals_of(LAYOUT, *stream(5_000))
MEANING = calibration(BASELINE)


def test_the_names_are_those_that_a_spec_may_use():
    assert tuple(ESTIMATES) == ESTIMATED["binary"]
    assert tuple(MANY_ESTIMATES) == ESTIMATED["multiclass"]


def many(n, seed=0):
    """Outcomes, predictions and probabilities of a model with many labels, whose probabilities are too bold."""
    rng = np.random.default_rng(seed)
    real = rng.dirichlet([1.5, 1.0, 1.0, 0.7, 0.3], n)
    truth = np.array([rng.choice(5, p=row) for row in real])
    bold = real**2 / (real**2).sum(axis=1, keepdims=True)
    return truth, bold.argmax(axis=1), bold


def many_totals(layout, truth, said, shares, panes=1):
    actual = [None] * len(said) if truth is None else [ANIMALS[i] for i in truth]
    told = [dict(zip(ANIMALS, row, strict=True)) for row in shares.tolist()]
    found = panes_of(layout, [ANIMALS[i] for i in said], actual, told, panes)
    return Totals.of(layout, found), found


def test_expected_figures_of_many_labels_are_those_of_rows_that_are_shared_out_by_what_their_scores_mean():
    """By scikit-learn: each label against the rest is learnt, then each row is as much of it as that says."""
    truth, said, shares = many(4_000)
    layout = multiclass_layout(shares)
    meaning = calibration(many_totals(layout, truth, said, shares)[0])
    _, now_said, now = many(1_000, seed=1)
    totals, _ = many_totals(layout, None, now_said, now)
    binned, now_binned = (
        np.stack(
            [
                np.searchsorted(np.array(e), column, side="right")
                for e, column in zip(layout.bins.scores, s.T, strict=True)
            ],
            1,
        )
        for s in (shares, now)
    )
    chances = np.stack(
        [
            IsotonicRegression(out_of_bounds="clip").fit(binned[:, i], truth == i).predict(now_binned[:, i])
            for i in range(5)
        ],
        axis=1,
    )
    hits = np.array([chances[now_said == i, i].sum() for i in range(5)])
    actual, predicted = chances.sum(axis=0), np.bincount(now_said, minlength=5)
    aucs = []
    for i in range(5):
        weights = np.concatenate([chances[:, i], 1 - chances[:, i]])
        labels = np.repeat([1, 0], len(now))
        aucs.append(sk.roc_auc_score(labels, np.tile(now_binned[:, i], 2), sample_weight=weights))
    expected = {
        "accuracy": hits.sum() / len(now),
        "precision_macro": (hits / predicted).mean(),
        "recall_macro": (hits / actual).mean(),
        "f1_macro": (2 * hits / (actual + predicted)).mean(),
        "auc_ovr": np.mean(aucs),
    }
    for name, formula in estimates(meaning).items():
        assert formula.point(totals).value == pytest.approx(expected[name], abs=2e-3), name
        assert formula.point(totals).n == len(now)


def test_of_many_labels_what_comes_true_lies_within_what_was_expected():
    truth, said, shares = many(8_000)
    layout = multiclass_layout(shares)
    known = calibration(many_totals(layout, truth, said, shares)[0])
    came, now_said, now = many(6_000, seed=2)
    expected, found = many_totals(layout, None, now_said, now, panes=60)
    formulas = estimates(known)
    told = metrics_of_window(expected, found, formulas, ("m",), need_labels=False)
    totals, labelled = many_totals(layout, came, now_said, now, panes=60)
    true = metrics_of_window(totals, labelled, {name: formula_of(name) for name in formulas}, ("m",))
    assert failed(told, true) is False
    for name in formulas:
        assert told[name].value == pytest.approx(true[name].value, abs=0.02), name


def test_of_many_labels_a_change_in_what_scores_mean_is_found_out():
    truth, said, shares = many(8_000)
    layout = multiclass_layout(shares)
    formulas = estimates(calibration(many_totals(layout, truth, said, shares)[0]))
    came, now_said, now = many(6_000, seed=2)
    came = np.where(np.arange(came.size) % 3 == 0, (came + 1) % 5, came)
    totals, found = many_totals(layout, came, now_said, now, panes=60)
    told = metrics_of_window(totals, found, formulas, ("m",), need_labels=False)
    true = metrics_of_window(totals, found, {name: formula_of(name) for name in formulas}, ("m",))
    assert failed(told, true) is True


def test_what_a_score_means_is_learnt_as_scikit_learn_learns_it():
    scores, _, outcomes = stream(5_000)
    rows = np.searchsorted(np.array(LAYOUT.bins.score), scores, side="right")
    theirs = IsotonicRegression().fit(rows, outcomes)
    assert MEANING[rows] == pytest.approx(theirs.predict(rows), abs=1e-9)
    finer = IsotonicRegression(out_of_bounds="clip").fit(scores, outcomes)
    assert np.abs(MEANING[rows] - finer.predict(scores)).mean() < 0.002
    assert (np.diff(MEANING) >= 0).all()
    assert ((MEANING >= 0) & (MEANING <= 1)).all()


def test_without_outcomes_or_with_one_class_nothing_is_learnt():
    scores, said, outcomes = stream(500)
    assert calibration(totals_of(LAYOUT, scores, said)[0]) is None
    assert calibration(totals_of(LAYOUT, scores, said, outcomes | True)[0]) is None
    assert calibration(totals_of(LAYOUT, scores[:50], said[:50], outcomes[:50])[0]) is None


def test_estimates_are_the_expectations_over_the_rows():
    scores, said, _ = stream(3_000, seed=1)
    totals, _ = totals_of(LAYOUT, scores, said)
    found = {name: formula.point(totals).value for name, formula in estimates(MEANING).items()}
    p = MEANING[np.searchsorted(np.array(LAYOUT.bins.score), scores, side="right")]
    hits, false, missed = p[said].sum(), (1 - p[said]).sum(), p[~said].sum()
    assert found["accuracy"] == pytest.approx(np.where(said, p, 1 - p).mean(), abs=1e-12)
    assert found["precision"] == pytest.approx(hits / (hits + false), abs=1e-12)
    assert found["recall"] == pytest.approx(hits / (hits + missed), abs=1e-12)
    assert found["f1"] == pytest.approx(2 * hits / (2 * hits + false + missed), abs=1e-12)
    both, weights = np.concatenate([scores, scores]), np.concatenate([p, 1 - p])
    truth = np.repeat([1, 0], scores.size)
    assert found["auc"] == pytest.approx(sk.roc_auc_score(truth, both, sample_weight=weights), abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_what_comes_true_lies_near_the_estimate_while_scores_mean_the_same(seed):
    scores, said, outcomes = stream(4_000, seed=10 + seed)
    totals, panes = totals_of(LAYOUT, scores, said, panes=40)
    found = metrics_of_window(totals, panes, estimates(MEANING), ("s",), need_labels=False)
    true = {"accuracy": sk.accuracy_score(outcomes, said), "f1": sk.f1_score(outcomes, said)}
    true["auc"] = sk.roc_auc_score(outcomes, scores)
    for name, value in true.items():
        assert found[name].value == pytest.approx(value, abs=0.03)
        assert found[name].low <= found[name].value <= found[name].high
        assert found[name].high - found[name].low < 0.1


def judged(shift):
    """Whether the estimate of a window fails, whose scores mean something else by `shift`."""
    scores, said, outcomes = stream(4_000, seed=5, shift=shift)
    totals, panes = totals_of(LAYOUT, scores, said, outcomes, panes=40)
    formulas = {name: formula_of(name) for name in ("accuracy", "f1", "auc")}
    told = metrics_of_window(totals, panes, estimates(MEANING), ("s",), need_labels=False)
    return failed(told, metrics_of_window(totals, panes, formulas, ("s",)))


def test_an_estimate_fails_when_scores_come_to_mean_something_else():
    assert judged(0.0) is False
    assert judged(-0.4) is True


def test_what_has_no_interval_cannot_be_compared():
    alone = {"auc": MetricValue(value=0.7, n=5)}
    assert failed(alone, alone) is None
    assert failed({}, alone) is None


def test_estimates_are_withdrawn_after_two_failures_in_three_windows():
    told = [withdrawn(each) for each in ([], [True], [True, False], [True, False, True], [True, True, False, False])]
    assert told == [False, False, False, True, False]


scored = st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=30)


@given(scored)
def test_estimates_of_any_rows_are_shares_or_undefined(rows):
    scores, said = (np.array(column) for column in zip(*rows, strict=True)) if rows else (np.empty(0), np.empty(0))
    totals = totals_of(LAYOUT, scores, said)[0] if rows else Totals.of(LAYOUT, [])
    for formula in estimates(MEANING).values():
        value = formula.point(totals).value
        assert value is None or 0 <= value <= 1


def test_a_baseline_with_outcomes_knows_what_its_scores_mean_and_one_without_does_not():
    scores, said, outcomes = stream(2_000)
    columns = {"x": [1.0] * 2_000}
    known = make_baseline(BINARY, columns, scores, words(said), "1", "test", words(outcomes))
    layout = Layout(known.bins)
    assert set(known.counts) == set(layout.cells)
    assert sum(known.counts["labelled"]) == 2_000
    assert known.counts["confusion"][3] == int((said & outcomes).sum())
    unknown = make_baseline(BINARY, columns, scores, words(said), "1", "test")
    trained = make_baseline(BINARY, columns, scores, words(said), "1", "test", words(outcomes), trained_on=True)
    assert "labelled" not in unknown.counts
    assert trained.counts == unknown.counts
