"""Detectors: River's own, one value at a time; presets that see small shifts and stay quiet on noise."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift
from tests.streams import beside, detector_vectors

from driftline.core import detectors
from driftline.core.detectors import LONGEST, WARM, Detector
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


def positions(detector, values):
    return [i for i, value in enumerate(values) if detector.update(value)]


@beside
@pytest.mark.parametrize("name", WANTED)
def test_rivers_detectors_fire_where_they_fire_outside_this_project(name):
    streams = [stream for stream in detector_vectors().values() if name in stream["detections"]]
    assert len(streams) > 3
    for stream in streams:
        detector = Detector(*WANTED[name], low=-math.inf, high=math.inf)
        assert positions(detector, stream["values"]) == stream["detections"][name]


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


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_finds_a_small_shift_before_an_alarm_every_thousand_values_would(name):
    share, delays = np.repeat([0.1, 0.12], [1_500, 500]), []
    for seed in range(5):
        found = positions(Detector(name, {}), errors(share, seed=seed))
        assert not found or found[0] >= 1_500
        delays.append(found[0] - 1_500 if found else math.inf)
    assert np.median(delays) < 350


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
@given(
    st.sampled_from([*PRESETS, "ADWIN", "DDM", "KSWIN"]),
    st.lists(st.integers(1, 700), max_size=3),
    st.integers(0, 10),
)
def test_a_detector_that_is_fed_again_goes_on_as_if_nothing_had_happened(name, cuts, seed):
    share = np.full(700, 0.1)
    share[250:] = 0.4
    share[450:] = 0.1
    values = errors(share, seed=seed)
    expected, found, detector = positions(Detector(name, {}), values), [], Detector(name, {})
    for i, value in enumerate(values):
        if i in cuts:
            again = Detector(name, {})
            again.restore(detector.values, detector.usual)
            detector = again
        found += [i] if detector.update(value) else []
    assert found == expected


def classes_of_river():
    found = {name: getattr(room, name, None) for room in (drift, drift.binary) for name in room.__all__}
    return sorted(name for name, each in found.items() if hasattr(each, "drift_detected"))


@pytest.mark.parametrize("name", classes_of_river())
def test_no_detector_of_river_needs_what_came_before_the_last_change(name):
    share = np.tile(np.repeat([0.1, 0.6], 400), 2)
    values = np.random.default_rng(3).binomial(1, share).tolist()
    detector, river = Detector(name, {}), make_detector(name, {})
    expected = []
    for i, value in enumerate(values):
        river.update(value)
        expected += [i] if river.drift_detected else []
    assert positions(detector, values) == expected
    last = max((i for i in expected if i < len(values) - 1), default=-1)
    assert len(detector.values) == len(values) - 1 - last


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
            fresh.restore(restarted.values, restarted.usual)
            restarted = fresh
        found += [i] if restarted.update(value) else []
        assert len(restarted.values) <= 300
    assert found == expected
    assert 1_500 <= expected[0] < 1_600


@pytest.mark.parametrize("name", [*PRESETS, "ADWIN", "PageHinkley"])
def test_a_detector_is_fed_again_in_seconds_however_much_it_remembers(name):
    values, detector = np.resize(errors(np.full(1_000, 0.1)), LONGEST), Detector(name, {})
    began = time.perf_counter()
    detector.restore(values, (0.1, 0.05))
    assert time.perf_counter() - began < 5
    assert detector.values.itemsize * len(detector.values) <= 800_000


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
