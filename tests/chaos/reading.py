"""Reading whole topics from offset 0 with kafka-python, and nothing of Driftline's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from tests.chaos.bookkeeping import MARK, Raw
from tests.chaos.contract import Spec, milliseconds

PATIENCE_POLLS = 120


@dataclass
class Deployment:
    """What topics `specs` and `baselines` say."""

    slice_ms: int = 0
    partitions: int = 0
    clock: str = ""
    specs: dict[tuple[str, int], Spec] = field(default_factory=dict)
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_topic(bootstrap: str, prefix: str, topic: str) -> dict[int, list[Raw]]:
    """All records of a topic by partition, up to the ends that it has now."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=16 << 20,
        check_crcs=False,
    )
    try:
        partitions = [TopicPartition(prefix + topic, n) for n in sorted(consumer.partitions_for_topic(prefix + topic))]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        consumer.seek_to_beginning(*partitions)
        found: dict[int, list[Raw]] = {p.partition: [] for p in partitions}
        idle = 0
        while any(consumer.position(p) < ends[p] for p in partitions):
            batches = consumer.poll(timeout_ms=500, max_records=5000)
            idle = 0 if batches else idle + 1
            assert idle < PATIENCE_POLLS, f"{prefix}{topic} does not give what it has"
            for records in batches.values():
                _take(found, topic, records)
        return found
    finally:
        consumer.close()


def _take(found: dict[int, list[Raw]], topic: str, records: Sequence[Any]) -> None:
    of_partition = found[records[0].partition]
    arrival = of_partition[-1].arrival if of_partition else -1
    for record in records:
        arrival = max(arrival, record.timestamp)
        headers = tuple((name, value or b"") for name, value in record.headers or ())
        of_partition.append(
            Raw(
                topic,
                record.partition,
                record.offset,
                arrival,
                record.key,
                record.value or b"",
                headers,
                record.timestamp,
            )
        )


def arriving(records: Iterable[Raw]) -> list[Raw]:
    """The same records, some of which may have been left out: arrival is the highest stamp of those that are read."""
    found: list[Raw] = []
    arrival = -1
    for record in sorted(records, key=lambda r: r.offset):
        arrival = max(arrival, record.stamp)
        found.append(record._replace(arrival=arrival))
    return found


def read_deployment(bootstrap: str, prefix: str) -> Deployment:
    """Specs, baselines, and what is fixed with the topics."""
    found = Deployment()
    for record in read_topic(bootstrap, prefix, "specs")[0]:
        event = json.loads(record.value)
        if event["type"] == "deployment":
            found.slice_ms = milliseconds(event["slice"])
            found.partitions = event["partitions"]
            found.clock = event["clock"]
        elif event["type"] == "spec":
            found.specs[event["model"], event["revision"]] = Spec(event["spec"])
    for record in read_topic(bootstrap, prefix, "baselines")[0]:
        event = json.loads(record.value)
        found.baselines.setdefault(event["id"], event)
    return found


def is_tick(record: Raw) -> bool:
    """Whether a record only lets time pass."""
    return record.header(MARK) == "tick"
