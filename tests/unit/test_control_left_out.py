"""Control goes on without a source partition that stays away, and takes it back."""

from __future__ import annotations

from tests.timeline.partitions import breach_notice, line, lines, move, reports, stuck, told
from tests.timeline.shards import (
    HOUR,
    QUARTER,
    SOURCES,
    Shard,
    ShardLog,
    catalog,
    delta,
    play,
    read_published,
)

from driftline.events.alerts import AlertKind, Severity, SliceSpan
from driftline.events.topics import Topic
from driftline.platform.records import Source


def test_a_partition_that_stays_away_is_waited_for_and_then_left_out():
    log, shard = stuck()
    move(log, shard, 4, 4)
    assert shard.work._shard.applied == 3
    move(log, shard, 5, 6)
    assert shard.work._shard.applied == 6
    (alert,) = told(shard.outbox)
    assert (alert.kind, alert.rule, alert.severity) == (AlertKind.LAG, "left-out", Severity.CRITICAL)
    assert alert.evidence.slices == SliceSpan(partition=1, first=4, last=None)
    assert alert.at == 5 * QUARTER


def test_reports_say_which_share_of_the_partitions_they_know():
    log, shard = stuck()
    move(log, shard, 4, 8)
    assert [(r.window.end // HOUR, r.completeness, r.segments[0].n) for r in reports(shard)] == [
        (1, 1.0, 60),
        (2, 0.5, 40),
    ]


def test_what_it_missed_is_counted_in_the_slice_in_which_it_is_back_and_its_windows_are_told_again():
    log, shard = stuck()
    move(log, shard, 4, 8)
    for quarter in range(4, 10):
        log.slice(1, quarter, delta(quarter, right=10))
    log.until(9)
    _, ended = told(shard.run().outbox)
    assert line(ended) == "left-out resolved back"
    assert ended.evidence.slices == SliceSpan(partition=1, first=4, last=9)
    last = reports(shard)[-1]
    assert (last.window.end // HOUR, last.revision, last.completeness, last.segments[0].n) == (2, 10 * QUARTER, 1.0, 80)


def test_counts_are_exact_at_the_end_whoever_was_left_out():
    log, shard = stuck()
    move(log, shard, 4, 8)
    for quarter in range(4, 9):
        log.slice(1, quarter, delta(quarter, right=10))
    shard.log.until(12)
    shard.run()
    unbroken = play(log)
    newest = [{(r.window.end, r.version): r.segments for r in reports(s)} for s in (shard, unbroken)]
    assert newest[0] == newest[1]


def test_a_window_that_was_final_meanwhile_is_told_once_more():
    log, shard = stuck()
    move(log, shard, 4, 24)
    log.slice(1, 4, delta(4, right=10)).until(25)
    shard.run()
    log.until(40)
    shard.run()
    found = [(r.window.end // HOUR, r.completeness, r.segments[0].n) for r in reports(shard)]
    assert [r for r in found if r[0] == 2] == [(2, 0.5, 40), (2, 1.0, 50)]


def test_a_window_that_was_told_without_a_partition_is_told_again_even_if_that_had_nothing():
    log, shard = stuck()
    move(log, shard, 4, 8)
    log.until(9)
    shard.run()
    found = [(r.window.end // HOUR, r.completeness, r.segments[0].n) for r in reports(shard)]
    assert found[-2:] == [(2, 0.5, 40), (2, 1.0, 40)]


def test_nobody_is_left_out_where_all_stand_still():
    log, shard = stuck()
    for quarter in range(4, 40):
        log.tick(quarter)
        shard.run()
    assert shard.work._shard.applied == 3
    assert told(shard.outbox) == []


def test_a_partition_that_moves_is_waited_for_however_far_behind_it_is():
    log, shard = stuck()
    for quarter in range(4, 30):
        log.slice(0, 4 * quarter, delta(quarter, right=1)).until(4 * quarter, [0]).until(quarter, [1])
        log.tick(4 * quarter)
        shard.run()
    assert told(shard.outbox) == []


def test_a_partition_that_is_not_read_to_its_end_is_waited_for():
    log, shard = stuck()
    move(log, shard, 4, 4)
    log.until(4, [1])  # stands in the topic, but has not been fetched
    for quarter in range(5, 20):
        log.until(quarter, [0])
        for source in SOURCES:
            if source != Source(Topic.SLICES, 1):
                shard.fetch(source, 99)
        shard.go_on()
    assert told(shard.outbox) == []


def test_a_shard_that_comes_late_does_not_take_what_it_has_not_read_for_a_stall():
    log, _ = stuck()
    for quarter in range(4, 40):
        log.slice(0, quarter, delta(quarter, right=1)).slice(1, quarter, delta(quarter, right=1)).until(quarter)
    assert told(play(log).outbox) == []


def test_nobody_is_ever_left_out_of_a_replay():
    log, _ = stuck()
    shard = play(log, catalog(clock="events"))
    move(log, shard, 4, 40)
    assert shard.work._shard.applied == 3


def test_a_partition_may_be_left_out_again():
    log, shard = stuck()
    move(log, shard, 4, 8)
    log.until(9)
    shard.run()
    move(log, shard, 10, 14)
    found = [(a.state, a.episode, a.evidence.slices) for a in told(shard.outbox)]
    assert found == [
        ("firing", 1, SliceSpan(partition=1, first=4, last=None)),
        ("resolved", 1, SliceSpan(partition=1, first=4, last=9)),
        ("firing", 2, SliceSpan(partition=1, first=10, last=None)),
    ]


def test_who_is_left_out_is_known_after_a_kill():
    log, shard = stuck()
    move(log, shard, 4, 8)
    shard.restart()
    move(log, shard, 9, 10)
    assert shard.work._shard.applied == 10
    log.slice(1, 5, delta(5, right=10)).until(11)
    shard.run()
    assert lines(shard.outbox) == ["left-out firing left-out", "left-out resolved back"]
    assert [(r.window.end // HOUR, r.segments[0].n) for r in reports(shard)][-2:] == [(2, 50), (3, 30)]


def left_out_and_back():
    log, shard = stuck()
    move(log, shard, 4, 8)
    for quarter in range(4, 12):
        log.slice(1, quarter, delta(quarter, right=10))
    move(log, shard, 9, 11)
    log.until(30)
    shard.run()
    return log, shard


def test_a_rebuild_leaves_out_whom_the_alerts_say_was_left_out():
    log, shard = left_out_and_back()
    back = next(i for i, r in enumerate(shard.outbox) if r.topic is Topic.ALERTS and b'"back"' in r.value)
    for kept in range(back + 1, len(shard.outbox) + 1):
        again = Shard(log, shard.declared, shard.outbox[:kept])
        again.run()
        assert again.outbox == shard.outbox[kept:]
        assert again.stored == shard.stored


def test_a_rebuild_that_is_killed_on_the_way_still_knows_what_was_published():
    log, shard = left_out_and_back()
    again = Shard(log, shard.declared, shard.outbox)
    for _ in range(40):
        for source in SOURCES:
            again.fetch(source, 2)
        again.go_on()
        again.restart()
    again.run()
    assert again.outbox == []
    assert again.stored == shard.stored


def test_a_provisional_alert_waits_for_a_partition_that_is_left_out():
    log, shard = stuck()
    log.notice(breach_notice(4, partition=1))
    move(log, shard, 4, 8)
    assert lines(shard.outbox) == ["left-out firing left-out"]
    log.until(9)
    shard.run()
    assert lines(shard.outbox)[1:] == ["left-out resolved back", "range:x resolved not-confirmed provisional"]


def test_what_was_published_is_found_with_its_ids_its_last_decision_time_and_who_was_left_out():
    log, shard = stuck()
    move(log, shard, 4, 8)
    log.until(9)
    shard.run()
    move(log, shard, 10, 14)
    found = read_published(shard.outbox)
    assert found.left_out == [
        SliceSpan(partition=1, first=4, last=9),
        SliceSpan(partition=1, first=10, last=None),
    ]
    assert found.until == max(r.revision for r in reports(shard))
    assert len(found.ids) == len(shard.outbox)


def test_a_work_that_was_not_told_of_records_as_they_came_looks_at_them_when_it_cuts():
    class Forgetful(Shard):
        def fetch(self, source, count):
            told, self.work.at_once = self.work.at_once, lambda records: []
            super().fetch(source, count)
            self.work.at_once = told

    log, shard = stuck()
    move(log, shard, 4, 8)
    log.until(12)
    unbroken = play(log)
    assert Forgetful(log, catalog()).run().outbox == unbroken.outbox


def test_a_partition_that_never_spoke_is_left_out_from_the_very_beginning_and_loses_nothing():
    _, waiting = stuck()
    log = ShardLog()
    shard = Shard(log, waiting.declared)
    log.slice(0, 100, delta(100, right=1), marks=["spec m@1"])
    for quarter in range(100, 106):
        log.until(quarter, [0])
        shard.run()
    (alert,) = told(shard.outbox)
    assert (alert.evidence.slices, alert.at) == (SliceSpan(partition=1, first=0, last=None), 101 * QUARTER)
    log.slice(1, 98, marks=["spec m@1"]).slice(1, 101, delta(101, right=7)).until(110)
    shard.run()
    assert told(shard.outbox)[1].evidence.slices == SliceSpan(partition=1, first=0, last=106)
    newest = {report.window.end // HOUR: report for report in reports(shard)}
    assert (newest[26].segments[0].n, newest[26].completeness) == (7, 1.0)


def test_a_shard_that_was_paused_itself_does_not_trust_what_it_knew_of_the_ends():
    log, shard = stuck()
    log.until(4, [0])
    shard.run()
    log.until(40, [0])  # its own inputs and one partition come first, in a jump; the other one is not fetched yet
    for source in SOURCES:
        if source != Source(Topic.SLICES, 1):
            shard.fetch(source, 99)
    shard.work.read_to_end(set(SOURCES))
    shard.go_on()
    assert shard.work._shard.applied == 3
    log.until(40, [1])
    shard.run()
    assert shard.work._shard.applied == 40
    assert told(shard.outbox) == []
