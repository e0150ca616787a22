"""Where detectors fire on the errors of real streams, one value at a time, as River did outside this project."""

from __future__ import annotations

import math

import pytest
from tests.streams import beside, golden, rows

from driftline.core.detectors import Detector

pytestmark = beside

STREAMS = ("elec2", "bike", "car_loan")
KSWIN = "KSWIN(alpha=0.0001,window_size=200,stat_size=100,seed=42)"
DETECTORS = {
    "ADWIN(delta=0.002)": ("ADWIN", {"delta": 0.002}),
    "PageHinkley()": ("PageHinkley", {}),
    KSWIN: ("KSWIN", {"alpha": 0.0001, "window_size": 200, "stat_size": 100, "seed": 42}),
    "DDM()": ("DDM", {}),
    "EDDM()": ("EDDM", {}),
    "HDDM_A()": ("HDDMA", {}),
    "HDDM_W()": ("HDDMW", {}),
}
QUICK = [name for name in DETECTORS if name != KSWIN]


def errors(stream, side, order):
    """1 or 0 for an answer that was wrong or right, the absolute error of a number; in the order of that name."""
    outcomes = {row["id"]: float(row["label"]) for row in reversed(rows(stream, "outcomes"))}
    told = {row["id"]: float(row[f"pred_{side}"]) for row in rows(stream, "predictions")}
    ids = [name for name in told if name in outcomes]
    if order == "arrival":
        ids = [name for name in dict.fromkeys(row["id"] for row in rows(stream, "outcomes")) if name in told]
    if stream == "bike":
        return [abs(told[name] - outcomes[name]) for name in ids]
    return [float(told[name] != outcomes[name]) for name in ids]


def compare(stream, order, names):
    for side, expected in golden(stream)[f"detectors_on_errors_in_{order}_order"].items():
        values = errors(stream, side, order)
        for name in expected.keys() & set(names):
            detector = Detector(*DETECTORS[name], low=-math.inf, high=math.inf)
            assert [i for i, value in enumerate(values) if detector.update(value)] == expected[name], (side, name)


@pytest.mark.parametrize("order", ["prediction", "arrival"])
@pytest.mark.parametrize("stream", STREAMS)
def test_detectors_fire_where_they_fire_outside_this_project(stream, order):
    assert golden(stream)[f"detectors_on_errors_in_{order}_order"]["a"].keys() <= DETECTORS.keys()
    compare(stream, order, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("stream", STREAMS)
def test_kswin_fires_where_it_fires_outside_this_project(stream):
    compare(stream, "prediction", [KSWIN])
