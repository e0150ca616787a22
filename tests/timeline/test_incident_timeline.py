"""One incident: which alerts a break in the data explains, that no rule was written about."""

from __future__ import annotations

import msgspec
import pytest
from tests.timeline.partitions import begun, stuck
from tests.timeline.shards import LOW_ACCURACY, QUARTER, breach, catalog, delta, play, spec

from driftline.core import alerts
from driftline.core.alert_events import BROKEN, fingerprint
from driftline.core.alerts import BLOCK, Change, Standing
from driftline.events.alerts import Alert, AlertState
from driftline.events.slices import NoticeKind, notice
from driftline.events.topics import Topic
from driftline.spec.model import BaselineSpec, RuleSpec

LOW = msgspec.structs.replace(LOW_ACCURACY, retrain=False)
MOVED = RuleSpec(name="moved", kind="drift", target="psi", features=("x",), window="hour", above=0.2, min_samples=40)
OF_RANGE = fingerprint("m", "1", "all", "range:x")
ABOVE_RANGE = 23
"""The cell of values of `x` above its range."""


def told(shard, rule: str) -> list[Alert]:
    return [alert for alert in shard.events(Topic.ALERTS, Alert) if alert.rule == rule]


def hour(log, number: int, *, right: int, wrong: int, bad: int = 0):
    """Predictions in every quarter of an hour, of which `bad` have a value of `x` above its range."""
    for quarter in range(max(4 * number, 1), 4 * (number + 1)):
        panes = delta(quarter, right=right, wrong=wrong)
        if bad == right + wrong:
            cells = tuple(ABOVE_RANGE if cell == 5 else cell for cell in panes.cells)
            panes = msgspec.structs.replace(panes, cells=cells)
        log.slice(quarter % 2, quarter, panes, breaches=[breach(n=bad)] if bad else [])
    return log


def played(bad: int, mended: int = 0):
    """A good hour, then two bad ones with so many bad values in each quarter, then `mended` good ones."""
    log = hour(begun(), 0, right=45, wrong=5)
    for number in (1, 2):
        hour(log, number, right=20, wrong=30, bad=bad)
    for number in range(3, 3 + mended):
        hour(log, number, right=33, wrong=17)
    of = spec(rules=(LOW, MOVED), baseline=BaselineSpec(kind="previous", window="hour"))
    return play(log.until(12 + 4 * mended), catalog(of))


def test_a_broken_feature_mutes_its_drift_and_the_figures_of_the_model():
    shard = played(bad=50)
    fired, broken, *_ = told(shard, "range:x")
    assert [(a.state, a.reason, a.at) for a in (fired, broken)] == [
        ("firing", "out-of-range", 5 * QUARTER),
        ("firing", "feature-broken", 5 * QUARTER),
    ]
    assert broken.summary.startswith("x of m version 1 is broken: 50 values that are not allowed since")
    low, moved = told(shard, "accuracy-low")[-1], told(shard, "moved")[0]
    assert (low.incident, moved.incident) == (OF_RANGE, OF_RANGE)
    effects = tuple(sorted((low.fingerprint, moved.fingerprint)))
    assert effects in [alert.evidence.effects for alert in told(shard, "range:x")]


def test_what_still_fires_when_the_feature_is_mended_is_told_aloud():
    shard = played(bad=50, mended=2)
    assert told(shard, "range:x")[-1].reason == "back-in-range"
    low = told(shard, "accuracy-low")
    assert (low[-1].state, low[-1].muted, low[-1].at) == ("firing", "", 16 * QUARTER)


@pytest.mark.parametrize("bad", [1, 24])
def test_single_values_that_are_not_allowed_mute_nothing(bad):
    shard = played(bad)
    assert {alert.reason for alert in told(shard, "range:x")} == {"out-of-range"}
    (low,) = told(shard, "accuracy-low")
    assert (low.state, low.muted) == ("firing", "")


def breaches(*steps: tuple[int, int]) -> list[str]:
    """Of steps of (predictions, those of them in breach) the reasons that are told."""
    standing, came, reasons = Standing(), 0, []
    of = RuleSpec(name="range:x", kind="range", target="x")
    for at, (n, bad) in enumerate(steps):
        came += n
        if bad:
            found = [alerts.observe_breach(standing, of, breach(n=bad), at, "slice", came - n)]
            found.append(alerts.observe_break(standing, came, at, "slice"))
            reasons += [alert.reason for alert in found if alert is not None]
    return reasons


def test_a_break_is_seen_after_many_good_values_and_after_stray_ones():
    assert breaches((5000, 0), (20, 20), (20, 20)) == ["out-of-range", BROKEN]
    assert breaches((1, 1), (5000, 0), (40, 1), (BLOCK, BLOCK)) == ["out-of-range", BROKEN]


def test_values_that_come_singly_never_add_up_to_a_break():
    assert breaches(*[(BLOCK, 1)] * 100) == ["out-of-range"]
    assert breaches(*[(1, 1), (2, 0)] * 100) == ["out-of-range"]


def test_what_is_broken_is_told_once_and_a_new_episode_is_not_broken():
    assert breaches(*[(BLOCK, BLOCK)] * 5) == ["out-of-range", BROKEN]
    standing = Standing(state=AlertState.RESOLVED, episode=1, block=(7, 7))
    of = RuleSpec(name="range:x", kind="range", target="x")
    again = alerts.observe_breach(standing, of, breach(), 9, "slice", 1000)
    assert (again.reason, standing.block) == ("out-of-range", (1000, 0))
    assert alerts.resolve(standing, Change.QUIET, 10).reason == "back-in-range"


def test_a_partition_that_stopped_for_bad_records_mutes_what_follows_once_it_is_left_out():
    log, shard = stuck()
    log.notice(notice(NoticeKind.ALL_BAD, 1, 4, 4 * QUARTER, detail="nothing but bad records"))
    for quarter in range(4, 13):
        log.slice(0, quarter, delta(quarter, right=20, wrong=30)).until(quarter, [0])
        shard.run()
    assert [alert.reason for alert in shard.alerts_in(shard.at_once)] == ["all-bad"]
    (left_out,) = [alert for alert in told(shard, "left-out") if not alert.evidence.effects]
    low = told(shard, "accuracy-low")[0]
    assert (low.state, low.incident) == ("firing", left_out.fingerprint)
    assert told(shard, "left-out")[-1].evidence.effects == (low.fingerprint,)
