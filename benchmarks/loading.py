"""Putting a workload into the topics of a deployment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks import columns
from benchmarks.watched import Timing, reference_baseline, watch
from benchmarks.workload import START_MS, Workload
from driftline.events.base import Millis
from driftline.events.partitioning import partition_of
from driftline.events.topics import Topic
from driftline.platform import topics
from driftline.platform.bulk import BulkSender
from driftline.platform.declare import apply_spec, declare_baseline
from driftline.platform.kafka import read_deployment, send_all, tick
from driftline.platform.records import Outgoing, Record
from driftline.platform.settings import Settings

Form = Literal["single", "columns"]
PARTITIONS = 4


@dataclass(frozen=True)
class Spread:
    """A workload's records by partition of their ids: all arrivals of each, sorted, and the records themselves."""

    predictions: tuple[list[Record], ...]
    outcomes: tuple[list[Record], ...]
    end: Millis
    """A slice's end after the last arrival."""

    @classmethod
    def of(cls, workload: Workload, slice_ms: Millis) -> Spread:
        """Where each record goes."""
        predictions, outcomes = workload.records()
        last = max(records[-1].arrival for records in (predictions, outcomes) if records)
        return cls(_by_partition(predictions), _by_partition(outcomes), (last // slice_ms + 2) * slice_ms)

    def arrivals(self, partition: int) -> list[Millis]:
        """When the events of both topics in a partition arrive, in order."""
        return sorted(record.arrival for part in (self.predictions, self.outcomes) for record in part[partition])

    @property
    def events(self) -> int:
        """Predictions and outcomes."""
        return sum(len(records) for part in (self.predictions, self.outcomes) for records in part)


def declare(settings: Settings, workload: Workload, timing: Timing) -> None:
    """Make the topics of a deployment with the workload's clock, its one model's spec and baseline in force."""
    topics.create(settings, clock="events", slice_length=timing.slice, partitions=PARTITIONS)
    spec = watch("m0", timing)
    apply_spec(settings, spec, "benchmark")
    declare_baseline(settings, read_deployment(settings), reference_baseline(spec, workload))
    send_all(settings, _ticks(START_MS))


def send(settings: Settings, spread: Spread, form: Form) -> int:
    """Write all events, and a tick after them everywhere, so that the last slice ends; returns the events' records."""
    sender = BulkSender(settings)
    sent = 0
    try:
        for part, topic in ((spread.predictions, Topic.PREDICTIONS), (spread.outcomes, Topic.OUTCOMES)):
            for number, records in enumerate(part):
                for record in _outgoing(topic, records, number, form):
                    sender.add(record)
                    sent += 1
        sender.acknowledged()
        for each in _ticks(spread.end):
            sender.add(each)
    finally:
        sender.close()
    return sent


def send_in_order(settings: Settings, spread: Spread) -> None:
    """The same in single events and in order of arrival, as applications would send them, for workers that run."""
    everything = [
        (record.arrival, topic, number, record)
        for part, topic in ((spread.predictions, Topic.PREDICTIONS), (spread.outcomes, Topic.OUTCOMES))
        for number, records in enumerate(part)
        for record in records
    ]
    everything.sort(key=lambda item: item[0])
    sender = BulkSender(settings)
    try:
        for arrival, topic, number, record in everything:
            sender.add(Outgoing(topic, record.key, record.value, number, (), arrival))
        sender.acknowledged()
        for each in _ticks(spread.end):
            sender.add(each)
    finally:
        sender.close()


def _ticks(at: Millis) -> list[Outgoing]:
    return [tick(topic, number, at) for topic in (Topic.PREDICTIONS, Topic.OUTCOMES) for number in range(PARTITIONS)]


def _outgoing(topic: Topic, records: Sequence[Record], partition: int, form: Form) -> Iterator[Outgoing]:
    if form == "columns" and topic is Topic.PREDICTIONS:
        yield from columns.batches(records, partition)
        return
    for record in records:
        yield Outgoing(topic, record.key, record.value, partition, (), record.arrival)


def _by_partition(records: Iterable[Record]) -> tuple[list[Record], ...]:
    found: tuple[list[Record], ...] = tuple([] for _ in range(PARTITIONS))
    for record in records:
        found[partition_of((record.key or b"").decode(), PARTITIONS)].append(record)
    return found
