"""What was said of two models, found again or not."""

from __future__ import annotations

import pytest

from driftline.core.proofs import found_again, same_baseline, unseen
from driftline.events.baselines import Baseline, Bins, CategoryBins
from driftline.events.retraining import Figure

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


def test_rows_without_an_id_or_a_time_are_not_taken_for_held_out_ones():
    assert unseen([None, None], [None, 3], ["c"], 10).holds


def test_a_figure_found_within_the_trainers_interval_is_found_again():
    told = Figure(name="auc", value=0.7, low=0.68, high=0.72, n=900)
    (near,), (far,) = found_again([told], {"auc": 0.7000001}), found_again([told], {"auc": 0.73})
    assert (near.holds, near.told, near.found, near.low, near.high) == (True, 0.7, 0.7000001, 0.68, 0.72)
    assert (far.holds, far.found) == (False, 0.73)


def test_a_figure_without_an_interval_must_be_the_same():
    told = Figure(name="auc", value=0.7, low=None, high=None, n=900)
    assert found_again([told], {"auc": 0.7 + 5e-7})[0].holds
    assert not found_again([told], {"auc": 0.7 + 5e-6})[0].holds


def test_a_figure_that_the_gate_cannot_compute_is_told_as_not_tried():
    (proof,) = found_again([Figure(name="gini", value=0.4, low=0.3, high=0.5, n=900)], {"auc": 0.7})
    assert proof.holds is None
    assert "does not know this metric" in proof.detail


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
