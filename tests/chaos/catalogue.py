"""All scenarios, each in its short form (in every run of the tests) and its long one (`make chaos`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import buffers, inputs, kills, membership, outages, stops
from tests.chaos.machines import Arena
from tests.chaos.report import Result, Stopwatch

Scenario = Callable[..., Result]


@dataclass(frozen=True)
class Entry:
    """A scenario and its sizes; `short` None: only in the long form."""

    scenario: Scenario
    long: dict[str, Any]
    short: dict[str, Any] | None = field(default=None)

    @property
    def name(self) -> str:
        """As one writes it on the command line."""
        return self.scenario.__name__.replace("_", "-")

    def run(self, arena: Arena, sizes: dict[str, Any]) -> Result:
        """The scenario, timed."""
        watch = Stopwatch()
        result = self.scenario(arena, **sizes)
        result.name, result.seconds = self.name, watch.seconds
        return result


SCENARIOS = (
    Entry(kills.worker_killed, {"kills": 20, "portion": 4_000}, {"kills": 3, "portion": 300}),
    Entry(
        kills.killed_at_each_step,
        {"portion": 2_000, "steps": kills.STEPS * 2},
        {"portion": 200, "steps": kills.STEPS[2::3]},
    ),
    Entry(buffers.slow_batch_at_the_head, {"portion": 10_000}, {"portion": 300}),
    Entry(buffers.hint_while_a_batch_is_buffered, {"portion": 5_000, "lies": 2}, {"portion": 200, "lies": 0}),
    Entry(membership.rebalance_storm, {"seconds": 60, "portion": 500, "rebalances": 6}),
    Entry(membership.paused_past_its_session, {"rounds": 4, "portion": 4_000}, {"rounds": 1, "portion": 200}),
    Entry(membership.owner_of_the_outbox_paused, {"portion": 10_000}, {"portion": 200}),
    Entry(outages.redis_restarted, {"rounds": 6, "portion": 4_000}, {"rounds": 1, "portion": 200}),
    Entry(outages.redis_set_back, {"rounds": 4, "portion": 4_000}, {"rounds": 1, "portion": 200}),
    Entry(outages.redis_emptied, {"rounds": 3, "portion": 40_000}, {"rounds": 1, "portion": 200}),
    Entry(outages.broker_killed, {"rounds": 5, "portion": 4_000}, {"rounds": 1, "portion": 200}),
    Entry(outages.broker_paused, {"seconds": 30, "portion": 4_000}),
    Entry(
        inputs.every_event_three_times,
        {"portion": 10_000, "portions": 10, "kills": 5},
        {"portion": 150, "portions": 3, "kills": 1},
    ),
    Entry(
        inputs.malformed_among_good,
        {"portion": 50_000, "portions": 18, "rounds": 52},
        {"portion": 300, "portions": 4, "rounds": 1},
    ),
    Entry(stops.gone_before_it_was_read, {"portion": 10_000}, {"portion": 150}),
    Entry(stops.emptied_when_kafka_has_forgotten, {"portion": 10_000}, {"portion": 150}),
    Entry(stops.step_raises, {"portion": 10_000}, {"portion": 150}),
    Entry(stops.nothing_but_bad, {"portion": 4_000}),
)
