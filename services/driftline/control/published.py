"""What stands in a shard's own topics: what a start without state finds there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from driftline.core.partitions import LEFT_OUT
from driftline.events.alerts import Alert, SliceSpan
from driftline.events.base import Link, Millis, decode
from driftline.events.topics import Topic
from driftline.platform.records import Record


class _About(msgspec.Struct):
    id: str
    model: str = ""
    link: Link | None = None
    at: Millis = -1
    revision: Millis = -1
    requested_at: Millis = -1


@dataclass
class Published:
    """`ids` of events; `until`: the last decision time among them; `left_out`: the partitions that were, from when to
    when; `links`: where the chain of each model goes on.
    """

    ids: set[str] = field(default_factory=set)
    until: Millis = -1
    left_out: list[SliceSpan] = field(default_factory=list)
    links: dict[str, Link] = field(default_factory=dict)


def read(records: Iterable[Record], shard: int) -> Published:
    """Take in the records of control's topics."""
    found = Published()
    spans: dict[tuple[int, int], SliceSpan] = {}
    for record in records:
        of_all = record.source.topic is Topic.BASELINES  # it has one partition, whatever the shard
        if not record.value or (record.source.partition != shard and not of_all):
            continue
        about = decode(record.value, _About)
        found.ids.add(about.id)
        if of_all:
            continue
        if about.link is not None and about.link.number >= found.links.get(about.model, Link()).number:
            found.links[about.model] = about.link.after(record.value)
        found.until = max(found.until, about.at, about.revision, about.requested_at)
        if record.source.topic is Topic.ALERTS:
            alert = decode(record.value, Alert)
            span = alert.evidence.slices
            if alert.rule == LEFT_OUT and span is not None:
                spans[span.partition, span.first] = span
    found.left_out = sorted(spans.values(), key=lambda span: (span.first, span.partition))
    return found
