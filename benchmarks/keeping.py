"""A process of its own that keeps predictions and says what they take: `python -m benchmarks.keeping <json>`.

Alone, so that nothing but the kept predictions grows in it.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import redis.asyncio as redis

from benchmarks import feeding, spool
from benchmarks.measure import resident_bytes
from benchmarks.watched import MemoryCatalog, Timing, deployment
from benchmarks.workload import START_MS
from driftline.monitor.work import MonitorWork
from driftline.platform.changes import Changes
from driftline.platform.store import RedisStore


class Job(msgspec.Struct, kw_only=True):
    """What to keep. `declared`: the bytes of a model's spec revision and baseline. `warm`: predictions not measured."""

    events: str
    declared: tuple[bytes, bytes]
    timing: Timing
    with_outcomes: bool
    traced: bool
    redis_url: str | None
    prefix: str
    warm: int


class Kept(msgspec.Struct, kw_only=True):
    """What it took. `worker` is the growth of resident (or, traced, of allocated) memory from `warm` on."""

    predictions: int
    warm: int
    worker: int
    arrays: int
    redis: int | None


async def keep(job: Job) -> Kept:
    """Feed everything, storing each step where a Redis is named."""
    catalog = MemoryCatalog(deployment(job.timing), counts=False)  # as the monitor has it
    marks = catalog.take(*job.declared)
    client = redis.Redis.from_url(job.redis_url) if job.redis_url else None
    store = _Stored(client, job.prefix) if client else None
    work = feeding.new_work(catalog)
    length = job.timing.slice_ms
    seen = warm = before = 0
    if job.traced:
        tracemalloc.start()
    await _take(work, feeding.first_batch(marks, length), store)
    for batch in spool.read(Path(job.events), START_MS, length, job.with_outcomes):
        await _take(work, batch, store)
        seen += len(batch.predictions)
        del batch  # what has been fed is no part of what is kept
        if not before and seen >= job.warm:
            warm, before = seen, _held(job.traced)
    taken = _held(job.traced) - before
    found = await _redis_bytes(client, job.prefix) if client else None
    if client:
        await client.aclose()
    return Kept(predictions=seen, warm=warm, worker=taken, arrays=array_bytes(work), redis=found)


async def _take(work: MonitorWork, batch: feeding.Batch, store: _Stored | None) -> None:
    if not batch.events:
        return
    changes: list[Changes] = []
    await feeding.feed(work, [batch], changes.append)
    for each in changes:
        if store is not None:
            await store.write(work.name, each)


class _Stored:
    """The loop's writes, one after the other."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._store = RedisStore(client, prefix)
        self._fence: bytes | None = None
        self._turn = 0

    async def write(self, unit: str, changes: Changes) -> None:
        self._turn += 1
        position = str(self._turn).encode()
        await self._store.write(unit, self._fence, position, changes, {})
        self._fence = position


def array_bytes(root: object) -> int:
    """Bytes of all numpy arrays that can be reached from an object, each once; views count as what they view."""
    seen: set[int] = set()
    total, waiting = 0, [root]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type):
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            if isinstance(item.base, np.ndarray):
                waiting.append(item.base)
            else:
                total += item.nbytes
        elif type(item).__module__ not in ("builtins", "types", "functools") or isinstance(item, list | tuple | dict):
            waiting.extend(gc.get_referents(item))
    return total


def _held(traced: bool) -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0] if traced else resident_bytes()


async def _redis_bytes(client: Any, prefix: str) -> int:
    total = 0
    async for key in client.scan_iter(f"{prefix}*", count=1000):
        total += await client.memory_usage(key, samples=0) or 0
    return total


if __name__ == "__main__":
    job = msgspec.json.decode(sys.argv[1], type=Job)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(keep(job))))
