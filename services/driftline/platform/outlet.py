"""A producer for applications: it never makes its caller wait long, and it counts what became of each record."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from driftline.errors import Unreachable
from driftline.events.base import Millis
from driftline.events.topics import Topic
from driftline.platform.kafka import producer
from driftline.platform.settings import Settings

log = logging.getLogger("driftline.client")

CONNECT_MS = 5_000
RETRY_S = 1.0
GIVE_UP_S = 2.0
REPORT_EVERY_S = 10.0
LINGER_MS = 5  # fills batches at high rates, and delays a lone prediction no more than that
BATCH_BYTES = 1 << 17  # the library's default of 16 kB costs a third of the throughput
TAKE = 500


class Lost(StrEnum):
    """Why a record was not delivered, where it is not an error that Kafka or its client names."""

    BUFFER_FULL = "buffer-full"  # not taken: as many records as may wait for their acknowledgement
    CLOSED = "closed"  # not taken: after close()
    NO_CONNECTION = "no-connection"  # taken, but Kafka was not reached before close()


@dataclass(frozen=True)
class Delivery:
    """What became of the records so far: `sent` = acknowledged + failed + waiting; `unsent` were not even taken.

    `reasons` counts the failed and unsent by `Lost` or by the name of Kafka's error.
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


Split = Callable[[int], Sequence[tuple[int, bytes]]]
"""From a number of partitions to the messages (partition, value) that something is sent as."""


Headers = tuple[tuple[str, bytes], ...]


class _Item(NamedTuple):
    """A message by its key, or (`split`) several, which are counted one by one once it is known how many."""

    key: bytes | None
    value: bytes
    timestamp: Millis | None
    headers: Headers = ()
    split: Split | None = None


class Outlet:
    """One topic's way out: a bounded queue, and a thread that connects and sends.

    Nothing of Kafka runs in the caller's thread, so an application starts and predicts without a broker. `offer` waits
    only for room among `max_waiting` unacknowledged records, at most `timeout_s`; after one wait in vain it does not
    wait again until Kafka has answered something.
    """

    def __init__(self, settings: Settings, topic: Topic, timeout_s: float, max_waiting: int) -> None:
        self._settings = settings
        self._topic = settings.topic(topic)
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._queue: deque[_Item] = deque()
        self._closed = self._given_up = self._in_vain = False
        self._sent = self._acknowledged = self._failed = self._unsent = 0
        self._reasons: Counter[str] = Counter()
        self._missing_said = False
        self._next_report = 0.0
        self._thread = threading.Thread(target=self._run, name=f"send {self._topic}", daemon=True)
        self._thread.start()

    def offer(self, key: bytes, value: bytes, timestamp: Millis | None) -> Lost | None:
        """Take one record; None: it is on its way, else why it is not."""
        return self._offer(_Item(key, value, timestamp))

    def offer_split(
        self, split: Split, headers: tuple[tuple[str, bytes], ...], timestamp: Millis | None
    ) -> Lost | None:
        """Take what becomes one record a partition that it concerns."""
        return self._offer(_Item(None, b"", timestamp, headers, split))

    def _offer(self, item: _Item) -> Lost | None:
        with self._room:
            if self._is_full() and not self._closed:
                roomy = not self._in_vain and self._room.wait_for(lambda: not self._is_full(), self._timeout_s)
                self._in_vain = not roomy
            if not self._closed and not self._is_full():
                self._queue.append(item)
                self._sent += 1
                self._work.notify()
                return None
            why = Lost.CLOSED if self._closed else Lost.BUFFER_FULL
            self._unsent += 1
            self._reasons[why.value] += 1
        self._report()
        return why

    def wait(self, timeout_s: float) -> Delivery:
        """Wait until no record waits for its acknowledgement, at most `timeout_s`."""
        with self._room:
            self._room.wait_for(lambda: self._waiting() == 0, timeout_s)
        return self.delivery()

    def delivery(self) -> Delivery:
        """The counts at this moment."""
        with self._room:
            return Delivery(
                self._sent,
                self._acknowledged,
                self._failed,
                self._waiting(),
                self._unsent,
                dict(sorted(self._reasons.items())),
            )

    def close(self, timeout_s: float) -> Delivery:
        """Take nothing more, wait for acknowledgements at most `timeout_s`, give up on the rest, disconnect."""
        with self._room:
            self._closed = True
        self.wait(timeout_s)
        with self._work:
            self._given_up = True
            self._fail(len(self._queue), Lost.NO_CONNECTION.value)
            self._queue.clear()
            self._work.notify()
        self._thread.join(GIVE_UP_S)  # it may hang in a connection attempt: then it ends by itself, a little later
        self._report(always=True)
        return self.delivery()

    def _is_full(self) -> bool:
        return self._waiting() >= self._max_waiting

    def _waiting(self) -> int:
        return self._sent - self._acknowledged - self._failed

    def _run(self) -> None:
        """The sending thread."""
        made = self._connect()
        if made is None:
            return
        while items := self._take():
            for item in items:
                self._hand_over(made, item)
        if self._waiting():
            made._sender.force_close()  # the library's close() raises, instead of giving up, while records wait
            self.wait(GIVE_UP_S)
        made.close(timeout=GIVE_UP_S)

    def _connect(self) -> KafkaProducer | None:
        said = False
        while not self._given_up:
            try:
                return producer(
                    self._settings,
                    max_block_ms=int(RETRY_S * 1000),
                    bootstrap_timeout_ms=CONNECT_MS,
                    linger_ms=LINGER_MS,
                    batch_size=BATCH_BYTES,
                    allow_auto_create_topics=False,
                )
            except (Unreachable, KafkaError) as error:
                if not said:
                    log.warning("%s: %s; up to %d records wait for it", self._topic, error, self._max_waiting)
                said = True
                with self._work:
                    self._work.wait_for(lambda: self._given_up, RETRY_S)
        return None

    def _take(self) -> list[_Item]:
        """The next records; none: it is over."""
        with self._work:
            self._work.wait_for(lambda: self._queue or self._given_up)
            return [self._queue.popleft() for _ in range(min(len(self._queue), TAKE))]

    def _hand_over_parts(self, made: KafkaProducer, item: _Item, split: Split) -> None:
        partitions = made.partitions_for(self._topic)
        if not partitions:
            raise KafkaTimeoutError(f"no metadata of {self._topic}")
        parts = split(len(partitions))
        with self._room:
            self._sent += len(parts) - 1
        for partition, value in parts:
            self._hand_over(made, item._replace(value=value, split=None), partition)

    def _hand_over(self, made: KafkaProducer, item: _Item, partition: int | None = None) -> None:
        """Send one record; while the topic's metadata does not come, again and again."""
        why = Lost.NO_CONNECTION.value
        while not self._given_up:
            try:
                if item.split is not None:
                    self._hand_over_parts(made, item, item.split)
                    return
                future = made.send(
                    self._topic,
                    key=item.key,
                    value=item.value,
                    partition=partition,
                    headers=list(item.headers),
                    timestamp_ms=item.timestamp,
                )
            except KafkaTimeoutError:
                if not self._missing_said:
                    log.warning("Kafka tells nothing of topic %s; run `driftline topics create`", self._topic)
                    self._missing_said = True
                continue
            except KafkaError as error:
                why = type(error).__name__
                break
            future.add_both(self._answered)
            return
        with self._room:
            self._fail(1, why)
        self._report()

    def _answered(self, answer: Any) -> None:
        """Called by the library with a record's metadata, or with the error that ended it."""
        failed = isinstance(answer, BaseException)
        with self._room:
            if failed:
                self._fail(1, type(answer).__name__)
            else:
                self._acknowledged += 1
                self._in_vain = False
                self._room.notify_all()
        if failed:
            self._report()

    def _fail(self, count: int, why: str) -> None:
        """Count what was taken and is lost. The lock is held."""
        if count:
            self._failed += count
            self._reasons[why] += count
            self._room.notify_all()

    def _report(self, always: bool = False) -> None:
        """One log line for what was lost, not more often than every `REPORT_EVERY_S`."""
        counts, now = self.delivery(), time.monotonic()
        lost = counts.unsent + counts.failed
        if lost and (always or now >= self._next_report):
            self._next_report = now + REPORT_EVERY_S
            why = ", ".join(f"{n} {reason}" for reason, n in counts.reasons.items())
            log.warning("%s: %d of %d records are lost so far: %s", self._topic, lost, counts.sent + counts.unsent, why)
