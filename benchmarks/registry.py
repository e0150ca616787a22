"""All benchmarks by name: what each needs, and its full and short form."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.figures import (
    backtest,
    breach,
    detectors,
    engine,
    memory,
    models,
    profile,
    stream,
    swap,
    windows,
    workers,
)
from benchmarks.measure import Progress
from benchmarks.results import Began, Result
from benchmarks.servers import only_redis, servers
from driftline.platform.settings import LocalServers


class Needs(StrEnum):
    """What has to run beside a benchmark."""

    NOTHING = "nothing"
    REDIS = "Redis"
    SERVERS = "Kafka and Redis"


@dataclass(frozen=True)
class Benchmark:
    """One table. `measure` takes the scale, the progress and what `needs` says."""

    name: str
    says: str
    needs: Needs
    measure: Callable[..., Result]
    full: Any
    quick: Any


ALL = (
    Benchmark("engine", engine.__doc__ or "", Needs.NOTHING, engine.measure, engine.FULL, engine.QUICK),
    Benchmark("profile", profile.__doc__ or "", Needs.REDIS, profile.measure, profile.FULL, profile.QUICK),
    Benchmark("models", models.__doc__ or "", Needs.NOTHING, models.measure, models.FULL, models.QUICK),
    Benchmark("memory", memory.__doc__ or "", Needs.REDIS, memory.measure, memory.FULL, memory.QUICK),
    Benchmark("windows", windows.__doc__ or "", Needs.NOTHING, windows.measure, windows.FULL, windows.QUICK),
    Benchmark("backtest", backtest.__doc__ or "", Needs.NOTHING, backtest.measure, backtest.FULL, backtest.QUICK),
    Benchmark("detectors", detectors.__doc__ or "", Needs.NOTHING, detectors.measure, detectors.FULL, detectors.QUICK),
    Benchmark("stream", stream.__doc__ or "", Needs.SERVERS, stream.measure, stream.FULL, stream.QUICK),
    Benchmark("workers", workers.__doc__ or "", Needs.SERVERS, workers.measure, workers.FULL, workers.QUICK),
    Benchmark("breach", breach.__doc__ or "", Needs.SERVERS, breach.measure, breach.FULL, breach.QUICK),
    Benchmark("swap", swap.__doc__ or "", Needs.SERVERS, swap.measure, swap.FULL, swap.QUICK),
)


class Place:
    """Starts what benchmarks need when one first needs it, and ends it all at the end. Use as a context manager."""

    def __init__(self, addresses: LocalServers | None = None) -> None:
        self._addresses = addresses
        self._redis_url = addresses.redis_url if addresses else None
        self._stack = ExitStack()

    def __enter__(self) -> Place:
        self._state = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="driftline-benchmark-")))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def needs(self, benchmark: Benchmark, progress: Progress) -> tuple[Any, ...]:
        """The further arguments of a benchmark's `measure`."""
        if benchmark.needs is Needs.SERVERS:
            if self._addresses is None:
                progress("starting Kafka and Redis")
                self._addresses = self._stack.enter_context(servers())
                self._redis_url = self._addresses.redis_url
            return self._addresses, self._state
        if benchmark.needs is Needs.REDIS:
            if self._redis_url is None:
                progress("starting Redis")
                self._redis_url = self._stack.enter_context(only_redis())
            return (self._redis_url,)
        return ()


def run(benchmark: Benchmark, place: Place, progress: Progress, *, quick: bool, changed: dict[str, int]) -> Result:
    """Measure. `changed`: fields of the scale that are other than usual, `rounds`, `predictions` or `rate`.

    Raises `ValueError` where the benchmark has no such field.
    """
    scale = benchmark.quick if quick else benchmark.full
    known = {field.name for field in dataclasses.fields(scale)}
    for name in changed:
        if name not in known:
            raise ValueError(f"`{benchmark.name}` takes no --{name}")
    if changed:
        scale = dataclasses.replace(scale, **changed)
    began = Began()
    result = benchmark.measure(scale, progress, *place.needs(benchmark, progress))
    return began.stamped(msgspec.structs.replace(result, quick=quick))
