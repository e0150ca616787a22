"""Whoever stays away, and whenever: in the end everything is counted, and a rebuild repeats what was decided."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.timeline.shards import Shard, ShardLog, breach, catalog, delta, play, register, spec

from driftline.events.reports import WindowReport
from driftline.events.topics import Topic
from driftline.spec.model import WindowSpec

QUARTERS = 28
WINDOWS = {
    "hour": WindowSpec(span=timedelta(hours=1), every=timedelta(hours=1)),
    "shift": WindowSpec(span=timedelta(hours=4), every=timedelta(hours=2)),
}


def declared():
    """Who has not moved for two slices is left out."""
    found = catalog(spec(windows=WINDOWS, lateness=timedelta(minutes=15)))
    found.deployment = msgspec.structs.replace(found.deployment, max_stall=timedelta(minutes=20))
    return found


def told(log: ShardLog, partition: int, quarter: int) -> None:
    """What a partition has to say of a slice: predictions, some labelled late, now and then a breach or nothing."""
    panes = [delta(quarter, right=quarter % 7, wrong=2, open_=partition + 3)]
    if quarter > 5:
        panes.append(delta(quarter - 5, right=partition + 1, labels_only=True))
    if (quarter + partition) % 4:
        log.slice(partition, quarter, *panes, breaches=[breach()] if quarter % 9 == partition else [])


def begin() -> ShardLog:
    log = ShardLog()
    for partition in (0, 1):
        log.slice(partition, 0, marks=["spec m@1"])
    return log.say(0.5, register()).until(0)


def live(absent: list[tuple[int, bool]], killed_at: set[int]) -> Shard:
    """Slice after slice. `absent`: for each of some stretches, how long and whether partition 1 is away in it."""
    away = [is_away for length, is_away in absent for _ in range(length)][:QUARTERS]
    shard = Shard(begin(), declared())
    said = 0
    for quarter in range(1, QUARTERS + 1):
        told(shard.log, 0, quarter)
        here = quarter == QUARTERS or not away[quarter : quarter + 1] or not away[quarter]
        if here:
            for missed in range(said + 1, quarter + 1):
                told(shard.log, 1, missed)
            said = quarter
        shard.log.until(quarter, [0, 1] if here else [0])
        shard.run()
        if quarter in killed_at:
            shard.restart()
    shard.log.until(QUARTERS + 30)
    return shard.run()


def newest(shard: Shard) -> dict:
    """The last report of every window."""
    return {(r.window.name, r.window.end, r.version): r for r in shard.events(Topic.METRICS, WindowReport)}


stretches = st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=8)


@settings(max_examples=15, deadline=None)
@given(stretches, st.sets(st.integers(1, QUARTERS)))
def test_in_the_end_every_window_is_told_as_if_nobody_had_been_away(absent, killed_at):
    shard = live(absent, killed_at)
    expected = newest(play(shard.log, declared()))
    found = newest(shard)
    assert found.keys() == expected.keys()
    for window, report in found.items():
        assert report.completeness == 1.0
        assert report.segments == expected[window].segments


@settings(max_examples=15, deadline=None)
@given(stretches, st.sets(st.integers(1, QUARTERS)), st.integers(1, 9))
def test_a_rebuild_from_the_topics_decides_the_same_about_who_was_left_out(absent, killed_at, step):
    shard = live(absent, killed_at)
    again = Shard(shard.log, declared(), shard.outbox)
    while any(again.read[source] < len(records) for source, records in shard.log.records.items()):
        for source in shard.log.records:
            again.fetch(source, step)
        again.go_on()
        if again.work._shard.applied in killed_at:
            again.restart()
            killed_at = killed_at - {again.work._shard.applied}
    again.go_on()
    assert again.outbox == []
    assert again.stored == shard.stored


def test_the_stretches_do_leave_somebody_out():
    shard = live([(4, False), (9, True), (4, False), (7, True)], {9, 20})
    spans = [a.evidence.slices for a in shard.alerts_in(shard.outbox) if a.rule == "left-out" and a.state == "resolved"]
    assert len(spans) == 2
    reports = shard.events(Topic.METRICS, WindowReport)
    assert {report.completeness for report in reports} == {0.5, 1.0}
