"""What a candidate says of itself: figures equal to scikit-learn's, intervals by days, the same when found again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk
from tests.specs import bare_spec

from driftline.core.checks import figures_of, side_of, truth_of
from driftline.core.paired_metrics import Side
from driftline.spec.metrics import USUAL
from driftline.spec.model import MonitorSpec

LABELS = {"binary": ("no", "yes"), "multiclass": ("a", "b", "c"), "regression": ()}


def spec(task: str) -> MonitorSpec:
    return bare_spec(
        task=task,
        labels=LABELS[task],
        positive="yes" if task == "binary" else None,
    )


def binary(days: int, a_day: int = 60):
    chance = np.random.default_rng(2)
    truth = (chance.random(days * a_day) < 0.4).astype(float)
    scores = np.clip(0.4 + 0.3 * (truth - 0.4) + 0.15 * chance.standard_normal(truth.size), 0.01, 0.99)
    return truth, Side((scores > 0.5).astype(float), scores), np.repeat(np.arange(days), a_day)


@pytest.mark.parametrize("days", [7, 30])
def test_the_figures_of_a_classifier_are_scikit_learns_and_lie_in_their_intervals(days):
    truth, side, blocks = binary(days)
    found = {figure.name: figure for figure in figures_of(spec("binary"), truth, side, blocks, "c")}
    expected = {
        "log_loss": sk.log_loss(truth, side.scores),
        "auc": sk.roc_auc_score(truth, side.scores),
        "accuracy": sk.accuracy_score(truth, side.predictions),
        "f1": sk.f1_score(truth, side.predictions),
    }
    assert set(found) == set(USUAL["binary"]) == set(expected)
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-9)
        assert found[name].low < value < found[name].high
        assert found[name].n == days * 60


def test_the_figures_of_a_regression_and_of_many_labels_are_scikit_learns():
    chance = np.random.default_rng(3)
    truth, days = chance.random(300), np.repeat(np.arange(5), 60)
    side = Side(truth + 0.1 * chance.standard_normal(300), None)
    found = {figure.name: figure.value for figure in figures_of(spec("regression"), truth, side, days, "c")}
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(truth, side.predictions))
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(truth, side.predictions))
    label = chance.integers(0, 3, 300).astype(float)
    shares = chance.dirichlet([1, 1, 1], 300) * 0.5 + 0.5 * np.eye(3)[label.astype(int)]
    side = Side(shares.argmax(axis=1).astype(float), shares)
    found = {figure.name: figure.value for figure in figures_of(spec("multiclass"), label, side, days, "c")}
    assert found["auc_ovr"] == pytest.approx(sk.roc_auc_score(label, shares, multi_class="ovr"))
    assert found["log_loss"] == pytest.approx(sk.log_loss(label, shares))
    assert set(found) == set(USUAL["multiclass"])


def test_of_a_few_days_of_equal_size_the_interval_of_a_mean_is_the_t_interval_over_the_days():
    truth, side, days = binary(6)
    hits = (truth == side.predictions).reshape(6, 60).mean(axis=1)
    low, high = stats.t.interval(0.95, 5, hits.mean(), stats.sem(hits))
    (found,) = [f for f in figures_of(spec("binary"), truth, side, days, "c") if f.name == "accuracy"]
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_the_same_rows_and_name_give_the_same_figures_and_another_name_other_resamples():
    truth, side, days = binary(20)
    first = figures_of(spec("binary"), truth, side, days, "c")
    assert figures_of(spec("binary"), truth, side, days, "c") == first
    other = figures_of(spec("binary"), truth, side, days, "d")
    assert [figure.value for figure in other] == [figure.value for figure in first]
    assert other != first


def test_of_two_days_there_is_no_interval_and_of_one_class_no_auc():
    truth, side, days = binary(2)
    assert {(f.low, f.high) for f in figures_of(spec("binary"), truth, side, days, "c")} == {(None, None)}
    ones = figures_of(spec("binary"), np.ones(120), side, days, "c")
    assert "auc" not in {figure.name for figure in ones}


def test_answers_and_outcomes_become_what_is_compared():
    told = side_of(spec("binary"), [("yes", 0.7), ("no", 0.2)])
    assert (told.predictions.tolist(), told.scores.tolist()) == ([1.0, 0.0], [0.7, 0.2])
    assert truth_of(spec("binary"), ["no", "yes"]).tolist() == [0.0, 1.0]
    assert truth_of(spec("multiclass"), ["c", "a"]).tolist() == [2.0, 0.0]
    assert side_of(spec("regression"), [(2.5, None)]).scores is None
