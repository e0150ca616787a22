"""What the archive holds of one model, as files that a backtest reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from driftline.core.binning import category_name
from driftline.core.validation import kept_slices
from driftline.events.base import to_millis
from driftline.events.inputs import Outcome, Prediction, Value, label_name
from driftline.events.retraining import Span
from driftline.platform.archive import retried
from driftline.platform.archive_view import connect_views
from driftline.spec.model import MonitorSpec

BATCH_ROWS = 20_000
MARK = "driftline:"
"""Begins the columns of our own, so that none is called like a feature."""
ID, TIME, PREDICTION, VERSION, OUTCOME, SCORE = (
    f"{MARK}{name}" for name in ("id", "time", "prediction", "version", "outcome", "score")
)
_prediction = msgspec.json.Decoder(Prediction).decode
_outcome = msgspec.json.Decoder(Outcome).decode


class Exported(NamedTuple):
    """Two Parquet files and how many rows each has."""

    predictions: Path
    outcomes: Path
    rows: tuple[int, int]


def export(archive: Path, slice_ms: int, specs: Sequence[MonitorSpec], part: Span, directory: Path) -> Exported:
    """Write the predictions of a model whose time lies in `part`, and all that came true of it since, to `directory`.

    `specs`: of one model; what any of them declares becomes a column. Some rows are in memory at a time.
    """
    model = specs[-1].model
    kept = {model: max(kept_slices(spec, slice_ms) for spec in specs)}
    columns = _columns(specs)
    files = Exported(directory / "predictions.parquet", directory / "outcomes.parquet", (0, 0))
    asked = {"model": model, "start": part.start, "end": part.end}

    def write() -> Exported:
        with connect_views(archive, slice_ms, kept) as connection:
            said = connection.sql(
                "SELECT value FROM predictions "
                "WHERE model = $model AND time >= $start AND time < $end ORDER BY time, id",
                params=asked,
            )
            first = _write(files.predictions, said, columns, lambda value: _prediction(value.encode()))
            came = connection.sql(
                "SELECT value FROM valid_outcomes WHERE model = $model AND time >= $start ORDER BY arrival",
                params={"model": model, "start": part.start},
            )
            second = _write(files.outcomes, came, _OUTCOMES, lambda value: _outcome(value.encode()))
        return files._replace(rows=(first, second))

    return retried(write)


Column = tuple[pa.DataType, Callable[[Any], Any]]


def _columns(specs: Sequence[MonitorSpec]) -> dict[str, Column]:
    """By name, the type of a column and where its value stands in a prediction."""
    found: dict[str, Column] = {
        ID: (pa.string(), lambda event: event.id),
        TIME: (pa.timestamp("ms", "UTC"), lambda event: to_millis(event.time)),
        PREDICTION: (pa.string(), lambda event: label_name(event.prediction)),
        VERSION: (pa.string(), lambda event: event.version),
        "role": (pa.string(), lambda event: event.role),
        "latency_ms": (pa.float64(), lambda event: event.latency_ms),
    }
    for spec in specs:
        if spec.task == "multiclass":
            for label in spec.labels:
                found[f"{SCORE}{label}"] = pa.float64(), _score_of(label)
        else:
            found[SCORE] = pa.float64(), lambda event: event.score
        for cut in (cut for segment in spec.segments for cut in segment.cuts if cut.source == "attribute"):
            found[cut.name] = pa.string(), _attribute(cut.name)
    for spec in specs:
        for name, feature in spec.features.items():
            kind = pa.float64() if feature.type == "number" else pa.string()
            found[name] = kind, _feature(name, numeric=feature.type == "number")
    return found


_OUTCOMES: dict[str, Column] = {
    ID: (pa.string(), lambda event: event.id),
    TIME: (pa.timestamp("ms", "UTC"), lambda event: to_millis(event.time)),
    OUTCOME: (pa.string(), lambda event: label_name(event.outcome)),
}


def _feature(name: str, *, numeric: bool) -> Callable[[Prediction], Value]:
    if numeric:
        return lambda event: _number(event.features.get(name))
    return lambda event: category_name(event.features.get(name))


def _attribute(name: str) -> Callable[[Prediction], Value]:
    return lambda event: category_name(event.attributes.get(name))


def _score_of(label: str) -> Callable[[Prediction], float | None]:
    return lambda event: None if event.scores is None else event.scores.get(label, 0.0)


def _number(value: Value) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _write(path: Path, asked: Any, columns: dict[str, Column], read: Callable[[str], Any]) -> int:
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()])
    rows = 0
    with pq.ParquetWriter(path, schema) as writer:
        for values in _batches(asked):
            events = [read(value) for value in values]
            arrays = [pa.array([of(event) for event in events], kind) for kind, of in columns.values()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            rows += len(events)
    return rows


def _batches(asked: Any) -> Iterator[Collection[str]]:
    for batch in asked.to_arrow_reader(BATCH_ROWS):
        yield batch["value"].to_pylist()
