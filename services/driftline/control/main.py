"""Starts control: `python -m driftline.control.main`."""

from __future__ import annotations

from collections.abc import Sequence

from driftline.control import published
from driftline.control.work import INPUTS, ControlWork
from driftline.events.admin import Progress
from driftline.events.base import encode
from driftline.events.topics import Topic
from driftline.platform.hosting import Context, run_service
from driftline.platform.kafka import read_all
from driftline.platform.loop import send
from driftline.platform.records import Outgoing


def _work(context: Context, number: int) -> ControlWork:
    async def tell_progress(progress: Progress) -> None:
        record = Outgoing(Topic.PROGRESS, None, encode(progress), progress.shard)
        await (await send(context.producer, context.settings, record))

    def read_published(topics: Sequence[Topic], shard: int) -> published.Published:
        return published.read((record for topic in topics for record in read_all(context.settings, topic)), shard)

    return ControlWork(context.catalog, number, context.note, tell_progress, read_published)


if __name__ == "__main__":
    run_service("control", tuple(INPUTS), _work)
