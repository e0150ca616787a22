"""The first spec that `driftline init` writes: what it makes of columns."""

from __future__ import annotations

import pyarrow as pa
import pytest

from driftline.backtesting.figures import Line, Point
from driftline.backtesting.first_look import look_at
from driftline.backtesting.first_spec import plain, threshold_of, widened, write_spec
from driftline.backtesting.mapping import Columns
from driftline.errors import DriftlineError
from driftline.events.reports import MetricValue
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


def test_whole_numbers_without_scores_are_labels_while_they_are_few_and_that_is_said():
    outcomes = pa.table({"id": ["p0", "p1"], "time": [NOON] * 2, "outcome": [2, 1]})
    digits = rows(prediction=[i % 3 for i in range(N)]).drop_columns("score")
    text, spec = spec_of(digits, outcomes)
    assert (spec.task, spec.labels) == ("multiclass", ("0", "1", "2"))
    assert "# 3 different whole numbers are taken for labels; if they are amounts, write regression" in text
    assert spec_of(rows(prediction=[i % 21 for i in range(N)]))[1].task == "regression"
    amounts = pa.table({"id": ["p0", "p1"], "time": [NOON] * 2, "outcome": [2.5, 1.0]})
    assert spec_of(digits, amounts)[1].task == "regression"


@pytest.mark.parametrize(("answer", "labels"), [(0, ("0", "1")), ("yes", ("no", "yes")), (True, ("false", "true"))])
def test_one_answer_with_scores_is_one_of_two(answer, labels):
    text, spec = spec_of(rows(prediction=[answer] * N))
    assert (spec.task, spec.labels) == ("binary", labels)
    assert "only one answer is in the file" in text


def test_of_more_than_a_hundred_labels_the_most_frequent_are_told_by_themselves():
    text, spec = spec_of(rows(prediction=[f"v{i % 101}" if i % 2 else "v100" for i in range(N)]))
    assert (spec.task, len(spec.labels), spec.labels[0]) == ("multiclass", 101, "v100")
    assert "# 101 labels: the 100 most frequent are told by themselves, the other 1 as one" in text


def test_free_text_is_no_label():
    with pytest.raises(DriftlineError, match=r"400 different values \(v0, v1, v10, v100, v101, \.\.\.\)"):
        spec_of(rows(prediction=[f"v{i}" for i in range(N)]))


def test_a_few_odd_labels_are_no_labels_and_that_is_said():
    labels = ["odd", *(("a", "b")[i % 2] for i in range(N - 1))]
    text, spec = spec_of(rows(prediction=labels))
    assert spec.labels == ("a", "b")
    assert "# taken for no labels, as they are rare: odd (1); such rows will be left out" in text


def test_a_rare_label_that_is_predicted_and_comes_true_is_one():
    labels = ["rare", *(("a", "b")[i % 2] for i in range(N - 1))]
    outcomes = pa.table({"id": [f"p{i}" for i in range(N)], "time": [NOON] * N, "outcome": [*labels[:-1], "unknown"]})
    text, spec = spec_of(rows(prediction=labels), outcomes)
    assert (spec.task, spec.labels) == ("multiclass", ("a", "b", "rare"))
    assert "rare: unknown (1); such rows will be left out" in text


@pytest.mark.parametrize("huge", [1e308, -1e308, 1.7e308])
def test_numbers_beyond_all_reason_get_no_range(huge):
    odd = [huge, -huge, *(float(i % 7) for i in range(N - 2))]
    _, spec = spec_of(rows(x=odd))
    assert (spec.features["x"].type, spec.features["x"].range) == ("number", None)
    _, spec = spec_of(rows(prediction=[huge, *(float(i) for i in range(N - 1))]))
    assert (spec.task, spec.outputs) == ("regression", {})


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


def line_of(metric, values):
    points = (Point(i, i + 1, MetricValue(value=value, n=500)) for i, value in enumerate(values))
    return Line(metric, "day", "1", "champion", tuple(points))


@pytest.mark.parametrize(
    ("metric", "values", "limit"),
    [
        ("mae", [1.99, 2.0, 2.01, 2.0, 2.451, 2.4505], 2.46),  # the nearest of three digits would be 2.45
        ("mae", [1.99, 2.0, 2.01, 2.0, 1.99, 2.01, 9.0], 2.05),  # one of three does not make it fire
        ("auc", [0.8, 0.71, 0.7, 0.69, 0.7, 0.6504, 0.6508], 0.65),
    ],
)
def test_a_threshold_lies_beyond_what_the_file_shows_and_is_rounded_to_the_safe_side(metric, values, limit):
    assert threshold_of(line_of(metric, values)).value == limit


def test_a_threshold_that_nothing_could_pass_is_none():
    assert threshold_of(line_of("accuracy", [0.5, 0.1, 0.4, 0.0, 0.0])) is None
