"""Sorting on disk: the order, the errors, and nothing left behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from driftline.errors import DriftlineError
from driftline.platform.sorting import sorted_batches

SCHEMA = pa.schema([("time", pa.int64()), ("row", pa.int64()), ("text", pa.string())])


def batches(times, size=1000):
    for begin in range(0, len(times), size):
        part = np.arange(begin, min(begin + size, len(times)))
        yield pa.record_batch([pa.array(times[part]), pa.array(part), pa.array([f"t{i}" for i in part])], schema=SCHEMA)


@pytest.fixture(autouse=True)
def own_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(Path(tmp_path).iterdir()) == []


def test_rows_come_in_order_and_equal_ones_as_they_stood():
    times = np.random.default_rng(1).integers(0, 50, 5000)
    found = pa.Table.from_batches(sorted_batches(SCHEMA, batches(times), ("time", "row")))
    rows = np.lexsort([np.arange(5000), times])
    assert found.column("row").to_pylist() == rows.tolist()
    assert found.column("text").to_pylist() == [f"t{i}" for i in rows]


@pytest.mark.parametrize("kind", [DriftlineError, KeyboardInterrupt], ids=["error", "key press"])
def test_what_reading_raises_is_raised_as_it_is(kind):
    def failing():
        yield from batches(np.array([2, 1]))
        raise kind("a sentence")

    with pytest.raises(kind, match=r"^a sentence$"):
        list(sorted_batches(SCHEMA, failing(), ("time", "row")))


def test_reading_may_end_early():
    reading = sorted_batches(SCHEMA, batches(np.arange(100_000)[::-1]), ("time", "row"))
    assert next(reading).num_rows > 0
    reading.close()
