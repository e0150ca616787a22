"""Predictions as batches in columns: `content-type: application/vnd.driftline.columns+json`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from benchmarks.workload import FEATURES
from driftline.events.topics import Topic
from driftline.platform.records import Outgoing, Record

CONTENT_TYPE = b"application/vnd.driftline.columns+json"
ROWS = 1_000


def batches(records: Sequence[Record], partition: int, rows: int = ROWS) -> Iterator[Outgoing]:
    """Predictions of one partition and one model, `rows` at a time; a batch arrives when its last row is there."""
    for start in range(0, len(records), rows):
        part = records[start : start + rows]
        events = [orjson.loads(record.value or b"") for record in part]
        headers = (("content-type", CONTENT_TYPE),)
        yield Outgoing(Topic.PREDICTIONS, None, orjson.dumps(_columns(events)), partition, headers, part[-1].arrival)


def _columns(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "model": events[0]["model"],
        "version": events[0]["version"],
        **{name: [event[name] for event in events] for name in ("id", "time")},
        "features": {name: [event["features"][name] for event in events] for name in FEATURES},
        **{name: [event[name] for event in events] for name in ("prediction", "score")},
    }
