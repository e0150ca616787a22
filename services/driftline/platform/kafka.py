"""kafka-python for everything that is not the checkpointed loop: command line, trainer, gate, client, tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError

from driftline.errors import DeploymentError, Unreachable
from driftline.events.admin import Deployment, decode_specs_record
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.records import Outgoing, Record, Source
from driftline.platform.settings import Settings

SEND_TIMEOUT_S = 30.0


def producer(settings: Settings, **options: Any) -> KafkaProducer:
    """A producer that waits for all replicas. Raises `Unreachable`."""
    try:
        return KafkaProducer(bootstrap_servers=settings.bootstrap, acks="all", **options)
    except KafkaTimeoutError as error:
        raise Unreachable(_unreachable(settings)) from error


def consumer(settings: Settings, group: str | None = None, **options: Any) -> KafkaConsumer:
    """A consumer of nothing yet, from the earliest record unless `options` say otherwise. It never commits by itself.

    Raises `Unreachable`.
    """
    try:
        return KafkaConsumer(
            bootstrap_servers=settings.bootstrap,
            group_id=group,
            enable_auto_commit=False,
            **{"auto_offset_reset": "earliest", **options},
        )
    except KafkaTimeoutError as error:
        raise Unreachable(_unreachable(settings)) from error


def send_all(settings: Settings, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
    """Write `records` in order and wait for each: (partition, offset) of every one."""
    placed = []
    sender = producer(settings)
    try:
        for record in records:
            future = sender.send(
                settings.topic(record.topic),
                key=record.key,
                value=record.value,
                partition=record.partition,
                headers=list(record.headers),
                timestamp_ms=record.timestamp,
            )
            metadata = future.get(SEND_TIMEOUT_S)
            placed.append((metadata.partition, metadata.offset))
    except KafkaError as error:
        raise Unreachable(f"Kafka did not take a record for {record.topic}: {error}") from error
    finally:
        sender.close(timeout=SEND_TIMEOUT_S)
    return placed


def read_all(
    settings: Settings, topic: Topic, since: int | None = None, begin: Mapping[int, int] | None = None
) -> Iterator[Record]:
    """Every record of a topic from its beginning (or from the first that is stamped `since` or later, in milliseconds)
    to the end that it had when reading began. `begin`: offsets, by partition, before which nothing is wanted.
    """
    reader = consumer(settings)
    try:
        name = settings.topic(topic)
        numbers = reader.partitions_for_topic(name)
        if not numbers:
            raise DeploymentError(f"topic {name} does not exist; run `driftline topics create`")
        partitions = [TopicPartition(name, number) for number in sorted(numbers)]
        reader.assign(partitions)
        ends = reader.end_offsets(partitions)
        reader.seek_to_beginning(*partitions)
        if since is not None:
            for partition, found in reader.offsets_for_times(dict.fromkeys(partitions, since)).items():
                reader.seek(partition, ends[partition] if found is None else found.offset)
        for partition in partitions:
            if (wanted := (begin or {}).get(partition.partition, 0)) > reader.position(partition):
                reader.seek(partition, min(wanted, ends[partition]))
        arrivals = dict.fromkeys(partitions, -1)
        while any(reader.position(p) < ends[p] for p in partitions):
            for partition, records in reader.poll(timeout_ms=500).items():
                kept = [record for record in records if record.offset < ends[partition]]
                found = from_kafka(Source(topic, partition.partition), kept, arrivals[partition])
                arrivals[partition] = found[-1].arrival if found else arrivals[partition]
                yield from found
    finally:
        reader.close()


def read_at(settings: Settings, topic: Topic, places: Sequence[tuple[int, int]]) -> Iterator[Record]:
    """The records of a topic at (partition, offset), as far as there are any: of few among many."""
    if not places:
        return
    reader = consumer(settings)
    try:
        partitions = {number: TopicPartition(settings.topic(topic), number) for number, _ in places}
        ends = reader.end_offsets(list(partitions.values()))
        for number, offset in places:
            partition, found = partitions[number], list[Any]()
            reader.assign([partition])
            reader.seek(partition, min(offset, ends[partition]))
            while not found and reader.position(partition) < ends[partition]:
                found = reader.poll(timeout_ms=500, max_records=1).get(partition, [])
            yield from from_kafka(Source(topic, number), [one for one in found if one.offset == offset], -1)
    finally:
        reader.close()


def from_kafka(source: Source, records: Iterable[Any], arrival: int) -> list[Record]:
    """Records of kafka-python or aiokafka as ours. `arrival`: of the record before them; -1 where there is none."""
    found = []
    for record in records:
        arrival = max(arrival, record.timestamp)
        headers = tuple((key, value or b"") for key, value in record.headers) if record.headers else ()
        found.append(Record(source, record.offset, record.timestamp, arrival, record.key, record.value, headers))
    return found


def read_deployment(settings: Settings) -> Deployment:
    """The deployment's fixed properties. Raises `DeploymentError` where the topics have not been made."""
    for record in read_all(settings, Topic.SPECS):
        if record.value is not None:
            event = decode_specs_record(record.value)
            if isinstance(event, Deployment):
                return event
    raise DeploymentError(f"{settings.topic(Topic.SPECS)} holds no deployment; run `driftline topics create`")


def mark(deployment: Deployment, text: str) -> list[Outgoing]:
    """The marks that place `text` ("spec m@2", "baseline ID") in every partition of `predictions`.

    With `clock: events` they are stamped 0: the running maximum of their partition places them.
    """
    timestamp = 0 if deployment.clock == "events" else None
    header = ((MARK_HEADER, text.encode()),)
    return [Outgoing(Topic.PREDICTIONS, None, b"", i, header, timestamp) for i in range(deployment.partitions)]


def tick(topic: Topic, partition: int, time: int | None) -> Outgoing:
    """A mark that only lets time pass. `time` None: the broker's clock."""
    return Outgoing(topic, None, b"", partition, ((MARK_HEADER, b"tick"),), time)


def _unreachable(settings: Settings) -> str:
    return f"no Kafka answers at {settings.bootstrap}; is it running? `driftline up` starts one on this machine"
