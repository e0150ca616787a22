"""How far a monitor has come, told by what it publishes on `slices`, and what its processes have taken."""

from __future__ import annotations

import subprocess
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path

from benchmarks.loading import PARTITIONS, Spread
from benchmarks.measure import Spent, cpu_seconds
from benchmarks.servers import Failed, wait_for
from driftline.events.base import Millis
from driftline.events.topics import Topic
from driftline.platform.following import Tail
from driftline.platform.kafka import read_all
from driftline.platform.records import Record
from driftline.platform.settings import Settings

LIMIT_S = 900.0
SAMPLE_S = 0.1


class Watch:
    """Follows `slices` from now on: a slice is there when what it says is stored."""

    def __init__(self, settings: Settings, slice_ms: Millis) -> None:
        self._tail = Tail(settings, Topic.SLICES, begin="latest")
        self._slice_ms = slice_ms
        self.notes: list[tuple[Millis, int, Millis]] = []
        """When it was written, the source partition, the instant up to which that partition is done."""

    def close(self) -> None:
        """Disconnect."""
        self._tail.close()

    def heard(self) -> set[int]:
        """The partitions that have said anything."""
        self._poll()
        return {partition for _, partition, _ in self.notes}

    def finished(self, end: Millis) -> bool:
        """Whether every partition is done up to `end`."""
        self._poll()
        far = dict.fromkeys(range(PARTITIONS), -1)
        for _, partition, up_to in self.notes:
            far[partition] = max(far[partition], up_to)
        return min(far.values()) >= end

    def _poll(self) -> None:
        self.notes += [note for record in self._tail.poll(0.1) if (note := self._note(record)) is not None]

    def _note(self, record: Record) -> tuple[Millis, int, Millis] | None:
        number = record.header("driftline-slice")
        if record.header("driftline-kind") != "upto" or number is None:
            return None
        return record.timestamp, record.source.partition, (int(number) + 1) * self._slice_ms


def progress(watch: Watch, spread: Spread) -> list[tuple[Millis, int]]:
    """Instants of wall time, and how many events were stored and told by then."""
    arrivals = [spread.arrivals(number) for number in range(PARTITIONS)]
    done = [0] * PARTITIONS
    found = []
    for written, partition, up_to in sorted(watch.notes):
        done[partition] = max(done[partition], bisect_left(arrivals[partition], up_to))
        found.append((written, sum(done)))
    return found


class Meter:
    """Samples the processor time of processes while they work."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self._pids = [process.pid for process in processes]
        self._samples: list[tuple[float, list[float]]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="meter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more samples. Raises `Failed` where a process ended meanwhile."""
        self._ended.set()
        self._thread.join()
        if not self._samples or len(self._samples[-1][1]) != len(self._pids):
            raise Failed("a worker ended while it was measured")

    def between(self, begin: Millis, end: Millis) -> list[float]:
        """Seconds of each process between two instants of wall time, between samples in proportion."""
        return [self._at(end, number) - self._at(begin, number) for number in range(len(self._pids))]

    def _at(self, instant: Millis, number: int) -> float:
        times = [at for at, _ in self._samples]
        after = min(max(1, bisect_right(times, instant)), len(times) - 1)
        (t0, before), (t1, later) = self._samples[after - 1], self._samples[after]
        share = min(1.0, max(0.0, (instant - t0) / (t1 - t0)))
        return before[number] + share * (later[number] - before[number])

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            try:
                self._samples.append((time.time() * 1000, [cpu_seconds(pid) for pid in self._pids]))
            except FileNotFoundError:  # it has ended; `stop` tells
                self._samples.append((time.time() * 1000, []))
                return


def run_until(
    watch: Watch, spread: Spread, processes: Sequence[subprocess.Popen[bytes]], log: Path
) -> tuple[Spent, list[float]]:
    """Wait until everything is stored: what was done between the first sign and the last, and the seconds of each."""
    meter = Meter(processes)
    try:
        wait_for(lambda: watch.finished(spread.end), LIMIT_S, lambda: all(p.poll() is None for p in processes), log)
    finally:
        meter.stop()
    told = [(at, done) for at, done in progress(watch, spread) if done]
    (begin, first), (end, last) = told[0], told[-1]
    if last != spread.events:
        raise Failed(f"{last} of {spread.events} events are in the slices")
    if end <= begin or last <= first:
        raise Failed("the work was over with its first step: there is nothing to measure; take more events")
    each = meter.between(begin, end)
    return Spent(last - first, (end - begin) / 1000, sum(each)), each


def dead_letters(settings: Settings) -> list[str]:
    """The reasons of all dead letters of a deployment."""
    return [record.header("driftline.reason") or "?" for record in read_all(settings, Topic.DEAD_LETTERS)]


class Decided:
    """Follows `progress` from now on: what control has decided."""

    def __init__(self, settings: Settings) -> None:
        self._tail = Tail(settings, Topic.PROGRESS, begin="latest")

    def anything(self) -> bool:
        """Whether it has decided anything since the last call."""
        return bool(self._tail.poll(0.1))

    def close(self) -> None:
        """Disconnect."""
        self._tail.close()
