"""Every fault in its short form, on a real Kafka and a real Redis that may be killed, under the oracle."""

from __future__ import annotations

import pytest
from tests.chaos.catalogue import SCENARIOS
from tests.chaos.machines import Arena
from tests.chaos.report import table

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def servers_to_kill(tmp_path_factory):
    """A broker and a Redis of these tests' own."""
    arena = Arena(tmp_path_factory.mktemp("chaos"))
    try:
        arena.open()
        yield arena
    finally:
        arena.close()


@pytest.fixture
def arena(servers_to_kill):
    """The same, running, whatever the test before has left."""
    servers_to_kill.mend()
    return servers_to_kill


@pytest.mark.parametrize("entry", [e for e in SCENARIOS if e.short], ids=lambda entry: entry.name)
def test_every_id_is_counted_exactly_once_through(arena, entry):
    result = entry.run(arena, entry.short)
    print(table([result]))
    assert result.verdict.exact, result.verdict.describe()
    assert result.faults
