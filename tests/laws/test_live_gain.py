"""What two versions say live: an equal one is not taken back, however often somebody looks; a bad one is, soon."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.timeline.shards import HOUR, candidate, delta, spec, verdict

from driftline.core.binning import default_bins
from driftline.core.live import LiveGain, Side, compare_live, spread_of
from driftline.core.pane import Layout, Pane
from driftline.events.retraining import Comparison, Rows, Span, Verdict

ROWS, PANES_A_DAY = 125, 16
SWING = 0.02
"""Standard deviation of the difference between the versions from day to day."""
A_DAYS_NOISE = math.sqrt(2 * 0.5 * 0.7 * 0.3 / (ROWS * PANES_A_DAY))
"""What a day of rows adds to that: half of them are answered by both as by one."""
LAYOUT = Layout(default_bins(spec()))


def pane(number: int, right: int) -> Pane:
    of = delta(number, right=right, wrong=ROWS - right)
    return Pane.of(np.array(of.cells), np.array(of.counts), {})


def first_look_that_acts(seed: int, loss: float, days: int) -> int | None:
    """The pane after which the version that serves would be taken back; looked at after every second one."""
    rng = np.random.default_rng(seed)
    swings = rng.normal(0, SWING, days)
    serves, before = {}, {}
    for number in range(days * PANES_A_DAY):
        shared, own = rng.random(ROWS), rng.random(ROWS)
        level = 0.7 - loss + swings[number // PANES_A_DAY]
        serves[number] = pane(number, int((np.where(rng.random(ROWS) < 0.5, own, shared) < level).sum()))
        before[number] = pane(number, int((shared < 0.7).sum()))
        if number % 2:
            spread, blocks = math.hypot(SWING, A_DAYS_NOISE), (number + 1) / PANES_A_DAY
            found = compare_live("accuracy", Side(LAYOUT, serves), Side(LAYOUT, before), spread, blocks, (seed, number))
            if found is not None and found.certain_at_any_look:
                return number
    return None


def test_of_equal_versions_none_is_taken_back_by_days_that_differ():
    acted = [first_look_that_acts(seed, 0.0, 3) for seed in range(60)]
    assert sum(at is not None for at in acted) <= 2  # 5 % would be 3; in 400 runs none was


def test_a_version_that_lost_a_tenth_is_taken_back_within_two_days_and_mostly_within_one():
    acted = [first_look_that_acts(seed, 0.1, 2) for seed in range(20)]
    assert None not in acted
    assert np.median(acted) < PANES_A_DAY


def test_looking_again_and_again_asks_for_more_than_looking_once():
    """Widths of the confidence sequence by the paper's formula, worked out by hand for alpha 0.05, rho^2 8.78 / 50."""
    for panes, width in ((10, 3.314), (50, 3.034), (500, 3.255)):
        assert LiveGain(0, 0, width + 0.01, 1.0, panes).certain_at_any_look
        assert not LiveGain(0, 0, width - 0.01, 1.0, panes).certain_at_any_look
    assert LiveGain(0, 0, 1.961, 1.0, 10).certain
    assert not LiveGain(0, 0, 1.959, 1.0, 10).certain


def judged(low: float | None, high: float | None, blocks: int = 7) -> Verdict:
    gain = Comparison(name="accuracy", champion=0.5, candidate=0.6, difference=0.1, low=low, high=high)
    rows = Rows(span=Span(start=0, end=HOUR), n=700, blocks=blocks, digest="d")
    return verdict(candidate(), metrics=(gain,), rows=rows, confidence=0.95)


def test_a_verdicts_interval_tells_how_much_blocks_differ():
    gains = np.array([0.1, 0.12, 0.05, 0.09, 0.11, 0.14, 0.09])
    half = 2.4469 * gains.std(ddof=1) / math.sqrt(7)  # Student's t, 6 degrees of freedom
    assert spread_of(judged(0.1 - half, 0.1 + half)) == pytest.approx(gains.std(ddof=1), rel=1e-4)
    assert spread_of(judged(None, None)) == 0
    assert spread_of(verdict(candidate())) == 0
