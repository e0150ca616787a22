"""Rows of the archive for learning and for comparing: chosen in SQL, taken apart with the monitor's own decoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa

from driftline.core.binning import category_name
from driftline.core.validation import kept_slices
from driftline.events.base import Millis
from driftline.events.inputs import Label, Outcome, Prediction, Value, label_name
from driftline.events.retraining import Span
from driftline.events.topics import Topic
from driftline.platform.archive import retried
from driftline.platform.archive_files import DAY_MS, directory_of, places, stored_in
from driftline.platform.archive_view import connect_views
from driftline.spec.model import FeatureSpec, MonitorSpec, millis

BATCH_ROWS = 20_000
_PREDICTION = msgspec.json.Decoder(Prediction).decode
_OUTCOME = msgspec.json.Decoder(Outcome).decode


@dataclass(frozen=True)
class Rows:
    """Predictions that have an outcome, by time and id; row i of one table is row i of the other.

    `about`: id, version, role, time, arrival, outcome_time, outcome_arrival (epoch ms), outcome (label or number).
    `features`: a column each in the spec's order, numbers as double, categories as text; null where missing.
    `attributes`: what each prediction has of them.
    """

    about: pa.Table
    features: pa.Table
    attributes: Sequence[Mapping[str, Value]]


def training_rows(
    archive: Path, slice_ms: int, spec: MonitorSpec, part: Span, known_by: Millis, exclude: Sequence[Span] = ()
) -> Rows:
    """One row an id whose prediction's event time lies in `part`; it and its outcome arrived before `known_by`.

    Nothing whose time lies in `exclude` is among them. Where several versions predicted an id, the champion's
    prediction stands for it, else the first: chosen before its time is looked at, so that an id is in one of two parts
    that do not overlap, never in both.
    """
    sql = """
        FROM (
            FROM labelled_by($known_by) WHERE model = $model
            QUALIFY row_number() OVER (PARTITION BY id ORDER BY role <> 'champion', "partition", "offset", "row") = 1
        )
        SELECT id, version, role, time, arrival, outcome_time, outcome_arrival, value, outcome_value
        WHERE time >= $start AND time < $end ORDER BY time, id"""
    asked = {"known_by": known_by, "model": spec.model, "start": part.start, "end": part.end}
    for span in exclude:
        sql = sql.replace(
            "ORDER BY time, id", f"AND NOT (time >= {span.start} AND time < {span.end}) ORDER BY time, id"
        )

    def read() -> Rows:
        about, features = [], []
        attributes: list[Mapping[str, Value]] = []
        with _connect(archive, slice_ms, spec, part, known_by) as connection:
            reader: pa.RecordBatchReader = connection.sql(sql, params=asked).to_arrow_reader(BATCH_ROWS)
            for batch in reader:
                events = [_PREDICTION(value.encode()) for value in batch["value"].to_pylist()]
                outcomes = [_OUTCOME(value.encode()).outcome for value in batch["outcome_value"].to_pylist()]
                kept = pa.Table.from_batches([batch]).drop_columns(["value", "outcome_value"])
                about.append(kept.append_column("outcome", _labels(spec, outcomes)))
                features.append(_features(spec, [event.features for event in events]))
                attributes += [event.attributes for event in events]
        return Rows(
            pa.concat_tables(about) if about else _ABOUT.append(_labels_field(spec)).empty_table(),
            pa.concat_tables(features) if features else _features(spec, []),
            attributes,
        )

    return retried(read)


def logged_predictions(
    archive: Path, slice_ms: int, spec: MonitorSpec, version: str, part: Span, known_by: Millis
) -> pa.Table:
    """What `version` said before `known_by`, labelled or not, by time and id: id, time, score, prediction.

    The score of a multiclass model is a map from label to probability.
    """
    sql = """
        SELECT id, time, value FROM predictions_by($known_by)
        WHERE model = $model AND version = $version AND time >= $start AND time < $end ORDER BY time, id"""
    asked = {"known_by": known_by, "model": spec.model, "version": version, "start": part.start, "end": part.end}

    def read() -> pa.Table:
        with _connect(archive, slice_ms, spec, part, known_by) as connection:
            found: pa.Table = connection.sql(sql, params=asked).to_arrow_table()
        events = [_PREDICTION(value.encode()) for value in found["value"].to_pylist()]
        said = found.select(["id", "time"])
        said = said.append_column("score", _scores(spec, events))
        return said.append_column("prediction", _labels(spec, [event.prediction for event in events]))

    return retried(read)


def arrivals_of(spec: MonitorSpec, slice_ms: int, part: Span, known_by: Millis) -> Span:
    """Between which arrivals everything stands that decides about the predictions of `part`.

    A prediction arrives at most `max_ahead` before its event time, and what it repeats, or an outcome that came first,
    as long before that as the ledger remembers.
    """
    remembered = (kept_slices(spec, slice_ms) + 1) * slice_ms
    return Span(start=part.start - millis(spec.max_ahead) - remembered, end=known_by)


def _connect(
    archive: Path, slice_ms: int, spec: MonitorSpec, part: Span, known_by: Millis
) -> duckdb.DuckDBPyConnection:
    """The views over just the files that matter, under `spec` as it is given."""
    span = arrivals_of(spec, slice_ms, part, known_by)
    days = range(span.start // DAY_MS, span.end // DAY_MS + 1)
    directory = directory_of(spec.model)
    files = {
        topic: [
            stored.path
            for place in places(archive, topic)
            if place.model == directory and place.day in days
            for stored in stored_in(place.within(archive))
        ]
        for topic in (Topic.PREDICTIONS, Topic.OUTCOMES)
    }
    return connect_views(archive, slice_ms, {spec.model: kept_slices(spec, slice_ms)}, files)


def _features(spec: MonitorSpec, rows: list[dict[str, Value]]) -> pa.Table:
    columns = [_column(feature, (row.get(name) for row in rows)) for name, feature in spec.features.items()]
    return pa.Table.from_arrays(columns, names=list(spec.features))


def _column(feature: FeatureSpec, values: Iterable[Value]) -> pa.Array:
    if feature.type == "category":
        return pa.array([category_name(value) for value in values], pa.string())
    return pa.array([_number(value) for value in values], pa.float64())


def _number(value: Value) -> float | None:
    """What is no number was valid under an earlier revision of the spec; under this one there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _labels(spec: MonitorSpec, values: list[Label]) -> pa.Array:
    if spec.task == "regression":
        return pa.array([float(value) for value in values], pa.float64())
    return pa.array([label_name(value) for value in values], pa.string())


def _scores(spec: MonitorSpec, events: list[Prediction]) -> pa.Array:
    if spec.task != "multiclass":
        return pa.array([event.score for event in events], pa.float64())
    told = [None if event.scores is None else list(event.scores.items()) for event in events]
    return pa.array(told, pa.map_(pa.string(), pa.float64()))


def _labels_field(spec: MonitorSpec) -> pa.Field:
    return pa.field("outcome", pa.float64() if spec.task == "regression" else pa.string())


_ABOUT = pa.schema(
    [
        ("id", pa.string()),
        ("version", pa.string()),
        ("role", pa.string()),
        ("time", pa.int64()),
        ("arrival", pa.int64()),
        ("outcome_time", pa.int64()),
        ("outcome_arrival", pa.int64()),
    ]
)
