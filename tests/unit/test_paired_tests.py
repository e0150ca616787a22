"""McNemar and DeLong: published figures to their last digit, and brute force on whatever else comes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from driftline.core.paired_metrics import Side
from driftline.core.paired_tests import delong, mcnemar, paired_tests

# DeLong, DeLong and Clarke-Pearson 1988, as SAS prints them: albumin, total protein, K-G score, and whether an
# operation helped, of the 43 patients with all three
PATIENTS = """3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1
    3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0
    2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1
    3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0
    3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1
    3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1"""
OVARIAN = np.array(PATIENTS.split(), float).reshape(-1, 4)
HELPED = OVARIAN[:, 3] == 1
ALBUMIN, PROTEIN, SCORE = OVARIAN[:, 0], OVARIAN[:, 1], 10 - OVARIAN[:, 2]


def right(both: int, champion: int, candidate: int, neither: int):
    """Whether each side is right, by row, from a table of counts."""
    counts = [both, champion, candidate, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


@pytest.mark.parametrize(
    ("table", "chi_squared"),
    [
        ((101, 121, 59, 33), 21.35),  # the example of many textbooks
        ((794, 150, 86, 570), 17.36),  # approval of a prime minister: Agresti, Categorical Data Analysis, 10.1
    ],
)
def test_mcnemars_statistic_is_the_published_one(table, chi_squared):
    found = mcnemar(*right(*table))
    assert found.statistic**2 == pytest.approx(chi_squared, abs=0.01)
    assert found.statistic < 0  # the second is right less often
    assert found.difference == pytest.approx((table[2] - table[1]) / sum(table))


@pytest.mark.parametrize(("lost", "won"), [(1, 9), (5, 5), (0, 3), (121, 59)])
def test_mcnemars_p_value_is_that_of_the_exact_binomial_test(lost, won):
    found = mcnemar(*right(7, lost, won, 4))
    assert found.p_value == pytest.approx(stats.binomtest(lost, lost + won, 0.5).pvalue, rel=1e-9)
    if (lost, won) == (1, 9):
        assert found.p_value == pytest.approx(2 * (1 + 10) / 1024)  # by hand


def test_models_that_are_right_in_the_same_rows_have_no_mcnemar():
    assert mcnemar(*right(5, 0, 0, 5)) is None


@pytest.mark.parametrize(
    ("candidate", "difference", "chi_squared", "p_value"),
    [(ALBUMIN, 0.0108, 0.0127, 0.9102), (PROTEIN, -0.0780, 0.5554, 0.4561)],
)
def test_delong_gives_the_figures_published_for_its_authors_patients(candidate, difference, chi_squared, p_value):
    found = delong(HELPED, SCORE, candidate)
    assert round(found.difference, 4) == difference
    assert round(found.statistic**2, 4) == chi_squared
    assert round(found.p_value, 4) == p_value


def by_brute_force(positive, champion, candidate):
    """DeLong's z from all pairs, as the paper writes it: V10, V01, their covariances S10 and S01."""
    theta, hits, others = [], [], []
    for scores in (champion, candidate):
        x, y = scores[positive], scores[~positive]
        psi = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x])
        theta.append(psi.mean())
        hits.append(psi.mean(axis=1))
        others.append(psi.mean(axis=0))
    covariance = np.cov(hits) / len(hits[0]) + np.cov(others) / len(others[0])
    contrast = np.array([-1.0, 1.0])
    return theta[1] - theta[0], contrast @ covariance @ contrast


@given(st.integers(0, 10_000), st.integers(8, 60), st.integers(2, 12))
def test_delong_is_its_definition_whatever_the_ties(seed, n, grid):
    chance = np.random.default_rng(seed)
    positive = np.arange(n) % 3 == 0
    champion, candidate = (np.round(chance.random(n) * grid) / grid for _ in range(2))
    difference, variance = by_brute_force(positive, champion, candidate)
    found = delong(positive, champion, candidate)
    if found is None:
        assert variance == pytest.approx(0, abs=1e-12)
    else:
        assert found.difference == pytest.approx(difference, abs=1e-12)
        assert found.statistic == pytest.approx(difference / variance**0.5, rel=1e-6)


def test_models_that_rank_alike_or_a_single_positive_row_have_no_delong():
    scores = np.linspace(0, 1, 10)
    assert delong(np.arange(10) % 2 == 0, scores, scores**2) is None
    assert delong(np.arange(10) == 0, scores, scores[::-1]) is None


def test_each_task_has_the_tests_that_apply_to_it():
    chance = np.random.default_rng(0)
    truth = np.arange(60) % 2 * 1.0
    binary = [Side(np.round(scores), scores) for scores in (chance.random(60), chance.random(60))]
    assert [test.name for test in paired_tests("binary", truth, *binary)] == ["mcnemar", "delong"]
    many = [Side(chance.integers(0, 3, 60) * 1.0, np.full((60, 3), 1 / 3)) for _ in range(2)]
    assert [test.name for test in paired_tests("multiclass", truth, *many)] == ["mcnemar"]
    assert paired_tests("regression", truth, Side(truth, None), Side(truth + 1, None)) == ()
