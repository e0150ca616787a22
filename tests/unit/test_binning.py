"""Values fall into the cells that NumPy and pandas would put them in, and nothing falls between two."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cells import cells_of_categories, cells_of_numbers, cells_of_scores
from tests.panes import BINARY, COMMON, REGRESSION

from driftline.core.binning import (
    FEATURE_BINS,
    MAX_CATEGORIES,
    bins_from_reference,
    category_name,
    default_bins,
    grid_edges,
    quantile_edges,
    score_edges,
    signed_log_edges,
    to_numbers,
)
from driftline.events.baselines import CategoryBins, NumberBins
from driftline.spec.reader import parse_spec

numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(numbers, max_size=80), st.lists(numbers | st.just(math.nan), max_size=40))
def test_every_number_has_a_cell_and_it_is_the_one_of_numpy(reference, values):
    bins = NumberBins(edges=quantile_edges(np.array(reference), FEATURE_BINS))
    assert list(bins.edges) == sorted(set(bins.edges))
    assert all(math.isfinite(edge) for edge in bins.edges)
    cells = cells_of_numbers(bins, np.array(values))
    expected = (
        np.digitize([0.0 if math.isnan(v) else v for v in values], bins.edges) if bins.edges else [0] * len(values)
    )
    missing = len(bins.edges) + 3
    assert cells.tolist() == [missing if math.isnan(v) else e for v, e in zip(values, expected, strict=True)]


def test_without_ties_each_bin_holds_an_equal_share_as_with_pandas():
    values = np.random.default_rng(1).normal(size=2000)
    bins = NumberBins(edges=quantile_edges(values, FEATURE_BINS))
    held = np.bincount(cells_of_numbers(bins, values))
    by_pandas = pd.qcut(values, FEATURE_BINS, labels=False)
    assert len(held) == FEATURE_BINS
    # the edge itself belongs to the bin above here, to the one below in pandas
    assert np.abs(held - np.bincount(by_pandas)).max() <= 1


@given(st.lists(st.integers(0, 5), min_size=1, max_size=200))
def test_a_value_that_fills_a_bin_has_it_alone(values):
    reference = np.array(values, dtype=float)
    bins = NumberBins(edges=quantile_edges(reference, FEATURE_BINS))
    assert len(bins.edges) <= FEATURE_BINS + 1
    for value in {v for v in values if values.count(v) > 2 * len(values) / FEATURE_BINS}:
        beside = np.array([value, np.nextafter(value, -np.inf), np.nextafter(value, np.inf)])
        own, below, above = cells_of_numbers(bins, beside)
        assert own not in (below, above)


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, -math.inf, math.nan]])
def test_nothing_finite_makes_no_edges(values):
    assert quantile_edges(np.array(values), 20) == ()


def test_the_largest_numbers_make_edges_that_json_can_carry():
    largest = np.finfo(float).max
    assert all(math.isfinite(edge) for edge in quantile_edges(np.array([largest] * 9 + [-largest] * 9), 20))


def test_values_outside_the_declared_range_have_cells_of_their_own():
    bins = NumberBins(edges=(0.0, 10.0), low=-5.0, high=20.0)
    values = [-5.0, -5.1, 0.0, -0.0, 9.9, 10.0, 20.0, 20.1, math.nan, 1e308, -1e308]
    assert cells_of_numbers(bins, np.array(values)).tolist() == [0, 3, 1, 1, 1, 2, 2, 4, 5, 4, 3]


def test_categories_are_counted_by_name_and_the_rest_is_unseen_or_missing():
    bins = CategoryBins(values=("UA", "1", "true"))
    cells = cells_of_categories(bins, ["UA", 1, True, "ZZ", None, "", "مرحبا", 2.5])
    assert cells.tolist() == [0, 1, 2, 3, 4, 3, 3, 3]
    assert [category_name(v) for v in ("a", 1, True, False, 2.5, None)] == ["a", "1", "true", "false", "2.5", None]


def test_the_most_frequent_categories_are_kept_and_equal_ones_by_name():
    values = [f"c{i:03d}" for i in range(60) for _ in range(1 + (i < 5))]
    found = bins_from_reference(spec("x: {type: category}"), {"x": [*values, None]}, None, None).features["x"]
    assert found.values == tuple(f"c{i:03d}" for i in range(MAX_CATEGORIES))
    declared = bins_from_reference(spec("x: {type: category, allowed: [b, a]}"), {"x": ["c", "c"]}, None, None)
    assert declared.features["x"].values == ("b", "a")


def test_a_reference_value_outside_the_declared_range_moves_no_edge():
    declared = spec("x: {type: number, range: [0, 10]}")
    inside = np.linspace(0, 10, 100).tolist()
    clean, dirty = (
        bins_from_reference(declared, {"x": values}, None, None).features["x"]
        for values in (inside, [*inside, -1e9, 1e9, None])
    )
    assert clean == dirty


def test_without_reference_there_is_a_grid_over_the_range_or_over_the_decades():
    found = default_bins(spec("x: {type: number, range: [0, 10]}, y: {type: number}")).features
    assert found["x"].edges == pytest.approx(np.arange(1, 20) / 2)
    assert found["y"].edges == signed_log_edges()
    for value in (1e-9, 1e-3, 5.0, 1e12, 1e300):
        below, above = cells_of_numbers(found["y"], np.array([-value, value]))
        assert below < above
    assert grid_edges(3, 3, 20) == (3.0,)


def test_a_score_has_fine_bins_where_scores_crowd_and_still_covers_all():
    crowd = np.random.default_rng(2).normal(0.1, 0.001, 5000).clip(0, 1)
    edges = score_edges(crowd)
    held = np.bincount(cells_of_scores(edges, crowd), minlength=len(edges) + 2)
    assert held.max() / crowd.size < 0.005
    assert np.diff([0, *edges, 1]).max() <= 1 / 256 + 1e-12
    assert len(score_edges(None)) == len(score_edges(np.array([]))) == 1023
    assert cells_of_scores(edges, np.array([-1.0, 0.0, 1.0, 7.0, math.nan])).tolist() == [
        0, 0, len(edges), len(edges), len(edges) + 1,
    ]  # fmt: skip


def test_an_edge_belongs_to_the_bin_above_it():
    assert cells_of_scores((0.25, 0.5), np.array([0.25, 0.5, np.nextafter(0.5, 0)])).tolist() == [1, 2, 1]


def test_the_prediction_of_a_regression_is_binned_like_a_feature():
    values = np.arange(1000.0)
    found = bins_from_reference(REGRESSION, {}, None, values)
    assert found.score is None
    assert found.prediction.edges == quantile_edges(values, FEATURE_BINS)
    assert default_bins(BINARY).prediction is None


def test_null_is_missing_and_a_boolean_is_a_number_only_where_asked():
    assert np.isnan(to_numbers([None, math.nan])).all()
    assert to_numbers([1, 2.5, -0.0]).tolist() == [1.0, 2.5, 0.0]


def spec(features):
    return parse_spec(
        f"model: m\ntask: binary\nlabels: [no, yes]\npositive: yes\nfeatures: {{{features}}}\n{COMMON}", "spec"
    )
