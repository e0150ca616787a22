"""How often the gate promotes for nothing, and how often it finds a gain: simulated, as `docs/guide/gate.md` states it.

The gain in a metric swings from day to day with a standard deviation of 0.02, whatever the rows of a day say: what is
good weather for one model is bad for the other. Rows add their own noise. A run goes through `compare` and `decide`.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from driftline.core.comparison import HeldOut, compare
from driftline.core.gate import Reason, decide
from driftline.core.paired_metrics import Rows as Blocks
from driftline.core.paired_metrics import Side, weighed
from driftline.spec.metrics import USUAL
from driftline.spec.model import PromotionSpec

RUNS, MORE_RUNS, A_DAY, SWING, ROW_NOISE = 500, 2000, 100, 0.02, 0.1


def promoted(days: int, gain: float, min_effect: float, runs: int = RUNS) -> float:
    """The share of runs that promote a candidate whose mean absolute error is truly smaller by `gain`."""
    found = 0
    for run in range(runs):
        chance = np.random.default_rng([run, days, round(gain * 1e6)])
        n = days * A_DAY
        errors = 1 + np.abs(chance.normal(scale=0.3, size=n))
        gains = gain + np.repeat(chance.normal(scale=SWING, size=days), A_DAY) + chance.normal(scale=ROW_NOISE, size=n)
        held_out = HeldOut(np.zeros(n), np.repeat(np.arange(days), A_DAY))
        metrics = compare(["mae"], held_out, Side(errors, None), Side(errors - gains, None), 0.95, f"c{run}")
        found += decide(PromotionSpec(metric="mae", min_effect=min_effect), metrics) is Reason.BETTER
    return found / runs


def promoted_by_auc(days: int) -> float:
    """The same for two equally good rankings: AUC, whose days do not add up to the whole."""
    found = 0
    for run in range(RUNS):
        chance = np.random.default_rng([run, days])
        n = days * A_DAY
        truth = (chance.random(n) < 0.3).astype(np.float64)
        day = np.repeat(np.arange(days), A_DAY)
        champion, candidate = (
            _ranked(1.0 + chance.normal(scale=0.15, size=days)[day], truth, chance) for _ in range(2)
        )
        metrics = compare(["auc"], HeldOut(truth, day), champion, candidate, 0.95, f"c{run}")
        found += decide(PromotionSpec(metric="auc", min_effect=0.0), metrics) is Reason.BETTER
    return found / RUNS


def _ranked(skill, truth, chance) -> Side:
    scores = stats.norm.cdf(skill * (truth - 0.5) + chance.normal(size=truth.size))
    return Side(np.round(scores), scores)


def at_most(share: float, runs: int) -> float:
    """What a true `share` exceeds by chance in one of forty simulations."""
    return float(stats.binom.ppf(0.975, runs, share)) / runs


@pytest.mark.parametrize("days", [7, 14])
def test_equal_models_whose_days_swing_are_promoted_at_most_once_in_forty(days):
    assert promoted(days, gain=0.0, min_effect=0.0) <= at_most(0.025, RUNS)
    assert promoted(days, gain=0.0, min_effect=0.0, runs=MORE_RUNS) <= at_most(0.025, MORE_RUNS)


@pytest.mark.parametrize("days", [7, 14])
def test_equal_rankings_whose_days_swing_are_promoted_at_most_once_in_forty(days):
    assert promoted_by_auc(days) <= at_most(0.025, RUNS)


@pytest.mark.parametrize(("days", "min_effect"), [(14, 0.01), (42, 0.005)])
def test_twice_the_minimum_effect_is_found_four_times_in_five(days, min_effect):
    assert promoted(days, gain=2 * min_effect, min_effect=min_effect) >= 0.8


@given(
    gains=st.lists(st.floats(-1, 1) | st.sampled_from([0.0, 0.1]), min_size=3, max_size=24),
    centre=st.floats(-0.5, 0.5),
    confidence=st.sampled_from([0.8, 0.95, 0.99]),
    name=st.text(max_size=3),
)
def test_a_gain_is_significant_exactly_where_its_interval_leaves_zero_out(gains, centre, confidence, name):
    days = np.arange(len(gains))
    champion, candidate = Side(np.full(days.size, 2.0), None), Side(2.0 - centre - np.array(gains), None)
    (found,) = compare(["mae"], HeldOut(np.zeros(days.size), days), champion, candidate, confidence, name)
    assert (found.p_value < 1 - confidence) == (found.low > 0 or found.high < 0)


@pytest.mark.parametrize("task", list(USUAL))
def test_a_metric_of_weighted_blocks_is_that_of_their_rows_taken_as_often(task):
    chance = np.random.default_rng(int.from_bytes(hashlib.sha256(task.encode()).digest()[:4], "big"))
    n, blocks, labels = 240, 6, 4
    block = chance.integers(0, blocks, n)
    if task == "regression":
        truth, side = chance.normal(size=n), Side(chance.normal(size=n), None)
    elif task == "binary":
        truth, scores = chance.integers(0, 2, n) * 1.0, np.round(chance.random(n), 1)
        side = Side(np.round(scores), scores)
    else:
        truth, shares = chance.integers(0, labels, n) * 1.0, chance.dirichlet(np.ones(labels), n)
        side = Side(shares.argmax(axis=1) * 1.0, shares)
    for _ in range(20):
        weights = chance.integers(0, 3, blocks)
        taken = np.repeat(np.arange(n), weights[block])
        if taken.size == 0:
            continue
        again = Side(side.predictions[taken], None if side.scores is None else side.scores[taken])
        for metric in USUAL[task]:
            of_weights = weighed(metric, side, Blocks(truth, block, blocks))(weights[None, :].astype(float))
            of_rows = weighed(metric, again, Blocks(truth[taken], np.zeros(taken.size, np.int64), 1))(np.ones((1, 1)))
            assert of_weights == pytest.approx(of_rows, abs=1e-12, nan_ok=True)
