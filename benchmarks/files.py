"""The workload as files, as a user of `driftline backtest` has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from benchmarks.workload import FEATURES, Workload

FORMS = ("csv", "parquet")
HEAD = ("id", "time", "version", "prediction", "score")


def write(workload: Workload, directory: Path) -> None:
    """`predictions`, `outcomes` and `reference` in each form, in the order of the workload."""
    events = [orjson.loads(value) for value in workload.predictions]
    rows = [{name: event[name] for name in HEAD} | event["features"] for event in events]
    _write("predictions", {name: [row[name] for row in rows] for name in (*HEAD, *FEATURES)}, directory)
    known: Sequence[Mapping[str, Any]] = [orjson.loads(value) for value in workload.outcomes]
    _write("outcomes", {name: [each[name] for each in known] for name in ("id", "time", "outcome")}, directory)
    _write("reference", workload.reference, directory)


def path(directory: Path, what: str, form: str) -> Path:
    """Where one of them is."""
    return directory / f"{what}.{form}"


def _write(what: str, columns: Mapping[str, Sequence[Any]], directory: Path) -> None:
    table = pa.table(dict(columns))
    pa.csv.write_csv(table, path(directory, what, "csv"))
    pa.parquet.write_table(table, path(directory, what, "parquet"))
