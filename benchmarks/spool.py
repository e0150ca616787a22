"""A workload in a file, so that a process can be fed from it without holding it in memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from benchmarks.feeding import OUTCOMES, PREDICTIONS, Batch
from benchmarks.workload import Workload
from driftline.events.base import Millis
from driftline.platform.records import Record, Source

_HEAD = struct.Struct("<BQQHI")
"""Topic, offset, arrival, bytes of the key, bytes of the value."""


def write(workload: Workload, path: Path) -> None:
    """Both topics in order of arrival, predictions first at the same instant."""
    predictions, outcomes = workload.records()
    with path.open("wb") as file:
        for record in sorted([*predictions, *outcomes], key=lambda r: (r.arrival, r.source != PREDICTIONS)):
            key, value = record.key or b"", record.value or b""
            which = 0 if record.source == PREDICTIONS else 1
            file.write(_HEAD.pack(which, record.offset, record.arrival, len(key), len(value)))
            file.write(key)
            file.write(value)


def read(path: Path, begin: Millis, length_ms: Millis, with_outcomes: bool) -> Iterator[Batch]:
    """The same cut at multiples of `length_ms` from `begin` on. Keeps nothing of a batch that it has given away."""
    end = begin + length_ms
    found: dict[Source, list[Record]] = {PREDICTIONS: [], OUTCOMES: []}
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            which, offset, arrival, key_size, value_size = _HEAD.unpack(head)
            key, value = file.read(key_size), file.read(value_size)
            if which and not with_outcomes:
                continue
            while arrival >= end:
                yield Batch(found.pop(PREDICTIONS), found.pop(OUTCOMES), end)
                found = {PREDICTIONS: [], OUTCOMES: []}
                end += length_ms
            source = OUTCOMES if which else PREDICTIONS
            found[source].append(Record(source, offset, arrival, arrival, key, value, ()))
    yield Batch(found.pop(PREDICTIONS), found.pop(OUTCOMES), end)
