"""Reference data is counted by segment as well, so that each segment is compared with itself."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.core.baseline import baseline_of_segments, make_baseline
from driftline.core.pane import Layout
from driftline.events.base import encode
from driftline.events.baselines import Baseline
from driftline.platform.catalog import without_counts
from driftline.spec.reader import parse_spec

SPEC = parse_spec(
    """
model: m
task: binary
labels: [no, yes]
positive: yes
features:
  x: {type: number, missing: allowed}
  c: {type: category, missing: allowed}
segments: [c, {x: [0]}, site, [c, site]]
windows: {hour: {span: 1h}}
""",
    "spec",
)


def baseline(rows, outcomes=(), **more):
    columns = {"x": [x for x, _ in rows], "c": [c for _, c in rows]} | more
    said = ["yes"] * len(rows)
    return make_baseline(SPEC, columns, np.full(len(rows), 0.7), said, "1", "test", outcomes)


ROWS = [(1.0, "a"), (-1.0, "b"), (2.0, "a"), (None, None)]


def of(known, cut, *segments):
    return baseline_of_segments(known, Layout(known.bins), cut, segments)


def test_a_segment_of_the_reference_has_its_own_counts():
    known = baseline(ROWS)
    found = of(known, "c", "c=a")
    assert found.n == 2
    assert sum(found.counts["feature:x"]) == 2
    assert found.counts.keys() == known.counts.keys()
    assert of(known, "x", "x=<0").n == of(known, "x", "x=(missing)").n == 1


def test_segments_that_are_told_together_are_added_up():
    known = baseline(ROWS)
    assert of(known, "c", "c=a", "c=b", "c=(other)").n == 3


def test_a_segment_that_the_reference_has_not_seen_has_no_baseline():
    assert of(baseline(ROWS), "c", "c=z") is None
    assert baseline_of_segments(None, Layout(baseline(ROWS).bins), "c", ["c=a"]) is None


def test_ways_to_cut_for_which_the_reference_has_no_column_are_left_out():
    assert set(baseline(ROWS).segments) == {"c", "x"}
    assert set(baseline(ROWS, site=["s", "t", "s", "t"]).segments) == {"c", "x", "site", "c, site"}


def test_outcomes_are_known_by_segment_too():
    found = of(baseline(ROWS, ["yes", "no", "no", None]), "c", "c=a")
    assert sum(found.counts["labelled"]) == 2
    assert found.counts["confusion"] == (0, 1, 0, 1)
    assert set(found.sums) == {"log_loss", "brier"}


def test_it_travels_and_the_monitor_does_without_it():
    known = baseline(ROWS)
    assert msgspec.json.decode(encode(known), type=Baseline) == known
    assert without_counts(known).segments == {}


@given(st.lists(st.tuples(st.sampled_from([None, -1.0, 0.0, 5.0]), st.sampled_from([None, "a", "b"])), min_size=1))
def test_the_segments_of_each_way_add_up_to_all_rows(rows):
    known = baseline(rows)
    for cut, parts in known.segments.items():
        whole = of(known, cut, *parts)
        assert whole.counts == known.counts
        assert whole.n == known.n == pytest.approx(len(rows))
