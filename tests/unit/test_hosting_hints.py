"""The hint of how far a worker has read is for lag tools: nothing may depend on it, least of all a worker's life."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from driftline.events.topics import Topic
from driftline.platform import hosting
from driftline.platform.records import Source


class Group:
    """A member that owns some partitions, and notes what it is asked to commit as aiokafka takes it."""

    def __init__(self, *owned, refuses=False):
        self.owned, self.refuses, self.committed = set(owned), refuses, []

    def assignment(self):
        return self.owned

    async def commit(self, offsets):
        if not offsets:
            raise ValueError(offsets)  # as aiokafka does
        if self.refuses:
            raise CommitFailedError("another generation")
        self.committed.append(offsets)


def hint(group, *partitions):
    settings = SimpleNamespace(topic=lambda topic: topic.value)
    worker = SimpleNamespace(_group=group, _settings=settings)
    offsets = {Source(Topic.PREDICTIONS, number): 7 for number in partitions}
    asyncio.run(hosting._Units._hint(worker, offsets))
    return group.committed


def test_a_worker_hints_at_the_partitions_that_are_its_own():
    mine = TopicPartition("predictions", 0)
    assert hint(Group(mine), 0, 1) == [{mine: 7}]


@pytest.mark.parametrize("partitions", [(), (0,), (0, 1)])
def test_a_partition_that_has_just_gone_to_another_worker_ends_none(partitions):
    assert hint(Group(), *partitions) == []


def test_a_refused_hint_ends_no_worker():
    assert hint(Group(TopicPartition("predictions", 0), refuses=True), 0) == []
