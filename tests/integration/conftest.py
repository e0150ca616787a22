"""What the tests of the whole loop share, because it takes a minute or two."""

from __future__ import annotations

from collections import defaultdict

import msgspec
import pytest
from tests.flights_loop import Loop, run_loop

from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.kafka import read_all


@pytest.fixture(scope="session")
def loop(servers, own_servers, tmp_path_factory) -> Loop:
    """The recorded loop."""
    return run_loop(servers, own_servers, tmp_path_factory.mktemp("loop"))


@pytest.fixture(scope="session")
def raw(loop):
    """The raw topics, read independently: the first prediction of (model, id, version), and all outcomes by id."""
    bad = {
        (
            dict(r.headers)["driftline.topic"],
            dict(r.headers)["driftline.partition"],
            dict(r.headers)["driftline.offset"],
        )
        for r in read_all(loop.settings, Topic.DEAD_LETTERS)
    }

    def good(record):
        place = (record.source.topic.encode(), str(record.source.partition).encode(), str(record.offset).encode())
        return record.value and place not in bad and not record.header(MARK_HEADER)

    predictions, outcomes = {}, defaultdict(list)
    for record in filter(good, read_all(loop.settings, Topic.PREDICTIONS)):
        event = msgspec.json.decode(record.value)
        predictions.setdefault((event["model"], event["id"], event["version"]), (record.arrival, event))
    for record in filter(good, read_all(loop.settings, Topic.OUTCOMES)):
        event = msgspec.json.decode(record.value)
        outcomes[event["model"], event["id"]].append((record.arrival, event["time"], record.offset, event["outcome"]))
    return predictions, outcomes
