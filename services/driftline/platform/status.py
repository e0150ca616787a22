"""Whether the workers make progress: heartbeats, lag and processes put together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorError,
)
from redis.exceptions import RedisError

from driftline.errors import Unreachable
from driftline.events.base import Millis
from driftline.events.topics import Topic
from driftline.platform.heartbeat import Beat, read_heartbeats
from driftline.platform.settings import Settings

SILENT_MS = 10_000
STARTING_MS = 60_000
"""How long a process may take to its first sign of life: on a busy machine it takes long to load."""
READS: dict[str, tuple[Topic, ...]] = {
    "monitor": (Topic.PREDICTIONS, Topic.OUTCOMES),
    "control": (Topic.COMMANDS, Topic.CANDIDATES, Topic.VERDICTS),
    "trainer": (Topic.RETRAIN_REQUESTS,),
    "gate": (Topic.CANDIDATES,),
    "archiver": (),
}

UNKNOWN_YET = (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError)
"""What a broker answers about a group while it has only just started: its lag is not known, which is no fault."""


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One worker. Times as in `Beat`, figures as in `Vitals`; None where it does not tell them.

    `progress`: starting (no heartbeat yet), ok, behind (records wait for long, and it takes none; or its decision time
    does not keep up), standing still (a unit of it does, until an operator lets it go on), silent (no heartbeat),
    stopped.
    """

    service: str
    slot: str
    process: str
    pid: int | None
    progress: str
    lag: int | None
    events: int | None
    last_event: Millis | None
    decision_time: Millis | None
    note: str
    behind_s: float | None = None
    behind: bool = False
    kept: int | None = None
    memory: int | None = None
    dead_letters: int | None = None
    refused: int | None = None
    missing: int | None = None
    metrics: str | None = None
    stopped: dict[str, str] = {}


@dataclass(frozen=True)
class Lag:
    """Records that wait, and whether one of them has waited longer than `SILENT_MS`."""

    records: int
    long: bool


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """All workers, and what an operator should look at."""

    workers: list[Worker]
    problems: list[str]


def read(settings: Settings, processes: Sequence[Mapping[str, Any]]) -> Status:
    """Ask Redis for heartbeats, Kafka for lag. `processes`: what the local supervisor says, if there is one."""
    try:
        beats = read_heartbeats(settings)
    except RedisError as error:
        raise Unreachable(f"no Redis answers ({error}); `driftline up` starts one on this machine") from error
    lags = _lags(settings)
    by_name = {process["name"]: process for process in processes}
    services = sorted({beat.service for beat in beats} | READS.keys())  # one without any sign of life is told too
    workers = []
    for service in services:
        of_service = [beat for beat in beats if beat.service == service]
        process = by_name.get(service)
        shown: list[Beat | None] = [*of_service] or [None]
        workers += [_worker(service, beat, process, lags.get(service)) for beat in shown]
    problems = [
        f"{worker.service}: {worker.progress}; see `driftline logs {worker.service}`"
        for worker in workers
        if worker.progress in ("silent", "stopped")
    ]
    problems += [f"{unit} stands still: {why}" for worker in workers for unit, why in worker.stopped.items()]
    return Status(workers=workers, problems=problems)


def _worker(service: str, beat: Beat | None, process: Mapping[str, Any] | None, lag: Lag | None) -> Worker:
    now = int(time.time() * 1000)
    running = process is None or process["statename"] in ("RUNNING", "STARTING")
    if not running:
        progress = "stopped"
    elif beat is None and process is not None and now - process["start"] * 1000 < STARTING_MS:
        progress = "starting"
    elif beat is None or now - beat.at > SILENT_MS:
        progress = "silent"
    elif beat.vitals is not None and beat.vitals.stopped:
        progress = "standing still"
    elif _is_behind(beat, lag, now):
        progress = "behind"
    else:
        progress = "ok"
    vitals = beat.vitals if beat is not None else None
    figures = msgspec.structs.asdict(vitals) if vitals is not None else {"lag": lag.records if lag else None}
    return Worker(
        service=service,
        slot=beat.slot if beat else "",
        process=str(process["statename"]).lower() if process else "",
        pid=beat.pid if beat else None,
        progress=progress,
        events=beat.events if beat else None,
        last_event=beat.last_event if beat else None,
        decision_time=beat.decision_time if beat else None,
        note=beat.note if beat else "",
        memory=beat.memory if beat else None,
        **figures,
    )


def _is_behind(beat: Beat, lag: Lag | None, now: Millis) -> bool:
    takes_none = beat.last_event is None or now - beat.last_event > SILENT_MS
    waits = lag is not None and lag.long and not beat.note and takes_none
    return waits or (beat.vitals is not None and beat.vitals.behind)


def _lags(settings: Settings) -> dict[str, Lag]:
    """Records that wait, by service: ends of its topics minus what it has committed as a hint, if anything."""
    try:
        admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap, bootstrap_timeout_ms=5000)
    except KafkaError as error:
        raise Unreachable(
            f"no Kafka answers at {settings.bootstrap}; `driftline up` starts one on this machine"
        ) from error
    reader = KafkaConsumer(bootstrap_servers=settings.bootstrap)
    try:
        lags = {}
        long_ago = int(time.time() * 1000) - SILENT_MS
        for service, topics in READS.items():
            if not topics:
                continue
            group = settings.group(service)
            try:
                committed = admin.list_group_offsets(group).get(group, {})
            except UNKNOWN_YET:
                continue
            partitions = [
                TopicPartition(settings.topic(topic), number)
                for topic in topics
                for number in reader.partitions_for_topic(settings.topic(topic)) or ()
            ]
            if not partitions:
                continue
            places = reader.beginning_offsets(partitions)
            places |= {p: committed[p].offset for p in partitions if p in committed and committed[p].offset >= 0}
            ends = reader.end_offsets(partitions)
            recent = reader.offsets_for_times(dict.fromkeys(partitions, long_ago))
            # marks come all the time, and a worker commits every few seconds: that some wait says nothing yet
            long = any(place < (recent[p].offset if recent.get(p) else ends[p]) for p, place in places.items())
            lags[service] = Lag(sum(max(0, ends[p] - place) for p, place in places.items()), long)
        return lags
    finally:
        reader.close()
        admin.close()
