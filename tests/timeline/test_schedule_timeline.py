"""What a schedule asks for when its spec is replaced near one of its instants."""

from __future__ import annotations

import msgspec
import pytest
from tests.timeline.partitions import begun
from tests.timeline.shards import HOUR, catalog, delta, play, spec

from driftline.events.retraining import RetrainRequest
from driftline.events.topics import Topic


def scheduled(cron: str | None):
    return spec(rules=(), retrain=msgspec.structs.replace(spec().retrain, schedule=cron))


def asked(first: str | None, then: str | None, marked: int) -> list[float]:
    """The hours at which attempts are asked for; the second spec is in force from the slice after `marked`."""
    log = begun()
    for quarter in range(1, 24):
        log.slice(0, quarter, delta(quarter, right=45, wrong=5), marks=["spec m@2"] if quarter == marked else ())
        if quarter == marked:
            log.slice(1, quarter, marks=["spec m@2"])
    shard = play(log.until(24), catalog(scheduled(first), scheduled(then)))
    return [request.requested_at / HOUR for request in shard.events(Topic.RETRAIN_REQUESTS, RetrainRequest)]


@pytest.mark.parametrize("marked", range(12, 20))
def test_an_instant_is_served_once_whenever_the_spec_is_replaced(marked):
    assert asked("0 4 * * *", "0 4 * * *", marked) == [4.0]


@pytest.mark.parametrize(
    ("first", "then", "served"),
    [
        (None, "0 4 * * *", {13: [4.0], 14: [4.0], 15: []}),  # slice 15 ends at four o'clock
        ("0 4 * * *", None, {13: [], 14: [], 15: [4.0]}),
        ("0 4 * * *", "0 5 * * *", {13: [5.0], 14: [5.0], 15: [4.0]}),
        ("0 5 * * *", "0 4 * * *", {13: [4.0], 14: [4.0], 15: []}),
    ],
)
def test_an_instant_belongs_to_the_spec_that_is_in_force_in_its_slice(first, then, served):
    assert {marked: asked(first, then, marked) for marked in served} == served


def test_an_instant_at_the_end_of_the_first_slice_of_the_first_spec_is_served():
    shard = play(begun().until(8), catalog(scheduled("30 0 * * *")))
    (request,) = shard.events(Topic.RETRAIN_REQUESTS, RetrainRequest)
    assert request.requested_at == HOUR // 2
