"""A budget of false alarms as a timeline: first days, a threshold, an alert that carries it."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np
import pytest
from tests.timeline.partitions import begun, lines
from tests.timeline.shards import HOUR, Shard, ShardLog, catalog, delta, play, read_published, spec

from driftline.events.alerts import AlertState
from driftline.events.baselines import Calibration
from driftline.events.topics import Topic
from driftline.spec.model import BaselineSpec, FalseAlarms, RuleSpec

DAYS = 7
HOURS = 24 * DAYS
LOW = RuleSpec(
    name="accuracy-low",
    kind="metric",
    target="accuracy",
    window="hour",
    min_samples=40,
    false_alarms=FalseAlarms(alarms=1, per=timedelta(days=7)),
)
MOVED = msgspec.structs.replace(LOW, name="moved", kind="drift", target="psi", features=("x",))


def budgeted(*rules, **changes):
    return spec(baseline=BaselineSpec(kind="first", span=timedelta(days=DAYS)), rules=rules, retrain=None, **changes)


def story(hours: int, *bad: int) -> ShardLog:
    """A delta an hour with about 80 of 100 right, and 40 in the `bad` hours; x wavers between two bins."""
    log, chance = begun(), np.random.default_rng(4)
    for hour in range(hours):
        right = 40 if hour in bad else int(chance.binomial(100, 0.8))
        told = delta(4 * hour + 1, right=right, wrong=100 - right)
        cells = dict(zip(told.cells, told.counts, strict=True))
        x = next(cell for cell in told.cells if cells[cell] == 100 and cell not in (0, 1))
        moved = int(chance.binomial(100, 0.3))
        cells |= {x: 100 - moved, x + 1: moved}
        told = msgspec.structs.replace(told, cells=tuple(sorted(cells)), counts=tuple(cells[c] for c in sorted(cells)))
        log.slice(0, 4 * hour + 1, told).until(4 * hour + 2)
    return log


def calibrations(shard) -> list[Calibration]:
    return shard.events(Topic.BASELINES, Calibration)


def test_the_threshold_is_set_when_outcomes_of_the_first_days_are_in_and_alerts_carry_it():
    shard = play(story(HOURS + 12, 5, HOURS + 8).until(4 * HOURS + 60), catalog(budgeted(LOW)))
    (found,) = calibrations(shard)
    assert found.at == (HOURS + 2) * HOUR  # the horizon is two hours
    assert (found.version, found.rule, found.above, found.windows) == ("1", "accuracy-low", False, HOURS)
    assert 0.4 < found.threshold < found.clear < 0.8
    assert found.held_back == 0
    assert found.held_back_time == timedelta(days=3)
    firing, resolved = Shard.alerts_in(shard.outbox)
    assert (firing.state, firing.value, firing.threshold) == (AlertState.FIRING, 0.4, found.threshold)
    assert firing.window.start == (HOURS + 8) * HOUR
    assert firing.evidence.false_alarms.calibration == found.id
    assert firing.evidence.false_alarms.words == "about 1 a week at your traffic"
    assert firing.evidence.false_alarms.held_back == 0
    assert "by chance this happens about 1 a week at your traffic." in firing.summary
    assert resolved.state is AlertState.RESOLVED


def test_a_drift_rule_is_calibrated_when_its_windows_are_due():
    (found,) = calibrations(play(story(HOURS + 12), catalog(budgeted(MOVED))))
    assert found.at == HOURS * HOUR
    assert found.above
    assert 0 < found.clear < found.threshold < 1


def test_a_baseline_that_is_too_short_says_so_and_arms_nothing():
    of = budgeted(LOW)
    of = msgspec.structs.replace(of, baseline=BaselineSpec(kind="first", span=timedelta(hours=12)))
    shard = play(story(24, 20), catalog(of))
    (found,) = calibrations(shard)
    assert found.threshold is None
    assert found.summary == (
        "accuracy-low of m version 1 is not judged, as no threshold follows from its baseline: "
        "12 of its windows can be judged, 20 are needed."
    )
    assert lines(shard.outbox) == []


@pytest.fixture(scope="module")
def unbroken():
    """The log of a story, what is declared, and the shard that read it at one go."""
    log, declared = story(HOURS + 12, HOURS + 8), catalog(budgeted(LOW, MOVED))
    return log, declared, play(log, declared)


@pytest.mark.parametrize("after", [0, HOURS, 4 * HOURS, 4 * HOURS + 9, 4 * HOURS + 40])
def test_a_restart_changes_no_byte(unbroken, after):
    log, declared, whole = unbroken
    shard = Shard(log, declared)
    for source in shard.read:
        shard.fetch(source, after)
    shard.go_on()
    shard.restart()
    shard.run()
    assert [o.value for o in shard.outbox] == [o.value for o in whole.outbox]
    assert {name: fields for name, fields in shard.stored.items() if fields} == whole.stored


def test_a_start_without_state_writes_no_calibration_twice():
    log, declared = story(HOURS + 12, HOURS + 8), catalog(budgeted(LOW))
    whole = play(log, declared)
    again = Shard(log, declared, whole.outbox).run()
    assert again.outbox == []
    assert read_published(whole.outbox).ids >= {found.id for found in calibrations(whole)}
    assert again.stored["books"] == whole.stored["books"]


def test_a_changed_budget_is_calibrated_anew_from_the_same_days():
    rarer = msgspec.structs.replace(LOW, false_alarms=FalseAlarms(alarms=1, per=timedelta(days=60)))
    log = story(HOURS + 8)
    for partition in (0, 1):
        log.slice(partition, 4 * (HOURS + 8) + 1, marks=["spec m@2"])
    shard = play(log.until(4 * (HOURS + 8) + 4), catalog(budgeted(LOW), budgeted(rarer)))
    first, second = calibrations(shard)
    assert second.threshold < first.threshold
    assert second.windows == first.windows
