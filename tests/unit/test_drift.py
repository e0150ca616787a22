"""PSI is the symmetric Kullback-Leibler divergence of the shares, and says nothing where there is nothing to say."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance
from tests.cells import cells_of_categories, cells_of_numbers, cells_of_scores
from tests.panes import COMMON

from driftline.core.baseline import make_baseline
from driftline.core.binning import to_numbers
from driftline.core.distances import (
    PRIOR,
    chi_squared,
    discoveries,
    hellinger,
    jensen_shannon,
    psi,
    total_variation,
)
from driftline.core.drift import drift_of, held_together, histogram_of, many
from driftline.core.pane import Layout, Pane, Totals
from driftline.events.baselines import Baseline, Bins, CategoryBins, NumberBins
from driftline.events.reports import Drift
from driftline.spec.measures import DRIFT_MEASURES, MEASURE_TABLE
from driftline.spec.model import FeatureSpec
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
UNBOUNDED = msgspec.structs.replace(
    SPEC, features={"temp": FeatureSpec(type="number"), "carrier": SPEC.features["carrier"]}
)
REFERENCE = {
    "temp": [*np.linspace(0, 100, 990).tolist(), *[None] * 10],
    "carrier": [*["UA"] * 500, *["AA"] * 300, *["DL"] * 200],
}
ANSWERS = ["no"] * 700 + ["yes"] * 300
BASELINE = make_baseline(SPEC, REFERENCE, np.linspace(0.01, 0.99, 1000), ANSWERS, "1", "test")
LAYOUT = Layout(BASELINE.bins)


def window(temps=(), carriers=(), scores=(), layout=LAYOUT, answers=()):
    """Totals of a window that saw these values."""
    cells = {
        "feature:temp": cells_of_numbers(layout.bins.features["temp"], to_numbers(temps)),
        "feature:carrier": cells_of_categories(layout.bins.features["carrier"], carriers),
        "score": cells_of_scores(layout.bins.score, np.asarray(scores, dtype=float)),
        "prediction": cells_of_categories(CategoryBins(values=("no", "yes")), answers),
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
    same = window(REFERENCE["temp"], REFERENCE["carrier"], np.linspace(0.01, 0.99, 1000), answers=ANSWERS)
    found = drift_of(same, BASELINE)
    assert list(found) == ["temp", "carrier", "score", "prediction"]
    for name, drift in found.items():
        expected = dict.fromkeys(DRIFT_MEASURES, 0)
        if name in ("carrier", "prediction"):
            expected.update(wasserstein=None, ks=None)
        assert {measure: getattr(drift, measure) for measure in DRIFT_MEASURES} == expected
        assert (drift.chi_squared, drift.p_value) == (0, 1)
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
    missing = drift_of(window([None] * 50), BASELINE)["temp"]
    assert (missing.ks, missing.wasserstein, missing.missing) == (None, None, 1)
    assert missing.total_variation == pytest.approx(0.99)
    for drift in drift_of(window(), BASELINE).values():
        assert {getattr(drift, measure) for measure in MEASURE_TABLE} == {None}
        assert (drift.psi, drift.n, drift.missing, drift.out_of_range, drift.unseen) == (None, 0, 0, 0, 0)


@given(histograms)
def test_distances_of_shares_are_those_of_scipy(pair):
    counts, reference = (np.array(side, dtype=np.int64) for side in pair)
    found = [of(counts, reference) for of in (jensen_shannon, hellinger, total_variation)]
    if not counts.any() or not reference.any():
        assert found == [None] * 3
        assert chi_squared(counts, reference) is None
        return
    p, q = counts / counts.sum(), reference / reference.sum()
    affinity = min(1.0, (np.sqrt(p) * np.sqrt(q)).sum())
    expected = [distance.jensenshannon(p, q, base=2), (1 - affinity) ** 0.5, stats.wasserstein_distance(*swaps(p, q))]
    assert found == pytest.approx(expected, abs=1e-7)
    assert all(0 <= each <= 1 for each in found)
    table = np.array([counts, reference])[:, (counts + reference) > 0]
    statistic, effect, p_value = chi_squared(counts, reference)
    if table.shape[1] == 1:
        assert (statistic, effect, p_value) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9), 1)
        return
    by_scipy = stats.chi2_contingency(table, correction=False)
    assert (statistic, p_value) == (pytest.approx(by_scipy.statistic, rel=1e-9), pytest.approx(by_scipy.pvalue))
    assert effect == pytest.approx(stats.contingency.association(table, "cramer"), abs=1e-9)


def swaps(p, q):
    """Of what total variation is the transport distance: all that has to move goes from 0 to 1."""
    return [0, 1], [0, 1], [1, 0], [1 - np.abs(p - q).sum() / 2, np.abs(p - q).sum() / 2]


values = st.one_of(st.floats(-1e6, 1e6), st.floats(-200, 200), st.integers(-3, 3).map(float))


@given(st.lists(values, min_size=1, max_size=80), st.lists(values, min_size=1, max_size=80), st.booleans())
def test_distances_of_numbers_are_never_further_off_than_they_say(reference, seen, declared):
    spec = SPEC if declared else UNBOUNDED
    baseline = make_baseline(
        spec, {"temp": reference, "carrier": ["UA"] * len(reference)}, np.full(len(reference), 0.5), None, "1", "t"
    )
    found = drift_of(window(seen, layout=Layout(baseline.bins)), baseline)["temp"]
    points = np.unique([*reference, *seen])
    f, g = (np.searchsorted(np.sort(side), points, side="right") / len(side) for side in (reference, seen))
    most = np.abs(f - g).max()
    assert found.ks - 1e-12 <= most <= found.ks + found.error_bounds["ks"] + 1e-12
    bins = baseline.bins.features["temp"]
    held = [np.clip(side, bins.least, bins.most) for side in (reference, seen)]
    expected = stats.wasserstein_distance(*held)
    assert abs(found.wasserstein - expected) <= found.error_bounds["wasserstein"] + 1e-9 * (1 + expected)


def test_distances_of_numbers_are_near_those_of_scipy_where_there_are_many():
    chance = np.random.default_rng(3)
    reference, seen = chance.normal(20, 10, 20_000), chance.normal(23, 12, 5000)
    baseline = make_baseline(
        SPEC, {"temp": reference, "carrier": ["UA"] * 20_000}, np.full(20_000, 0.5), None, "1", "t"
    )
    found = drift_of(window(seen, layout=Layout(baseline.bins)), baseline)["temp"]
    assert found.ks == pytest.approx(stats.ks_2samp(reference, seen).statistic, abs=0.01)
    assert found.error_bounds["ks"] < 0.12
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(reference, seen), rel=0.15)


def test_numbers_at_the_ends_of_doubles_have_distances_or_none():
    for reference, seen in (([-1.7e308, 1.7e308], [0.0]), ([1e308] * 3, [-1e308]), ([5e-324], [0.0, -1e308])):
        baseline = make_baseline(
            UNBOUNDED, {"temp": reference, "carrier": ["UA"] * len(reference)}, np.array([0.5]), None, "1", "t"
        )
        found = drift_of(window(seen, layout=Layout(baseline.bins)), baseline)["temp"]
        told = [getattr(found, measure) for measure in MEASURE_TABLE] + list(found.error_bounds.values())
        assert all(value is None or np.isfinite(value) for value in told)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_p_values_hold_the_false_discovery_rate_as_in_scipy(p_values):
    assert discoveries(p_values) == pytest.approx(stats.false_discovery_control(p_values), abs=1e-12)


def test_p_values_of_a_report_are_held_together():
    seen = window(np.linspace(3, 100, 500), ["UA"] * 270 + ["AA"] * 140 + ["DL"] * 90, np.linspace(0.02, 0.98, 400))
    raw = drift_of(seen, BASELINE)
    (found, other) = held_together([raw, raw])
    assert found == other
    assert held_together([]) == []
    alone = []
    for name in ("temp", "carrier"):
        counts = seen.histogram(f"feature:{name}")
        alone.append(chi_squared(counts, np.array(BASELINE.counts[f"feature:{name}"]))[2])
    assert found["prediction"].p_value is None  # none was made
    together = [found[name].p_value for name in ("temp", "carrier", "score")]
    assert found["temp"].p_value > alone[0]
    assert together == pytest.approx(discoveries([*alone, raw["score"].p_value] * 2)[:3])


def test_every_measure_of_the_table_is_told_and_none_beside():
    told = {field.name for field in msgspec.structs.fields(Drift)}
    assert told - MEASURE_TABLE.keys() == {"n", "missing", "out_of_range", "unseen", "error_bounds", "error_effect"}
    assert told >= MEASURE_TABLE.keys()


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


@pytest.mark.parametrize("measure", DRIFT_MEASURES)
def test_many_windows_at_once_are_measured_as_one_by_one(measure):
    bins = Bins(
        features={
            "x": NumberBins(edges=(1.0, 2.0, 3.0), low=0.0, high=9.0, least=0.5, most=8.0),
            "open": NumberBins(edges=(1.0, 2.0)),
            "c": CategoryBins(values=("a", "b")),
            "d": CategoryBins(values=("a", "b"), others=("c",)),
            "e": CategoryBins(values=("a",), buckets=9),
        },
        labels=("no", "yes"),
        positive="yes",
        score=tuple(np.linspace(0, 1, 65)[1:-1].tolist()),
    )
    layout, rng = Layout(bins), np.random.default_rng(3)
    vectors = rng.poisson(0.3, (20, layout.size)) * rng.poisson(0.5, (20, layout.size))
    vectors[3] = 0
    known = rng.poisson(2, layout.size)
    counts = {name: tuple(known[c.start : c.stop].tolist()) for name, c in layout.cells.items()}
    baseline = Baseline(id="b", model="m", version="1", bins=bins, n=100, counts=counts, source="t")
    single = [drift_of(Totals(layout, vector, {}), baseline) for vector in vectors]
    for name in ("x", "open", "c", "d", "e", "score", "prediction"):
        cells = layout.cells[histogram_of(layout, name)[0]]
        part = slice(cells.start, cells.stop)
        found = many(layout, name, measure, vectors[:, part].astype(float), known[part].astype(float))
        told = [getattr(each[name], measure) for each in single]
        assert found == pytest.approx([np.nan if one is None else one for one in told], abs=1e-12, nan_ok=True)
