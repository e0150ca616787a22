"""What was said of two models, found again or not."""

from __future__ import annotations

import msgspec
import pytest

from driftline.core.proofs import found_again, same_baseline, unseen, with_intervals
from driftline.events.baselines import Baseline, Bins, CategoryBins
from driftline.events.retraining import Figure

FOUND = Figure(name="auc", value=0.7, low=0.69, high=0.74, n=900)
BINS = Bins(features={"c": CategoryBins(values=("A", "B"))}, labels=("no", "yes"), positive="yes", score=(0.5,))


def baseline(n=1000, **counts) -> Baseline:
    told = {"feature:c": (600, 400, 0, 0), "score": (500, 500, 0, 0)} | {
        k.replace("_", ":"): v for k, v in counts.items()
    }
    return Baseline(id="b", model="m", version="1", bins=BINS, n=n, counts=told, source="s")


def test_a_candidate_from_older_rows_has_not_seen_the_holdout():
    assert unseen(["a", "b"], [1, 9], ["c"], 10).holds


@pytest.mark.parametrize(
    ("ids", "times", "said"),
    [
        (["a", "c"], [1, 2], "1 of its rows are held out, 0 are not from before them"),
        (["a", "b"], [1, 10], "0 of its rows are held out, 1 are not from before them"),
    ],
)
def test_a_candidate_that_has_seen_the_holdout_is_found_by_ids_and_by_time(ids, times, said):
    proof = unseen(ids, times, ["c"], 10)
    assert (proof.holds, proof.detail, proof.kind) == (False, said, "unseen")


@pytest.mark.parametrize(
    ("ids", "times", "said"),
    [
        ([None, None], [None, None], "2 of its rows have no id, 2 no time"),
        (["a", "b"], [None, 3], "0 of its rows have no id, 1 no time"),
        ([None, "b"], [2, 3], "1 of its rows have no id, 0 no time"),
    ],
)
def test_of_rows_without_an_id_or_a_time_nobody_knows_whether_they_are_held_out_ones(ids, times, said):
    proof = unseen(ids, times, ["c"], 10)
    assert (proof.holds, proof.detail) == (None, said)


def test_what_is_known_of_some_rows_is_enough_to_know_that_the_holdout_was_seen():
    assert unseen([None, "c"], [None, 3], ["c"], 10).holds is False


def test_a_figure_found_within_the_trainers_interval_is_found_again():
    told = Figure(name="auc", value=0.7, low=0.68, high=0.72, n=900)
    (near,), (far,) = found_again("figure", [told], {"auc": 0.7000001}), found_again("figure", [told], {"auc": 0.73})
    assert (near.holds, near.told, near.found, near.low, near.high) == (True, 0.7, 0.7000001, 0.68, 0.72)
    assert (far.holds, far.found) == (False, 0.73)


def test_a_figure_without_an_interval_must_be_the_same():
    told = Figure(name="auc", value=0.7, low=None, high=None, n=900)
    assert found_again("validation", [told], {"auc": 0.7 + 5e-7})[0].holds
    assert not found_again("validation", [told], {"auc": 0.7 + 5e-6})[0].holds


def test_a_figure_that_the_gate_cannot_compute_is_told_as_not_tried():
    (proof,) = found_again("validation", with_intervals({"gini": 0.4}, [FOUND]), {"auc": 0.7})
    assert (proof.kind, proof.holds) == ("validation", None)
    assert "does not know this metric" in proof.detail


def test_a_figure_that_comes_without_an_interval_gets_that_of_the_one_found_laid_around_it():
    (told,) = with_intervals({"auc": 0.9}, [FOUND])
    assert (told.value, told.low, told.high, told.n) == pytest.approx((0.9, 0.86, 0.91, 900))
    assert with_intervals({"auc": (0.9, 0.5, 0.95)}, [FOUND])[0].low == 0.5  # it has its own
    bare = msgspec.structs.replace(FOUND, low=None, high=None)
    assert with_intervals({"auc": 0.9}, [bare])[0].low is None


@pytest.mark.parametrize(("value", "holds"), [(0.7, True), (0.739, True), (0.691, True), (0.741, False), (0.68, False)])
def test_a_training_may_report_what_lies_in_the_interval_of_what_is_found(value, holds):
    (proof,) = found_again("validation", with_intervals({"auc": value}, [FOUND]), {"auc": FOUND.value})
    assert proof.holds is holds


def test_a_baseline_that_comes_out_the_same_holds():
    assert same_baseline(baseline(), baseline()).holds


@pytest.mark.parametrize(
    ("again", "said"),
    [
        (baseline(n=999), "it was made from 1,000 rows, kept are 999"),
        (baseline(feature_c=(599, 401, 0, 0)), "1 of 1,000 rows fall into another bin of feature:c"),
        (baseline(score=(498, 502, 0, 0)), "2 of 1,000 rows fall into another bin of score"),
        (baseline(score=(500, 500, 0)), "1,000 of 1,000 rows fall into another bin of score"),
    ],
)
def test_a_baseline_whose_rows_fall_elsewhere_says_how_many_and_where(again, said):
    proof = same_baseline(baseline(), again)
    assert (proof.holds, proof.detail) == (False, said)


def test_one_answer_in_a_thousand_may_fall_into_the_next_bin_on_another_machine():
    assert same_baseline(baseline(), baseline(score=(499, 501, 0, 0))).holds
