"""Champion against candidate: figures equal to other people's libraries, decisions with a named reason."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk
from tests.specs import bare_spec

from driftline.core.comparison import HeldOut, blocks_of, compare
from driftline.core.gate import Reason, decide, in_range, judge
from driftline.core.paired_metrics import Side
from driftline.spec.metrics import USUAL, higher_is_better
from driftline.spec.model import MonitorSpec, OutputSpec, PromotionSpec

DAY = 86_400_000


def spec(task="binary", metric="log_loss", min_effect=0.0, **outputs) -> MonitorSpec:
    return bare_spec(
        task=task,
        labels=("no", "yes") if task == "binary" else (),
        positive="yes" if task == "binary" else None,
        outputs={name: OutputSpec(range=bounds) for name, bounds in outputs.items()},
        promotion=PromotionSpec(metric=metric, min_effect=min_effect),
    )


def answers(scores) -> Side:
    scores = np.asarray(scores, dtype=float)
    return Side(predictions=(scores > 0.5).astype(float), scores=scores)


def a_week(days=7, a_day=60, skill=0.8, seed=1):
    """Truth, and a champion and a candidate, of which the candidate knows more for `skill` > 0."""
    chance = np.random.default_rng(seed)
    n = days * a_day
    truth = (chance.random(n) < 0.4).astype(float)
    champion = np.round(np.clip(0.4 + 0.15 * chance.standard_normal(n), 0.01, 0.99), 2)
    candidate = np.round(np.clip(champion + skill * 0.2 * (truth - 0.4), 0.01, 0.99), 3)
    return HeldOut(truth, np.repeat(np.arange(days), a_day)), answers(champion), answers(candidate)


SKLEARN = {
    "log_loss": lambda truth, side: sk.log_loss(truth, side.scores),
    "auc": lambda truth, side: sk.roc_auc_score(truth, side.scores),
    "accuracy": lambda truth, side: sk.accuracy_score(truth, side.predictions),
    "f1": lambda truth, side: sk.f1_score(truth, side.predictions),
    "mae": lambda truth, side: sk.mean_absolute_error(truth, side.predictions),
    "rmse": lambda truth, side: sk.root_mean_squared_error(truth, side.predictions),
}


MANY = {
    "accuracy": lambda truth, side: sk.accuracy_score(truth, side.predictions),
    "f1_macro": lambda truth, side: sk.f1_score(truth, side.predictions, average="macro"),
    "auc_ovr": lambda truth, side: sk.roc_auc_score(truth, side.scores, multi_class="ovr"),
    "log_loss": lambda truth, side: sk.log_loss(truth, side.scores),
}


def by_name(found):
    return {metric.name: metric for metric in found}


@pytest.mark.parametrize("days", [7, 12])
def test_metrics_of_both_sides_equal_scikit_learns(days):
    held_out, champion, candidate = a_week(days, 40)
    found = compare(USUAL["binary"], held_out, champion, candidate, 0.95, "c")
    assert [metric.name for metric in found] == list(USUAL["binary"])
    for metric in found:
        a, b = (SKLEARN[metric.name](held_out.truth, side) for side in (champion, candidate))
        assert (metric.champion, metric.candidate) == pytest.approx((a, b), abs=1e-12)
        assert metric.difference == pytest.approx(b - a if higher_is_better(metric.name) else a - b, abs=1e-12)


def test_metrics_of_many_labels_equal_scikit_learns():
    chance = np.random.default_rng(4)
    truth = chance.choice(4, 300, p=[0.4, 0.3, 0.2, 0.1])
    held_out = HeldOut(truth.astype(float), np.repeat(np.arange(6), 50))

    def side(skill):
        logits = chance.standard_normal((300, 4))
        logits[np.arange(300), truth] += skill
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return Side(shares.argmax(axis=1).astype(float), shares)

    champion, candidate = side(0.5), side(2.0)
    found = compare(USUAL["multiclass"], held_out, champion, candidate, 0.95, "c")
    assert [metric.name for metric in found] == list(USUAL["multiclass"])
    for metric in found:
        a, b = (MANY[metric.name](truth, each) for each in (champion, candidate))
        assert (metric.champion, metric.candidate) == pytest.approx((a, b), abs=1e-12)
        assert metric.low > 0


def test_a_candidate_of_many_labels_that_answers_with_no_probabilities_is_refused():
    whole = spec("multiclass", score=(0, 1))
    fine = np.full((3, 4), 0.25)
    assert in_range(whole, Side(np.zeros(3), fine))
    for bad in (np.nan, -0.1, 1.1):
        shares = fine.copy()
        shares[1, 2] = bad
        assert not in_range(whole, Side(np.zeros(3), shares))


def test_regression_metrics_equal_scikit_learns():
    chance = np.random.default_rng(3)
    truth = chance.normal(size=300)
    held_out = HeldOut(truth, np.repeat(np.arange(6), 50))
    champion, candidate = Side(truth + chance.normal(size=300), None), Side(truth + 0.5 * chance.normal(size=300), None)
    for metric in compare(USUAL["regression"], held_out, champion, candidate, 0.95, "c"):
        assert metric.champion == pytest.approx(SKLEARN[metric.name](truth, champion), abs=1e-12)
        assert metric.difference == pytest.approx(metric.champion - SKLEARN[metric.name](truth, candidate), abs=1e-12)
        assert metric.low is not None
        assert metric.low > 0


def test_under_ten_days_of_equal_size_the_interval_is_scipys_t_interval_over_daily_means():
    held_out, champion, candidate = a_week(skill=0.1)
    positive = held_out.truth == 1
    gains = np.log(np.where(positive, candidate.scores, 1 - candidate.scores)) - np.log(
        np.where(positive, champion.scores, 1 - champion.scores)
    )
    daily = gains.reshape(7, 60).mean(axis=1)
    low, high = stats.t.interval(0.95, 6, daily.mean(), stats.sem(daily))
    found = by_name(compare(["log_loss"], held_out, champion, candidate, 0.95, "c"))["log_loss"]
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert found.p_value == pytest.approx(stats.ttest_1samp(daily, 0).pvalue, abs=1e-12)


def test_days_of_unequal_size_count_by_their_rows():
    held_out, champion, candidate = a_week(days=8)
    kept = (held_out.blocks != 3) | (np.arange(held_out.blocks.size) % 4 == 0)
    held_out = HeldOut(held_out.truth[kept], held_out.blocks[kept])
    champion, candidate = answers(champion.scores[kept]), answers(candidate.scores[kept])
    found = by_name(compare(["log_loss"], held_out, champion, candidate, 0.95, "c"))["log_loss"]
    a, b = (sk.log_loss(held_out.truth, side.scores) for side in (champion, candidate))
    assert found.difference == pytest.approx(a - b, abs=1e-12)
    assert found.low < found.difference < found.high


def test_from_ten_days_on_the_bootstrap_is_scipys_stretched_for_few_days_and_repeats_itself():
    held_out, champion, candidate = a_week(days=14, a_day=30, skill=0.2)
    positive = held_out.truth == 1
    gains = np.log(np.where(positive, candidate.scores, 1 - candidate.scores)) - np.log(
        np.where(positive, champion.scores, 1 - champion.scores)
    )
    daily = gains.reshape(14, 30).mean(axis=1)
    of = stats.bootstrap((daily,), np.mean, method="percentile", n_resamples=4000, rng=1).confidence_interval
    stretch = stats.t.ppf(0.975, 13) / stats.norm.ppf(0.975) * np.sqrt(14 / 13)
    expected = daily.mean() + stretch * (np.array(of) - daily.mean())
    found = compare(["log_loss"], held_out, champion, candidate, 0.95, "candidate-1")
    assert (found[0].low, found[0].high) == pytest.approx(expected, abs=0.06 * (of.high - of.low))
    assert found == compare(["log_loss"], held_out, champion, candidate, 0.95, "candidate-1")
    assert found != compare(["log_loss"], held_out, champion, candidate, 0.95, "candidate-2")


def test_a_certain_gain_is_promoted():
    judgement = judge(spec(), *a_week(), "c")
    assert (judgement.reason, judgement.decision, judgement.blocks) == (Reason.BETTER, "promote", 7)
    assert judgement.method == "jackknife-t"
    assert judge(spec(), *a_week(days=12), "c").method == "block-bootstrap"


def test_a_worse_candidate_is_refused_for_its_gain():
    held_out, champion, candidate = a_week()
    assert judge(spec(), held_out, candidate, champion, "c").reason is Reason.GAIN_TOO_SMALL


def test_a_certain_but_small_gain_is_refused():
    assert judge(spec(min_effect=9.0), *a_week(), "c").reason is Reason.GAIN_TOO_SMALL


def test_a_gain_that_one_day_alone_made_is_refused_as_uncertain():
    held_out, champion, candidate = a_week()
    lucky = np.where(held_out.blocks == 4, candidate.scores, champion.scores)
    assert judge(spec(), held_out, champion, answers(lucky), "c").reason is Reason.GAIN_UNCERTAIN


def test_few_rows_or_few_days_hold():
    for few, reason in ((a_week(days=7, a_day=9), Reason.TOO_FEW_ROWS), (a_week(2, 90), Reason.TOO_FEW_BLOCKS)):
        judgement = judge(spec(), *few, "c")
        assert (judgement.reason, judgement.decision) == (reason, "hold")


def test_a_metric_that_is_not_defined_holds_and_the_others_are_still_told():
    held_out, champion, candidate = a_week()
    nobody = HeldOut(np.zeros_like(held_out.truth), held_out.blocks)
    judgement = judge(spec(metric="auc"), nobody, champion, candidate, "c")
    assert (judgement.reason, judgement.decision) == (Reason.METRIC_UNDEFINED, "hold")
    assert "log_loss" in by_name(judgement.metrics)


def test_a_gain_without_an_interval_is_uncertain():
    held_out, champion, candidate = a_week()
    truth = np.where(held_out.blocks == 0, held_out.truth, 0.0)  # without day 0 nothing positive is left: no AUC
    judgement = judge(spec(metric="auc", min_effect=-1.0), HeldOut(truth, held_out.blocks), champion, candidate, "c")
    assert judgement.reason is Reason.GAIN_UNCERTAIN
    assert by_name(judgement.metrics)["auc"].low is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.1])
def test_an_answer_that_is_no_probability_refuses_the_candidate(bad):
    held_out, champion, candidate = a_week()
    scores = candidate.scores.copy()
    scores[17] = bad
    reason = judge(spec(), held_out, champion, Side(candidate.predictions, scores), "c").reason
    assert reason is Reason.CANDIDATE_OUT_OF_RANGE


def test_the_declared_range_of_an_output_binds_the_candidate():
    assert not in_range(spec(score=(0.0, 0.6)), answers([0.2, 0.7]))
    assert in_range(spec(score=(0.0, 0.7)), answers([0.2, 0.7]))
    assert not in_range(spec("regression", prediction=(0.0, 9.0)), Side(np.array([1.0, 10.0]), None))
    assert in_range(spec("regression"), Side(np.array([1.0, 1e9]), None))


def test_a_decision_needs_its_metric():
    assert decide(PromotionSpec(metric="auc", min_effect=0.0), ()) is Reason.METRIC_UNDEFINED


def test_days_begin_where_the_holdout_does():
    start = 20 * DAY + 4 * 3_600_000
    assert blocks_of([start, start + DAY - 1, start + DAY], start, DAY).tolist() == [0, 0, 1]
    assert blocks_of([start, start + DAY - 1, start + DAY], start, DAY // 4).tolist() == [0, 3, 4]
