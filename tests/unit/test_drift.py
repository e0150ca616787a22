"""PSI is the symmetric Kullback-Leibler divergence of the shares, and says nothing where there is nothing to say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.panes import COMMON

from driftline.core.baseline import make_baseline
from driftline.core.binning import cells_of_categories, cells_of_numbers, cells_of_scores, to_numbers
from driftline.core.drift import PRIOR, drift_of, psi
from driftline.core.pane import Layout, Pane, Totals
from driftline.spec.reader import parse_spec

SPEC = parse_spec(
    f"""
model: m
task: binary
labels: [no, yes]
positive: yes
features:
  temp: {{type: number, range: [-60, 130], missing: allowed}}
  carrier: {{type: category, missing: allowed}}
{COMMON}""",
    "spec",
)
REFERENCE = {
    "temp": [*np.linspace(0, 100, 990).tolist(), *[None] * 10],
    "carrier": [*["UA"] * 500, *["AA"] * 300, *["DL"] * 200],
}
BASELINE = make_baseline(SPEC, REFERENCE, np.linspace(0.01, 0.99, 1000), None, "1", "test")
LAYOUT = Layout(BASELINE.bins)


def window(temps=(), carriers=(), scores=(), layout=LAYOUT):
    """Totals of a window that saw these values."""
    cells = {
        "feature:temp": cells_of_numbers(layout.bins.features["temp"], to_numbers(temps)),
        "feature:carrier": cells_of_categories(layout.bins.features["carrier"], carriers),
        "score": cells_of_scores(layout.bins.score, np.asarray(scores, dtype=float)),
    }
    found = np.concatenate([layout.cells[name].start + each for name, each in cells.items()])
    return Totals.of(layout, [Pane.of(found, np.ones(found.size, np.int64), {})])


def by_scipy(counts, reference):
    p = (counts + PRIOR) / (counts + PRIOR).sum()
    q = (reference + PRIOR) / (reference + PRIOR).sum()
    return stats.entropy(p, q) + stats.entropy(q, p)


histograms = st.integers(1, 12).flatmap(
    lambda cells: st.tuples(*[st.lists(st.integers(0, 10**12), min_size=cells, max_size=cells)] * 2)
)


@given(histograms)
def test_psi_is_the_symmetric_divergence_that_scipy_computes(pair):
    counts, reference = (np.array(side, dtype=np.int64) for side in pair)
    found = psi(counts, reference)
    if not counts.any() or not reference.any():
        assert found is None
    else:
        assert found == pytest.approx(by_scipy(counts, reference), rel=1e-9, abs=1e-12)
        assert found >= 0
        assert found == pytest.approx(psi(reference, counts), rel=1e-12)


def test_psi_of_a_table_worked_out_by_hand():
    # shares 0.2 / 0.8 against 0.5 / 0.5: 0.3 ln(2.5) + 0.3 ln(1.6) = 0.41589
    many = 10**9  # so many that the prior does not show
    assert psi(np.array([2 * many, 8 * many]), np.array([5 * many, 5 * many])) == pytest.approx(0.415888, abs=1e-6)


def test_a_window_like_the_reference_has_not_drifted():
    found = drift_of(window(REFERENCE["temp"], REFERENCE["carrier"], np.linspace(0.01, 0.99, 1000)), BASELINE)
    assert {name: drift.psi for name, drift in found.items()} == {"temp": 0, "carrier": 0, "score": 0}
    assert found["temp"].missing == 0.01
    assert {drift.n for drift in found.values()} == {1000}


def test_drift_is_seen_in_that_feature_alone_in_which_it_is():
    found = drift_of(window(np.linspace(50, 100, 1000), REFERENCE["carrier"], np.linspace(0.01, 0.99, 1000)), BASELINE)
    assert found["temp"].psi > 0.5
    assert (found["carrier"].psi, found["score"].psi) == (0, 0)


def test_values_that_the_reference_never_saw_are_drift_and_are_told_apart():
    found = drift_of(
        window([-100.0, 200.0, 300.0, 400.0, 500.0, 20.0, 21.0, None], ["UA", "B6", None, "ZZ"], []), BASELINE
    )
    temp, carrier = found["temp"], found["carrier"]
    assert (temp.out_of_range, temp.missing, temp.unseen) == (0.625, 0.125, 0)
    assert (carrier.unseen, carrier.missing, carrier.out_of_range) == (0.5, 0.25, 0)
    assert temp.psi > 1
    assert carrier.psi > 1


def test_leaving_a_constant_is_drift_in_either_direction():
    steady = make_baseline(SPEC, {"temp": [20.0] * 50, "carrier": ["UA"] * 50}, np.full(50, 0.5), None, "1", "test")
    layout = Layout(steady.bins)

    def found(temp, carrier, score):
        drifts = drift_of(window([temp] * 50, [carrier] * 50, [score] * 50, layout), steady)
        return [drifts[name].psi for name in ("temp", "carrier", "score")]

    assert found(20.0, "UA", 0.5) == [0, 0, 0]
    for temp, score in ((19.9, 0.4), (20.1, 0.6)):
        assert min(found(temp, "AA", score)) > 1


def test_without_a_baseline_and_without_values_there_is_no_index():
    assert {drift.psi for drift in drift_of(window(REFERENCE["temp"], ["UA"], [0.5]), None).values()} == {None}
    for drift in drift_of(window(), BASELINE).values():
        assert (drift.psi, drift.n, drift.missing, drift.out_of_range, drift.unseen) == (None, 0, 0, 0, 0)


def test_the_index_of_a_score_is_taken_over_twentieths_of_the_reference():
    chance = np.random.default_rng(7)
    scores = chance.beta(2, 3, 5000)
    found = drift_of(window(scores=scores), BASELINE)["score"].psi
    edges = np.linspace(0.01, 0.99, 1000)[49::50]
    by_numpy = [
        np.bincount(np.searchsorted(edges, side), minlength=20) for side in (scores, np.linspace(0.01, 0.99, 1000))
    ]
    # our parts end at bin edges, a thousandth of the scale apart
    assert found == pytest.approx(by_scipy(*by_numpy), rel=0.03)
    assert found > 0.3
