"""Reading the archive, also while it is written: SQL for people, and waiting for what a decision rests on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa
from kafka import TopicPartition

from driftline.core.validation import kept_slices
from driftline.errors import DeploymentError
from driftline.events.admin import Deployment, SpecRevision, decode_specs_record
from driftline.events.base import Millis, iso
from driftline.events.topics import Topic
from driftline.platform.archive_files import read_positions, read_reached
from driftline.platform.archive_view import connect_views, records_of
from driftline.platform.kafka import consumer
from driftline.platform.records import Source
from driftline.platform.settings import Settings
from driftline.spec.model import MonitorSpec, millis
from driftline.spec.plain import from_plain

T = TypeVar("T")

POLL_S = 0.2
TRIES = 5


def connect(archive: Path) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the views of `platform.archive_view` over the whole archive.

    New rows are seen by each new query; specs and topics are those archived by now. A query can fail with
    `duckdb.IOException` when the archiver removes a file under it: `query` then tries again.
    """
    slice_ms, specs = declared(archive)
    kept = {model: kept_slices(spec, slice_ms) for model, spec in specs.items()}
    return connect_views(archive, slice_ms, kept)


def query(archive: Path, sql: str, parameters: tuple[object, ...] = ()) -> pa.Table:
    """The answer to one question about the whole archive."""

    def ask() -> pa.Table:
        with connect(archive) as connection:
            return connection.sql(sql, params=list(parameters)).to_arrow_table()

    return retried(ask)


def declared(archive: Path) -> tuple[int, dict[str, MonitorSpec]]:
    """The deployment's slice in milliseconds and the newest archived spec of each model."""
    slice_ms, revisions = 1, dict[str, SpecRevision]()
    for value in read_topic(archive, Topic.SPECS):
        event = decode_specs_record(value)
        if isinstance(event, Deployment):
            slice_ms = millis(event.slice)
        elif isinstance(event, SpecRevision):
            known = revisions.get(event.model)
            if known is None or known.revision < event.revision:
                revisions[event.model] = event
    return slice_ms, {model: from_plain(event.spec) for model, event in revisions.items()}


def read_topic(archive: Path, topic: Topic) -> list[bytes]:
    """The values of a topic of decisions, partition by partition, oldest first."""
    found = retried(lambda: records_of(archive, topic))
    return [value.encode() for value in found["value"].to_pylist() if value]


def wait_until_reached(
    archive: Path,
    partitions: int,
    decision_time: Millis,
    timeout_s: float,
    offsets: Mapping[Source, int] | None = None,
) -> None:
    """Wait until all that arrived before `decision_time` in `predictions` and `outcomes` stands in the archive.

    `offsets`: what else must, up to (not with) an offset of each source; pass `dead_letters_end(settings)`, because
    dead letters say which records are not valid. Raises `DeploymentError` after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    inputs = [Source(topic, i) for topic in (Topic.PREDICTIONS, Topic.OUTCOMES) for i in range(partitions)]
    while True:
        reached, positions = read_reached(archive), read_positions(archive)
        taken = positions.sources if positions is not None else {}
        missing = [s for s in inputs if reached.get(s.topic, {}).get(s.partition, -1) < decision_time]
        missing += [s for s, end in (offsets or {}).items() if taken.get(s.topic, {}).get(s.partition, (0, 0))[0] < end]
        if not missing:
            return
        if time.monotonic() > deadline:
            names = ", ".join(f"{s.topic}-{s.partition}" for s in missing[:3])
            raise DeploymentError(
                f"the archive in {archive} did not reach {iso(decision_time)} within {timeout_s:g} s (behind: {names}"
                f"{', ...' if len(missing) > 3 else ''}); is the archiver running? see `driftline status`"
            )
        time.sleep(POLL_S)


def dead_letters_end(settings: Settings) -> dict[Source, int]:
    """The present end of `dead-letters`: whoever has seen a decision finds behind it all that were known to it."""
    reader = consumer(settings)
    try:
        name = settings.topic(Topic.DEAD_LETTERS)
        partitions = [TopicPartition(name, number) for number in reader.partitions_for_topic(name) or ()]
        ends = reader.end_offsets(partitions)
        return {Source(Topic.DEAD_LETTERS, partition.partition): end for partition, end in ends.items()}
    finally:
        reader.close()


def retried(read: Callable[[], T]) -> T:
    """`read()`, again when the archiver removed a file between finding and reading it."""
    for _ in range(TRIES - 1):
        try:
            return read()
        except duckdb.IOException:
            continue
    return read()
