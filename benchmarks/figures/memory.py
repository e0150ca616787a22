"""What a kept prediction takes: in the worker and in Redis, with and without its outcome."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import redis as redis_client

from benchmarks import spool
from benchmarks.keeping import Job, Kept
from benchmarks.measure import Progress
from benchmarks.results import Cell, Column, Result
from benchmarks.servers import Failed
from benchmarks.watched import Timing, declarations, reference_baseline, watch
from benchmarks.workload import PREDICTIONS_A_SECOND, generate, location
from driftline.platform.local.stack import MEMORY

HORIZON = timedelta(days=30)
"""Longer than the run, so that everything is kept."""
PREFIX = f"benchmark-memory{os.getpid()}:"
WARM = 50_000
"""Predictions after which growth is measured: by then all code is loaded and every buffer has its size."""
FORMS = {"waiting for its outcome": False, "with its outcome": True}


@dataclass(frozen=True)
class Scale:
    """How many predictions are kept, how many records a step takes, and in which forms."""

    predictions: int
    size: int
    forms: tuple[str, ...]


FULL, QUICK = Scale(1_000_000, 2_000, tuple(FORMS)), Scale(4_000, 200, ("with its outcome",))


def measure(scale: Scale, progress: Progress, redis_url: str) -> Result:
    """Each form twice in a process of its own: its resident memory, then its allocations traced."""
    progress.expect(1 + 2 * len(scale.forms))
    progress("writing the workload to a file")
    timing = Timing(slice=timedelta(seconds=scale.size / 2 / PREDICTIONS_A_SECOND), horizon=HORIZON)
    with tempfile.TemporaryDirectory(prefix="driftline-benchmark-") as directory:
        path = Path(directory) / "events"
        declared = _prepare(scale, timing, path)
        rows: list[list[Cell]] = []
        figures: dict[str, float] = {}
        for name in scale.forms:
            job = Job(
                events=str(path),
                declared=declared,
                timing=timing,
                with_outcomes=FORMS[name],
                traced=False,
                redis_url=redis_url,
                prefix=PREFIX,
                warm=min(WARM, scale.predictions // 10),
            )
            progress(f"{name}: resident memory, Redis")
            try:
                resident = _run(job)
            finally:
                _clear(redis_url)
            progress(f"{name}: allocations")
            traced = _run(msgspec.structs.replace(job, traced=True, redis_url=None))
            grown = resident.predictions - resident.warm
            found = {
                "worker, resident": resident.worker / grown,
                "worker, allocated": traced.worker / grown,
                "worker, arrays": resident.arrays / resident.predictions,
                "Redis": (resident.redis or 0) / resident.predictions,
            }
            rows.append([name, float(resident.predictions), *found.values()])
            figures |= {f"bytes a prediction {name}: {where}": value for where, value in found.items()}
    return _result(scale, rows, figures)


def _prepare(scale: Scale, timing: Timing, path: Path) -> tuple[bytes, bytes]:
    workload = generate(scale.predictions)
    spool.write(workload, path)
    spec = watch("m0", timing)
    return declarations(spec, reference_baseline(spec, workload), "m0")


def _run(job: Job) -> Kept:
    command = [sys.executable, "-m", "benchmarks.keeping", msgspec.json.encode(job).decode()]
    ended = subprocess.run(command, capture_output=True, check=False, env=MEMORY | os.environ)  # as workers have it
    if ended.returncode:
        raise Failed(f"the process that keeps predictions failed:\n{ended.stderr.decode()[-2000:]}")
    return msgspec.json.decode(ended.stdout, type=Kept)


def _clear(redis_url: str) -> None:
    client = redis_client.Redis.from_url(redis_url)
    try:
        for key in client.scan_iter(f"{PREFIX}*", count=10_000):
            client.unlink(key)
    finally:
        client.close()


def _result(scale: Scale, rows: list[list[Cell]], figures: dict[str, float]) -> Result:
    return Result(
        name="memory",
        title="Memory a kept prediction (12 features)",
        columns=[
            Column("a prediction"),
            Column("kept", "count"),
            Column("worker, resident", "bytes"),
            Column("worker, allocated", "bytes"),
            Column("of it arrays", "bytes"),
            Column("Redis", "bytes"),
        ],
        rows=rows,
        figures=figures,
        notes=[
            f"Growth of a process that does nothing else, in steps of {scale.size:,} records, after its first "
            "predictions: resident memory, then in a second run the allocations that are still alive (traced). Arrays: "
            "bytes of every numpy array reached from the monitor's work.",
            "Redis: `MEMORY USAGE ... SAMPLES 0` summed over all keys of the unit, written by the store of the loop.",
        ],
        workload=location()[1],
    )
