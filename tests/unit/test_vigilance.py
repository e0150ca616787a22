"""How strict a preset is made: as often as its budget allows, whatever its values are like."""

from __future__ import annotations

import numpy as np
import pytest

from driftline.core.alerts import SETTLED_AFTER
from driftline.core.detectors import Detector
from driftline.core.vigilance import FEWEST, MOST, calibrate_preset
from driftline.spec.detectors import MAIN

A_DAY, DAYS = 50, 28
A_WEEK = 1 / (7 * A_DAY)


def wavering(n, seed):
    """Shares of errors each of which keeps half of how far the one before was off."""
    chance, found = np.random.default_rng(seed).normal(size=n), np.empty(n)
    found[0] = chance[0]
    for i in range(1, n):
        found[i] = 0.5 * found[i - 1] + chance[i] * 0.75**0.5
    return np.clip(0.1 + 0.055 * found, 0, 1)


def alerts_in(name, argument, baseline, values):
    detector, found, last = Detector(name, {MAIN[name]: argument}), 0, -values.size
    detector.restore(baseline, None)
    for i, value in enumerate(values.tolist()):
        if detector.update(value):
            found += i - last > SETTLED_AFTER
            last = i
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adwin", "page_hinkley"])
def test_a_preset_fires_about_as_often_as_its_budget_allows_where_its_own_settings_do_not(name):
    counted, allowed, usual = 0, 0.0, 0
    for seed in range(4):
        baseline, later = wavering(A_DAY * DAYS, seed), wavering(20_000, 100 + seed)
        found, argument = calibrate_preset(name, baseline, DAYS, A_WEEK, seed)
        assert found.bar is not None
        assert found.held_back is not None
        counted += alerts_in(name, argument, baseline, later)
        usual += alerts_in(name, {"adwin": 0.3, "page_hinkley": 10.0}[name], baseline, later)
        allowed += later.size * A_WEEK
    assert 0.3 * allowed < counted < 1.3 * allowed
    assert usual > 1.2 * allowed


@pytest.mark.parametrize("name", MAIN)
def test_a_rarer_alarm_needs_a_stricter_detector_and_the_same_values_give_the_same(name):
    values = wavering(1_400, 3)
    often, rarely, again = (calibrate_preset(name, values, DAYS, rate, 1)[1] for rate in (A_WEEK, A_WEEK / 20, A_WEEK))
    assert often == again
    assert rarely > often if name == "page_hinkley" else 0 < rarely < often


def test_a_calibrated_detector_still_finds_a_change():
    baseline = wavering(A_DAY * DAYS, 1)
    for name in MAIN:
        _, argument = calibrate_preset(name, baseline, DAYS, A_WEEK / 4, 1)
        assert alerts_in(name, argument, baseline, wavering(700, 5) + 0.15) == 1


def test_a_baseline_in_which_nothing_happens_makes_a_detector_that_waits_for_something():
    found, argument = calibrate_preset("page_hinkley", np.zeros(1_000), DAYS, A_WEEK, 1)
    assert found.bar is not None
    assert alerts_in("page_hinkley", argument, np.zeros(1_000), np.zeros(500)) == 0
    assert alerts_in("page_hinkley", argument, np.zeros(1_000), np.full(300, 1.0)) > 0


def test_too_few_values_are_said():
    found, argument = calibrate_preset("adwin", np.zeros(FEWEST - 1), DAYS, A_WEEK, 1)
    assert (found.bar, argument) == (None, 0.0)
    assert found.reason == "it has 499 values, 500 are needed"


def test_a_long_baseline_is_cut_to_what_can_be_played():
    found, _ = calibrate_preset("page_hinkley", np.tile(wavering(2_500, 1), 9), DAYS, A_WEEK / 10, 1)
    assert found.windows <= MOST
