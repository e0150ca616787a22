"""What control tells before slice order: breaches that may not count, and partitions in trouble."""

from __future__ import annotations

import pytest
from tests.timeline.partitions import begun, breach_notice, line, lines, told
from tests.timeline.shards import (
    QUARTER,
    SOURCES,
    Shard,
    ShardLog,
    breach,
    candidate,
    catalog,
    command,
    play,
    verdict,
)

from driftline.events.alerts import AlertKind, Severity
from driftline.events.slices import Gap, NoticeKind, notice
from driftline.events.topics import Topic


def watching(*notices) -> tuple[ShardLog, Shard]:
    """A shard that has applied slice 1, and then reads `notices`."""
    log = begun().until(1)
    shard = play(log)
    for each in notices:
        log.notice(each)
    return log, shard.run()


def test_a_breach_is_told_before_its_slice_is_finished_and_confirmed_by_slice_order():
    log, shard = watching(breach_notice(2))
    (first,) = told(shard.at_once)
    assert line(first) == "range:x firing out-of-range provisional"
    assert (first.at, first.episode, first.value) == (2 * QUARTER, 1, 12.0)
    log.slice(0, 2, breaches=[breach()]).until(3)
    (second,) = told(shard.run().outbox)
    assert line(second) == "range:x firing out-of-range"
    assert (second.fingerprint, second.episode, second.at) == (first.fingerprint, 1, 3 * QUARTER)
    assert lines(shard.at_once) == ["range:x firing out-of-range provisional"]


def test_a_breach_that_does_not_count_is_withdrawn_at_the_end_of_its_slice():
    log, shard = watching(breach_notice(2))
    (provisional,) = told(shard.at_once)
    log.until(5)
    (withdrawn,) = told(shard.run().outbox)
    assert line(withdrawn) == "range:x resolved not-confirmed provisional"
    assert (withdrawn.at, withdrawn.caused_by) == (3 * QUARTER, (provisional.id,))
    assert withdrawn.id != provisional.id


def test_a_second_breach_prolongs_the_wait_for_the_first():
    log, shard = watching(breach_notice(2), breach_notice(4, partition=1))
    assert len(told(shard.at_once)) == 1
    log.until(3)
    assert lines(shard.run().outbox) == []
    log.slice(1, 4, breaches=[breach()]).until(5)
    assert lines(shard.run().outbox) == ["range:x firing out-of-range"]


def test_nothing_is_foretold_of_an_alert_that_is_firing_or_of_a_slice_that_is_in_the_books():
    log, shard = watching()
    log.slice(0, 2, breaches=[breach()]).until(2)
    shard.run()
    log.notice(breach_notice(3))
    assert shard.run().at_once == []
    assert watching(breach_notice(1))[1].at_once == []


def test_nothing_is_foretold_of_a_version_that_does_not_serve_or_of_an_unknown_model():
    assert watching(breach_notice(2, version="7"))[1].at_once == []
    assert play(ShardLog().notice(breach_notice(2))).at_once == []


def test_a_provisional_alert_survives_a_kill_at_any_moment():
    log, shard = watching(breach_notice(2))
    shard.restart()  # before it is stored: it is told again, under the same id
    log.until(2, [1])
    shard.run()
    ids = [alert.id for alert in told(shard.at_once)]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    log.notice(breach_notice(3)).until(2, [0])
    shard.run()
    shard.restart()  # after: it is known
    log.until(5)
    assert lines(shard.run().outbox) == ["range:x resolved not-confirmed provisional"]
    assert len(told(shard.at_once)) == 2


def test_the_next_breach_after_a_withdrawal_has_an_id_of_its_own():
    log, shard = watching(breach_notice(2))
    log.until(3)
    shard.run()
    log.notice(breach_notice(5))
    shard.run()
    log.until(6)
    shard.run()
    ids = [alert.id for alert in told([*shard.at_once, *shard.outbox])]
    assert len(ids) == len(set(ids)) == 4


def test_a_rule_that_a_promotion_silenced_takes_its_provisional_alert_back():
    log, shard = watching()
    better = candidate()
    log.say(2, command("retrain")).until(2)
    shard.run()
    log.notice(breach_notice(4)).say(3, better).say(3.5, verdict(better)).until(3)
    assert lines(shard.run().at_once) == ["range:x firing out-of-range provisional"]
    log.slice(0, 4, breaches=[breach()]).until(5)
    assert lines(shard.run().outbox) == ["range:x resolved not-confirmed provisional"]


@pytest.mark.parametrize(
    ("kind", "expected", "ends"),
    [
        (NoticeKind.GAP, (AlertKind.DATA, Severity.CRITICAL), "resumed"),
        (NoticeKind.ALL_BAD, (AlertKind.DATA, Severity.CRITICAL), "resumed"),
        (NoticeKind.STOPPED, (AlertKind.DATA, Severity.CRITICAL), "resumed"),
        (NoticeKind.BEHIND, (AlertKind.LAG, Severity.WARNING), "caught-up"),
    ],
)
def test_a_partition_in_trouble_raises_an_alert_at_once_which_ends_when_it_says_so(kind, expected, ends):
    gap = Gap(topic="predictions", first=10, last=19) if kind is NoticeKind.GAP else None
    log = begun().until(0).notice(notice(kind, 1, 1, 1000, detail="no disk; run `driftline x`", gap=gap))
    shard = play(log)
    (fired,) = told(shard.at_once)
    assert (fired.kind, fired.severity) == expected
    assert (fired.rule, fired.segment, fired.model, fired.at) == (kind, "partition:1", "", 1000)
    assert "artition 1" in fired.summary
    who = "The monitor does not keep up with partition 1" if kind is NoticeKind.BEHIND else "Partition 1 stopped"
    assert fired.summary == f"{who}: no disk; run `driftline x`."
    assert fired.evidence.gap == gap
    log.notice(notice(NoticeKind(ends), 1, 1, 2000)).until(3)
    _, ended = told(shard.run().at_once)
    assert line(ended) == f"{kind} resolved {ends}"
    assert ended.caused_by[0] == fired.id
    assert shard.events(Topic.ALERTS) == []


def test_a_notice_without_words_is_told_in_some():
    gap = Gap(topic="outcomes", first=10, last=19)
    log = begun().until(0).notice(notice(NoticeKind.GAP, 1, 1, 1000, gap=gap))
    log.notice(notice(NoticeKind.ALL_BAD, 0, 1, 1000)).notice(notice(NoticeKind.STOPPED, 0, 1, 1000))
    assert {alert.summary for alert in told(play(log).at_once)} == {
        "Partition 1 stopped: records 10 to 19 of outcomes are gone from Kafka unread; see `driftline status`.",
        "Partition 0 stopped: nothing but records that cannot be used came; see `driftline status`.",
        "Partition 0 stopped: see `driftline status`.",
    }


def test_a_notice_that_comes_again_is_the_same_episode_and_a_new_trouble_another():
    stop = notice(NoticeKind.STOPPED, 0, 1, 1000)
    log = begun().until(0).notice(stop).notice(stop).until(1).notice(notice(NoticeKind.RESUMED, 0, 2, 2000))
    log.notice(notice(NoticeKind.STOPPED, 0, 2, 3000)).until(2)
    found = told(play(log).at_once)
    assert [(a.state, a.episode) for a in found] == [("firing", 1), ("resolved", 1), ("firing", 2)]


def test_what_a_partition_says_is_the_same_bytes_after_a_kill():
    log = begun().until(0).notice(notice(NoticeKind.STOPPED, 0, 1, 1000)).until(1)
    log.notice(notice(NoticeKind.RESUMED, 0, 2, 2000)).notice(notice(NoticeKind.BEHIND, 0, 2, 2500)).until(3)
    unbroken, killed = play(log), Shard(log, catalog())
    for count in range(1, 8):
        for source in SOURCES:
            killed.fetch(source, count)
        killed.go_on()
        killed.restart()
    killed.run()
    assert list(dict.fromkeys(killed.at_once)) == unbroken.at_once
    assert killed.stored["shard"] == unbroken.stored["shard"]


def test_a_start_without_state_does_not_tell_again_what_partitions_have_said():
    log = begun().until(0).notice(notice(NoticeKind.STOPPED, 0, 1, 1000)).until(1)
    before = play(log)
    again = Shard(log, catalog(), [*before.at_once, *before.outbox]).run()
    assert again.at_once == []


def test_a_partition_speaks_to_the_first_shard_only():
    log = begun().until(0).notice(notice(NoticeKind.STOPPED, 0, 1, 1000), shard=1)
    assert play(log).at_once == []
