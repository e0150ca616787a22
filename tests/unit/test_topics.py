"""What each topic is made with, decided without a broker."""

from __future__ import annotations

from datetime import timedelta

import pytest

from driftline.events.admin import Deployment
from driftline.events.topics import TOPICS, Kept, Topic
from driftline.platform import topics


def deployment(clock: str) -> Deployment:
    return Deployment(
        id="d",
        clock="events" if clock == "events" else "live",
        slice=timedelta(seconds=1),
        max_stall=timedelta(minutes=1),
        partitions=6,
        shards=2,
    )


@pytest.mark.parametrize("clock", ["live", "events"])
@pytest.mark.parametrize("topic", Topic)
def test_what_is_made_passes_what_is_checked(topic, clock):
    rule = TOPICS[topic]
    made = topics._configuration(topic, rule, deployment(clock), timedelta(days=3))
    assert topics._wrong_settings("b:1", topic, topics._fixed(topic, rule, deployment(clock)), made) == []


@pytest.mark.parametrize("topic", Topic)
def test_no_topic_of_decisions_ever_expires_and_no_replay_does(topic):
    rule = TOPICS[topic]
    live, replay = (
        topics._configuration(topic, rule, deployment(clock), timedelta(days=3)) for clock in ("live", "events")
    )
    expected = {Kept.RETENTION: "259200000", Kept.FOREVER: "-1", Kept.DAY: "86400000"}[rule.kept]
    assert (live["retention.ms"], replay["retention.ms"]) == (expected, "-1")
    assert live["cleanup.policy"] == replay["cleanup.policy"] == "delete"


def test_arrivals_are_stamped_by_the_broker_where_time_is_live_and_by_the_replay_where_it_is_not():
    stamped = {
        clock: {
            t for t in Topic if topics._fixed(t, TOPICS[t], deployment(clock))["message.timestamp.type"] != "CreateTime"
        }
        for clock in ("live", "events")
    }
    assert stamped["events"] == set()
    assert stamped["live"] == {Topic.PREDICTIONS, Topic.OUTCOMES, Topic.COMMANDS, Topic.CANDIDATES, Topic.VERDICTS}


def test_inputs_and_their_slices_have_equally_many_partitions():
    counts = {topic: topics.partitions_of(topic, deployment("live")) for topic in Topic}
    assert {counts[t] for t in (Topic.PREDICTIONS, Topic.OUTCOMES, Topic.SLICES)} == {6}
    assert {counts[t] for t in (Topic.CANDIDATES, Topic.VERDICTS, Topic.COMMANDS, Topic.CASES, Topic.MODELS)} == {2}
    assert {counts[t] for t in (Topic.SPECS, Topic.BASELINES, Topic.DEAD_LETTERS)} == {1}


def test_every_wrong_setting_is_told_with_what_it_is_and_what_it_must_be():
    assert topics._wrong_settings("b:1", "t", {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9"}) == [
        "topic t has b=9, it must be 2; run `kafka-configs.sh --bootstrap-server b:1 --alter "
        "--entity-type topics --entity-name t --add-config b=2`",
        "topic t has c=None, it must be 3; run `kafka-configs.sh --bootstrap-server b:1 --alter "
        "--entity-type topics --entity-name t --add-config c=3`",
    ]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a"], "topic a is"),
        (["a", "b"], "topics a, b are"),
        (["a", "b", "c", "d"], "topics a, b, c and others are"),
    ],
)
def test_missing_topics_are_named_but_not_without_end(names, said):
    assert topics._few(names) == said
