"""What holds of bars for a budget of false alarms, whatever the figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from tests.timeline.stories import EMPTY, report, rule

from driftline.core import alerts
from driftline.core.alerts import Standing
from driftline.core.budget import Course, calibrate, clear_of, episodes
from driftline.core.rules import Reading, judge
from driftline.events.alerts import AlertState

ROWS, DAYS = 200, 28
HOURLY = Course(panes=24 * DAYS, span=1, every=1, day=24)
DAILY = Course(panes=24 * DAYS, span=24, every=24, day=24)
SLIDING = Course(panes=24 * DAYS, span=24, every=1, day=24)


def wrong(chance, panes, phi):
    """Wrong predictions of `ROWS` in each pane, whose chance of error goes up and down as AR(1)."""
    steps = chance.standard_normal(panes) * (1 - phi**2) ** 0.5
    rate = 0.2 + (0.04 * lfilter([1.0], [1.0, -phi], steps) if phi else 0.0)
    return chance.binomial(ROWS, np.clip(rate, 0, 1), panes) / ROWS


def shares(counts):
    """The error rate of windows of panes of the same size, as a figure that compares with nothing."""

    def figures(windows, compared, known):
        moved = 0.0 if compared is known else known @ counts / known.sum() - compared @ counts / compared.sum()
        return windows @ counts / windows.sum(axis=1) + moved

    return figures


def alarms_in(counts, bar, course):
    """Episodes in a stream that goes on."""
    means = np.convolve(counts, np.full(course.span, 1 / course.span), "valid")[:: course.every]
    return len(episodes(means, bar.threshold, bar.clear, course))


@pytest.mark.slow
@pytest.mark.parametrize("phi", [0.0, 0.7])
@pytest.mark.parametrize("course", [HOURLY, DAILY, SLIDING, HOURLY._replace(k=2, of=3)])
@pytest.mark.parametrize("days", [7, 30])
def test_the_budget_is_kept_on_average_over_baselines(course, phi, days):
    found, years = [], 4
    for seed in range(16):
        chance = np.random.default_rng(seed)
        told = calibrate([shares(wrong(chance, course.panes, phi))], course, 1 / (24 * days), seed)
        after = wrong(chance, 24 * 365 * years, phi)
        found.append(alarms_in(after, told.bar, course) * days / (365 * years))
    assert np.mean(found) < 1 + 2 * np.std(found) / len(found) ** 0.5
    assert np.mean(found) > 0.1, "a rule that never fires is no use"


def test_a_budget_of_years_is_kept_on_hourly_windows():
    chance = np.random.default_rng(5)
    told = calibrate([shares(wrong(chance, HOURLY.panes, 0.0))], HOURLY, 1 / (24 * 365), 1)
    assert told.bar.beyond
    assert told.bar.threshold < 1
    assert alarms_in(wrong(chance, 24 * 365 * 20, 0.0), told.bar, HOURLY) <= 20


def test_several_segments_keep_one_budget_together():
    chance = np.random.default_rng(6)
    panes = [wrong(chance, HOURLY.panes, 0.0) for _ in range(4)]
    alone = calibrate([shares(panes[0])], HOURLY, 1 / (24 * 7), 1)
    together = calibrate([shares(each) for each in panes], HOURLY, 1 / (24 * 7), 1)
    assert together.bar.threshold > alone.bar.threshold
    fired = sum(alarms_in(wrong(chance, 24 * 365 * 2, 0.0), together.bar, HOURLY) for _ in panes)
    assert fired <= 1.5 * 2 * 365 / 7


@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 1000),
    budgets=st.lists(st.floats(1e-5, 0.3), min_size=2, max_size=4),
    k=st.integers(1, 2),
)
def test_a_larger_budget_never_leads_to_a_higher_bar(seed, budgets, k):
    course = Course(panes=240, span=4, every=2, k=k, of=2)
    figures = [shares(np.random.default_rng(seed).normal(size=course.panes))]
    bars = [calibrate(figures, course, alarms, seed).bar.threshold for alarms in sorted(budgets)]
    assert bars == sorted(bars, reverse=True)


def test_the_same_panes_give_the_same_bar():
    counts = wrong(np.random.default_rng(1), HOURLY.panes, 0.7)
    first, second = (calibrate([shares(counts)], HOURLY, 0.001, 9) for _ in range(2))
    assert first == second


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.integers(0, 9), max_size=60),
    threshold=st.integers(1, 8),
    usual=st.integers(0, 8),
    k=st.integers(1, 3),
    more=st.integers(0, 2),
)
def test_episodes_are_those_of_the_alerts(values, threshold, usual, k, more):
    clear, course = clear_of(threshold, usual), Course(panes=60, span=1, every=1, k=k, of=k + more)
    of = rule(f"psi above {threshold} clear {clear} for {k} of {k + more}")
    standing, fired = Standing(), 0
    for day, value in enumerate(values):
        reading = Reading("psi", float(value), None, None, 1000, None)
        alert = alerts.observe(standing, of, reading, judge(of, reading), report(day), EMPTY, day)
        fired += alert is not None and alert.state is AlertState.FIRING
    assert len(episodes(np.array(values, float), threshold, clear, course)) == fired


def test_a_figure_that_wavers_around_the_threshold_is_one_episode():
    figures = np.array([0, 5, 3, 5, 3, 5, 0, 5.0])
    assert episodes(figures, 4, clear_of(4, 0), HOURLY) == [5, 5]


@pytest.mark.parametrize(
    ("figures", "panes", "why"),
    [
        (lambda windows, *_: np.zeros(windows.shape[0]), 672, "its figure is the same in all windows"),
        (lambda windows, *_: np.full(windows.shape[0], np.nan), 672, "0 of its windows can be judged, 20 are needed"),
        (lambda windows, *_: np.arange(windows.shape[0]) / 9, 19, "19 of its windows can be judged, 20 are needed"),
    ],
)
def test_a_baseline_that_cannot_say_says_why(figures, panes, why):
    told = calibrate([figures], HOURLY._replace(panes=panes, day=0), 0.001, 1)
    assert (told.bar, told.reason) == (None, why)


def test_a_baseline_must_hold_four_blocks():
    course = Course(panes=72, span=48, every=1, day=24)
    told = calibrate([shares(np.random.default_rng(1).normal(size=72))], course, 0.001, 1)
    assert (told.bar, told.reason) == (None, "it is not 4 times as long as what one judgement rests on")


def test_blocks_are_whole_days_where_there_are_enough():
    assert HOURLY.blocks(672) == (24, 24)
    assert DAILY.blocks(672) == (96, 24)
    assert Course(panes=672, span=168, every=24, day=24).blocks(672) == (168, 24)
    assert HOURLY.blocks(60) == (4, 1)
    assert HOURLY._replace(span=20).blocks(60) is None
