"""What control makes of segments: figures of their own, alerts of their own, and the worst as evidence."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.timeline.partitions import begun, reports
from tests.timeline.shards import HOUR, LOW_ACCURACY, QUARTER, Shard, catalog, delta, play, spec

from driftline.control.panes import Panes, Series
from driftline.core.windows import unit_of
from driftline.events.alerts import AlertState
from driftline.spec.model import Cut, SegmentSpec, WindowSpec

BY_ORIGIN = SegmentSpec(cuts=(Cut(name="origin", source="attribute"),))
SPEC = spec(segments=(BY_ORIGIN,), rules=(msgspec.structs.replace(LOW_ACCURACY, segments=("origin",), retrain=False),))


def parts(pane, **by_origin):
    """Everybody and each origin: (right, wrong) predictions by origin."""
    right, wrong = (sum(column) for column in zip(*by_origin.values(), strict=True))
    yield delta(pane, right=right, wrong=wrong)
    for origin, (r, w) in by_origin.items():
        told = delta(pane, right=r, wrong=w)
        yield msgspec.structs.replace(told, cut="origin", segment=f"origin={origin}")


def firing(shard):
    return [a for a in shard.alerts_in(shard.outbox) if a.state is AlertState.FIRING]


def test_a_report_tells_everybody_first_and_then_each_segment():
    log = begun().slice(0, 1, *parts(1, EWR=(50, 10), JFK=(30, 0))).until(9)
    (told, *_) = reports(play(log, catalog(SPEC)))
    assert [(s.cut, s.segment, s.n) for s in told.segments] == [
        ("", "all", 90),
        ("origin", "origin=EWR", 60),
        ("origin", "origin=JFK", 30),
    ]
    assert [round(s.metrics["accuracy"].value, 3) for s in told.segments] == [0.889, 0.833, 1.0]
    assert told.together == {}


def test_a_rule_speaks_of_the_segment_that_breaks_it_and_of_no_other():
    log = begun().slice(0, 1, *parts(1, EWR=(20, 40), JFK=(200, 0))).until(9)
    (alert,) = firing(play(log, catalog(SPEC)))
    assert (alert.segment, round(alert.value, 3), alert.n) == ("origin=EWR", 0.333, 60)
    assert "accuracy of m version 1 where origin=EWR is 0.3333" in alert.summary


def test_the_alert_about_everybody_names_the_worst_segments_by_effect():
    quiet = spec(segments=(BY_ORIGIN,))
    log = begun().slice(0, 1, *parts(1, EWR=(60, 60), JFK=(10, 30), LGA=(90, 10), ABC=(0, 9))).until(9)
    (alert,) = firing(play(log, catalog(quiet)))
    assert alert.segment == "all"
    assert [e.segment for e in alert.evidence.segments] == ["origin=JFK", "origin=EWR"]  # ABC: too few samples
    worst, everybody = alert.evidence.segments[0], 160 / 269
    assert worst.effect == pytest.approx((everybody - 10 / 40) * 40 / 269)
    assert worst.low < worst.effect < worst.high


def test_an_alert_of_a_segment_ends_when_the_segment_is_well_again():
    log = begun().slice(0, 1, *parts(1, EWR=(20, 40))).slice(0, 5, *parts(5, EWR=(60, 2))).until(20)
    shard = play(log, catalog(SPEC))
    told = [(a.segment, a.state.value) for a in shard.alerts_in(shard.outbox)]
    assert sorted(told) == sorted([(s, state) for s in ("all", "origin=EWR") for state in ("firing", "resolved")])
    assert len({a.fingerprint for a in shard.alerts_in(shard.outbox)}) == 2


def test_the_fifty_largest_segments_are_told_by_themselves():
    log = begun().slice(0, 1, *parts(1, **{f"v{i:02}": (1 + i, 0) for i in range(60)})).until(9)
    (told, *_) = reports(play(log, catalog(SPEC)))
    assert len(told.segments) == 1 + 50 + 1
    (other,) = [s for s in told.segments if s.segment == "origin=(other)"]
    assert other.n == sum(range(1, 11))
    assert told.together == {"origin": 10}


@pytest.mark.parametrize("read", range(1, 6))
def test_a_restart_forgets_no_segment(read):
    log = begun().slice(0, 1, *parts(1, EWR=(50, 10), JFK=(30, 0)))
    log.slice(1, 2, *parts(2, EWR=(5, 1))).until(2).until(9)
    whole, restarted = play(log, catalog(SPEC)), Shard(log, catalog(SPEC))
    for source in log.records:
        restarted.fetch(source, read)
    restarted.go_on()
    restarted.restart()
    restarted.run()
    assert len(reports(whole)[0].segments) == 3
    assert [o.value for o in restarted.outbox if o.value] == [o.value for o in whole.outbox if o.value]


def test_nul_and_any_other_character_may_stand_in_a_segments_name():
    panes, back = Panes(), Panes()
    for each in (panes, back):
        each.use([HOUR])
    name = Series("1", "champion", "a\0b", "a\0b=\0💥")
    panes.add(name, 0, [0], [1], {})
    put, _ = panes.take_changes()
    back.restore(put.items())
    assert back.between(HOUR, name, 0, HOUR) == panes.between(HOUR, name, 0, HOUR)


LONG = spec(
    pane=timedelta(seconds=10),
    windows={
        "hour": WindowSpec(span=timedelta(hours=1), every=timedelta(hours=1)),
        "day": WindowSpec(span=timedelta(days=1), every=timedelta(hours=1)),
        "week": WindowSpec(span=timedelta(days=7), every=timedelta(days=1)),
        "short": WindowSpec(span=timedelta(minutes=1), every=timedelta(seconds=10)),
    },
)


def test_long_windows_are_added_up_from_long_parts():
    units = {name: unit_of(LONG, name) for name in LONG.windows}
    for name, window in LONG.windows.items():
        span, every = (round(length.total_seconds() * 1000) for length in (window.span, window.every))
        assert span % units[name] == every % units[name] == units[name] % 10_000 == 0
        assert span // units[name] <= 150
        assert span // units[name] >= min(100, span // 10_000)


events = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=30)


@settings(max_examples=50, deadline=None)
@given(events)
def test_parts_of_all_lengths_hold_the_same(told):
    panes, of = Panes(), Series("1", "champion")
    panes.use([QUARTER, HOUR])
    for quarter, n in told:
        panes.add(of, quarter * QUARTER + 1, [0, 5], [n, 2 * n], {"log_loss": n})
    fine, coarse = (sum(p.n for p in panes.between(unit, of, 0, 11 * HOUR).values()) for unit in (QUARTER, HOUR))
    assert fine == coarse == sum(n for _, n in told)


@settings(max_examples=30, deadline=None)
@given(events)
def test_a_new_length_is_added_up_from_a_shorter_one_and_an_old_one_leaves_no_trace(told):
    changed, fresh, of = Panes(), Panes(), Series("1", "champion")
    changed.use([QUARTER])
    fresh.use([HOUR])
    for quarter, n in told:
        for panes in (changed, fresh):
            panes.add(of, quarter * QUARTER, [0], [n], {})
    stored, _ = changed.take_changes()
    changed.use([HOUR])
    assert changed.between(HOUR, of, 0, 20 * HOUR) == fresh.between(HOUR, of, 0, 20 * HOUR)
    put, drop = changed.take_changes()
    assert set(drop) == set(stored)
    assert put == fresh.take_changes()[0]


def test_what_no_window_can_reach_is_forgotten_at_each_length():
    panes, of = Panes(), Series("1", "champion")
    panes.use([QUARTER, HOUR])
    for quarter in range(40):
        panes.add(of, quarter * QUARTER, [0], [1], {})
    panes.prune(QUARTER, 9 * HOUR, {})
    assert len(panes.between(QUARTER, of, 0, 10 * HOUR)) == 4
    assert len(panes.between(HOUR, of, 0, 10 * HOUR)) == 10
