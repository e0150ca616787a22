"""What has been said, from the topics and from the archive, which has it longer than Kafka where topics expire."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from driftline.events.admin import Command, CommandResult, Deployment, Placed, SpecRevision, decode_specs_record
from driftline.events.alerts import Alert
from driftline.events.base import Event, Millis
from driftline.events.baselines import decode_baselines_record
from driftline.events.columns import COLUMNS, single_rows
from driftline.events.retraining import Candidate, Case, ModelState, RetrainRequest, Verdict
from driftline.events.topics import Topic
from driftline.platform.archive import query, read_topic
from driftline.platform.archive_files import read_positions
from driftline.platform.kafka import read_all
from driftline.platform.letters import read_letter
from driftline.platform.records import Record, Source
from driftline.platform.settings import Settings
from driftline.spec.model import MonitorSpec
from driftline.spec.plain import from_plain

E = TypeVar("E", bound=Event)

DECISIONS: dict[Topic, type[Event]] = {
    Topic.COMMANDS: Command,
    Topic.ALERTS: Alert,
    Topic.RETRAIN_REQUESTS: RetrainRequest,
    Topic.CANDIDATES: Candidate,
    Topic.VERDICTS: Verdict,
    Topic.CASES: Case,
    Topic.MODELS: ModelState,
    Topic.COMMAND_RESULTS: CommandResult,
}
"""Small topics with one type of event each, kept for ever."""


class Row(NamedTuple):
    """A record, or one row of a message of columns. `row` is 0 where it is a message of its own."""

    partition: int
    offset: int
    row: int
    arrival: Millis
    value: bytes

    @property
    def place(self) -> tuple[int, int, int]:
        """Where it stands in its topic."""
        return self[:3]


class Declared(NamedTuple):
    """Specs by (model, revision), and where in `predictions` their marks stand: offset by partition."""

    specs: dict[tuple[str, int], MonitorSpec]
    placed: dict[tuple[str, int], dict[int, int]]
    deployment: Deployment | None


def archive_of(settings: Settings) -> Path | None:
    """The archive, if there is one of this deployment."""
    positions = read_positions(settings.archive_dir)
    return settings.archive_dir if positions is not None and positions.prefix == settings.prefix else None


def archived_until(settings: Settings, topic: Topic) -> dict[int, int]:
    """By partition the offset up to which the archive has a topic."""
    positions = read_positions(settings.archive_dir)
    if positions is None or positions.prefix != settings.prefix:
        return {}
    return {partition: offset for partition, (offset, _) in positions.sources.get(topic, {}).items()}


def decisions(settings: Settings) -> Iterator[Event]:
    """Every event of `DECISIONS`, the calibrations and baselines, and the specs. What cannot be read is left out."""
    for topic, kind in DECISIONS.items():
        yield from events(settings, topic, kind)
    for value in _values(settings, Topic.BASELINES):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            yield decode_baselines_record(value)
    for value in _values(settings, Topic.SPECS):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            event = decode_specs_record(value)
            if isinstance(event, SpecRevision):
                yield event


def events(settings: Settings, topic: Topic, kind: type[E]) -> Iterator[E]:
    """Every event of a small topic, also those that Kafka has no more; each once."""
    known: set[str] = set()
    for value in _values(settings, topic):
        try:
            event = msgspec.json.decode(value, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if event.id not in known:
            known.add(event.id)
            yield event


def declared(settings: Settings) -> Declared:
    """What people have declared."""
    found = Declared({}, {}, None)
    for value in _values(settings, Topic.SPECS):
        event = decode_specs_record(value)
        match event:
            case SpecRevision():
                found.specs.setdefault((event.model, event.revision), from_plain(event.spec))
            case Placed():
                found.placed.setdefault((event.model, event.revision), event.offsets)
            case Deployment():
                found = found._replace(deployment=event)
    return found


def named(settings: Settings, topic: Topic, ids: Collection[str], since: Millis | None = None) -> list[Row]:
    """Records of a large topic by the ids of their events: archived ones, then what only Kafka has.

    `since`: none of them was written before.
    """
    if not ids:
        return []
    found = _asked(settings, topic, "id IN (SELECT unnest(?))", (list(ids),))
    keys = {name.encode() for name in ids}
    for record in read_all(settings, topic, since, archived_until(settings, topic)):
        rows = _rows(record)
        found += [row for key, row in rows if key in keys or _id_of(row.value) in ids]
    return sorted(found)


def reports(settings: Settings, model: str, since: Millis) -> list[bytes]:
    """The values of the window reports of a model that were decided at `since` or later."""
    found = _asked(settings, Topic.METRICS, "model = ? AND time >= ?", (model, since))
    for record in read_all(settings, Topic.METRICS, since, archived_until(settings, Topic.METRICS)):
        if record.key == model.encode():
            found += [row for _, row in _rows(record)]
    return [row.value for row in sorted(found)]


def dead_letters(settings: Settings, topic: Topic, rows: Collection[Row]) -> dict[tuple[int, int, int], str]:
    """Which of the rows of a topic could not be used, and why: by place."""
    if not rows:
        return {}
    wanted = {row.place for row in rows}
    named_there = ["/".join(map(str, (topic, *place))) for place in wanted]
    sql = 'FROM "dead-letters_read" SELECT "partition", "offset", arrival, headers WHERE id IN (SELECT unnest(?))'
    found: dict[tuple[int, int, int], str] = {}
    archive = archive_of(settings)
    table = [] if archive is None else query(archive, sql, (named_there,)).to_pylist()
    archived = (
        Record(Source(Topic.DEAD_LETTERS, at["partition"]), at["offset"], 0, at["arrival"], None, b"", _headers(at))
        for at in table
    )
    since = min(row.arrival for row in rows)
    fresh = read_all(settings, Topic.DEAD_LETTERS, since, archived_until(settings, Topic.DEAD_LETTERS))
    for record in (*archived, *fresh):
        letter = read_letter(record)
        if letter is not None and letter.topic == topic:
            place = (letter.partition, letter.record_offset, letter.row)
            if place in wanted:
                found[place] = f"{letter.reason}: {letter.detail}" if letter.detail else letter.reason
    return found


def _values(settings: Settings, topic: Topic) -> Iterator[bytes]:
    """The values of a small topic: first those that only the archive has."""
    fresh = [record for record in read_all(settings, topic) if record.value]
    if archive_of(settings) is not None:
        known = {record.value for record in fresh}
        yield from (value for value in read_topic(settings.archive_dir, topic) if value not in known)
    yield from (record.value or b"" for record in fresh)


def _asked(settings: Settings, topic: Topic, which: str, parameters: tuple[object, ...]) -> list[Row]:
    archive = archive_of(settings)
    if archive is None:
        return []
    sql = f'FROM "{topic}_read" SELECT "partition", "offset", "row", arrival, value WHERE {which}'
    table = query(archive, sql, parameters).to_pylist()
    return [
        Row(at["partition"], at["offset"], at["row"], at["arrival"], at["value"].encode())
        for at in table
        if at["value"]
    ]


def _rows(record: Record) -> list[tuple[bytes, Row]]:
    """A record's rows with their keys; marks, and batches that cannot be read, have none."""
    if not record.value:
        return []
    if record.header("content-type") != COLUMNS:
        return [(record.key or b"", _row(record, 0, record.value))]
    try:
        return [(key, _row(record, i, value)) for i, (key, value) in enumerate(single_rows(record.value))]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _row(record: Record, row: int, value: bytes) -> Row:
    return Row(record.source.partition, record.offset, row, record.arrival, value)


class _Named(msgspec.Struct):
    id: object = None


def _id_of(value: bytes) -> object:
    try:
        return msgspec.json.decode(value, type=_Named).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _headers(at: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    pairs: Iterable[tuple[str, str]] = msgspec.json.decode(at["headers"] or "[]")
    return tuple((name, text.encode()) for name, text in pairs)
