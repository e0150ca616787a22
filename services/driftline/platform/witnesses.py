"""Who can witness that the chains of decisions are whole: the topics, their archived copy, and control's own memory."""

from __future__ import annotations

from functools import partial

import msgspec
from redis.exceptions import RedisError

from driftline.core.chain import CHAINED, Place
from driftline.events.base import Link
from driftline.events.topics import Topic
from driftline.platform.archive import retried
from driftline.platform.archive_view import records_of
from driftline.platform.kafka import read_all
from driftline.platform.settings import Settings
from driftline.platform.store import Store
from driftline.platform.stored import archive_of, archived_until
from driftline.platform.units import in_store


def chained(settings: Settings) -> dict[Place, bytes]:
    """The records of the chained topics, as Kafka has them."""
    return {
        Place(topic, record.source.partition, record.offset): record.value or b""
        for topic in CHAINED
        for record in read_all(settings, topic)
    }


def chained_in_archive(settings: Settings) -> tuple[dict[Place, bytes], dict[tuple[Topic, int], int]]:
    """The same as the archive has them, and up to which offsets it has them. Nothing where there is no archive."""
    archive = archive_of(settings)
    found: dict[Place, bytes] = {}
    until: dict[tuple[Topic, int], int] = {}
    if archive is None:
        return found, until
    for topic in CHAINED:
        until |= {(topic, partition): offset for partition, offset in archived_until(settings, topic).items()}
        for at in retried(partial(records_of, archive, topic)).to_pylist():
            found[Place(topic, at["partition"], at["offset"])] = (at["value"] or "").encode()
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
