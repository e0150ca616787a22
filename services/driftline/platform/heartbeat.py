"""Heartbeats: what each worker says of its own progress, in Redis, gone a minute after it stops saying it."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from typing import Any

import msgspec
import redis

from driftline.events.base import Millis
from driftline.platform.settings import Settings
from driftline.platform.telemetry import Vitals, resident_bytes

log = logging.getLogger("driftline.heartbeat")

TTL_S = 60


@dataclass(frozen=True)
class Beat:
    """One worker as it last described itself. Times are wall time but for `decision_time`; `memory` is in bytes."""

    service: str
    slot: str
    pid: int
    at: Millis
    events: int
    last_event: Millis | None
    decision_time: Millis | None
    note: str
    memory: int | None = None
    vitals: Vitals | None = None


class Heartbeat:
    """Writes one worker's heartbeat."""

    def __init__(self, settings: Settings, service: str, slot: str) -> None:
        self._redis = redis.Redis.from_url(settings.redis_url)
        self._key = f"{settings.prefix}heartbeat:{service}:{slot}"

    def beat(
        self,
        events: int,
        last_event: Millis | None,
        decision_time: Millis | None = None,
        note: str = "",
        vitals: Vitals | None = None,
    ) -> None:
        """Say it once. Raises redis errors: a caller decides whether they matter."""
        fields: dict[Any, Any] = {
            "pid": os.getpid(),
            "at": int(time.time() * 1000),
            "events": events,
            "note": note,
            "memory": resident_bytes(),
        }
        if vitals is not None:
            fields["vitals"] = msgspec.json.encode(vitals)
        if last_event is not None:
            fields["last_event"] = last_event
        if decision_time is not None:
            fields["decision_time"] = decision_time
        with self._redis.pipeline() as pipe:
            pipe.delete(self._key)
            pipe.hset(self._key, mapping=fields)
            pipe.expire(self._key, TTL_S)
            pipe.execute()

    def beat_if_possible(self, events: int, last_event: Millis | None, decision_time: Millis | None = None) -> None:
        """`beat` of a worker that does without Redis: one that does not answer is logged."""
        try:
            self.beat(events, last_event, decision_time)
        except redis.RedisError as error:
            log.warning("no heartbeat: Redis does not answer (%s)", error)


def read_heartbeats(settings: Settings) -> list[Beat]:
    """The heartbeats of all workers of this deployment, by service and slot."""
    client = redis.Redis.from_url(settings.redis_url, decode_responses=True)
    beats = []
    for key in sorted(client.scan_iter(f"{settings.prefix}heartbeat:*")):
        found: dict[str, str] = client.hgetall(key)  # type: ignore[assignment]  # the client is synchronous
        if found:
            service, slot = key.rsplit(":", 2)[-2:]
            beats.append(
                Beat(
                    service=service,
                    slot=slot,
                    pid=int(found["pid"]),
                    at=int(found["at"]),
                    events=int(found["events"]),
                    last_event=int(found["last_event"]) if "last_event" in found else None,
                    decision_time=int(found["decision_time"]) if "decision_time" in found else None,
                    note=found["note"],
                    memory=int(found["memory"]) if "memory" in found else None,
                    vitals=msgspec.json.decode(found["vitals"], type=Vitals) if "vitals" in found else None,
                )
            )
    return beats
