"""Notes when alerts become readable, in a process of its own: `python -m benchmarks.reading <json>`.

Says `ready` when it reads, and at the end what it has seen. It ends when it has seen all, or its input is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.servers import Failed, stop
from driftline.events.base import Millis
from driftline.events.topics import Topic
from driftline.platform.settings import Settings


class Job(msgspec.Struct, kw_only=True):
    """What to read, and the models whose first alert is waited for."""

    bootstrap: str
    topic: str
    models: tuple[str, ...]


class _Named(msgspec.Struct):
    model: str


class Reader:
    """The other process. Use as a context manager; reads once it is entered."""

    def __init__(self, settings: Settings, models: tuple[str, ...]) -> None:
        self._job = Job(bootstrap=settings.bootstrap, topic=settings.topic(Topic.ALERTS), models=models)

    def __enter__(self) -> Reader:
        command = [sys.executable, "-m", "benchmarks.reading", msgspec.json.encode(self._job).decode()]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None, "it was asked for"
        if self._process.stdout.readline().strip() != b"ready":
            stop(self._process)
            raise Failed("the reader of alerts did not start")
        return self

    def seen(self, limit_s: float) -> dict[str, Millis]:
        """When each model's first alert was readable, after at most `limit_s` more."""
        assert self._process.stdin is not None, "it was asked for"
        assert self._process.stdout is not None, "it was asked for"
        with contextlib.suppress(subprocess.TimeoutExpired):  # then it tells what it has seen by now
            self._process.wait(limit_s)
        self._process.stdin.close()
        return msgspec.json.decode(self._process.stdout.read(), type=dict[str, Millis])

    def __exit__(self, *_: object) -> None:
        stop(self._process)


def _until_closed(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


async def read(job: Job) -> dict[str, Millis]:
    """The wall time at which the first alert of each model was in hand."""
    ended = threading.Event()
    threading.Thread(target=_until_closed, args=(ended,), daemon=True).start()
    consumer = AIOKafkaConsumer(bootstrap_servers=job.bootstrap, enable_auto_commit=False, fetch_min_bytes=1)
    await consumer.start()
    seen: dict[str, Millis] = {}
    wanted = set(job.models)
    try:
        partition = TopicPartition(job.topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        print("ready", flush=True)
        while wanted - seen.keys() and not ended.is_set():
            for records in (await consumer.getmany(timeout_ms=100)).values():
                now = int(time.time() * 1000)
                for record in records:
                    model = msgspec.json.decode(record.value, type=_Named).model
                    if model in wanted:
                        seen.setdefault(model, now)
    finally:
        await consumer.stop()
    return seen


if __name__ == "__main__":
    found = asyncio.run(read(msgspec.json.decode(sys.argv[1], type=Job)))
    sys.stdout.buffer.write(msgspec.json.encode(found))
