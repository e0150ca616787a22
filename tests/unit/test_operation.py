"""Latency, delay of labels and rate: near those of the rows, and what is corrected is taken back exactly."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.engine import Engine
from tests.panes import BINARY, PANE_MS, binary_layout

from driftline.core.operation import operation_of
from driftline.core.pane import Pane, Totals
from driftline.events.inputs import Outcome, Prediction

LAYOUT = binary_layout()
SLICE_MS = 3_600_000


def prediction(i, time, latency=None):
    common = {"model": "m", "version": "1", "features": {"x": 1.0}, "prediction": "no", "score": 0.2}
    return Prediction(id=str(i), time=time, latency_ms=latency, **common)


def outcome(i, time, label="yes"):
    return Outcome(id=str(i), model="m", time=time, outcome=label)


def totals_of(*batches):
    """Batches of (arrival, event), one after the other through one engine."""
    engine, panes = Engine(BINARY, {"1": LAYOUT}, SLICE_MS), []
    for batch in batches:
        for deltas in engine.feed(batch).panes.values():
            panes += [Pane.of(np.array(delta.cells), np.array(delta.counts), delta.sums) for delta in deltas]
    return Totals.of(LAYOUT, panes)


def exact(values, share):
    return np.quantile(values, share, method="inverted_cdf")


@given(st.lists(st.floats(0.0, 50_000.0), min_size=1, max_size=50))
def test_latencies_are_never_further_off_than_they_say(latencies):
    found = operation_of(
        totals_of([(0, prediction(i, 0, each)) for i, each in enumerate(latencies)]), 3_600_000, PANE_MS
    )
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        value = found.latency_ms[name]
        assert abs(value.value - exact(latencies, share)) <= value.error_bound + 1e-9
        assert value.error_bound <= max(0.05, 0.25 * exact(latencies, share))
        assert value.n == len(latencies)


def test_predictions_that_tell_no_latency_have_none():
    found = operation_of(totals_of([(0, prediction(0, 0)), (0, prediction(1, 0, 3.0))]), 1000, PANE_MS)
    assert (found.latency_ms["p50"].n, found.predictions_per_second) == (1, 2.0)
    nothing = operation_of(totals_of(), 1000, PANE_MS)
    assert nothing.latency_ms["p50"].value is nothing.label_delay_s["p50"].value is None
    beyond = operation_of(totals_of([(0, prediction(1, 0, 1e300))]), 1000, PANE_MS)
    assert (beyond.latency_ms["p50"].value, beyond.latency_ms["p50"].n) == (None, 1)


@given(st.lists(st.tuples(st.integers(0, 3 * PANE_MS), st.integers(0, 10**8)), min_size=1, max_size=30))
def test_delays_are_off_by_half_a_pane_and_a_bin_at_most(rows):
    predictions = [(3 * PANE_MS, prediction(i, time)) for i, (time, _) in enumerate(rows)]
    outcomes = [(10**8 + 3 * PANE_MS, outcome(i, time + delay)) for i, (time, delay) in enumerate(rows)]
    found = operation_of(totals_of([*predictions, *outcomes]), 3_600_000, PANE_MS)
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        value, delay = found.label_delay_s[name], exact([delay / 1000 for _, delay in rows], share)
        assert value.n == len(rows)
        assert abs(value.value - delay) <= value.error_bound + 1e-6


def test_a_corrected_outcome_takes_its_delay_back():
    first, old = [(0, prediction(1, 0, 2.0)), (0, prediction(2, 0, 2.0))], (SLICE_MS, outcome(1, 5_000))
    rest = [(SLICE_MS, outcome(2, 900_000)), (2 * SLICE_MS, outcome(1, 3_000_000, "no"))]
    corrected, straight = totals_of([*first, old], rest), totals_of(first, rest)
    assert np.array_equal(corrected.vector, straight.vector)
    assert {k: v for k, v in corrected.sums.items() if v} == {k: v for k, v in straight.sums.items() if v}
    assert corrected.histogram("label_delay").sum() == 2


def test_an_outcome_that_waited_for_its_prediction_has_its_own_delay():
    told = (SLICE_MS, outcome(1, 600_000))
    early = totals_of([told], [(2 * SLICE_MS, prediction(1, 0))])
    assert np.array_equal(early.vector, totals_of([(0, prediction(1, 0)), told]).vector)
