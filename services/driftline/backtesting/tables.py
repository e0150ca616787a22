"""Rows from where a user has them: CSV (also compressed), Parquet, pyarrow tables, data frames. Never all at once."""

from __future__ import annotations

import bz2
import csv
import gzip
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from driftline.errors import DriftlineError

ROWS = 32_768
"""Rows read at once, where the source lets us choose; the engine is near its best from 20,000 on."""
BLOCK_BYTES = 1 << 18
"""Bytes of a CSV file read at once. Arrow reads up to 32 blocks ahead."""
BUFFER_BYTES = 1 << 20
"""Of each column of a Parquet file; without a buffer whole row groups would be read, and files may have one only."""
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "<NA>")
"""How a missing value is written in a CSV file."""
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}


class Malformed(NamedTuple):
    """A line that is no row: its number and what is wrong."""

    row: int
    detail: str


class Batch(NamedTuple):
    """Some rows. `rows`: their numbers, from 1, the header not counted. `malformed`: lines in between that are none."""

    rows: NDArray[np.int64]
    columns: pa.RecordBatch
    malformed: list[Malformed]


@dataclass(frozen=True)
class Data:
    """Rows that can be read again and again. `textual`: every value is text, as in CSV.

    `read` yields the wanted columns, under their own names.
    """

    name: str
    columns: tuple[str, ...]
    textual: bool
    read: Callable[[Sequence[str]], Iterator[Batch]]


def open_data(given: Any, what: str) -> Data:
    """`given` is a path, a pyarrow table or a data frame; `what` it holds is its name where it has none.

    Raises `DriftlineError` where it is none of them or cannot be read.
    """
    if isinstance(given, str | os.PathLike):
        return _open_file(Path(given))
    if isinstance(given, pa.Table):
        return _of_table(given, what)
    if type(given).__module__.partition(".")[0] == "pandas":  # not imported: whoever gives one has it
        _check_names([str(name) for name in given.columns], what)
        try:
            return _of_table(pa.Table.from_pandas(given, preserve_index=False), what)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            told = "; ".join(str(part) for part in error.args)
            raise DriftlineError(f"{what}: a column has values of several types ({told}); give it one") from error
    raise DriftlineError(f"{what} are a {type(given).__name__}; give a path, a pyarrow table or a pandas data frame")


def _open_file(path: Path) -> Data:
    if not path.is_file():
        raise DriftlineError(f"{path}: there is no such file")
    try:
        with path.open("rb") as file:
            is_parquet = file.read(4) == b"PAR1"
        return _of_parquet(path) if is_parquet else _of_csv(path)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DriftlineError:
    kinds = "write it as CSV (UTF-8, with a header; .gz is fine) or Parquet"
    return DriftlineError(f"{path}: cannot be read ({str(error).strip()}); {kinds}")


def _of_table(table: pa.Table, what: str) -> Data:
    _check_names(table.column_names, what)

    def read(wanted: Sequence[str]) -> Iterator[Batch]:
        return _numbered(table.select(list(wanted)).to_batches(max_chunksize=ROWS))

    return Data(what, tuple(table.column_names), False, read)


def _check_names(names: Sequence[str], what: str) -> None:
    """Raises `DriftlineError` where two columns have one name."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DriftlineError(f"{what}: its header names {', '.join(twice)} more than once")


def _of_parquet(path: Path) -> Data:
    def read(wanted: Sequence[str]) -> Iterator[Batch]:
        try:
            with pa.parquet.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
                yield from _numbered(file.iter_batches(ROWS, columns=list(wanted)))
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error

    with pa.parquet.ParquetFile(path) as file:
        _check_names(file.schema_arrow.names, str(path))
        return Data(str(path), tuple(file.schema_arrow.names), False, read)


def _numbered(batches: Any) -> Iterator[Batch]:
    seen = 0
    for batch in batches:
        yield Batch(np.arange(seen + 1, seen + 1 + batch.num_rows), batch, [])
        seen += batch.num_rows


def _of_csv(path: Path) -> Data:
    with _OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8-sig", newline="") as text:
        header = text.readline()
        delimiter = max(",;\t", key=header.count)  # the first of equals
        names = next(csv.reader([header], delimiter=delimiter), [])
    if not names:
        raise DriftlineError(f"{path}: is empty; its first line must name the columns")
    _check_names(names, str(path))

    def read(wanted: Sequence[str]) -> Iterator[Batch]:
        return _read_csv(path, delimiter, list(wanted))

    return Data(str(path), tuple(names), True, read)


def _read_csv(path: Path, delimiter: str, wanted: list[str]) -> Iterator[Batch]:
    malformed: list[Malformed] = []

    def skip(row: Any) -> str:
        # its number counts the header, which ours do not
        detail = f"has {row.actual_columns} values, the header has {row.expected_columns}: {row.text[:80]}"
        malformed.append(Malformed(row.number - 1, detail))
        return "skip"

    seen = 0
    try:
        reader = pa.csv.open_csv(
            path,
            # one thread: only then are rows numbered
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pa.csv.ConvertOptions(
                # as text: a guess by the first rows would end the reading where a later one is of another type
                column_types=dict.fromkeys(wanted, pa.string()),
                include_columns=wanted,
                strings_can_be_null=True,
                null_values=list(MISSING),
            ),
        )
        for batch in reader:
            numbers = _skipping(seen, batch.num_rows, malformed)
            last = int(numbers[-1]) if numbers.size else seen
            here = [one for one in malformed if one.row <= last]
            del malformed[: len(here)]
            yield Batch(numbers, batch, here)
            seen = last
        if malformed:
            yield Batch(np.empty(0, np.int64), _empty(reader.schema), malformed)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def _skipping(seen: int, count: int, malformed: Sequence[Malformed]) -> NDArray[np.int64]:
    """The numbers of the next `count` rows after `seen`, past those that are malformed."""
    skipped = {one.row for one in malformed}
    if not skipped:
        return np.arange(seen + 1, seen + 1 + count)
    numbers = np.arange(seen + 1, seen + 1 + count + len(skipped))
    return numbers[~np.isin(numbers, list(skipped))][:count]
