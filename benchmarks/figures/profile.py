"""Where the engine's time goes, stage by stage, with a real Redis to store into."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import redis.asyncio as redis

from benchmarks import feeding
from benchmarks.figures.engine import timing_of
from benchmarks.measure import Progress, Stopwatch, settled
from benchmarks.results import Cell, Column, Result
from benchmarks.sampling import Profile, Sampler, Stage
from benchmarks.watched import MemoryCatalog, catalog_of
from benchmarks.workload import generate, location
from driftline.monitor.work import MonitorWork
from driftline.platform.changes import Changes
from driftline.platform.records import Outgoing
from driftline.platform.store import RedisStore

SIZE = 20_000
PREFIX = f"benchmark-profile{os.getpid()}:"
READING, COLUMNS, LEDGER = "monitor/reading.py", "core/columns.py", "core/ledger.py"
STAGES = (
    Stage("store", "platform/store.py"),
    Stage("store", "/redis/"),
    Stage("decode", READING, ("_decoded", "_chunks")),
    Stage("decode", "monitor/typed.py"),
    Stage("hash", READING, ("_hashed_names", "_hashes_of")),
    Stage("hash", COLUMNS, ("hashed", "digests", "_bits", "_mixed")),
    Stage("validate", READING, ("_refuse", "_is_bad", "_prediction_alone", "_outcome_alone")),
    Stage("validate", "monitor/models.py"),
    Stage("validate", "monitor/intake.py"),
    Stage("validate", "core/validation.py"),
    Stage("columns", READING),
    Stage("columns", COLUMNS),
    Stage("columns", "core/plans.py", ("names_of",)),
    Stage("ranges", "core/breaches.py"),
    Stage("changes to store", "core/rows.py", ("take_changes", "_parts")),
    Stage("changes to store", LEDGER, ("take_changes",)),
    Stage("changes to store", "monitor/work.py", ("_collect_changes",)),
    Stage("ledger", LEDGER),
    Stage("ledger", "core/rows.py"),
    Stage("ledger", "core/index.py"),
    Stage("ledger", "core/series.py"),
    Stage("ledger", "core/partitions.py"),
    Stage("ledger", "core/step.py"),
    Stage("encode", "core/counting.py", ("_deltas",)),
    Stage("encode", "events/base.py", ("encode",)),
    Stage("encode", "monitor/slices.py"),
    Stage("encode", "monitor/work.py", ("_publish",)),
    Stage("panes", "core/counting.py"),
    Stage("panes", "core/plans.py"),
    Stage("panes", "core/edges.py"),
    Stage("panes", "core/binning.py"),
    Stage("panes", "core/pane.py"),
    Stage("cut", "monitor/work.py", ("cut", "_runs", "_marks", "_usable", "_unmarked")),
    Stage("around", "monitor/"),
    Stage("around", "benchmarks/"),
)
COMPILED = ("decode", "columns", "hash", "validate")
MEANING = {
    "decode": "JSON to typed events, each feature checked for its type",
    "columns": "events to arrays",
    "hash": "ids and contents to digests",
    "validate": "labels, times; bad records looked at one by one",
    "ranges": "declared ranges and allowed values, breaches",
    "ledger": "first, repeat, conflict; join; forgetting",
    "panes": "features, scores, confusion into cells; log loss",
    "changes to store": "what the step changed, as bytes",
    "encode": "cells to pane deltas, slices as JSON",
    "store": "one write a step into Redis",
    "cut": "which records belong to finished slices, marks among them",
    "around": "the harness, and what no other stage claims",
    "garbage collection": "Python's collector",
}


@dataclass(frozen=True)
class Scale:
    """How many predictions, records a step."""

    predictions: int
    size: int = SIZE


FULL, QUICK = Scale(200_000), Scale(4_000, 1_000)


def measure(scale: Scale, progress: Progress, redis_url: str) -> Result:
    """One run under the sampler; the same run without it says what the sampler itself costs."""
    progress.expect(3)
    progress("making the workload")
    workload = generate(scale.predictions)
    timing = timing_of(scale.size)
    catalog, marks = catalog_of(workload, timing)
    first = feeding.first_batch(marks, timing.slice_ms)
    batches = feeding.batches(*workload.records(), timing.slice_ms)
    events = sum(batch.events for batch in batches)
    with settled():
        progress("a run without the sampler")
        watch = Stopwatch()
        asyncio.run(_run(catalog, [first, *batches], redis_url))
        plain = watch.spent(events).cpu_us
        progress("a run under the sampler")
        sampler = Sampler(STAGES)
        with sampler.running():
            asyncio.run(_run(catalog, [first, *batches], redis_url))
    return _result(scale, sampler.profile, events, plain)


async def _run(catalog: MemoryCatalog, batches: Sequence[feeding.Batch], redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    store = RedisStore(client, PREFIX)
    work: MonitorWork = feeding.new_work(catalog)
    fence: bytes | None = None
    try:
        for turn, batch in enumerate(batches):
            changes: list[Changes] = []
            out = await feeding.feed(work, [batch], changes.append)
            outbox = {f"{turn:016d}:{k:06d}".encode(): _stored(each) for k, each in enumerate(out)}
            position = str(turn).encode()
            for each in changes:
                await store.write(work.name, fence, position, each, outbox)
            await store.clear(work.name, list(outbox))
            fence = position
    finally:
        async for key in client.scan_iter(f"{PREFIX}*", count=1000):
            await client.unlink(key)
        await client.aclose()


def _stored(out: Outgoing) -> bytes:
    return msgspec.msgpack.encode(out)


def _result(scale: Scale, profile: Profile, events: int, plain: float) -> Result:
    total = profile.total
    ranked = sorted(profile.stages.items(), key=lambda item: -item[1])
    rows: list[list[Cell]] = [
        [name, MEANING.get(name, ""), seconds / events * 1e6, seconds / total] for name, seconds in ranked
    ]
    rows.append(["all", "", total / events * 1e6, 1.0])
    first, second = [name for name, _ in ranked[:2]]
    compiled = sum(profile.stages[name] for name in COMPILED) / total
    busiest = sorted(profile.functions.items(), key=lambda item: -item[1])[:5]
    named = ", ".join(f"`{place}` {seconds / total:.0%}" for place, seconds in busiest)
    return Result(
        name="profile",
        title="Where the engine's time goes, with a Redis to store into",
        columns=[Column("stage"), Column("what"), Column("an event", "us"), Column("share", "percent")],
        rows=rows,
        figures={f"{name}: us an event": seconds / events * 1e6 for name, seconds in ranked},
        notes=[
            f"Processor time of {events:,} events (predictions and outcomes) in steps of {scale.size:,}, sampled every "
            f"millisecond; without the sampler {plain:.3g} us an event. Sending to Kafka and the fetch are not in it.",
            f"The next bottleneck: {first}, then {second}. {', '.join(COMPILED)}, which a compiled decoder would take "
            f"over, are {compiled:.0%} together.",
            f"The busiest functions: {named}.",
        ],
        workload=location()[1],
    )
