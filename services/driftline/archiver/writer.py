"""Collects rows, writes them out as files, and knows where every source goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from driftline.archiver.rows import Row, rows_of
from driftline.errors import DeploymentError
from driftline.events.base import Millis
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.archive_files import (
    ARCHIVED,
    DAY_MS,
    POSITIONS,
    REACHED,
    Place,
    Positions,
    directory_of,
    next_flush,
    read_positions,
    table_of,
    write_rows,
    write_state,
)
from driftline.platform.records import Record, Source

FLUSH_BYTES = 64 << 20
"""So much waits at most, in bytes of values, before it is written out early."""


class Writer:
    """Goes on where the archive's positions stand; what was added and not flushed is lost with this object.

    `sources` has every source that was ever read: the next offset, and the highest arrival before it.
    """

    def __init__(self, archive: Path, prefix: str) -> None:
        self._archive = archive
        self._prefix = prefix
        stored = read_positions(archive)
        if stored is not None and stored.prefix != prefix:
            raise DeploymentError(
                f"{archive} is the archive of the deployment {stored.prefix!r}, not of {prefix!r}; "
                "set DRIFTLINE_ARCHIVE_DIR to another directory"
            )
        self.flush_number = stored.flush if stored is not None else next_flush(archive)
        self.sources: dict[Source, tuple[int, Millis]] = {
            Source(Topic(topic), partition): position
            for topic, of_topic in (stored.sources if stored is not None else {}).items()
            for partition, position in of_topic.items()
        }
        self._rows: dict[Place, list[Row]] = {}
        self._bytes = 0
        self._moved = False

    @property
    def full(self) -> bool:
        """Whether so much waits that it should be written now."""
        return self._bytes >= FLUSH_BYTES

    def add(self, records: Iterable[Record]) -> None:
        """Take records of one source, in order. Marks are no events: they only move the position."""
        found: dict[tuple[str | None, int], list[Row]] = {}
        last = None
        for last in records:
            if last.headers and any(name == MARK_HEADER for name, _ in last.headers):
                continue
            for row in rows_of(last):
                found.setdefault((row.model, last.arrival // DAY_MS), []).append(row)
            self._bytes += len(last.value or b"")
        if last is None:
            return
        for (model, day), rows in found.items():
            self._rows.setdefault(Place(last.source.topic, directory_of(model), day), []).extend(rows)
        self.sources[last.source] = (last.next_offset, last.arrival)
        self._moved = True

    def flush(self) -> set[Place]:
        """Write out what waits; returns where. Raises `DeploymentError` where the file system refuses."""
        if not self._moved:
            return set()
        # 1 files. A crash here or after some of them: the positions do not know of them; all is read again, and the
        # files of this flush number are written again. Rows that stand in both are one row to readers.
        for place, rows in self._rows.items():
            write_rows(self._archive, place, (self.flush_number, self.flush_number), table_of(rows))
        written = set(self._rows)
        # 2 positions. From here on the rows are archived. Before 3, so that nothing that readers were told to be
        # there is ever written again.
        self.flush_number += 1
        state = Positions(prefix=self._prefix, flush=self.flush_number, sources=_by_topic(self.sources))
        write_state(self._archive, POSITIONS, state)
        # 3 reached. A crash before: readers wait a little longer.
        reached = {t: {p: arrival for p, (_, arrival) in found.items()} for t, found in state.sources.items()}
        write_state(self._archive, REACHED, reached)
        self._rows, self._bytes, self._moved = {}, 0, False
        return written

    def decision_time(self, partitions: int) -> Millis:
        """How far all `partitions` of both input topics have been read, in arrival; -1: not all of them yet."""
        inputs = [Source(topic, i) for topic in (Topic.PREDICTIONS, Topic.OUTCOMES) for i in range(partitions)]
        return min(self.sources.get(source, (0, -1))[1] for source in inputs)


def _by_topic(sources: Mapping[Source, tuple[int, Millis]]) -> dict[str, dict[int, tuple[int, Millis]]]:
    found: dict[str, dict[int, tuple[int, Millis]]] = {topic.value: {} for topic in ARCHIVED}
    for source, position in sources.items():
        found[source.topic.value][source.partition] = position
    return found
