"""Making and checking the topics of a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from driftline.errors import DeploymentError, Unreachable
from driftline.events.admin import Deployment
from driftline.events.base import digest_id, encode
from driftline.events.topics import TOPICS, Kept, Spread, Topic, TopicRule
from driftline.platform.kafka import read_deployment, send_all
from driftline.platform.records import Outgoing
from driftline.platform.settings import Settings
from driftline.spec.model import millis

BROKER_STAMPED = (Topic.PREDICTIONS, Topic.OUTCOMES, Topic.COMMANDS, Topic.CANDIDATES, Topic.VERDICTS)
"""Input topics: with `clock: live` the broker writes their arrival, whatever a producer sends."""
MAX_MESSAGE_BYTES = 8 << 20
DAY_MS = 86_400_000
ANSWERS_WITHIN_MS = 10_000
"""A broker that says nothing for so long is not there; kafka-python would wait for half a minute."""


def create(
    settings: Settings,
    *,
    clock: str = "live",
    slice_length: timedelta = timedelta(seconds=1),
    max_stall: timedelta = timedelta(minutes=1),
    partitions: int = 4,
    shards: int = 1,
    retention: timedelta = timedelta(days=14),
    replication: int = 1,
) -> list[str]:
    """Make the topics that are missing and write the deployment record; returns the names of those made.

    Raises `DeploymentError` where a deployment with other properties exists: they are fixed with the topics.
    """
    wanted = Deployment(
        id=digest_id("deployment", clock, slice_length, max_stall, partitions, shards),
        clock="events" if clock == "events" else "live",
        slice=slice_length,
        max_stall=max_stall,
        partitions=partitions,
        shards=shards,
    )
    admin = _admin(settings)
    try:
        there = set(admin.list_topics())
        if settings.topic(Topic.SPECS) in there:
            try:
                present = read_deployment(settings)
            except DeploymentError:
                present = wanted
                _declare(settings, wanted)
            if present != wanted:
                raise DeploymentError(
                    f"the topics under {settings.prefix!r} were made with {_describe(present)}, not {_describe(wanted)}"
                    "; this is fixed with the topics: use another DRIFTLINE_PREFIX for another deployment"
                )
        made = []
        for topic, rule in TOPICS.items():
            if settings.topic(topic) in there:
                continue
            new = NewTopic(
                name=settings.topic(topic),
                num_partitions=partitions_of(topic, wanted),
                replication_factor=replication,
                topic_configs=_configuration(topic, rule, wanted, retention),
            )
            try:
                admin.create_topics([new], wait_for_metadata=True)
            except TopicAlreadyExistsError:
                continue  # somebody else makes them at this moment
            made.append(new.name)
        if settings.topic(Topic.SPECS) in made:
            _declare(settings, wanted)
        return made
    except KafkaError as error:
        raise Unreachable(f"Kafka at {settings.bootstrap} did not make the topics: {error}") from error
    finally:
        admin.close()


def check(settings: Settings) -> list[str]:
    """What is wrong with the topics, each with the command that mends it; empty: nothing."""
    admin = _admin(settings)
    try:
        there = set(admin.list_topics())
        missing = sorted(name for topic in TOPICS if (name := settings.topic(topic)) not in there)
        if missing:
            return [f"{_few(missing)} missing; run `driftline topics create`"]
        deployment = read_deployment(settings)
        described = {found["name"]: found for found in admin.describe_topics([settings.topic(t) for t in TOPICS])}
        configured = _configurations(admin, list(described))
        problems = []
        for topic, rule in TOPICS.items():
            name = settings.topic(topic)
            expected = partitions_of(topic, deployment)
            if (found := len(described[name]["partitions"])) != expected:
                problems.append(
                    f"topic {name} has {found} partitions where {expected} were made; ids and models would move: "
                    "make a new deployment under another DRIFTLINE_PREFIX"
                )
            problems += _wrong_settings(settings.bootstrap, name, _fixed(topic, rule, deployment), configured[name])
        return problems
    except KafkaError as error:
        raise Unreachable(f"Kafka at {settings.bootstrap} did not describe the topics: {error}") from error
    finally:
        admin.close()


def configurations(settings: Settings, names: list[str]) -> dict[str, dict[str, str]]:
    """The settings of topics, as the broker has them. Raises `Unreachable`."""
    admin = _admin(settings)
    try:
        return _configurations(admin, names)
    except KafkaError as error:
        raise Unreachable(f"Kafka at {settings.bootstrap} did not describe the topics: {error}") from error
    finally:
        admin.close()


def _admin(settings: Settings) -> KafkaAdminClient:
    try:
        return KafkaAdminClient(bootstrap_servers=settings.bootstrap, bootstrap_timeout_ms=ANSWERS_WITHIN_MS)
    except KafkaError as error:
        raise Unreachable(
            f"no Kafka answers at {settings.bootstrap}; is it running? `driftline up` starts one on this machine"
        ) from error


def partitions_of(topic: Topic, deployment: Deployment) -> int:
    """How many partitions a topic was made with."""
    spread = TOPICS[topic].spread
    return {Spread.SOURCE: deployment.partitions, Spread.SHARD: deployment.shards, Spread.ONE: 1}[spread]


def _configuration(topic: Topic, rule: TopicRule, deployment: Deployment, retention: timedelta) -> dict[str, str]:
    kept = {Kept.RETENTION: millis(retention), Kept.FOREVER: -1, Kept.DAY: DAY_MS}[rule.kept]
    return {
        "retention.ms": str(kept),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        **_fixed(topic, rule, deployment),
    }


def _fixed(topic: Topic, rule: TopicRule, deployment: Deployment) -> dict[str, str]:
    """Settings that must be just so. With `clock: events` records are stamped years back: nothing may expire."""
    live = deployment.clock == "live"
    fixed = {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime" if live and topic in BROKER_STAMPED else "CreateTime",
    }
    if rule.kept is Kept.FOREVER or not live:
        fixed["retention.ms"] = "-1"
    return fixed


def _wrong_settings(bootstrap: str, name: str, fixed: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    return [
        f"topic {name} has {key}={found.get(key)}, it must be {value}; run `kafka-configs.sh "
        f"--bootstrap-server {bootstrap} --alter --entity-type topics --entity-name {name} --add-config {key}={value}`"
        for key, value in fixed.items()
        if found.get(key) != value
    ]


def _configurations(admin: KafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    described: Any = admin.describe_configs(resources, config_filter="all")
    return {
        name: {key: str(entry["value"]) for key, entry in entries.items()}
        for name, entries in described["topic"].items()
    }


def _declare(settings: Settings, deployment: Deployment) -> None:
    send_all(settings, [Outgoing(Topic.SPECS, b"deployment", encode(deployment), 0)])


def _describe(deployment: Deployment) -> str:
    seconds = deployment.slice.total_seconds()
    return (
        f"clock {deployment.clock}, slice {seconds:g}s, max_stall {deployment.max_stall.total_seconds():g}s, "
        f"{deployment.partitions} partitions, {deployment.shards} shards"
    )


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"topics {shown}{' and others' if len(names) > 3 else ''} are" if len(names) > 1 else f"topic {shown} is"
