"""A worker that answers records one at a time, however long each takes, without losing its place in the group."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata
from redis.exceptions import RedisError

from driftline.errors import DeploymentError, DriftlineError, InvalidRecord, Unreachable
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform import settings as settings_module
from driftline.platform.heartbeat import Heartbeat
from driftline.platform.kafka import consumer, from_kafka, send_all
from driftline.platform.records import Outgoing, Record, Source, dead_letter
from driftline.platform.settings import Settings
from driftline.platform.telemetry import setup_logging
from driftline.platform.topics import check

PULSE_MS = 250
HEARTBEAT_S = 1.0
COMMIT_S = 5.0
END_S = 10.0
SESSION_TIMEOUT_MS = 10_000

SERVER_FAULTS = (Unreachable, KafkaError)
"""A server does not answer: no answer to any question, but a reason to start anew and ask again."""


class Turn(threading.Event):
    """The work on one record: set once it must end soon.

    `note` is what it does, for the worker's heartbeat; `held` is let go when its answers are written.
    """

    def __init__(self) -> None:
        super().__init__()
        self.note = "working"
        self.held = ExitStack()


Work = Callable[[Record, Turn], Sequence[Outgoing]]
"""Answers one record with the records to write. Gives up soon, with any result, once its turn is set.

Raises `InvalidRecord` where the record cannot be read: it becomes a dead letter.
"""


class Worker:
    """Takes the records of `topic` as a member of the service's group; marks are passed over.

    For each record: 1 pause what is assigned, and work in a thread while polling goes on, so that Kafka sees a living
    member however long it takes; 2 write the answers and wait until Kafka has acknowledged them; 3 commit; 4 go on. A
    crash before 2 starts the work again; one between 2 and 3 brings the record back, so `work` must look whether it
    has been answered. Where the partition goes to another member meanwhile, the work is cancelled and nothing written.
    """

    def __init__(self, settings: Settings, service: str, topic: Topic, work: Work) -> None:
        self._settings = settings
        self._service = service
        self._topic = topic
        self._work = work
        self._log = logging.getLogger(f"driftline.{service}")
        self._slot = slot()
        self._heartbeat = Heartbeat(settings, service, self._slot)
        self._beaten = self._committed = 0.0
        self._events = 0
        self._last_event: int | None = None
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let `run` return soon; work that is under way is cancelled."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop`. Raises what the work raises, and `Unreachable`."""
        self._consumer = consumer(
            self._settings,
            group=self._settings.group(self._service),
            group_instance_id=f"{self._service}-{self._slot}",  # whoever starts anew takes its own place at once
            session_timeout_ms=SESSION_TIMEOUT_MS,
        )
        try:
            # kafka-python 3.0 can miss the topic in a group's first assignment, and then no member is given anything
            # until the metadata is five minutes old: so the topic is known before the group is joined
            name = self._settings.topic(self._topic)
            if not self._consumer.partitions_for_topic(name):
                raise DeploymentError(f"topic {name} does not exist; run `driftline topics create`")
            self._consumer.subscribe([name])
            while not self._stop.is_set():
                self._beat("")
                for place, records in self._consumer.poll(timeout_ms=PULSE_MS).items():
                    self._take_all(place, records)
        finally:
            self._consumer.close()

    def _take_all(self, place: TopicPartition, records: Sequence[Any]) -> None:
        for record in from_kafka(Source(self._topic, place.partition), records, -1):
            if record.value and record.header(MARK_HEADER) is None and not self._take(place, record):
                return
        if time.monotonic() - self._committed > COMMIT_S:
            self._commit(place, records[-1].offset + 1)

    def _take(self, place: TopicPartition, record: Record) -> bool:
        """Answer one record; False: stopped, or the partition is another member's now."""
        turn = Turn()
        with turn.held:
            answers = self._worked(place, record, turn)
            if answers is None:
                return False
            send_all(self._settings, answers)
        self._events += 1
        self._last_event = int(time.time() * 1000)
        self._commit(place, record.next_offset)
        return True

    def _worked(self, place: TopicPartition, record: Record, turn: Turn) -> Sequence[Outgoing] | None:
        done: list[Sequence[Outgoing]] = []
        failed: list[BaseException] = []

        def work() -> None:
            try:
                done.append(self._work(record, turn))
            except InvalidRecord as why:
                self._log.error("offset %d of %s cannot be used: %s", record.offset, place.topic, why)
                done.append([dead_letter(record, why)])
            except BaseException as error:  # raised again by the main thread
                failed.append(error)

        thread = threading.Thread(target=work, name=self._service, daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                if self._stop.is_set() or not self._keep_place(place):
                    self._log.warning("offset %d of %s is left to whoever comes next", record.offset, place.topic)
                    return None
                self._beat(turn.note)
        finally:
            turn.set()
            thread.join(END_S)
            self._consumer.resume(*self._consumer.assignment())
        if failed:
            raise failed[0]
        return done[0]

    def _keep_place(self, place: TopicPartition) -> bool:
        """Poll without taking anything; whether the partition is still ours."""
        self._consumer.pause(*self._consumer.assignment())
        for partition, records in self._consumer.poll(timeout_ms=PULSE_MS).items():
            self._consumer.seek(partition, records[0].offset)  # came with a new assignment: for later
        return place in self._consumer.assignment()

    def _commit(self, place: TopicPartition, offset: int) -> None:
        self._committed = time.monotonic()
        try:
            self._consumer.commit({place: OffsetAndMetadata(offset, "", -1)})
        except KafkaError as error:
            self._log.warning("offset %d is not committed, so its record may come again: %s", offset - 1, error)

    def _beat(self, note: str) -> None:
        if time.monotonic() - self._beaten < HEARTBEAT_S:
            return
        self._beaten = time.monotonic()
        try:
            self._heartbeat.beat(self._events, self._last_event, note=note)
        except RedisError as error:
            self._log.warning("no heartbeat: Redis does not answer (%s)", error)


def slot() -> str:
    """Which of its service's workers this process is."""
    return os.environ.get("DRIFTLINE_SLOT", "0")


def run_worker(service: str, topic: Topic, make_work: Callable[[Settings], Work]) -> None:
    """The main of a service: run until SIGTERM or SIGINT; exit code 1 with a sentence where it cannot go on."""
    setup_logging()
    log = logging.getLogger(f"driftline.{service}")
    try:
        settings = settings_module.load()
        problems = check(settings)
        if problems:
            raise DeploymentError("\n".join(problems))
        worker = Worker(settings, service, topic, make_work(settings))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        log.info("%s answers what comes in %s", service, settings.topic(topic))
        worker.run()
    except (DriftlineError, KafkaError) as error:
        log.error("%s", error)
        sys.exit(1)
