"""Who can witness that the chains of decisions are whole: the topics, their archived copy, and control's own memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial

import msgspec
from redis.exceptions import RedisError

from driftline.core.chain import CHAINED, INPUTS, Place
from driftline.events.base import Link
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.archive import retried
from driftline.platform.archive_files import bytes_of
from driftline.platform.archive_view import records_of
from driftline.platform.kafka import read_all, read_at
from driftline.platform.records import Record
from driftline.platform.settings import Settings
from driftline.platform.store import Store
from driftline.platform.stored import archive_of, archived_until
from driftline.platform.units import in_store


def standing(
    settings: Settings, archive: Collection[Place] = (), until: Mapping[tuple[Topic, int], int] | None = None
) -> dict[Place, bytes]:
    """The decisions and their inputs, as Kafka has them.

    `archive`, `until`: what `archived` says. The topics of inputs are full of ticks: only the places in the archive are
    looked at then, and what it has not come to yet.
    """
    found: dict[Place, bytes] = {}
    for topic in CHAINED:
        found |= _values(read_all(settings, topic))
    for topic in INPUTS:  # after the decisions, which are written later than what they rest on
        places = [place[1:] for place in sorted(archive) if place.topic is topic]
        begin = {place[1]: offset for place, offset in (until or {}).items() if place[0] is topic}
        records = [*read_at(settings, topic, places), *read_all(settings, topic, begin=begin)]
        found |= _values(record for record in records if record.header(MARK_HEADER) is None)
    return found


def _values(records: Iterable[Record]) -> dict[Place, bytes]:
    return {Place(*record.source, record.offset): record.value or b"" for record in records}


def archived(settings: Settings) -> tuple[dict[Place, bytes], dict[tuple[Topic, int], int]]:
    """The same as the archive has them, and up to which offsets it has them. Nothing where there is no archive."""
    archive = archive_of(settings)
    found: dict[Place, bytes] = {}
    until: dict[tuple[Topic, int], int] = {}
    if archive is None:
        return found, until
    for topic in (*CHAINED, *INPUTS):
        until |= {(topic, partition): offset for partition, offset in archived_until(settings, topic).items()}
        for at in retried(partial(records_of, archive, topic)).to_pylist():
            found[Place(topic, at["partition"], at["offset"])] = bytes_of(at["value"] or "")
    return found, until


class _Book(msgspec.Struct):
    link: Link = Link()


def remembered(settings: Settings, shards: int) -> dict[str, Link] | None:
    """By model the link that control gives to its next decision, as stored beside its state.

    None: Redis does not answer, so nobody knows.
    """

    async def ask(store: Store) -> dict[str, Link]:
        found: dict[str, Link] = {}
        for shard in range(shards):
            _, books = await store.peek(f"control:{shard}", "books")
            found |= {model.decode(): msgspec.json.decode(data, type=_Book).link for model, data in books.items()}
        return found

    try:
        return in_store(settings, ask)
    except RedisError:
        return None
