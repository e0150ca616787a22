"""Predictions and outcomes as batches in columns: `content-type: application/vnd.driftline.columns+json`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from benchmarks.workload import FEATURES
from driftline.events.topics import Topic
from driftline.platform.records import Outgoing, Record

CONTENT_TYPE = b"application/vnd.driftline.columns+json"
ROWS = 1_000


def batches(topic: Topic, records: Sequence[Record], partition: int, rows: int = ROWS) -> Iterator[Outgoing]:
    """Records of one partition and one model, `rows` at a time; a batch arrives when its last row is there."""
    columns = _predictions if topic is Topic.PREDICTIONS else _outcomes
    for start in range(0, len(records), rows):
        part = records[start : start + rows]
        events = [orjson.loads(record.value or b"") for record in part]
        headers = (("content-type", CONTENT_TYPE),)
        yield Outgoing(topic, None, orjson.dumps(columns(events)), partition, headers, part[-1].arrival)


def _predictions(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "model": events[0]["model"],
        "version": events[0]["version"],
        **{name: [event[name] for event in events] for name in ("id", "time")},
        "features": {name: [event["features"][name] for event in events] for name in FEATURES},
        **{name: [event[name] for event in events] for name in ("prediction", "score")},
    }


def _outcomes(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "model": events[0]["model"],
        **{name: [event[name] for event in events] for name in ("id", "time", "outcome")},
    }
