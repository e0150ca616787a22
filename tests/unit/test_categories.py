"""What is counted of categories: the most frequent by themselves, other known ones, unseen ones, missing ones."""

from __future__ import annotations

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cells import cells_of_categories
from tests.panes import COMMON

import driftline
from driftline.core.baseline import make_baseline
from driftline.core.binning import BUCKETS, MAX_CATEGORIES, MAX_KNOWN, bins_from_reference, default_bins
from driftline.core.drift import drift_of
from driftline.core.pane import Layout, Pane, Totals
from driftline.core.plans import UNTOLD, Plans
from driftline.events.baselines import Bins, CategoryBins
from driftline.spec.reader import parse_spec

HEAD = "model: m\ntask: binary\nlabels: [no, yes]\npositive: yes\n"


def spec(c="", head=HEAD, more=COMMON):
    return parse_spec(f"{head}features: {{c: {{type: category, missing: allowed{c}}}}}\n{more}", "spec")


def bins_of(values, c=""):
    return bins_from_reference(spec(c), {"c": values}, None, None).features["c"]


def drift(reference, seen, c=""):
    """The drift of a window that saw these values, against a reference."""
    declared = spec(c)
    baseline = make_baseline(declared, {"c": list(reference)}, None, None, "1", "test")
    layout = Layout(baseline.bins)
    cells = layout.cells["feature:c"].start + cells_of_categories(baseline.bins.features["c"], seen)
    return drift_of(Totals.of(layout, [Pane.of(cells, np.ones(cells.size, np.int64), {})]), baseline)["c"]


@pytest.mark.parametrize("different", [MAX_CATEGORIES, MAX_CATEGORIES + 1, 300, MAX_KNOWN])
def test_a_reference_does_not_find_its_own_values_unseen(different):
    reference = [f"v{i}" for i in range(different)] * 3
    found = drift(reference, reference)
    assert (found.unseen, found.psi, found.total_variation) == (0, 0, 0)
    news = drift(reference, [*reference, *["news"] * len(reference), None])
    assert news.unseen == pytest.approx(len(reference) / news.n)


def test_a_shift_towards_the_others_is_drift_and_no_news():
    reference = ["top"] * 900 + [f"v{i}" for i in range(300)]
    found = drift(reference, [f"v{i}" for i in range(300)])
    assert found.unseen == 0
    assert found.total_variation > 0.7


def test_every_allowed_value_is_known_and_the_most_frequent_of_many_are_told():
    values = [f"v{i:02d}" for i in range(60)]
    allowed = f", allowed: [{', '.join(values)}]"
    found = drift(values, [*values[50:], "news"], allowed)
    assert found.unseen == pytest.approx(1 / 11)
    told = bins_of(values[55:] * 2, allowed)
    assert told.values == (*values[55:], *values[:45])
    assert told.others == tuple(values[45:55])
    assert default_bins(spec(allowed)).features["c"] == CategoryBins(
        values=tuple(values[:50]), others=tuple(values[50:])
    )
    assert bins_of(["x", "y"], ", allowed: [b, a]") == CategoryBins(values=("b", "a"))


@pytest.mark.parametrize("reference", [[], [None, None], [f"v{i}" for i in range(MAX_KNOWN + 1)]])
def test_nothing_is_called_unseen_where_not_all_that_is_known_can_be_listed(reference):
    assert drift(reference, ["a", "b", None]).unseen == 0
    found = bins_of(reference)
    assert (len(found.values), found.others, found.buckets) == (min(len(set(reference) - {None}), 50), (), BUCKETS)
    assert default_bins(spec()).features["c"] == CategoryBins(values=(), buckets=BUCKETS)


def test_empty_buckets_do_not_make_a_small_window_far_from_a_large_reference():
    bins = CategoryBins(values=(), buckets=BUCKETS)
    layout = Layout(Bins(features={"c": bins}, labels=("no", "yes"), positive="yes", score=(0.5,)))
    baseline = msgspec.structs.replace(make_baseline(spec(), {"c": []}, None, None, "1", "t"), bins=layout.bins)
    cells = layout.cells["feature:c"]

    def counts(values):
        return np.bincount(cells_of_categories(bins, values), minlength=cells.size)

    known = msgspec.structs.replace(baseline, counts={"feature:c": tuple(counts(list("aab") * 5_000).tolist())})
    vector = np.zeros(layout.size, np.int64)
    for seen, near in ((list("aab") * 200, True), (["zzz"] * 600, False)):
        vector[cells.start : cells.stop] = counts(seen)
        found = drift_of(Totals(layout, vector, {}), known)["c"]
        assert (found.psi < 0.02, found.psi > 5) == (near, not near)
        assert found.total_variation == pytest.approx(0 if near else 1)


def test_a_record_from_before_there_were_others_keeps_its_bytes_and_its_layout():
    value = b'{"type":"category","values":["a","b"]}'
    bins = msgspec.json.decode(value, type=CategoryBins)
    assert msgspec.json.encode(bins) == value
    layout = Layout(Bins(features={"c": bins}, labels=("no", "yes"), positive="yes", score=(0.5,)))
    assert layout.cells["feature:c"].size == 4


names = st.sampled_from(["a", "b", "c", "d", "e", "\u05d0", ""])


@given(st.lists(st.tuples(st.sets(names), st.sets(names), st.sampled_from([0, 3])), min_size=1, max_size=3), st.data())
def test_each_category_has_the_cell_that_its_bins_say_in_one_model_and_among_several(declared, data):
    every = [CategoryBins(values=tuple(v), others=tuple(o - v), buckets=n) for v, o, n in declared]
    plans = Plans()
    layouts = [Layout(Bins(features={"c": b}, labels=("no", "yes"), positive="yes", score=(0.5,))) for b in every]
    numbers = [plans.add(spec(), layout) for layout in layouts]
    values = data.draw(st.lists(st.one_of(names, st.none()), min_size=1, max_size=20))
    plan = np.array([numbers[i % len(numbers)] for i in range(len(values))])
    found = plans.tables.features(plan, np.empty(0), values, 2)
    wanted = [cells_of_categories(every[p], [value])[0] for p, value in zip(plan.tolist(), values, strict=True)]
    assert found.tails[:, 0].tolist() == wanted
    assert (found.tails[:, 1] == UNTOLD).all()
    starts = np.array([layouts[p].cells["feature:c"].start for p in plan.tolist()])
    assert found.cells[np.argsort(found.rows)].tolist() == (starts + wanted).tolist()


@pytest.mark.parametrize("baseline", ["{previous: day}", "{first: 2d}"])
def test_without_reference_and_allowed_values_a_change_of_a_category_is_drift_from_the_days_before(baseline, tmp_path):
    rng, days = np.random.default_rng(1), 6
    times = pd.date_range("2024-01-01", periods=days * 24 * 10, freq="6min", tz="UTC")
    rows = pd.DataFrame(
        {"id": [f"r{i}" for i in range(times.size)], "time": times, "prediction": "no", "outcome": "no"}
    )
    rows["c"] = np.where(times < times[0] + pd.Timedelta(days=4), rng.choice(list("abc"), times.size), "zzz")
    path = tmp_path / "m.yaml"
    more = f"horizon: 1h\nlateness: 0s\npane: 1h\nwindows: {{day: {{span: 1d}}}}\nbaseline: {baseline}\n"
    path.write_text(f"{HEAD}features: {{c: {{type: category}}}}\n{more}")
    found = driftline.backtest(path, rows).drift().to_pandas()
    found = found[found.feature == "c"].set_index("end")
    assert (found.unseen == 0).all()
    before, after = (found.loc[pd.Timestamp(f"2024-01-{day}", tz="UTC")] for day in ("05", "06"))
    assert before.jensen_shannon < 0.1
    assert after.jensen_shannon > 0.7
    assert after.psi > 3
