"""Panes add like numbers: in any order, in any parts, and what is taken back is gone."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.panes import ANIMALS, REGRESSION, binary_layout, multiclass_layout, panes_of, regression_layout

from driftline.core.binning import default_bins
from driftline.core.intervals import metrics_of_window
from driftline.core.metrics import FORMULAS, compute
from driftline.core.pane import FINE_BITS, SCALE, SCALE_BITS, Layout, Pane, Totals, fine
from driftline.core.sums import add_sums, fixed_point
from driftline.spec.metrics import METRICS
from driftline.spec.model import LARGEST, OutputSpec

LAYOUT, LABELS, NUMBERS = binary_layout(), multiclass_layout(), regression_layout()

panes = st.builds(
    lambda cells, sums: Pane.of(
        np.array([cell for cell, _ in cells], dtype=np.int64), np.array([n for _, n in cells], dtype=np.int64), sums
    ),
    st.lists(st.tuples(st.integers(0, LAYOUT.size - 1), st.integers(-5, 5)), max_size=20),
    st.dictionaries(st.sampled_from(["log_loss", "absolute_error"]), st.integers(-(10**30), 10**30), max_size=2),
)


@given(panes, panes, panes)
def test_addition_has_no_order(a, b, c):
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Pane() == a


@given(panes)
def test_what_is_taken_back_leaves_nothing(a):
    back = Pane.of(a.cells, -a.counts, {name: -value for name, value in a.sums.items()})
    assert a + back == Pane()


@given(st.lists(panes, max_size=8), st.integers(0, 8))
def test_totals_are_the_same_from_any_parts(several, cut):
    left, right = sum(several[:cut], Pane()), sum(several[cut:], Pane())
    whole, parts = Totals.of(LAYOUT, several), Totals.of(LAYOUT, [left, right])
    assert np.array_equal(whole.vector, parts.vector)
    assert {k: v for k, v in whole.sums.items() if v} == {k: v for k, v in parts.sums.items() if v}


rows = st.lists(
    st.tuples(st.sampled_from(["no", "yes"]), st.sampled_from(["no", "yes", None]), st.floats(0, 1) | st.none()),
    min_size=1,
    max_size=30,
)


@given(rows, st.integers(1, 6), st.integers(1, 6))
def test_windows_do_not_depend_on_how_rows_fall_into_panes(found, few, many):
    columns = [list(column) for column in zip(*found, strict=True)]
    one, other = (Totals.of(LAYOUT, panes_of(LAYOUT, *columns, panes=n)) for n in (few, many))
    assert np.array_equal(one.vector, other.vector)
    assert one.sums == other.sums


@given(rows, st.integers(1, 6))
def test_a_metric_of_a_sum_of_panes_is_that_of_the_whole(found, many):
    columns = [list(column) for column in zip(*found, strict=True)]
    whole, parts = (Totals.of(LAYOUT, panes_of(LAYOUT, *columns, panes=n)) for n in (1, many))
    for name in METRICS["binary"]:
        assert compute(parts, name) == compute(whole, name)


answers = st.sampled_from(ANIMALS)
chances = st.lists(st.floats(0, 1), min_size=5, max_size=5).map(lambda shares: dict(zip(ANIMALS, shares, strict=True)))


@given(
    st.lists(st.tuples(answers, answers | st.none(), chances | st.none()), min_size=1, max_size=30), st.integers(1, 6)
)
def test_so_it_is_of_many_labels(found, many):
    columns = [list(column) for column in zip(*found, strict=True)]
    whole, parts = (Totals.of(LABELS, panes_of(LABELS, *columns, panes=n)) for n in (1, many))
    assert np.array_equal(whole.vector, parts.vector)
    for name in (*METRICS["multiclass"], "recall:cat", "auc:cat"):
        assert compute(parts, name) == compute(whole, name)


numbers = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(numbers, numbers | st.none()), min_size=1, max_size=30), st.integers(1, 6))
def test_so_it_is_of_a_regression(found, many):
    columns = [list(column) for column in zip(*found, strict=True)]
    whole, parts = (Totals.of(NUMBERS, panes_of(NUMBERS, *columns, panes=n)) for n in (1, many))
    for name in METRICS["regression"]:
        assert compute(parts, name) == compute(whole, name)


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.tuples(finite, finite).filter(lambda ends: ends[0] < ends[1]) | st.none(),
    st.lists(st.tuples(st.floats(-LARGEST, LARGEST), st.floats(-LARGEST, LARGEST)), min_size=1, max_size=12),
    st.integers(1, 12),
)
@example((0.0, 1e200), [(5.0, 6.0)], 1)
@example((-1.7e308, 1.7e308), [(LARGEST, -LARGEST)] * 12, 12)
def test_no_declared_range_and_no_number_that_is_taken_stops_the_count_or_makes_a_figure_infinite(ends, found, many):
    outputs = {} if ends is None else {"prediction": OutputSpec(range=ends)}
    layout = Layout(default_bins(replace(REGRESSION, outputs=outputs)))
    several = panes_of(layout, *(list(column) for column in zip(*found, strict=True)), panes=many)
    formulas = {name: FORMULAS[name] for name in METRICS["regression"]}
    values = metrics_of_window(Totals.of(layout, several), several, formulas, [])
    told = [(v.value, v.low, v.high, v.error_bound) for v in values.values()]
    assert all(number is None or np.isfinite(number) for each in told for number in each)


halves = st.integers(-(2**50), 2**50).map(lambda k: (k + 0.5) / SCALE)


@given(finite | halves, st.sampled_from([SCALE_BITS, FINE_BITS]))
def test_a_term_is_rounded_once_and_exactly(term, bits):
    # Python rounds fractions half to even
    assert fixed_point(term, bits) == round(Fraction(term) * 2**bits)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([1, -1]), finite | halves), min_size=1, max_size=20),
    st.sampled_from(["error", fine("error")]),
)
@example([(0, 1, 1e308), (0, 1, 5e-324), (1, 1, 1e-13), (1, 1, -1.5)], fine("error"))
def test_terms_of_a_batch_add_up_to_each_rounded_by_itself(rows, name):
    groups, sign, terms = (np.array(column) for column in zip(*rows, strict=True))
    sums = {}
    add_sums(sums, groups, sign, {name: terms.astype(np.float64)})
    bits = SCALE_BITS if name == "error" else FINE_BITS
    expected = {}
    for group, way, term in rows:
        expected[group] = expected.get(group, 0) + way * fixed_point(term, bits)
    assert {group: of[name] for group, of in sums.items()} == expected
