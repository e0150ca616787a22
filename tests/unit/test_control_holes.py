"""Slices that were published and are not there."""

from __future__ import annotations

from tests.timeline.partitions import begun, line, lines, move, stuck, told
from tests.timeline.shards import (
    HOUR,
    QUARTER,
    SOURCES,
    Shard,
    ShardLog,
    catalog,
    command,
    delta,
    play,
)

from driftline.events.admin import CommandResult
from driftline.events.alerts import AlertKind, Severity, SliceSpan
from driftline.events.topics import Topic


def with_hole() -> ShardLog:
    """Slices 2 and 3 of partition 0 were published and are not there."""
    log = begun().slice(0, 1, delta(1, right=5)).until(1)
    log.previous[0] = 3
    return log.slice(0, 4, delta(4, right=7)).until(9)


MISSING = SliceSpan(partition=0, first=2, last=3)


def test_a_hole_stops_the_shard_and_is_told_at_once(caplog):
    shard = play(with_hole())
    assert shard.work._shard.applied == 3
    (alert,) = told(shard.at_once)
    assert (alert.kind, alert.severity, alert.rule) == (AlertKind.DATA, Severity.CRITICAL, "hole-in-slices")
    assert alert.evidence.slices == MISSING
    assert "Shard 0 stopped" in alert.summary
    assert "`driftline slices accept 0 2 3`" in alert.summary
    shard.go_on()
    assert [r.levelname for r in caplog.records if "driftline slices accept 0 2 3" in r.message] == ["ERROR"]


def test_a_hole_in_another_shards_slices_is_one():
    log = begun().until(0)
    log.previous[0] = 1
    assert play(log.slice(0, 2, shard=1).until(3)).work._shard.applied == 1


def test_slices_that_other_shards_alone_are_told_of_leave_no_hole():
    log = begun().slice(0, 1, shard=1).slice(0, 2, delta(2, right=5)).slice(0, 2, shard=1).slice(0, 5, shard=1)
    shard = play(log.slice(0, 6, delta(6, right=1)).until(9))
    assert (shard.at_once, shard.work._shard.applied) == ([], 9)


def test_a_hole_that_a_human_accepts_is_passed_and_its_alert_ends():
    log = with_hole()
    shard = play(log)
    log.say(12, command("accept", model="", missing=MISSING)).until(13)
    shard.run()
    assert shard.work._shard.applied == 13
    (ended,) = told(shard.outbox)
    (fired,) = told(shard.at_once)
    assert line(ended) == "hole-in-slices resolved accepted-by-a-human"
    assert (ended.caused_by, ended.at) == ((fired.id, "accept-command"), 5 * QUARTER)
    (_, result) = shard.events(Topic.COMMAND_RESULTS, CommandResult)
    assert (result.command, result.accepted, result.reason) == ("accept-command", True, "accepted")


def test_to_accept_what_is_not_missing_is_refused_and_another_hole_stays_one():
    log = with_hole()
    log.say(12, command("accept", model="", missing=SliceSpan(partition=0, first=2, last=2))).until(13)
    shard = play(log)
    assert shard.work._shard.applied == 3
    log = begun().say(2, command("accept", model="", missing=MISSING)).until(5)
    (_, result) = play(log).events(Topic.COMMAND_RESULTS, CommandResult)
    assert (result.accepted, result.reason) == (False, "no such slices are missing")


def test_a_hole_that_was_accepted_is_passed_again_when_everything_is_read_anew():
    log = with_hole().say(12, command("accept", model="", missing=MISSING)).until(13)
    shard = play(log)
    killed = Shard(log, catalog())
    for _ in range(12):
        for source in SOURCES:
            killed.fetch(source, 1)
        killed.go_on()
        killed.restart()
    killed.run()
    assert killed.outbox == shard.outbox
    assert killed.stored == shard.stored
    again = Shard(log, catalog(), [*shard.at_once, *shard.outbox]).run()
    assert (again.outbox, again.at_once) == ([], [])


def test_a_partition_with_a_hole_is_not_left_out_for_it():
    log, shard = stuck()
    log.previous[1] = 4
    log.slice(1, 5, delta(5, right=1)).until(5, [1])
    move(log, shard, 4, 20)
    assert shard.work._shard.applied == 4
    assert lines(shard.outbox) == []


def test_slices_that_come_again_from_a_monitor_without_state_are_no_hole():
    log = begun().slice(0, 1, delta(1, right=5)).slice(0, 2, delta(2, right=5)).slice(0, 3, delta(3, right=5)).until(3)
    log.previous.pop(0)
    for quarter in (2, 3, 4):  # it begins where Kafka begins by now
        log.slice(0, quarter, delta(quarter, right=5))
    shard = play(log.until(9))
    assert (shard.at_once, shard.work._shard.applied) == ([], 9)


def test_a_monitor_that_began_anew_after_slices_that_nobody_has_left_a_hole():
    log = begun().slice(0, 1, delta(1, right=5)).until(1)
    log.previous.pop(0)
    shard = play(log.slice(0, 7, delta(7, right=5)).until(9))
    assert told(shard.at_once)[0].evidence.slices == SliceSpan(partition=0, first=2, last=6)


def test_a_log_without_word_of_earlier_slices_is_read_as_it_is():
    log = begun()
    for records in log.records.values():
        records[:] = [r._replace(headers=tuple(h for h in r.headers if h[0] != "driftline-previous")) for r in records]
    log.previous[0] = 3
    log.slice(0, 5)
    log.records[SOURCES[0]][-1] = log.records[SOURCES[0]][-1]._replace(
        headers=(("driftline-kind", b"slice"), ("driftline-slice", b"5"), ("driftline-shard", b"0"))
    )
    assert play(log.until(9)).work._shard.applied == 9


def test_a_history_that_begins_late_is_told_for_two_horizons():
    log = ShardLog()
    log.previous[0] = 70
    log.slice(0, 80, marks=["spec m@1"]).slice(1, 80, marks=["spec m@1"]).until(130)
    fired, ended = told(play(log).outbox)
    assert (line(fired), fired.kind, fired.at) == ("history-is-cut firing history-is-cut", AlertKind.DATA, 81 * QUARTER)
    assert (line(ended), ended.at) == ("history-is-cut resolved two-horizons-passed", 81 * QUARTER + 4 * HOUR)
    assert "up to 70" in fired.summary
