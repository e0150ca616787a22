"""Subscribing to alerts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator
from typing import Self

from driftline.errors import InvalidRecord
from driftline.events.alerts import Alert, AlertState
from driftline.events.topics import Topic
from driftline.platform import settings as settings_module
from driftline.platform.following import Tail
from driftline.platform.lookups import read_event
from driftline.platform.records import Record
from driftline.platform.settings import Settings

log = logging.getLogger("driftline.client")

POLL_S = 0.2


class Alerts:
    """Every change of every alert as it is published: `for alert in Alerts(model="flight-delay"): ...`.

    A reader sees all alerts from now on, or `from_beginning`. Readers with the same `group` share them, and go on where
    the group had come to; alerts that were in work when a reader died come again (their `id` tells). Raises
    `Unreachable`, and `DeploymentError` where there are no topics.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        model: str | None = None,
        states: Collection[AlertState] = tuple(AlertState),
        from_beginning: bool = False,
        group: str | None = None,
    ) -> None:
        self._tail = Tail(
            settings or settings_module.load(),
            Topic.ALERTS,
            begin="earliest" if from_beginning else "latest",
            group=group,
        )
        self._model = model
        self._states = frozenset(states)
        self._closed = False
        self._reading = threading.Lock()

    def __iter__(self) -> Iterator[Alert]:
        """Until `close`, which another thread may call."""
        return self.until()

    def until(self, quiet_s: float = float("inf")) -> Iterator[Alert]:
        """Until no record has come for `quiet_s` seconds, or `close`. What is no alert is logged and skipped."""
        heard = time.monotonic()
        while time.monotonic() - heard < quiet_s and (records := self._poll()) is not None:
            for record in records:
                alert = self._read(record)
                if alert is not None:
                    yield alert
            if records:
                heard = time.monotonic()
                self._commit()

    def close(self) -> None:
        """End the iteration and disconnect."""
        with self._reading:
            if not self._closed:
                self._closed = True
                self._tail.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _poll(self) -> list[Record] | None:
        with self._reading:
            return None if self._closed else self._tail.poll(POLL_S)

    def _commit(self) -> None:
        with self._reading:
            if not self._closed:
                self._tail.commit()

    def _read(self, record: Record) -> Alert | None:
        try:
            alert = read_event(record, Alert)
        except InvalidRecord as error:
            log.warning("alerts-%d offset %d is no alert: %s", record.source.partition, record.offset, error)
            return None
        wanted = (self._model is None or alert.model == self._model) and alert.state in self._states
        return alert if wanted else None
