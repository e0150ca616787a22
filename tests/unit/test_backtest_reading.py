"""What a backtest makes of files as people have them: forms, times, guesses, and rows that cannot be used."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.backtesting.job import Inputs, run
from driftline.backtesting.mapping import Columns
from driftline.backtesting.streams import Stream, cuts
from driftline.backtesting.tables import ROWS, open_data
from driftline.backtesting.values import NO_TIME, categories_of, coded, numbers_of, texts_of, times_of
from driftline.errors import DriftlineError
from driftline.spec.reader import parse_spec

NOON = int(datetime(2024, 3, 1, 12, tzinfo=UTC).timestamp() * 1000)
SPEC = """
model: m
task: binary
labels: ["0", "1"]
positive: "1"
features:
  x: {type: number, missing: allowed}
  c: {type: category, missing: allowed}
horizon: 2d
lateness: 0s
pane: 1h
windows: {day: {span: 1d}}
"""
REGRESSION = SPEC.replace("task: binary", "task: regression").replace('labels: ["0", "1"]\npositive: "1"\n', "")
HEADER = "id,time,x,c,prediction,score,label\n"


def file(tmp_path, text, name="p.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def found(predictions, outcomes=None, spec=SPEC, **columns):
    return run(parse_spec(spec, "m.yaml"), Inputs(predictions, outcomes, None, Columns(**columns)))


def lines(*rows):
    return HEADER + "".join(f"{row}\n" for row in rows)


GOOD = "a,2024-03-01T12:00:00Z,1.5,u,1,0.9,1"


def letters(result):
    return [(one.row, one.column, one.reason.value) for one in result.letters.first]


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        ("p.csv", str.encode),
        ("p.csv", lambda text: b"\xef\xbb\xbf" + text.encode()),
        ("p.csv.gz", lambda text: gzip.compress(text.encode())),
        ("p.csv", lambda text: text.replace(",", ";").encode()),
        ("p.csv", lambda text: text.replace("\n", "\r\n").encode()),
    ],
    ids=["plain", "with a byte order mark", "compressed", "semicolons", "Windows"],
)
def test_csv_in_every_usual_form_is_read(tmp_path, name, encode):
    result = found(file(tmp_path, encode(lines(GOOD, GOOD.replace("a,", "b,"))), name))
    assert (result.predictions, result.joined, result.letters.total) == (2, 2, 0)


def test_a_table_a_data_frame_and_parquet_say_the_same_as_the_csv(tmp_path):
    frame = pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "time": pd.to_datetime([NOON, NOON + 1, NOON + 2], unit="ms", utc=True),
            "x": [1.0, np.nan, 3.0],
            "c": pd.Categorical(["u", None, "v"]),
            "prediction": [1, 0, 1],
            "score": [0.9, 0.1, 0.6],
            "label": [1.0, np.nan, 0.0],
        }
    )
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, tmp_path / "p.parquet")
    frame.to_csv(tmp_path / "p.csv", index=False)
    told = [[]] * 4
    for i, given in enumerate((frame, table, tmp_path / "p.parquet", tmp_path / "p.csv")):
        told[i] = []
        spec = parse_spec(SPEC, "m.yaml")
        result = run(spec, Inputs(given), lambda _, event, i=i: told[i].append(event))
        assert (result.predictions, result.joined) == (3, 2)
    assert told[0] == told[1] == told[2] == told[3] != []


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        (HEADER, "has no rows"),
        ("id,id,time\n1,2,3\n", "names id more than once"),
        (b"\xff\xfe\x00", "cannot be read"),
        ("time,x,c,prediction,label,score\nsoon,1,u,1,1,1\n", "no value of column `time` is a time"),
        (lines(GOOD.replace("2024-03-01T12:00:00Z", "01/02/2024")), r"\(the first is '01/02/2024'\); write RFC 3339"),
        (
            lines(GOOD.replace("2024-03-01T12:00:00Z", "20240301")),
            r"no value of .* is a time \(the first is '20240301'\)",
        ),
        ("id,when,x,c,prediction,label\n", "called as a time usually is; name it with --time COLUMN"),
        ("id,time,x,c,pred_a,pred_b,label\n", "called as a prediction usually is; name it with --prediction COLUMN"),
        ("id,time,x,prediction,label\n", "no column for the feature c of the spec"),
        ("id,time,x,c,prediction\n", "name it with --outcome COLUMN; or name the file of outcomes with --outcomes"),
    ],
)
def test_a_file_that_is_not_as_it_must_be_is_named_with_what_to_do(tmp_path, given, what):
    with pytest.raises(DriftlineError, match=what) as caught:
        found(file(tmp_path, given))
    assert str(tmp_path / "p.csv") in str(caught.value)


def test_a_file_that_is_not_there_and_things_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(DriftlineError, match="there is no such file"):
        found(tmp_path / "none.csv")
    with pytest.raises(DriftlineError, match="predictions are a list"):
        found([{"id": 1}])
    with pytest.raises(DriftlineError, match=r"several types.*column id"):
        found(pd.DataFrame({"id": ["a", 1], "time": [NOON, NOON]}))
    with pytest.raises(DriftlineError, match=r"has no column `when` \(--time\)\. It has: id"):
        found(file(tmp_path, HEADER), time="when")


def test_two_columns_of_one_name_are_refused_wherever_they_are():
    frame = pd.DataFrame([[1, 2]], columns=["x", "x"])
    for given in (frame, pa.table([[1], [2]], ["x", "x"])):
        with pytest.raises(DriftlineError, match="predictions: its header names x more than once"):
            found(given)


def test_damaged_files_are_an_error_that_names_them(tmp_path):
    whole = gzip.compress(lines(*[GOOD] * 1000).encode())
    with pytest.raises(DriftlineError, match=r"p\.csv\.gz: cannot be read"):
        found(file(tmp_path, whole[: len(whole) // 2], "p.csv.gz"))
    with pytest.raises(DriftlineError, match=r"p\.parquet: cannot be read"):
        found(file(tmp_path, b"PAR1 and no more", "p.parquet"))


def test_each_bad_row_is_a_letter_with_its_place_and_reason_and_the_others_count(tmp_path):
    rows = [
        GOOD,
        "b,2024-03-01T12:00:00Z,much,u,1,0.9,1",
        "c,2024-03-01T12:00:00Z,inf,u,1,0.9,1",
        "d,soon,1,u,1,0.9,1",
        "e,,1,u,1,0.9,1",
        "f,2024-03-01T12:00:00Z,1,u,2,0.9,1",
        "g,2024-03-01T12:00:00Z,1,u,,0.9,1",
        ",2024-03-01T12:00:00Z,1,u,1,0.9,1",
        "h,2024-03-01T12:00:00Z,1,u,1,high,1",
        "i,2024-03-01T12:00:00Z,1",
        "j,2024-03-01T12:00:00Z,1,u,1,0.9,7",
        f"{'k' * 1025},2024-03-01T12:00:00Z,1,u,1,0.9,1",
        GOOD.replace("a,", "z,"),
    ]
    result = found(file(tmp_path, lines(*rows)), outcome="label")
    assert result.predictions == 3  # the outcome alone is bad of row 11
    assert {one for one in letters(result) if one[1] != "label"} >= {
        (2, "x", "wrong-type"),
        (3, "x", "wrong-type"),
        (4, "time", "not-an-event"),
        (5, "time", "not-an-event"),
        (6, "prediction", "unknown-label"),
    }
    assert (11, "label", "unknown-label") in letters(result)
    assert result.letters.total == 11
    said = str(next(one for one in result.letters.first if one.row == 2))
    assert said == f"{tmp_path}/p.csv, row 2, column x: 'much' is no finite number (wrong-type)"


def test_what_is_missing_is_written_in_many_ways(tmp_path):
    ways = ("", "NA", "NaN", "nan", "null", "None")
    rows = [f"{i},2024-03-01T12:00:00Z,{way},{way},1,{way},1" for i, way in enumerate(ways)]
    result = found(file(tmp_path, lines(*rows)))
    assert (result.predictions, result.letters.total) == (len(ways), 0)


def test_rows_keep_their_numbers_past_lines_that_are_none(tmp_path):
    rows = [GOOD, "x,y", GOOD.replace(",1.5,", ",bad,"), "x", GOOD.replace(",1.5,", ",worse,")]
    assert [row for row, *_ in letters(found(file(tmp_path, lines(*rows))))] == [2, 4, 3, 5]


def test_columns_of_codes_are_what_they_stand_for_and_lists_are_refused():
    frame = pd.DataFrame({"id": ["a", "b"], "time": [NOON, NOON], "x": [1.0, 2.0], "c": ["u", "v"]})
    frame = frame.assign(prediction=["1", "0"], score=[0.9, 0.2], label=["1", "0"]).astype("category")
    result = found(frame)
    assert (result.predictions, result.joined, result.letters.total) == (2, 2, 0)
    table = pa.Table.from_pandas(frame).set_column(2, "x", pa.array([[1.0], [2.0]]))
    with pytest.raises(DriftlineError, match="column `x` holds list<"):
        found(table)


def test_a_row_without_a_role_is_a_champion(tmp_path):
    text = lines(f"{GOOD},shadow", f"{GOOD},", f"{GOOD},king").replace("label\n", "label,role\n", 1)
    result = found(file(tmp_path, text.replace("\na,", "\nb,", 1)))
    assert result.predictions == 2
    assert letters(result) == [(3, "role", "not-an-event")]


def test_a_quoted_value_may_hold_a_line_break(tmp_path):
    row = 'a,2024-03-01T12:00:00Z,1,"u\nv",1,0.9,1'
    result = found(file(tmp_path, lines(row, GOOD.replace("a,", "b,"))))
    assert (result.predictions, result.letters.total) == (2, 0)


@pytest.mark.parametrize(
    ("column", "naive"),
    [
        (pa.array(["2024-03-01T12:00:00Z", "2024-03-01T13:00:00+01:00"]), False),
        (pa.array(["2024-03-01 12:00:00", "2024-03-01T12:00:00.000"]), True),
        (pa.array(["2024-03-01 12:00:00", "2024-03-01T12:00:00Z"]), True),
        (pa.array([str(NOON), str(NOON)]), False),
        (pa.array([NOON, NOON]), False),
        (pa.array([NOON, NOON], pa.float64()), False),
        (pa.array([NOON // 1000, NOON * 1000 + 999]), False),
        (pa.array([NOON / 1000, NOON / 1000 + 0.0002]), False),
        (pa.array([NOON * 10**6 + 999_999] * 2), False),
        (pa.array([f"{NOON // 1000}.0", str(NOON * 10**6)]), False),
        (pa.array(["2024-03-01 12:00:00 UTC", " 2024-03-01T12:00:00 UTC"]), False),
        (pa.array([f"{NOON}", "2024-03-01T12:00:00Z"]), False),
        (pa.array([NOON * 1000 + 999] * 2, pa.timestamp("us")), True),
        (pa.array([NOON * 10**6 + 5] * 2, pa.timestamp("ns", "Europe/Vienna")), False),
        (pa.array([NOON // 1000] * 2, pa.timestamp("s", "UTC")), False),
    ],
)
def test_times_are_read_in_every_usual_form(column, naive):
    found_times = times_of(column)
    assert found_times.values.tolist() == [NOON, NOON]
    assert found_times.naive is naive


def test_what_is_no_time_is_none():
    odd = pa.array(["", None, "x", "2024-13-01", "-5", "99999999999999999999", "2024-03-01T12:00:00Z"])
    assert times_of(odd).values.tolist() == [NO_TIME] * 6 + [NOON]
    assert times_of(pa.array([True, False])).values.tolist() == [NO_TIME] * 2
    assert times_of(pa.array([None, None])).values.tolist() == [NO_TIME] * 2
    assert times_of(pa.array([0.5, float("nan")])).values.tolist() == [NO_TIME] * 2
    assert times_of(pa.array([float("inf"), 1e300, -1e9, 20_240_301.0])).values.tolist() == [NO_TIME] * 4
    assert times_of(pa.array([0, 20_240_301, -1, None])).values.tolist() == [NO_TIME] * 4
    assert times_of(pa.array(["01/02/2024", "Mon, 01 Jan 2024 00:30:42 +0000", "inf"])).values.tolist() == [NO_TIME] * 3


def test_a_fraction_of_a_second_is_kept_to_the_millisecond():
    times = pa.array([NOON / 1000 + i / 1000 for i in range(1000)])
    assert times_of(times).values.tolist() == [NOON + i for i in range(1000)]


def test_dates_are_midnight():
    date = datetime(2024, 3, 1, tzinfo=UTC).date()
    assert times_of(pa.array([date])).values.tolist() == [NOON - 12 * 3_600_000]
    assert times_of(pa.array(["2024-03-01"])).values.tolist() == [NOON - 12 * 3_600_000]


def test_numbers_are_numbers_and_a_boolean_is_none():
    values, bad = numbers_of(pa.array(["1", "1e3", None, "x", "inf", " 2 "]))
    assert np.array_equal(values[[0, 1, 5]], [1, 1000, 2])
    assert bad.tolist() == [False, False, False, True, True, False]
    assert numbers_of(pa.array([True, None]))[1].tolist() == [True, False]
    assert numbers_of(pa.array([float("inf"), 1.0]))[1].tolist() == [True, False]
    assert np.isnan(numbers_of(pa.nulls(2))[0]).all()


def test_categories_are_spelled_as_in_messages():
    assert categories_of(pa.array([1.0, 2.5, None])).values[:2] == ["1.0", "2.5"]
    assert categories_of(pa.array([True, False])).values == ["true", "false"]
    assert coded(pa.array([float("nan"), 1.0])).codes.tolist() == [-1, 1]
    assert texts_of(pa.array([1.0, None])).to_pylist() == ["1", None]


def test_columns_are_found_by_their_usual_names_and_said_aloud(tmp_path):
    text = lines(GOOD).replace("id,time", "ID,ts").replace("prediction,score", "pred_a,proba_a")
    result = found(file(tmp_path, text))
    assert result.said[0].endswith(
        "columns by their names: id = ID, time = ts, prediction = pred_a, score = proba_a, outcome = label"
    )


def test_a_feature_is_never_taken_for_something_else(tmp_path):
    spec = SPEC.replace("  x:", "  score:").replace("  c:", "  model:")
    text = lines(GOOD).replace(",x,c,", ",score,model,").replace("prediction,score", "prediction,proba")
    result = found(file(tmp_path, text), spec=spec)
    assert (result.predictions, result.letters.total) == (1, 0)


def test_outcomes_beside_predictions_come_at_their_time_and_may_be_missing(tmp_path):
    rows = [f"{GOOD},2024-03-01T20:00:00Z", f"{GOOD},".replace("a,", "b,"), f"c{GOOD[1:-1]},"]
    path = file(tmp_path, lines(*rows).replace("label\n", "label,observed_at\n", 1))
    result = found(path)
    # of b it is not known when its outcome came
    assert (result.predictions, result.joined) == (3, 1)
    assert letters(result) == [(2, "observed_at", "not-an-event")]
    assert not any("known at once" in said for said in result.said)


def test_rows_of_other_models_are_left_out(tmp_path):
    text = lines(f"{GOOD},m", f"{GOOD},other").replace("label\n", "label,model\n", 1)
    result = found(file(tmp_path, text))
    assert result.predictions == 1
    assert (2, "model", "unknown-model") in letters(result)


def test_a_regression_takes_numbers_and_refuses_the_rest(tmp_path):
    rows = [
        "a,2024-03-01T12:00:00Z,1,u,1.5,,2",
        "b,2024-03-01T12:00:00Z,1,u,big,,2",
        "c,2024-03-01T12:00:00Z,1,u,1e200,,2",
    ]
    result = found(file(tmp_path, lines(*rows)), spec=REGRESSION)
    assert result.predictions == 1
    assert letters(result)[:2] == [(2, "prediction", "wrong-type"), (3, "prediction", "wrong-type")]


def test_outcomes_of_another_time_are_left_out_and_time_does_not_run_on_for_them():
    predictions = pa.table({"id": ["a"], "time": [NOON], "x": [1.0], "c": ["u"], "prediction": ["1"], "score": [0.9]})
    year = 365 * 86_400_000
    outcomes = pa.table({"id": ["a", "b", "c"], "time": [NOON, NOON - year, NOON + year], "outcome": ["1", "0", "1"]})
    result = found(predictions, outcomes)
    assert (result.joined, result.counters) == (1, {})
    assert "2 outcomes lie further than the horizon from every prediction and are left out" in result.said
    assert result.decided - NOON < 2 * 86_400_000


def test_no_more_than_a_batch_of_each_file_waits():
    """Whatever the size of the files: that is what keeps memory flat."""
    rows = 10 * ROWS
    minute = 60_000
    times = NOON + np.arange(rows) * minute
    predictions = pa.table({"id": np.arange(rows), "time": times})
    outcomes = pa.table({"id": np.arange(rows), "outcome_time": times + minute})
    streams = [
        Stream(_mapped(predictions), "time").arrivals(Stream(_mapped(predictions), "time").look(_nothing), _nothing),
        Stream(_mapped(outcomes), "outcome_time").arrivals(
            Stream(_mapped(outcomes), "outcome_time").look(_nothing), _nothing
        ),
    ]
    found_cuts = list(cuts(*streams, slice_ms=15 * minute))
    sizes = [table.num_rows for cut in found_cuts for table in (cut.predictions, cut.outcomes) if table is not None]
    assert sum(sizes) == 2 * rows
    assert max(sizes) <= 2 * ROWS
    assert [cut.until for cut in found_cuts] == sorted({cut.until for cut in found_cuts})


def _mapped(table):
    from driftline.backtesting.mapping import Mapped

    return Mapped(open_data(table, "rows"), {name: name for name in table.column_names}, {})


def _nothing(*_):
    return None
