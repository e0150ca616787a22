"""The archive's files: one table of records a topic, model and day of arrival, written whole or not at all.

    <archive>/<topic>/model=<name>/day=<YYYY-MM-DD>/<first flush>-<last flush>.parquet
    <archive>/<topic>/no-rows.parquet       so that a view over a topic without records has its columns
    <archive>/_positions.json               where the archiver goes on
    <archive>/_reached.json                 up to which arrival every topic partition is in the files

A file names the flushes whose rows it holds. One within the range of another has been merged into it: both may stand
there for a while, since readers count a row (topic, partition, offset, row) once.
"""

from __future__ import annotations

import base64
import fcntl
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftline.errors import DeploymentError
from driftline.events.base import Millis
from driftline.events.topics import TOPICS, Topic
from driftline.platform.paths import name_for
from driftline.platform.writing import WRITING, make_directory, settle

ARCHIVED = tuple(topic for topic in TOPICS if topic not in (Topic.SLICES, Topic.PROGRESS))
"""All topics but the two internal ones, which follow from the others."""

SCHEMA = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("row", pa.int32()),
        ("arrival", pa.int64()),
        ("timestamp", pa.int64()),
        ("key", pa.string()),
        ("model", pa.string()),
        ("id", pa.string()),
        ("version", pa.string()),
        ("role", pa.string()),
        ("time", pa.int64()),
        ("digest", pa.uint64()),
        ("value", pa.string()),
        ("headers", pa.string()),
    ]
)
"""The columns of every topic. `arrival`, `timestamp`, `time`: epoch milliseconds. `headers`: a JSON list of pairs."""

DAY_MS = 86_400_000
POSITIONS, REACHED, LOCK, NO_ROWS = "_positions.json", "_reached.json", "_lock", "no-rows.parquet"
BINARY = "base64:"
"""Begins the text of bytes that are no UTF-8, or that begin with just this word."""
NO_MODEL = "__HIVE_DEFAULT_PARTITION__"
"""What Hive, Spark and DuckDB call a partition of null: records that name no model."""
_NAME = re.compile(r"(\d{10})-(\d{10})\.parquet")
_DAY = re.compile(r"day=(-?\d{4,}-\d\d-\d\d)")


class Place(NamedTuple):
    """A directory of the archive. `model` as it stands in the path; `day` is in days since 1970."""

    topic: Topic
    model: str
    day: int

    def within(self, archive: Path) -> Path:
        """The directory's path."""
        return archive / self.topic / f"model={self.model}" / f"day={np.datetime64(self.day, 'D')}"


class Stored(NamedTuple):
    """A file of the archive, the flushes that it holds, both ends included, and when it was written (seconds)."""

    path: Path
    first: int
    last: int
    size_bytes: int
    written: float

    def covers(self, other: Stored) -> bool:
        """Whether all of `other` stands in this file too."""
        return self is not other and self.first <= other.first and other.last <= self.last


class Positions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the archiver goes on: by topic and partition the next offset and the highest arrival so far.

    `flush` numbers the next flush; what stands in files of that number or a later one will be written again.
    """

    prefix: str
    flush: int
    sources: dict[str, dict[int, tuple[int, Millis]]]


def directory_of(model: str | None) -> str:
    """A model's name as part of a path."""
    return NO_MODEL if model is None else name_for(model)


def table_of(rows: Sequence[tuple[object, ...]]) -> pa.Table:
    """Rows, their values in the order of `SCHEMA`, as a table."""
    columns = zip(*rows, strict=True)
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def text_of(data: bytes) -> str:
    """The bytes as text, from which `bytes_of` makes them again."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return BINARY + base64.b64encode(data).decode()
    return text if not text.startswith(BINARY) else BINARY + base64.b64encode(data).decode()


def bytes_of(text: str) -> bytes:
    """The bytes that `text_of` was given."""
    return base64.b64decode(text.removeprefix(BINARY)) if text.startswith(BINARY) else text.encode()


def write_rows(archive: Path, place: Place, flush: tuple[int, int], rows: pa.Table) -> None:
    """Write the rows of the flushes `flush[0]` to `flush[1]` of one place; replaces a file of the same flushes."""
    directory = place.within(archive)
    with _written(directory / f"{flush[0]:010d}-{flush[1]:010d}.parquet") as aside:
        pq.write_table(rows, aside, compression="zstd")


def merge(archive: Path, place: Place, files: Sequence[Stored]) -> None:
    """Write one file with the rows of `files`, each once. They stay: readers may be at them."""
    rows = pa.concat_tables([pq.ParquetFile(file.path).read() for file in files])
    rows = rows.sort_by([("partition", "ascending"), ("offset", "ascending"), ("row", "ascending")])
    same = np.ones(max(len(rows) - 1, 0), np.bool_)
    for name in ("partition", "offset", "row"):
        numbers = rows[name].to_numpy()
        same &= numbers[1:] == numbers[:-1]
    rows = rows.filter(pa.array(np.concatenate([[True], ~same]))) if len(rows) else rows
    write_rows(archive, place, (min(f.first for f in files), max(f.last for f in files)), rows)


def remove(archive: Path, place: Place, files: Sequence[Stored]) -> None:
    """Remove files, and their directory with the last one."""
    directory = place.within(archive)
    try:
        for file in files:
            file.path.unlink()
        if not any(directory.iterdir()):
            directory.rmdir()
    except OSError as error:
        raise unwritable(directory, error) from error


def write_state(archive: Path, name: str, state: object) -> None:
    """Write one of the small JSON files."""
    with _written(archive / name) as aside:
        aside.write_bytes(msgspec.json.encode(state))


def read_positions(archive: Path) -> Positions | None:
    """What `write_state` wrote; None: nothing has been archived. Raises `DeploymentError` where it is damaged."""
    path = archive / POSITIONS
    try:
        return msgspec.json.decode(path.read_bytes(), type=Positions)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise DeploymentError(
            f"{path} is damaged ({error}); remove it and the archiver reads all that Kafka still holds once more"
        ) from error


def read_reached(archive: Path) -> dict[str, dict[int, Millis]]:
    """By topic and partition the arrival up to which everything stands in the files. Empty: nothing yet."""
    try:
        return msgspec.json.decode((archive / REACHED).read_bytes(), type=dict[str, dict[int, Millis]])
    except FileNotFoundError:
        return {}


def places(archive: Path, topic: Topic) -> list[Place]:
    """The directories of a topic, by model and day."""
    found = []
    for path in (archive / topic).glob("model=*/day=*"):
        if (match := _DAY.fullmatch(path.name)) is not None:
            day = int(np.datetime64(match[1], "D").astype(np.int64))
            found.append(Place(topic, path.parent.name.removeprefix("model="), day))
    return sorted(found)


def stored_in(directory: Path) -> list[Stored]:
    """The files of one directory by the flushes that they hold."""
    found = []
    for path in directory.glob("*.parquet"):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            try:
                found_as = path.stat()
            except FileNotFoundError:  # merged into another one at this moment
                continue
            found.append(Stored(path, int(match[1]), int(match[2]), found_as.st_size, found_as.st_mtime))
    return sorted(found, key=lambda stored: (stored.first, -stored.last))


def next_flush(archive: Path) -> int:
    """A number for the next flush that no file has, whatever became of the positions."""
    stored = (s for t in ARCHIVED for place in places(archive, t) for s in stored_in(place.within(archive)))
    return max((s.last for s in stored), default=-1) + 1


def prepare(archive: Path) -> None:
    """Make the archive's directories and remove what a crash left half written. Raises `DeploymentError`."""
    try:
        make_directory(archive)
        for path in archive.rglob(f"{WRITING}*"):
            path.unlink()
    except OSError as error:
        raise unwritable(archive, error) from error
    for topic in ARCHIVED:
        path = archive / topic / NO_ROWS
        if not path.exists():
            with _written(path) as aside:
                pq.write_table(SCHEMA.empty_table(), aside)


@contextmanager
def locked(archive: Path) -> Iterator[None]:
    """Hold the archive alone. Raises `DeploymentError` where another archiver writes to it."""
    make_directory(archive)
    with (archive / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DeploymentError(f"another archiver writes to {archive}; there can be only one") from error
        yield


def unwritable(path: Path, error: OSError) -> DeploymentError:
    """What to tell when a file system refuses."""
    return DeploymentError(f"{path} cannot be written: {error.strerror or error}; nothing is lost, Kafka still has it")


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """A file to write aside, which then takes its place; both it and its directory's entry are on the disk after."""
    aside = path.with_name(f"{WRITING}{uuid.uuid4().hex}")
    try:
        make_directory(path.parent)
        yield aside
        settle(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise unwritable(path, error) from error
