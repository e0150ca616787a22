"""A producer for applications: it never makes its caller wait long, and it counts what became of each record."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from driftline.errors import Unreachable
from driftline.events.base import Millis
from driftline.events.topics import Topic
from driftline.platform.kafka import producer
from driftline.platform.settings import Settings

log = logging.getLogger("driftline.client")

CONNECT_TIMEOUT_MS = 5_000
RETRY_S = 1.0
REPORT_EVERY_S = 10.0
LINGER_MS = 5  # an application's own pace fills batches; more would only delay the first prediction
BATCH_BYTES = 1 << 17  # 16 kB, the library's default, costs half of the throughput


class Unsent(StrEnum):
    """Why a record was not even handed to the producer."""

    NO_CONNECTION = "no-connection"  # Kafka has not answered yet, or no longer knows the topic
    BUFFER_FULL = "buffer-full"  # as many records wait for their acknowledgement as may
    TOO_LARGE = "too-large"  # one record is larger than a request may be
    CLOSED = "closed"  # after close()


@dataclass(frozen=True)
class Delivery:
    """What became of the records so far: sent = acknowledged + failed + waiting; `unsent` were never handed over.

    `reasons` counts the unsent by `Unsent` and the failed by the broker's or client's error.
    """

    sent: int
    acknowledged: int
    failed: int
    waiting: int
    unsent: int
    reasons: dict[str, int]

    @property
    def complete(self) -> bool:
        """Whether every record that was offered is acknowledged."""
        return not (self.failed or self.waiting or self.unsent)


class Outlet:
    """One topic's way out. Connects in the background, so that an application starts without Kafka.

    `offer` waits at most `timeout_s`: half of it for a connection or for room among `max_waiting` records, half of it
    for the topic's metadata. After one wait in vain it does not wait again until Kafka has answered something.
    """

    def __init__(self, settings: Settings, topic: Topic, timeout_s: float, max_waiting: int) -> None:
        self._settings = settings
        self._topic = settings.topic(topic)
        self._half_s = timeout_s / 2
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._producer: KafkaProducer | None = None
        self._closed = False
        self._in_vain = False
        self._sent = self._acknowledged = self._failed = self._unsent = 0
        self._reasons: Counter[str] = Counter()
        self._next_report = 0.0
        self._connecting = threading.Thread(target=self._connect, name=f"connect {self._topic}", daemon=True)
        self._connecting.start()

    def offer(self, key: bytes, value: bytes, timestamp: Millis | None) -> Unsent | None:
        """Hand one record over; None: it is on its way, else why it is not."""
        why = self._enter()
        if why is None:
            try:
                future = self._open_producer().send(self._topic, key=key, value=value, timestamp_ms=timestamp)
            except MessageSizeTooLargeError:
                why = Unsent.TOO_LARGE
            except KafkaTimeoutError:
                why = Unsent.NO_CONNECTION
            except KafkaError as error:
                if not self._closed:
                    raise Unreachable(f"Kafka did not take a record for {self._topic}: {error}") from error
                why = Unsent.CLOSED
            else:
                future.add_both(self._answered)
                return None
            with self._changed:
                self._sent -= 1
        self._refused(why)
        return why

    def wait(self, timeout_s: float) -> Delivery:
        """Wait until no record waits for its acknowledgement, at most `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting() == 0, timeout_s)
        return self.delivery()

    def delivery(self) -> Delivery:
        """The counts at this moment."""
        with self._changed:
            return Delivery(
                self._sent,
                self._acknowledged,
                self._failed,
                self._waiting(),
                self._unsent,
                dict(sorted(self._reasons.items())),
            )

    def close(self, timeout_s: float) -> Delivery:
        """Wait for acknowledgements, give up on the rest (they count as failed), disconnect."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._connecting.join()
        self.wait(timeout_s)
        if self._producer is not None:
            if self._waiting():
                # close() of the library raises instead of giving up while records wait
                self._producer._sender.force_close()
                self.wait(CONNECT_TIMEOUT_MS / 1000)
            self._producer.close(timeout=RETRY_S)
            self._producer = None
        self._report(time.monotonic(), always=True)
        return self.delivery()

    def _enter(self) -> Unsent | None:
        """Wait for a connection and for room, and take a place."""
        deadline = time.monotonic() + self._half_s
        with self._changed:
            while (why := self._obstacle()) is not None:
                left = deadline - time.monotonic()
                if why is Unsent.CLOSED or self._in_vain or left <= 0:
                    self._in_vain = True
                    return why
                self._changed.wait(left)
            self._sent += 1
            return None

    def _obstacle(self) -> Unsent | None:
        if self._closed:
            return Unsent.CLOSED
        if self._producer is None:
            return Unsent.NO_CONNECTION
        return Unsent.BUFFER_FULL if self._waiting() >= self._max_waiting else None

    def _open_producer(self) -> KafkaProducer:
        assert self._producer is not None, "_enter has waited for it"
        return self._producer

    def _waiting(self) -> int:
        return self._sent - self._acknowledged - self._failed

    def _answered(self, answer: Any) -> None:
        """Called by the producer's thread with a record's metadata, or with the error that ended it."""
        with self._changed:
            if isinstance(answer, BaseException):
                self._failed += 1
                self._reasons[type(answer).__name__] += 1
            else:
                self._acknowledged += 1
            self._in_vain = False
            self._changed.notify_all()
        if isinstance(answer, BaseException):
            self._report(time.monotonic())

    def _refused(self, why: Unsent) -> None:
        with self._changed:
            self._unsent += 1
            self._reasons[why.value] += 1
        self._report(time.monotonic())

    def _report(self, now: float, always: bool = False) -> None:
        """One log line for what was lost, not more often than every `REPORT_EVERY_S`."""
        with self._changed:
            lost = self._unsent + self._failed
            due = bool(lost) and (always or now >= self._next_report)
            if due:
                self._next_report = now + REPORT_EVERY_S
            why = ", ".join(f"{reason} {n}" for reason, n in sorted(self._reasons.items()))
        if due:
            log.warning("%s: %d of %d records were not delivered so far (%s)", self._topic, lost, self._offered(), why)

    def _offered(self) -> int:
        return self._sent + self._unsent

    def _connect(self) -> None:
        """Until it works: connect and learn the topic's partitions, so that the first `offer` need not."""
        said = False
        while not self._closed:
            try:
                made = producer(
                    self._settings,
                    max_block_ms=max(1, int(self._half_s * 1000)),
                    bootstrap_timeout_ms=CONNECT_TIMEOUT_MS,
                    linger_ms=LINGER_MS,
                    batch_size=BATCH_BYTES,
                    allow_auto_create_topics=False,
                )
            except (Unreachable, KafkaError) as error:
                if not said:
                    log.warning("%s: not connected yet, what is sent meanwhile is lost (%s)", self._topic, error)
                said = True
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, RETRY_S)
                continue
            self._learn(made)
            with self._changed:
                self._producer = made
                self._in_vain = False
                self._changed.notify_all()
            return

    def _learn(self, made: KafkaProducer) -> None:
        """Wait for the topic's metadata, which `send` would otherwise wait for within a caller's time."""
        said = False
        while not self._closed:
            try:
                made.partitions_for(self._topic)
                return
            except KafkaTimeoutError:
                continue
            except KafkaError as error:
                if not said:
                    log.warning("topic %s cannot be used (%s); run `driftline topics create`", self._topic, error)
                said = True
            with self._changed:
                self._changed.wait_for(lambda: self._closed, RETRY_S)
