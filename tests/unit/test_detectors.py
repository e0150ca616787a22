"""Detectors: River's own, one value at a time; presets that see small shifts and stay quiet on noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.streams import beside, detector_vectors

from driftline.core import detectors
from driftline.core.detectors import KEPT, LONGEST, WARM, Detector
from driftline.spec.detectors import PRESETS, make_detector

WANTED = {
    "ADWIN()": ("ADWIN", {}),
    "PageHinkley()": ("PageHinkley", {}),
    "KSWIN(0.0001,200,100,seed=42)": ("KSWIN", {"alpha": 0.0001, "window_size": 200, "stat_size": 100, "seed": 42}),
    "DDM()": ("DDM", {}),
    "EDDM()": ("EDDM", {}),
    "HDDMA()": ("HDDMA", {}),
    "HDDMA(two_sided_test=True)": ("HDDMA", {"two_sided_test": True}),
    "HDDMW()": ("HDDMW", {}),
    "HDDMW(two_sided_test=True)": ("HDDMW", {"two_sided_test": True}),
}


SLOW = {"KSWIN(0.0001,200,100,seed=42)": 4_500}
"""How much of a stream is enough where each value takes a test of its own: its last detection in any is at 4,143."""


def positions(detector, values):
    return [i for i, value in enumerate(values) if detector.update(value)]


@beside
def test_rivers_detectors_fire_where_they_fire_outside_this_project():
    compared = 0
    for stream in detector_vectors().values():
        for name, expected in stream["detections"].items():
            values = stream["values"][: SLOW.get(name, LONGEST - 1)]
            detector = Detector(*WANTED[name], low=-math.inf, high=math.inf)
            assert positions(detector, values) == [i for i in expected if i < len(values)], name
            compared += 1
    assert compared > 30


def errors(share, n=30, seed=1):
    """Shares of errors in batches of `n`, as a slice brings them."""
    return (np.random.default_rng(seed).binomial(n, share) / n).tolist()


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_preset_stays_quiet_on_noise(name, share):
    assert positions(Detector(name, {}), errors(np.full(2_000, share))) == []


@pytest.mark.parametrize(("name", "within"), [("adwin", 150), ("page_hinkley", 100), ("kswin", 200)])
def test_a_preset_finds_a_shift_of_one_standard_deviation(name, within):
    share = np.full(1_000, 0.1)
    share[500:] = 0.155
    found = positions(Detector(name, {}), errors(share))
    assert found
    assert 500 <= found[0] < 500 + within


def test_a_preset_sees_a_small_shift_long_before_rivers_own_settings():
    share = np.full(3_000, 0.1)
    share[1_000:] = 0.13
    values = errors(share)
    preset, own = (positions(Detector(name, {}), values) for name in ("adwin", "ADWIN"))
    assert preset[0] >= 1_000
    assert not own or preset[0] < own[0] - 100


@pytest.mark.parametrize("name", [*PRESETS, "ADWIN", "HDDMA"])
def test_one_value_that_is_no_number_changes_nothing(name):
    share = np.full(800, 0.1)
    share[400:] = 0.5
    values = errors(share)
    disturbed = [*values[:200], math.nan, *values[200:]]
    clean = positions(Detector(name, {}), values)
    assert clean
    assert positions(Detector(name, {}), disturbed) == [i + (i >= 200) for i in clean]


@pytest.mark.parametrize("name", [*PRESETS, "ADWIN", "HDDMA"])
@pytest.mark.parametrize("wild", [1e308, -1e308, math.inf, -math.inf])
def test_one_wild_value_blinds_no_detector(name, wild):
    share = np.full(1_200, 0.1)
    share[600:] = 0.6
    values = errors(share)
    values[200] = wild
    found = positions(Detector(name, {}), values)
    assert any(600 <= i < 700 for i in found)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([*PRESETS, "ADWIN", "DDM"]), st.integers(1, 400), st.integers(0, 10))
def test_a_detector_that_is_fed_again_goes_on_as_if_nothing_had_happened(name, cut, seed):
    share = np.full(500, 0.1)
    share[250:] = 0.4
    values = errors(share, seed=seed)
    whole, first, again = Detector(name, {}), Detector(name, {}), Detector(name, {})
    expected = positions(whole, values)
    before = positions(first, values[:cut])
    again.restore(first.values)
    assert before + [cut + i for i in positions(again, values[cut:])] == expected


def test_what_a_detector_remembers_has_a_bound_and_a_restart_does_not_move_it(monkeypatch):
    monkeypatch.setattr(detectors, "LONGEST", 300)
    monkeypatch.setattr(detectors, "KEPT", 150)
    share = np.full(2_000, 0.1)
    share[1_500:] = 0.4
    values = errors(share)
    whole, restarted = Detector("adwin", {}), Detector("adwin", {})
    expected, found = positions(whole, values), []
    for i, value in enumerate(values):
        if i % 97 == 0:
            fresh = Detector("adwin", {})
            fresh.restore(restarted.values)
            restarted = fresh
        found += [i] if restarted.update(value) else []
        assert len(restarted.values) <= 300
    assert found == expected
    assert 1_500 <= expected[0] < 1_600
    assert KEPT < LONGEST


@pytest.mark.parametrize("values", [[], [0.3] * 3 * WARM, [0.0] * WARM + [1.0] * WARM])
def test_constant_values_are_no_change_and_one_step_is_one(values):
    found = positions(Detector("page_hinkley", {}), values)
    assert bool(found) == (len(set(values)) > 1)


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("adwn", {}, "unknown detector `adwn`; did you mean `adwin`?"),
        ("DriftRetrainingClassifier", {}, "unknown detector"),
        ("DDM", {"foo": 1}, "`DDM` does not take these `params`"),
    ],
)
def test_what_river_does_not_have_is_said(name, params, said):
    with pytest.raises(ValueError, match=said):
        make_detector(name, params)
