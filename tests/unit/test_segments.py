"""Segments: every prediction is in one of each way to cut, and they add up to everybody."""

from __future__ import annotations

from collections import Counter, defaultdict

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine import Engine

from driftline.core.binning import default_bins
from driftline.core.pane import Layout, Pane
from driftline.core.segments import LONGEST, OWN, largest
from driftline.core.segments import segments_of as segments_of_rows
from driftline.events.inputs import Outcome, Prediction
from driftline.events.reports import ALL
from driftline.spec.reader import parse_spec

SPEC = parse_spec(
    """
model: m
task: binary
labels: [no, yes]
positive: yes
features:
  amount: {type: number, missing: allowed}
  carrier: {type: category, missing: allowed}
segments: [carrier, origin, {amount: [0, 100]}, {age: [18]}, [origin, carrier]]
horizon: 1h
lateness: 0s
windows: {hour: {span: 1h}}
""",
    "spec",
)
PANE_MS = 60_000


def prediction(i, features=None, attributes=None, version="1", at=0):
    return Prediction(
        id=str(i),
        model="m",
        version=version,
        time=at,
        features=features or {},
        prediction="yes",
        score=0.7,
        attributes=attributes or {},
    )


def engine(spec=SPEC, versions=("1",)):
    return Engine(spec, {version: Layout(default_bins(spec)) for version in versions}, PANE_MS)


def segments_of(deltas):
    """Predictions by way to cut and segment."""
    found = defaultdict(Counter)
    for delta in deltas:
        found[delta.cut][delta.segment] += dict(zip(delta.cells, delta.counts, strict=True)).get(0, 0)
    return found


def fed(*events, spec=SPEC):
    (deltas,) = engine(spec).feed([(0, event) for event in events]).panes.values()
    return segments_of(deltas)


def test_a_prediction_is_in_one_segment_of_each_way_to_cut():
    found = fed(prediction(1, {"amount": 50.0, "carrier": "UA"}, {"origin": "EWR", "age": 17}))
    assert found == {
        "": {ALL: 1},
        "carrier": {"carrier=UA": 1},
        "origin": {"origin=EWR": 1},
        "amount": {"amount=0 to 100": 1},
        "age": {"age=<18": 1},
        "origin, carrier": {"origin=EWR, carrier=UA": 1},
    }


@pytest.mark.parametrize(
    ("amount", "segment"),
    [
        (-1.0, "<0"),
        (0.0, "0 to 100"),
        (99.9, "0 to 100"),
        (100.0, ">=100"),
        (1e308, ">=100"),
        (None, "(missing)"),
    ],
)
def test_a_bucket_begins_at_its_edge(amount, segment):
    assert fed(prediction(1, {"amount": amount}))["amount"] == {f"amount={segment}": 1}


@pytest.mark.parametrize("age", [None, "old", True, {}.get("age")])
def test_an_attribute_that_is_no_number_is_missing_where_buckets_are_asked_for(age):
    assert fed(prediction(1, {}, {"age": age}))["age"] == {"age=(missing)": 1}


@pytest.mark.parametrize("age", [10**400, 18, 18.0])
def test_numbers_of_any_size_have_a_bucket(age):
    assert fed(prediction(1, {}, {"age": age}))["age"] == {"age=>=18": 1}


def test_values_beyond_the_cap_are_counted_together():
    events = [prediction(i, {"carrier": f"c{i}"}) for i in range(OWN + 7)]
    carriers = fed(*events)["carrier"]
    assert carriers["carrier=(other)"] == 7
    assert len(carriers) == OWN + 1


def test_a_name_of_any_length_is_counted():
    assert fed(prediction(1, {"carrier": "x" * 10_000}))["carrier"] == {"carrier=(other)": 1}


def test_values_with_commas_and_equal_signs_are_not_taken_apart():
    found = fed(prediction(1, {"carrier": "a, b=c"}, {"origin": "="}))
    assert found["origin, carrier"] == {"origin==, carrier=a, b=c": 1}


def test_rows_that_the_gate_compares_are_in_the_segments_that_the_monitor_counts():
    features = [{"amount": 5.0, "carrier": "UA"}, {"amount": 100, "carrier": None}, {"carrier": "a" * (LONGEST + 1)}]
    attributes = [{"origin": "EWR", "age": 17}, {"age": "young"}, {"origin": True, "age": 18}]
    told = fed(*(prediction(i, *both) for i, both in enumerate(zip(features, attributes, strict=True))))
    columns = {name: [each.get(name) for each in features] for name in ("amount", "carrier")}
    columns |= {name: [each.get(name) for each in attributes] for name in ("origin", "age")}
    for way in SPEC.segments:
        assert Counter(segments_of_rows(way, columns)) == told[way.name]


def test_an_outcome_is_told_to_the_segments_of_its_prediction():
    book = engine()
    book.feed([(0, prediction(1, {"carrier": "UA"}, {"origin": "EWR"}))])
    (deltas,) = book.feed([(PANE_MS, Outcome(id="1", model="m", time=5, outcome="no"))]).panes.values()
    everybody, *parts = deltas
    assert {delta.segment for delta in parts} >= {"carrier=UA", "origin=EWR", "origin=EWR, carrier=UA"}
    assert len(parts) == len(SPEC.segments)
    assert all((d.cells, d.counts, d.sums) == (everybody.cells, everybody.counts, everybody.sums) for d in parts)


def test_the_largest_are_told_by_themselves_and_the_rest_as_one():
    told = largest({"c=a": 5, "c=b": 9, "c=d": 5, "c=(other)": 50}, "c", 2)
    assert told == {"c=b": "c=b", "c=a": "c=a", "c=d": "c=(other)", "c=(other)": "c=(other)"}


arrivals = st.lists(
    st.tuples(
        st.integers(0, 5),  # id
        st.sampled_from("12"),  # version
        st.sampled_from(["AA", "UA", None]),
        st.sampled_from(["EWR", None]),
        st.sampled_from([-5.0, 0.0, 250.0, None]),
        st.sampled_from([None, "no", "yes"]),  # with an outcome
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=50, deadline=None)
@given(arrivals, st.sets(st.integers(0, 19)))
def test_the_segments_of_each_way_add_up_to_everybody_in_any_batches(told, cuts):
    whole, batched = engine(versions="12"), engine(versions="12")
    events = []
    for at, (name, version, carrier, origin, amount, outcome) in enumerate(told):
        features = {"carrier": carrier, "amount": amount}
        events.append([(at * PANE_MS, prediction(name, features, {"origin": origin}, version, at * PANE_MS))])
        if outcome is not None:
            events[-1].append((at * PANE_MS, Outcome(id=str(name), model="m", time=at * PANE_MS, outcome=outcome)))
    everything = whole.feed([one for each in events for one in each]).panes
    batch, in_batches = [], {}
    for at, each in enumerate(events):
        batch += each
        if at in cuts or at == len(events) - 1:
            in_batches |= batched.feed(batch).panes
            batch = []
    assert msgspec.json.encode(in_batches) == msgspec.json.encode(everything)
    totals = defaultdict(Pane)
    for deltas in everything.values():
        for delta in deltas:
            pane = Pane.of(np.array(delta.cells), np.array(delta.counts), delta.sums)
            totals[delta.version, delta.pane, delta.cut] += pane
    for (version, pane, cut), total in totals.items():
        assert total == totals[version, pane, ""], cut
    assert {cut for _, _, cut in totals} == {"", *(cut.name for cut in SPEC.segments)}
