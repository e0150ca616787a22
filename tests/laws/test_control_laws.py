"""What control decides follows from what stands in its inputs, however they are read and whenever it is killed."""

from __future__ import annotations

from functools import cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.timeline.shards import (
    LOW_ACCURACY,
    QUARTER,
    SOURCES,
    Shard,
    ShardLog,
    breach,
    candidate,
    catalog,
    command,
    delta,
    register,
    spec,
    verdict,
)

from driftline.events.alerts import Alert
from driftline.events.slices import NoticeKind, notice
from driftline.events.topics import Topic
from driftline.platform.records import Outgoing


def declared():
    retrain = msgspec.structs.replace(spec().retrain, schedule="15 9 * * *")
    strict = msgspec.structs.replace(LOW_ACCURACY, k=2, of=3)
    return catalog(spec(retrain=retrain), spec(retrain=retrain, rules=(strict,)))


def speak(log: ShardLog, partition: int, quarter: int, breaches) -> None:
    """What a partition says before it finishes a slice: breaches, one of which will not count, and its troubles."""
    for each in [*breaches, *([breach(name="y", version="3")] if quarter == 41 else [])]:
        log.notice(notice(NoticeKind.BREACH, partition, quarter, quarter * QUARTER, breach=each))
    troubles = {11: "behind", 15: "caught-up", 17: "stopped", 19: "resumed", 37: "stopped", 43: "resumed"}
    if quarter - partition in troubles:
        log.notice(notice(NoticeKind(troubles[quarter - partition]), partition, quarter, quarter * QUARTER + 1))


def counted(quarter: int) -> dict[str, dict[str, int]]:
    """Counters of a slice: some predictions are forgotten early, and for a while outcomes go astray."""
    placed = {"sampled_predictions": 9, "sampled_outcomes": 9, "misplaced_outcomes": 7 if 8 < quarter < 20 else 0}
    evicted = {"evicted": 3} if quarter in (16, 17, 40) else {}
    return {"m": {"orphans": 1, **placed, **evicted}}


@cache
def eventful_day() -> ShardLog:
    """A bad champion, two attempts, a promotion, late labels, breaches, a shadow, a new spec, a schedule."""
    log = ShardLog()
    first, second = candidate(), candidate(attempt=2, version="3", baseline="b3")
    said = [
        (0.2, register()),
        (13.5, first),
        (14.5, verdict(first, "refuse")),
        (22.5, second),
        (23.1, verdict(second)),
        (23.2, verdict(second, id="again")),
        (50, command("retrain")),
    ]
    for quarter in range(60):
        marks = {0: ["spec m@1"], 30: ["spec m@2"], 33: ["spec m@2"]}.get(quarter, ())
        version, right = ("1", 45 if quarter < 6 else 25) if quarter < 24 else ("3", 48)
        for partition in (0, 1):
            panes = []
            if quarter and (quarter + partition) % 3:
                panes.append(delta(quarter, right=right - 5, wrong=50 - right, open_=5, version=version))
                panes.append(delta(quarter, right=20, wrong=20, version="0", role="shadow"))
            if quarter > 5 and quarter % 4 == partition:
                panes.append(delta(quarter - 5, right=4, labels_only=True, version=version))
            breaches = [breach(version=version, n=quarter)] if quarter in (3, 5, 27) else []
            mine = marks if quarter == 0 or (quarter == 30) == (partition == 0) else ()
            speak(log, partition, quarter, breaches)
            if panes or breaches or mine:
                log.slice(partition, quarter, *panes, breaches=breaches, marks=mine, counters=counted(quarter))
        for time, event in said:
            if quarter <= time < quarter + 1:
                log.say(time, event)
        if quarter % 5 == 4:
            log.until(quarter)
    return log.until(90)


@cache
def whole() -> tuple[tuple[Outgoing, ...], str]:
    """What comes of the day when it is read at one go."""
    shard = Shard(eventful_day(), declared()).run()
    return decided(shard), repr(_state(shard))


def decided(shard: Shard) -> tuple[Outgoing, ...]:
    """What it wrote in slice order. What is provisional, and what takes that back, depends on when it was read."""
    return tuple(r for r in shard.outbox if b'"provisional":true' not in (r.value or b""))


def told_at_once(shard: Shard) -> dict[str, list[Outgoing]]:
    """What the partitions said of themselves, each in its order; what was told again after a kill once."""
    found: dict[str, list[Outgoing]] = {}
    for record in dict.fromkeys(shard.at_once):
        alert = msgspec.json.decode(record.value, type=Alert)
        if not alert.provisional:
            found.setdefault(alert.segment, []).append(record)
    return found


@cache
def at_once() -> dict[str, list[Outgoing]]:
    """The same when it is read at one go."""
    return told_at_once(Shard(eventful_day(), declared()).run())


def _state(shard: Shard) -> list:
    return sorted((name, sorted(fields.items())) for name, fields in shard.stored.items() if fields)


def assert_whole(shard: Shard) -> None:
    """It has come to the same as a shard that read everything at one go."""
    outbox, state = whole()
    assert decided(shard) == outbox
    assert repr(_state(shard)) == state
    assert told_at_once(shard) == at_once()
    provisional = [a for a in shard.alerts_in(dict.fromkeys([*shard.at_once, *shard.outbox])) if a.provisional]
    confirmed = {(a.fingerprint, a.episode) for a in shard.alerts_in(shard.outbox) if not a.provisional}
    left = {a.id for a in provisional if a.state == "firing" and (a.fingerprint, a.episode) not in confirmed}
    assert left == {a.caused_by[0] for a in provisional if a.state == "resolved"}, "what did not come is taken back"


def test_the_day_is_eventful():
    shard = Shard(eventful_day(), declared()).run()
    written = {topic: len(shard.events(topic)) for topic in Topic}
    assert written[Topic.METRICS] > 40
    assert written[Topic.MODELS] == 2
    assert written[Topic.RETRAIN_REQUESTS] >= 4
    assert written[Topic.CASES] >= 8
    assert {a["kind"] for a in shard.events(Topic.ALERTS)} >= {"metric", "range", "data"}
    assert {a["reason"] for a in shard.events(Topic.ALERTS)} >= {
        "version-replaced",
        "back-in-range",
        "nothing-evicted-for-a-horizon",
        "partitioners-differ",
        "partitioners-agree",
    }
    assert {(a.kind, a.state) for a in shard.alerts_in(shard.at_once)} >= {
        ("lag", "firing"),
        ("lag", "resolved"),
        ("data", "firing"),
        ("data", "resolved"),
    }
    ids = [e["id"] for topic in Topic for e in shard.events(topic)] + [a.id for a in shard.alerts_in(shard.at_once)]
    assert len(ids) == len(set(ids))


reads = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(SOURCES), st.integers(1, 40)),
        st.just("apply"),
        st.just("kill"),
    ),
    max_size=60,
)


@settings(max_examples=40, deadline=None)
@given(reads)
def test_the_same_inputs_read_in_any_pieces_and_through_any_kills_give_the_same_bytes(pieces):
    shard = Shard(eventful_day(), declared())
    for piece in pieces:
        if piece == "apply":
            shard.go_on()
        elif piece == "kill":
            shard.restart()
        else:
            shard.fetch(*piece)
    shard.run()
    assert_whole(shard)


def test_read_as_it_happens_what_is_provisional_is_told_and_taken_back():
    log, day = ShardLog(), eventful_day()
    shard = Shard(log, declared())
    for quarter in range(91):
        for source, records in day.records.items():
            known = len(log.records[source])
            log.records[source] += [r for r in records[known:] if r.arrival < (quarter + 1) * QUARTER]
        shard.run()
    shard.log = day
    shard.run()
    assert_whole(shard)
    told = shard.alerts_in(shard.at_once)
    assert [(a.rule, a.state) for a in told if a.provisional]
    assert [a.rule for a in shard.alerts_in(shard.outbox) if a.reason == "not-confirmed"] == ["range:y"]


def test_one_record_at_a_time_gives_the_same_bytes():
    shard = Shard(eventful_day(), declared())
    for number in range(max(map(len, eventful_day().records.values()))):
        for source in SOURCES:
            shard.fetch(source, 1)
        shard.go_on()
        if number % 7 == 0:
            shard.restart()
    shard.run()
    assert_whole(shard)


@pytest.mark.parametrize("share", [0, 0.1, 0.37, 0.5, 0.9, 1])
def test_a_rebuild_without_state_publishes_exactly_what_is_missing(share):
    outbox, state = whole()
    kept = outbox[: int(len(outbox) * share)]
    again = Shard(eventful_day(), declared(), kept).run()
    assert [r for r in decided(again) if r.value] == [r for r in outbox[len(kept) :] if r.value]
    assert repr(_state(again)) == state


def test_slices_that_come_again_after_a_rebuild_of_the_monitor_change_nothing():
    log, again = eventful_day(), ShardLog()
    for source, records in log.records.items():
        if source.topic is Topic.SLICES:
            middle = len(records) // 2
            doubled = [*records[:middle], *records[: middle - 3], *records[middle - 3 :]]
            again.records[source] = [r._replace(offset=offset) for offset, r in enumerate(doubled)]
        else:
            again.records[source] = records
    assert decided(Shard(again, declared()).run()) == whole()[0]
