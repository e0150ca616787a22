"""Bare consumption of both input topics, in a process of its own: `python -m benchmarks.consuming <json>`.

What a consumer costs that does nothing with what it reads: the floor under everything that is built on it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.servers import Failed
from driftline.events.topics import Topic
from driftline.platform.inbox import FETCH_BYTES, FETCH_RECORDS, POLL_MS
from driftline.platform.settings import Settings


class Job(msgspec.Struct, kw_only=True):
    """What to read."""

    bootstrap: str
    topics: tuple[str, ...]
    partitions: int


class Consumed(msgspec.Struct, kw_only=True):
    """What was read between the first batch and the last, and what it took."""

    records: int
    size_bytes: int
    wall_s: float
    cpu_s: float


def consume(settings: Settings, partitions: int) -> Consumed:
    """Read `predictions` and `outcomes` from the beginning to the end, in another process."""
    names = tuple(settings.topic(topic) for topic in (Topic.PREDICTIONS, Topic.OUTCOMES))
    job = Job(bootstrap=settings.bootstrap, topics=names, partitions=partitions)
    command = [sys.executable, "-m", "benchmarks.consuming", msgspec.json.encode(job).decode()]
    ended = subprocess.run(command, capture_output=True, check=False)
    if ended.returncode:
        raise Failed(f"the bare consumer failed:\n{ended.stderr.decode()[-2000:]}")
    return msgspec.json.decode(ended.stdout, type=Consumed)


async def read(job: Job) -> Consumed:
    """Everything up to the present ends, with the settings of the loop."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=job.bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_min_bytes=1,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for topic in job.topics for number in range(job.partitions)]
        consumer.assign(partitions)
        beginnings = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition, offset in beginnings.items():
            consumer.seek(partition, offset)
        left = sum(ends.values()) - sum(beginnings.values())
        records = size = 0
        began = cpu = 0.0
        while left > 0:
            for batch in (await consumer.getmany(timeout_ms=POLL_MS, max_records=FETCH_RECORDS)).values():
                left -= len(batch)
                if began:  # what comes with the first batch was fetched before the clock ran
                    records += len(batch)
                    size += sum(len(record.value or b"") for record in batch)
            if not began:
                began, cpu = time.perf_counter(), time.process_time()
        return Consumed(
            records=records,
            size_bytes=size,
            wall_s=time.perf_counter() - began,
            cpu_s=time.process_time() - cpu,
        )
    finally:
        await consumer.stop()


if __name__ == "__main__":
    found = asyncio.run(read(msgspec.json.decode(sys.argv[1], type=Job)))
    sys.stdout.buffer.write(msgspec.json.encode(found))
