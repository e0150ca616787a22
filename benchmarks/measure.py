"""Rounds of measurements: contenders in turn, A B A B, so that a neighbour on the machine meets all of them."""

from __future__ import annotations

import gc
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """Shown while a benchmark runs: a bar on a terminal, lines elsewhere."""

    def expect(self, steps: int) -> None:
        """So many calls will come."""

    def __call__(self, text: str) -> None:
        """What is done next."""


TICK_S = 0.01
"""The system counts another process's time in such ticks: what took less cannot be told from it."""


@dataclass(frozen=True)
class Spent:
    """What one run took: `events` worked on, seconds by the clock and seconds of processor time."""

    events: int
    wall_s: float
    cpu_s: float

    @property
    def rate(self) -> float:
        """Events a second of processor time: what neighbours take from a shared machine does not count."""
        return self.events / max(self.cpu_s, TICK_S)

    @property
    def wall_rate(self) -> float:
        """Events a second by the clock."""
        return self.events / self.wall_s

    @property
    def cpu_us(self) -> float:
        """Processor time an event, in microseconds."""
        return self.cpu_s / self.events * 1e6


class Stopwatch:
    """Measures a stretch of this thread's work."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.thread_time()

    def spent(self, events: int) -> Spent:
        """What has passed since it was made."""
        return Spent(events, time.perf_counter() - self._wall, time.thread_time() - self._cpu)


@contextmanager
def settled() -> Iterator[None]:
    """What has been prepared is put out of the garbage collector's sight, which would look through it in the middle."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def rounds(contenders: Mapping[str, Callable[[], Spent]], count: int, progress: Progress) -> dict[str, list[Spent]]:
    """Run all contenders in turn, `count` times."""
    found: dict[str, list[Spent]] = {name: [] for name in contenders}
    for number in range(count):
        for name, run in contenders.items():
            progress(f"round {number + 1} of {count}: {name}")
            found[name].append(run())
    return found


def median(values: Sequence[float]) -> float:
    """The median."""
    return float(statistics.median(values))


def paired_ratio(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' own ratios: both sides of each met the same neighbours."""
    return median([a / b for a, b in zip(mine, theirs, strict=True)])


def resident_bytes(pid: int | None = None) -> int:
    """Resident memory of a process (default: this one)."""
    with open(f"/proc/{pid or os.getpid()}/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has taken so far, its threads included."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(") ")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
