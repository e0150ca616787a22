"""A backtest says what the services would have published, byte for byte."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.backtests import BINARY, CUT, DAY, MULTICLASS, REGRESSION, SPEC, events_of, rows_of, write_csv
from tests.services_in_memory import published

from driftline.backtesting.declared import baselines_of
from driftline.backtesting.engine import register_command
from driftline.backtesting.job import Inputs, run
from driftline.backtesting.mapping import Columns
from driftline.backtesting.tables import open_data
from driftline.events.base import decode, iso
from driftline.events.reports import WindowReport
from driftline.events.topics import Topic
from driftline.spec.reader import parse_spec


def backtested(spec, predictions, outcomes, reference=None):
    told = []
    inputs = Inputs(predictions, outcomes, reference, Columns(outcome_time="time"))
    found = run(spec, inputs, lambda topic, value: told.append((topic, value)))
    return told, found


@pytest.fixture(scope="module", params=[BINARY, MULTICLASS, REGRESSION], ids=["binary", "multiclass", "regression"])
def words(request):
    return request.param


@pytest.fixture(scope="module", params=[("1",), ("1", "2")], ids=["one version", "two versions"])
def versions(request):
    return request.param


@pytest.fixture(scope="module")
def lived(words, versions, tmp_path_factory):
    """Rows with the file of a reference, and what the services publish of them up to an instant, worked out once."""
    spec = parse_spec(SPEC.format(**words), "m.yaml")
    predictions, outcomes = rows_of(words["task"], versions, days=2)
    reference, _ = rows_of(words["task"], days=2, seed=1)
    known = write_csv(tmp_path_factory.mktemp("lived") / "reference.csv", reference)
    baselines = baselines_of(spec, open_data(known, ""), Columns(), versions)
    commands = [register_command(spec, "1", baselines[0].id)] if versions == ("1",) else []

    @cache
    def until(end):
        return published(spec, events_of(predictions, outcomes, spec), end, baselines, commands)

    return SimpleNamespace(spec=spec, predictions=predictions, outcomes=outcomes, known=known, published_until=until)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_events_are_those_that_the_services_publish(lived, versions, form, tmp_path):
    if form == "csv":
        files = (write_csv(tmp_path / "p.csv", lived.predictions), write_csv(tmp_path / "o.csv", lived.outcomes))
    else:
        files = (tmp_path / "p.parquet", tmp_path / "o.parquet")
        for path, rows in zip(files, (lived.predictions, lived.outcomes), strict=True):
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)

    told, found = backtested(lived.spec, *files, lived.known)

    expected = lived.published_until(found.decided)
    topics = {topic for topic, _ in expected}
    assert {Topic.METRICS, Topic.ALERTS} <= topics
    if versions == ("1",):
        assert {Topic.RETRAIN_REQUESTS, Topic.CASES, Topic.MODELS} <= topics
    assert told == expected
    assert not found.letters.total


@pytest.mark.parametrize("words", [BINARY, MULTICLASS], ids=["binary", "multiclass"])
def test_segments_by_features_and_attributes_are_those_that_the_services_publish(tmp_path, words):
    spec = parse_spec(CUT.format(**words), "m.yaml")
    predictions, outcomes = rows_of(words["task"], days=2)
    told, found = backtested(spec, write_csv(tmp_path / "p.csv", predictions), write_csv(tmp_path / "o.csv", outcomes))
    events = events_of(predictions, outcomes, spec)
    assert told == published(spec, events, found.decided, commands=[register_command(spec, "1", None)])
    last = decode([value for topic, value in told if topic is Topic.METRICS][-1], WindowReport)
    assert {segment.cut for segment in last.segments} == {"", "c, d", "site"}
    assert last.segments[0].operation.latency_ms["p50"].n == last.segments[0].n


def test_a_shadow_is_told_apart(tmp_path):
    spec = parse_spec(CUT.format(**BINARY), "m.yaml")
    predictions, outcomes = rows_of("binary", ("1", "2"), days=1)
    for row in predictions:
        row["role"] = "shadow" if row["version"] == "2" else "champion"
    told, found = backtested(spec, write_csv(tmp_path / "p.csv", predictions), write_csv(tmp_path / "o.csv", outcomes))
    events = events_of(predictions, outcomes, spec)
    assert told == published(spec, events, found.decided, commands=[register_command(spec, "1", None)])
    assert {Topic.METRICS, Topic.ALERTS, Topic.CASES} <= {topic for topic, _ in told}
    assert found.series() == [("1", "champion"), ("2", "shadow")]


def test_times_written_as_text_and_rows_in_any_order_make_no_difference(tmp_path):
    spec = parse_spec(CUT.format(**BINARY), "m.yaml")
    predictions, outcomes = rows_of("binary", days=2)
    predictions = [row | {"time": row["time"] // 1000 * 1000} for row in predictions]
    straight = backtested(spec, pa.Table.from_pylist(predictions), pa.Table.from_pylist(outcomes))
    late = [(row["time"], i) for i, row in enumerate(predictions)]
    order = sorted(range(len(late)), key=lambda i: (late[i][0] // DAY, -late[i][0], i))
    path = write_csv(tmp_path / "p.csv", [predictions[i] for i in order], iso)
    shuffled = backtested(spec, path, pa.Table.from_pylist(outcomes))
    assert straight[0] == shuffled[0]
    assert any("sorted first" in said for said in shuffled[1].said)
