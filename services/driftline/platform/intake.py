"""Reading everything: all partitions of many topics, from positions that the reader keeps, without a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from driftline.errors import DeploymentError, Unreachable
from driftline.events.admin import Deployment
from driftline.events.base import Millis
from driftline.events.topics import TOPICS, Spread, Topic
from driftline.platform.kafka import from_kafka
from driftline.platform.records import Record, Source
from driftline.platform.settings import Settings

FETCH_RECORDS = 5_000
POLL_MS = 200


def sources_of(deployment: Deployment, topics: Sequence[Topic]) -> list[Source]:
    """All partitions of `topics`."""
    spread = {Spread.SOURCE: deployment.partitions, Spread.SHARD: deployment.shards, Spread.ONE: 1}
    return [Source(topic, number) for topic in topics for number in range(spread[TOPICS[topic].spread])]


class Intake:
    """A consumer of `sources`. `open` and `fetch` raise `Unreachable` where Kafka does not answer."""

    def __init__(self, settings: Settings, sources: Sequence[Source]) -> None:
        self._settings = settings
        self._sources = {TopicPartition(settings.topic(s.topic), s.partition): s for s in sources}
        self._arrivals: dict[TopicPartition, Millis] = {}
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="none",  # a position that Kafka no longer holds is an error, never a silent jump
            max_partition_fetch_bytes=1 << 20,
        )

    async def open(self, positions: Mapping[Source, tuple[int, Millis]]) -> None:
        """Connect and go to each source's (next offset, highest arrival before it); else to its earliest record.

        Raises `DeploymentError` where Kafka no longer holds what comes next, or not yet.
        """
        partitions = list(self._sources)
        try:
            await self._consumer.start()
            self._consumer.assign(partitions)
            earliest = await self._consumer.beginning_offsets(partitions)
            ends = await self._consumer.end_offsets(partitions)
        except (KafkaError, OSError) as error:
            raise self._silent(error) from error
        for partition, source in self._sources.items():
            offset, arrival = positions.get(source, (earliest[partition], -1))
            place = f"{partition.topic}-{partition.partition}"
            if offset < earliest[partition]:
                raise DeploymentError(
                    f"{place}: records {offset} to {earliest[partition] - 1} are gone from Kafka before they were read"
                    "; its retention is too short for how long this worker was away"
                )
            if offset > ends[partition]:
                raise DeploymentError(
                    f"{place} ends at {ends[partition]}, but was already read up to {offset}: it has been made anew"
                )
            self._consumer.seek(partition, offset)
            self._arrivals[partition] = arrival

    async def fetch(self) -> list[list[Record]]:
        """Wait a moment for records: those of one source in each list, in order."""
        try:
            batches = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=FETCH_RECORDS)
        except (KafkaError, OSError) as error:
            raise self._silent(error) from error
        return [self._taken(partition, records) for partition, records in batches.items()]

    async def close(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    def _taken(self, partition: TopicPartition, records: Sequence[object]) -> list[Record]:
        taken = from_kafka(self._sources[partition], records, self._arrivals[partition])
        self._arrivals[partition] = taken[-1].arrival if taken else self._arrivals[partition]
        return taken

    def _silent(self, error: Exception) -> Unreachable:
        return Unreachable(f"Kafka at {self._settings.bootstrap} does not answer ({type(error).__name__}: {error})")
