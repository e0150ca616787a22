"""Whether the workers make progress: heartbeats, lag and processes put together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from driftline.errors import Unreachable
from driftline.events.base import Millis
from driftline.events.topics import Topic
from driftline.platform.heartbeat import Beat, read_heartbeats
from driftline.platform.settings import Settings

SILENT_MS = 10_000
READS: dict[str, tuple[Topic, ...]] = {
    "monitor": (Topic.PREDICTIONS, Topic.OUTCOMES),
    "control": (Topic.COMMANDS, Topic.CANDIDATES, Topic.VERDICTS),
    "trainer": (Topic.RETRAIN_REQUESTS,),
    "gate": (Topic.CANDIDATES,),
    "archiver": (),
}


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One worker. `progress`: ok, behind (records wait), silent (no heartbeat), stopped. Times as in `Beat`."""

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


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """All workers, and what an operator should look at."""

    workers: list[Worker]
    problems: list[str]


def read(settings: Settings, processes: Sequence[Mapping[str, Any]]) -> Status:
    """Ask Redis for heartbeats, Kafka for lag. `processes`: what the local supervisor says, if there is one."""
    beats = read_heartbeats(settings)
    lags = _lags(settings)
    by_name = {process["name"]: process for process in processes}
    services = sorted({beat.service for beat in beats} | (by_name.keys() & READS.keys()))
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
    return Status(workers=workers, problems=problems)


def _worker(service: str, beat: Beat | None, process: Mapping[str, Any] | None, lag: int | None) -> Worker:
    now = int(time.time() * 1000)
    running = process is None or process["statename"] in ("RUNNING", "STARTING")
    if not running:
        progress = "stopped"
    elif beat is None or now - beat.at > SILENT_MS:
        progress = "silent"
    elif lag and (beat.last_event is None or now - beat.last_event > SILENT_MS):
        progress = "behind"
    else:
        progress = "ok"
    return Worker(
        service=service,
        slot=beat.slot if beat else "",
        process=str(process["statename"]).lower() if process else "",
        pid=beat.pid if beat else None,
        progress=progress,
        lag=lag,
        events=beat.events if beat else None,
        last_event=beat.last_event if beat else None,
        decision_time=beat.decision_time if beat else None,
        note=beat.note if beat else "",
    )


def _lags(settings: Settings) -> dict[str, int]:
    """Records that wait, by service: ends of its topics minus what it has committed as a hint."""
    try:
        admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap, bootstrap_timeout_ms=5000)
    except KafkaError as error:
        raise Unreachable(f"no Kafka answers at {settings.bootstrap}; `driftline up` starts one") from error
    reader = KafkaConsumer(bootstrap_servers=settings.bootstrap)
    try:
        lags = {}
        for service, topics in READS.items():
            if not topics:
                continue
            group = settings.group(service)
            committed = admin.list_group_offsets(group).get(group, {})
            partitions = [
                TopicPartition(settings.topic(topic), number)
                for topic in topics
                for number in reader.partitions_for_topic(settings.topic(topic)) or ()
            ]
            ends = reader.end_offsets(partitions) if partitions else {}
            known = {p: committed[p].offset for p in partitions if p in committed}
            if known:
                lags[service] = sum(max(0, ends[p] - offset) for p, offset in known.items())
        return lags
    finally:
        reader.close()
        admin.close()
