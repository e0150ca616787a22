"""Two baselines side by side, whatever their bins."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from driftline.cli import baselines
from driftline.cli.main import cli
from driftline.core.baseline import make_baseline
from driftline.core.differing import differences
from driftline.spec.reader import parse_spec

SPEC = parse_spec(
    "model: m\ntask: binary\nlabels: [no, yes]\npositive: yes\n"
    "features: {x: {type: number}, c: {type: category}}\nwindows: {h: {span: 1h}}\n",
    "spec",
)


def baseline(x, c=None, version="1"):
    columns = {"x": list(x), "c": ["a"] * len(x) if c is None else list(c)}
    return make_baseline(SPEC, columns, np.full(len(x), 0.5), None, version, "test")


def of(name, first, second):
    return next(each for each in differences(first, second) if each.feature == name)


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0, 10.0])
def test_numbers_in_different_bins_are_compared_by_their_shares(shift):
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=4_000), rng.normal(size=4_000) + shift
    found = of("x", baseline(one), baseline(two))
    assert found.moved == pytest.approx(ks_2samp(one, two).statistic, abs=0.03)
    assert found.middle == pytest.approx((np.median(one), np.median(two)), abs=0.05)


def test_the_same_rows_do_not_differ():
    same = baseline(np.arange(100.0), list("ab") * 50)
    assert [each.moved for each in differences(same, same)] == [0.0, 0.0]


def test_categories_are_compared_value_by_value():
    found = of("c", baseline(np.zeros(4), "aabb"), baseline(np.zeros(4), "bbbc"))
    assert found.moved == pytest.approx(0.5)
    assert found.middle == ("b", "b")
    assert of("c", baseline(np.zeros(2), "aa"), baseline(np.zeros(2), "bb")).moved == 1.0


@pytest.mark.parametrize("many", [300, 3_000])
def test_a_value_that_only_one_baseline_tells_by_itself_counts_where_the_other_has_it(many):
    rare = [f"v{i}" for i in range(many)]
    one, two = ["v7"] * 400 + rare, ["v1"] * 400 + rare
    found = of("c", baseline(np.zeros(len(one)), one), baseline(np.zeros(len(two)), two))
    assert found.moved == pytest.approx(400 / (many + 400), abs=0.01)
    assert found.middle == ("v7", "v1")
    few = of("c", baseline(np.zeros(4), "aabb"), baseline(np.zeros(many + 4), ["a", "a", "b", "b", *rare]))
    assert few.moved == pytest.approx(many / (many + 4), abs=0.1)
    same = of("c", baseline(np.zeros(many * 2), rare * 2), baseline(np.zeros(many), rare))
    assert same.moved == pytest.approx(0)


def test_others_and_buckets_are_one_where_either_baseline_has_the_other_kind():
    rare = [f"v{i}" for i in range(3_000)]
    one, two = ["a"] * 3_000 + rare[:300] * 10, ["a"] * 3_000 + rare
    assert of("c", baseline(np.zeros(6_000), one), baseline(np.zeros(6_000), two)).moved == pytest.approx(0, abs=0.02)


def test_what_is_missing_is_told_apart():
    found = of("x", baseline([1.0, None, None, 2.0]), baseline([1.0, 2.0]))
    assert found.missing == (0.5, 0.0)


def test_a_sum_of_panes_is_said_to_be_nowhere_written(monkeypatch):
    monkeypatch.setattr(baselines.settings_module, "load", lambda: None)
    monkeypatch.setattr(baselines, "read_all", lambda *_: [])
    name = "previous m/1 2024-01-01T00:00:00Z/2024-01-08T00:00:00Z"
    told = CliRunner().invoke(cli, ["baselines", "diff", "m", name, "1"])
    assert told.exit_code != 0
    assert "is a sum of m's own panes, which is nowhere written" in str(told.exception) + told.output


def test_without_values_there_is_nothing_to_compare():
    found = of("x", baseline([None, None]), baseline([1.0, 2.0]))
    assert (found.moved, found.middle[0]) == (None, None)


def test_the_most_different_feature_comes_first():
    first, second = baseline(np.arange(50.0), "ab" * 25), baseline(np.arange(50.0), "b" * 50)
    assert [each.feature for each in differences(first, second)] == ["c", "x"]


def test_values_that_are_nearly_nothing_or_nearly_infinite_have_a_difference_too():
    nearly = -2.225073858507e-311  # with 0 beside it a bin whose slope is infinite
    assert of("x", baseline([nearly]), baseline([0.0] * 7 + [-1.0, -1.0, nearly])).moved == pytest.approx(0.7)
    huge = of("x", baseline([-1.7e308, 1.7e308]), baseline([0.0]))
    assert (huge.moved, huge.middle) == (pytest.approx(0.5), (pytest.approx(1.7e308), 0.0))


numbers = st.lists(
    st.one_of(st.none(), st.floats(-1.7e308, 1.7e308), st.floats(-1e-300, 1e-300), st.sampled_from([0.0, 5.0])),
    min_size=1,
    max_size=30,
)


@given(numbers, numbers)
def test_the_difference_is_a_share_and_the_same_from_both_sides(one, two):
    found, back = of("x", baseline(one), baseline(two)), of("x", baseline(two), baseline(one))
    assert found.moved == (None if back.moved is None else pytest.approx(back.moved, abs=1e-12))
    assert found.moved is None or 0 <= found.moved <= 1
