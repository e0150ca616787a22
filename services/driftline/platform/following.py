"""Reading topics by hand, record by record: from their beginning or from now on, at one's own pace."""

from __future__ import annotations

from typing import Literal

from kafka import TopicPartition
from kafka.errors import KafkaError

from driftline.errors import DeploymentError, Unreachable
from driftline.events.topics import Topic
from driftline.platform.kafka import consumer, from_kafka
from driftline.platform.records import Record, Source
from driftline.platform.settings import Settings

SLICE_MS = 500


class Tail:
    """All partitions of some topics. Not for several threads at once.

    With `group`, readers of one name share the partitions, and go on where the group has `commit`ted; `begin` then
    holds for a group that has not committed anything. Without, every reader sees everything from `begin` on. Raises
    `Unreachable`, and `DeploymentError` where a topic does not exist.
    """

    def __init__(
        self,
        settings: Settings,
        *topics: Topic,
        begin: Literal["earliest", "latest"] = "earliest",
        group: str | None = None,
    ) -> None:
        self._names = {settings.topic(topic): topic for topic in topics}
        self._bootstrap = settings.bootstrap
        self._group = group
        self._consumer = consumer(settings, group=group, auto_offset_reset=begin)
        self._arrivals: dict[TopicPartition, int] = {}
        try:
            partitions = self._partitions()
            if group is not None:
                self._consumer.subscribe(list(self._names))
            else:
                self._consumer.assign(partitions)
                self._go_to(begin, partitions)
        except KafkaError as error:
            self._consumer.close()
            raise Unreachable(self._silent(error)) from error
        except DeploymentError:
            self._consumer.close()
            raise

    def poll(self, timeout_s: float) -> list[Record]:
        """What has come; waits up to `timeout_s` for something."""
        try:
            batches = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        except KafkaError as error:
            raise Unreachable(self._silent(error)) from error
        found: list[Record] = []
        for partition, records in batches.items():
            source = Source(self._names[partition.topic], partition.partition)
            found += from_kafka(source, records, self._arrivals.get(partition, -1))
            self._arrivals[partition] = found[-1].arrival
        return found

    def catch_up(self) -> list[Record]:
        """Everything up to the ends that the topics have at this moment. Without a group only."""
        try:
            partitions = self._consumer.assignment()
            ends = self._consumer.end_offsets(list(partitions))
            found: list[Record] = []
            while any(self._consumer.position(p) < ends[p] for p in partitions):
                found += self.poll(SLICE_MS / 1000)
        except KafkaError as error:
            raise Unreachable(self._silent(error)) from error
        return found

    def commit(self) -> None:
        """Let the group go on after what was polled so far."""
        if self._group is not None:
            try:
                self._consumer.commit()
            except KafkaError as error:
                raise Unreachable(self._silent(error)) from error

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def _partitions(self) -> list[TopicPartition]:
        found = []
        for name in self._names:
            numbers = self._consumer.partitions_for_topic(name)
            if not numbers:
                raise DeploymentError(f"topic {name} does not exist; run `driftline topics create`")
            found += [TopicPartition(name, number) for number in sorted(numbers)]
        return found

    def _go_to(self, begin: str, partitions: list[TopicPartition]) -> None:
        if begin == "earliest":
            self._consumer.seek_to_beginning(*partitions)
        else:
            self._consumer.seek_to_end(*partitions)
            for partition in partitions:
                self._consumer.position(partition)  # ask now: "from now on" begins here, not at the first poll

    def _silent(self, error: KafkaError) -> str:
        return f"Kafka at {self._bootstrap} does not answer ({type(error).__name__}: {error}); see `driftline status`"
