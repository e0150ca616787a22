"""Sorting rows that do not fit into memory, by DuckDB, which spills to disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence

import duckdb
import pyarrow as pa

MEMORY = "200MB"
"""What sorting may take before it spills; five million rows of 15 columns are sorted in 500 MB in all."""
BATCH_ROWS = 32_768


def sorted_batches(schema: pa.Schema, batches: Iterable[pa.RecordBatch], by: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of `batches` in the order of the columns `by`. Temporary files are removed at the end.

    Raises what reading `batches` raises.
    """
    failed: list[BaseException] = []

    def guarded() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except BaseException as error:  # also an interruption: DuckDB would wrap it into an error of its own
            failed.append(error)
            raise

    reader = pa.RecordBatchReader.from_batches(schema, guarded())
    with tempfile.TemporaryDirectory(prefix="driftline-sort-") as directory:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "temp_directory": directory,
            "threads": 1,
        }
        with duckdb.connect(config=settings) as database:
            try:
                order = ", ".join(f'"{name}"' for name in by)
                ordered = database.from_arrow(reader).order(order).to_arrow_reader(BATCH_ROWS)
                yield from ordered
            except (duckdb.Error, pa.ArrowException):
                if failed:
                    raise failed[0] from None
                raise
