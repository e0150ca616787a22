"""The topics on a real broker: made once, checked in words, and asked for by name when they are missing."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
from kafka.admin import KafkaAdminClient

from driftline.errors import DeploymentError, Unreachable
from driftline.events.topics import TOPICS, Topic
from driftline.platform import topics
from driftline.platform.kafka import read_deployment
from driftline.platform.local.stack import WORKERS
from driftline.platform.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def admin(servers):
    client = KafkaAdminClient(bootstrap_servers=servers.bootstrap)
    yield client
    client.close()


def environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
        "DRIFTLINE_REDIS_URL": settings.redis_url,
        "DRIFTLINE_PREFIX": settings.prefix,
        "DRIFTLINE_STATE_DIR": str(settings.state_dir),
    }


def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], env=environment(settings), capture_output=True, text=True, check=False
    )


def test_creation_makes_every_topic_once_and_then_nothing(fresh_settings):
    made = topics.create(fresh_settings)
    assert made == [fresh_settings.topic(topic) for topic in TOPICS]
    first = read_deployment(fresh_settings)
    assert topics.create(fresh_settings) == []
    assert read_deployment(fresh_settings) == first
    assert topics.check(fresh_settings) == []


def test_topics_have_the_partitions_and_the_retention_that_were_asked_for(fresh_settings, admin):
    topics.create(fresh_settings, partitions=3, shards=2, retention=timedelta(hours=5))
    names = {topic: fresh_settings.topic(topic) for topic in TOPICS}
    described = {found["name"]: len(found["partitions"]) for found in admin.describe_topics([*names.values()])}
    configured = topics._configurations(admin, [*names.values()])
    assert [described[names[t]] for t in (Topic.PREDICTIONS, Topic.SLICES, Topic.ALERTS, Topic.SPECS)] == [3, 3, 2, 1]
    kept = {topic: int(configured[name]["retention.ms"]) for topic, name in names.items()}
    assert (kept[Topic.PREDICTIONS], kept[Topic.ALERTS], kept[Topic.PROGRESS]) == (5 * 3_600_000, -1, 86_400_000)
    assert {configured[name]["cleanup.policy"] for name in names.values()} == {"delete"}
    assert configured[names[Topic.PREDICTIONS]]["message.timestamp.type"] == "LogAppendTime"


def test_a_replay_keeps_what_is_stamped_years_back(fresh_settings, admin):
    topics.create(fresh_settings, clock="events", slice_length=timedelta(minutes=15))
    names = [fresh_settings.topic(topic) for topic in TOPICS]
    for configuration in topics._configurations(admin, names).values():
        assert configuration["retention.ms"] == "-1"
        assert configuration["message.timestamp.type"] == "CreateTime"


def test_what_is_missing_is_made_again_and_nothing_else_is_touched(deployment, admin):
    gone = deployment.topic(Topic.ALERTS)
    admin.delete_topics([gone])
    assert topics.check(deployment) == [f"topic {gone} is missing; run `driftline topics create`"]
    assert topics.create(deployment) == [gone]
    assert topics.check(deployment) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"partitions": 8}, "4 partitions, 1 shards, not clock live, slice 1s, max_stall 60s, 8 partitions"),
        ({"clock": "events"}, "made with clock live, slice 1s"),
        ({"slice_length": timedelta(minutes=1)}, "not clock live, slice 60s"),
        ({"max_stall": timedelta(minutes=5)}, "not clock live, slice 1s, max_stall 300s"),
        ({"shards": 2}, "4 partitions, 2 shards"),
    ],
)
def test_another_deployment_under_the_same_prefix_is_refused_with_the_way_out(deployment, other, said):
    with pytest.raises(DeploymentError) as caught:
        topics.create(deployment, **other)
    assert said in str(caught.value)
    assert "use another DRIFTLINE_PREFIX" in str(caught.value)
    assert topics.check(deployment) == []


def test_a_wrong_setting_is_told_with_the_command_that_mends_it(deployment, admin):
    name = deployment.topic(Topic.CASES)
    alter(admin, name, {"cleanup.policy": "compact", "retention.ms": "-1"})
    assert topics.check(deployment) == [
        f"topic {name} has cleanup.policy=compact, it must be delete; run `kafka-configs.sh "
        f"--bootstrap-server {deployment.bootstrap} --alter "
        f"--entity-type topics --entity-name {name} --add-config cleanup.policy=delete`"
    ]
    alter(admin, name, {"cleanup.policy": "delete", "retention.ms": "1000"})
    (problem,) = topics.check(deployment)
    assert problem.endswith(f"--entity-name {name} --add-config retention.ms=-1`")


def alter(admin: KafkaAdminClient, name: str, configs: dict[str, str]) -> None:
    from kafka.admin import ConfigResource, ConfigResourceType

    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=configs)])


def test_more_partitions_than_were_made_are_told_because_ids_would_move(deployment, admin):
    name = deployment.topic(Topic.PREDICTIONS)
    admin.create_partitions({name: 6})
    (problem,) = topics.check(deployment)
    assert problem.startswith(f"topic {name} has 6 partitions where 4 were made; ids and models would move")
    assert "DRIFTLINE_PREFIX" in problem


def test_more_replicas_than_brokers_are_refused_with_the_reason(fresh_settings):
    with pytest.raises(Unreachable, match=r"did not make the topics: .*[Rr]eplication"):
        topics.create(fresh_settings, replication=3)


def test_a_broker_that_is_not_there_is_told_with_its_address(fresh_settings, monkeypatch):
    monkeypatch.setattr(topics, "ANSWERS_WITHIN_MS", 300)
    nowhere = replace(fresh_settings, bootstrap="127.0.0.1:9")
    for ask in (topics.create, topics.check):
        with pytest.raises(Unreachable, match=r"no Kafka answers at 127\.0\.0\.1:9; is it running\? `driftline up`"):
            ask(nowhere)


@pytest.mark.parametrize("service", WORKERS)
def test_a_service_without_its_topics_says_what_to_run_and_ends(service, fresh_settings):
    ended = run(fresh_settings, f"driftline.{service}.main")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert f"{service}: topics {fresh_settings.prefix}" in ended.stderr
    assert "and others are missing; run `driftline topics create`" in ended.stderr


def test_a_service_with_a_wrong_topic_names_it_and_ends(deployment, admin):
    alter(admin, deployment.topic(Topic.CASES), {"cleanup.policy": "compact", "retention.ms": "-1"})
    ended = run(deployment, "driftline.gate.main")
    assert ended.returncode == 1
    assert f"gate: topic {deployment.topic(Topic.CASES)} has cleanup.policy=compact" in ended.stderr


def test_the_command_makes_and_checks_and_exits_accordingly(fresh_settings):
    command = ("driftline.cli.main", "topics")
    missing = run(fresh_settings, *command, "check")
    assert missing.returncode == 1
    assert "and others are missing; run `driftline topics create`" in missing.stderr
    made = run(fresh_settings, *command, "create", "--partitions", "2")
    assert (made.returncode, made.stdout) == (0, f"{len(TOPICS)} topics made\n")
    again = run(fresh_settings, *command, "create", "--partitions", "2")
    assert (again.returncode, again.stdout) == (0, "all topics are there\n")
    fine = run(fresh_settings, *command, "check")
    assert (fine.returncode, fine.stdout) == (0, "all topics are as they should be\n")
