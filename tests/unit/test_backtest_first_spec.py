"""The first spec that `driftline init` writes: what it makes of columns."""

from __future__ import annotations

import pyarrow as pa
import pytest

from driftline.backtesting.first_look import look_at
from driftline.backtesting.first_spec import plain, threshold_of, widened, write_spec
from driftline.backtesting.mapping import Columns
from driftline.errors import DriftlineError
from driftline.spec.reader import parse_spec

NOON = 1_709_294_400_000
N = 400


def rows(**changes):
    table = {
        "id": [f"p{i}" for i in range(N)],
        "time": [NOON + i * 600_000 for i in range(N)],
        "prediction": [("late", "on-time")[i % 2] for i in range(N)],
        "score": [0.8 - 0.6 * (i % 2) for i in range(N)],
        "x": [float(i % 7) + 0.5 for i in range(N)],
    }
    return pa.table(table | changes)


def spec_of(table, outcomes=None, **columns):
    text = write_spec(look_at(table, outcomes, Columns(**columns), lambda _: None), "m")
    return text, parse_spec(text, "written")


def test_the_positive_label_is_the_one_with_the_higher_scores():
    assert spec_of(rows())[1].positive == "late"
    turned = rows(score=[0.2 + 0.6 * (i % 2) for i in range(N)])
    assert spec_of(turned)[1].positive == "on-time"


def test_without_scores_the_last_label_is_the_positive_one():
    assert spec_of(rows(prediction=[i % 2 for i in range(N)]).drop_columns("score"))[1].positive == "1"


def test_labels_in_several_spellings_are_one():
    outcomes = pa.table({"id": ["p0"], "time": [NOON], "outcome": ["1.0"]})
    assert spec_of(rows(prediction=[str(i % 2) for i in range(N)]), outcomes)[1].labels == ("0", "1")


def test_numbers_are_a_regression_with_a_range_for_what_it_predicts():
    _, spec = spec_of(rows(prediction=[float(i) for i in range(N)]))
    assert spec.task == "regression"
    assert spec.outputs["prediction"].range == (0, 440)


def test_three_labels_are_a_model_of_many():
    text, spec = spec_of(rows(prediction=["abc"[i % 3] for i in range(N)]))
    assert (spec.task, spec.labels, spec.positive) == ("multiclass", ("a", "b", "c"), None)
    assert "which f1_macro is too low?" in text


def test_numbers_are_labels_where_each_has_a_column_of_scores():
    digits = {f"proba_{digit}": [1.0 if i % 3 == digit else 0.0 for i in range(N)] for digit in range(3)}
    _, spec = spec_of(rows(prediction=[i % 3 for i in range(N)], **digits))
    assert (spec.task, spec.labels) == ("multiclass", ("0", "1", "2"))
    assert set(spec.features) == {"x"}


def test_too_many_labels_are_refused_with_what_they_are():
    with pytest.raises(DriftlineError, match=r"101 different values \(v0, v1, v10, v100, v11\)"):
        spec_of(rows(prediction=[f"v{i % 101}" for i in range(N)]))


def test_a_few_odd_labels_are_no_labels():
    labels = ["odd", *(("a", "b")[i % 2] for i in range(N - 1))]
    assert spec_of(rows(prediction=labels))[1].labels == ("a", "b")


def test_columns_become_features_by_what_they_hold():
    table = rows(
        note=[f"text {i}" for i in range(N)],
        country=[("AT", "no", "7")[i % 3] for i in range(N)],
        shop=[f"s{i % 30}" for i in range(N)],
        when=[f"2024-03-01T12:00:{i % 60:02}Z" for i in range(N)],
        gap=[None if i % 2 else 1.5 for i in range(N)],
        empty=pa.nulls(N),
        pred_b=[0] * N,
        flag=[i % 3 == 0 for i in range(N)],
    )
    text, spec = spec_of(table)
    assert list(spec.features) == ["x", "country", "shop", "gap", "flag"]
    assert spec.features["country"].allowed == ("7", "AT", "no")
    assert spec.features["flag"].allowed == ("false", "true")
    assert spec.features["shop"].allowed is None
    assert spec.features["gap"].missing == "allowed"
    assert spec.features["x"].missing == "forbidden"
    assert "left out (ids, times, other answers, or empty): note, when, empty, pred_b" in text


def test_a_file_without_features_is_refused():
    with pytest.raises(DriftlineError, match="no column that could be a feature"):
        spec_of(rows().drop_columns("x"))


def test_horizon_and_lateness_come_from_how_long_outcomes_took():
    hours = 3_600_000
    times = [NOON + i * 600_000 for i in range(N)]
    late = [time + (70 if i == 0 else 5) * hours for i, time in enumerate(times)]
    outcomes = pa.table({"id": [f"p{i}" for i in range(N)], "time": late, "outcome": ["late"] * N})
    text, spec = spec_of(rows(), outcomes)
    assert (spec.lateness.total_seconds(), spec.horizon.days) == (6 * 3600, 3)
    assert "95 % of the outcomes came within 6h" in text


@pytest.mark.parametrize(
    ("seen", "declared"),
    [
        ((0.02, 0.97), (0, 1)),
        ((0, 0.001), (0, 0.0011)),
        ((17.0, 4983.0), (0, 5500)),
        ((-9.5, 38.0), (-15, 43)),
        ((-5.0, -1.0), (-5.4, -0.6)),
        ((7.0, 7.0), (6.3, 7.7)),
        ((0.0, 0.0), (0, 1)),
    ],
)
def test_ranges_reach_a_little_beyond_in_round_numbers(seen, declared):
    assert widened(*seen) == pytest.approx(declared)


def test_whole_numbers_get_whole_ranges():
    assert widened(1, 12, whole=True) == (0, 14)


@pytest.mark.parametrize("text", ["no", "1", "a b", "", "a: b", '"', "é", "-", "null", "#x", "{a}", "Yes"])
def test_any_text_is_itself_again_after_yaml(text):
    import yaml

    assert yaml.safe_load(f"[{plain(text)}]") == [text]


def test_no_threshold_is_made_of_nothing():
    assert threshold_of(None) is None
