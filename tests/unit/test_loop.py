"""The checkpointed loop on a broker in memory: what it takes, stores and says, also when something fails."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.loops import OUT, Consumer, P, Tally, broker_in_memory, loop_on, notices, run, until

from driftline.errors import DriftlineError
from driftline.events.slices import Gap, NoticeKind
from driftline.events.topics import Topic
from driftline.platform import standing
from driftline.platform.stops import look, release
from driftline.platform.store import MemoryStore
from driftline.platform.telemetry import UnitWatch

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def broker(monkeypatch):
    monkeypatch.setattr(standing, "LOOK_S", 0.02)
    return broker_in_memory(monkeypatch)


def numbers(first: int, last: int) -> list[bytes]:
    return [b"%d" % n for n in range(first, last + 1)]


async def stopped(broker, store, kind, make_work=Tally) -> UnitWatch:
    """Run until the unit stands still for a reason of this kind."""
    watch = UnitWatch("tally:0")
    await run(loop_on(broker, store, make_work, watch), lambda: watch.stopped.startswith(kind))
    return watch


async def accept(store) -> None:
    """An operator lets the unit go on."""
    state = await look(store, "tally:0")
    await release(store, "tally:0", state.stop, "somebody", 5)


def told(broker) -> list[tuple[NoticeKind, Gap | None]]:
    return [(notice.kind, notice.gap) for notice in notices(broker)]


def test_every_record_is_taken_once_and_in_order_through_restarts(broker):
    store = MemoryStore()

    async def story():
        for n in range(5):
            broker.add(P, *numbers(n * 10, n * 10 + 9))
            wanted = (n + 1) * 10
            await run(loop_on(broker, store), lambda wanted=wanted: len(broker.values(Topic.METRICS)) == wanted)

    asyncio.run(story())
    assert broker.values(Topic.METRICS) == numbers(0, 49)


def gap_story(broker, store):
    """50 records are read, 50 more come, and Kafka forgets 20 of those."""

    async def story():
        broker.add(P, *numbers(0, 49))
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 50)
        broker.add(P, *numbers(50, 99))
        broker.forget(P, 70)
        return await stopped(broker, store, "gap")

    return asyncio.run(story())


GAP = Gap(topic="predictions", first=50, last=69)


def test_a_position_below_what_kafka_holds_stops_the_unit_and_says_what_is_gone(broker, caplog):
    store = MemoryStore()
    watch = gap_story(broker, store)
    assert told(broker) == [(NoticeKind.GAP, GAP)]
    command = "`driftline partitions accept-gap tally 0`"
    (notice,) = notices(broker)
    assert "records 50 to 69 of predictions-0 are gone from Kafka" in notice.detail
    assert command in notice.detail
    assert command in watch.stopped
    assert any(record.levelname == "ERROR" and command in record.message for record in caplog.records)
    state = asyncio.run(look(store, "tally:0"))
    assert (state.position.sources["predictions/0"][0], state.stop.gaps) == (50, (GAP,))
    assert len(broker.values(Topic.METRICS)) == 50


def test_a_unit_that_stands_still_says_so_once_and_stands_still_after_a_restart(broker):
    store = MemoryStore()
    gap_story(broker, store)
    asyncio.run(stopped(broker, store, "gap"))
    assert told(broker) == [(NoticeKind.GAP, GAP)]
    assert len(broker.values(Topic.METRICS)) == 50


def test_a_unit_that_stands_still_tells_how_much_waits_for_it(broker):
    store = MemoryStore()
    gap_story(broker, store)
    watch = UnitWatch("tally:0")
    asyncio.run(run(loop_on(broker, store, watch=watch), lambda: watch.lag.get(P) == 50))


def test_an_accepted_gap_is_counted_and_the_unit_goes_on_from_the_earliest_record_kept(broker):
    store = MemoryStore()
    gap_story(broker, store)

    async def story():
        await accept(store)
        watch = UnitWatch("tally:0")
        await run(loop_on(broker, store, watch=watch), lambda: len(broker.values(Topic.METRICS)) == 80)
        return watch, await look(store, "tally:0")

    watch, state = asyncio.run(story())
    assert broker.values(Topic.METRICS) == [*numbers(0, 49), *numbers(70, 99)]
    assert told(broker) == [(NoticeKind.GAP, GAP), (NoticeKind.RESUMED, GAP)]
    assert "20 records cannot be counted" in notices(broker)[-1].detail
    assert (state.stop, state.released, state.missing) == (None, False, {"predictions/0": 20})
    assert (watch.stopped, watch.missing) == ("", {"predictions/0": 20})


async def stands_still_and_goes_on(broker, store, n):
    """One loop stands still, is let go on, and is ended when it has told of `n` records."""
    watch = UnitWatch("tally:0")
    task = asyncio.create_task(loop_on(broker, store, watch=watch).run())
    await until(lambda: bool(watch.stopped), task)
    await accept(store)
    await until(lambda: len(broker.values(Topic.METRICS)) == n, task)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_unit_that_stands_still_goes_on_without_a_restart(broker):
    store = MemoryStore()
    gap_story(broker, store)

    asyncio.run(stands_still_and_goes_on(broker, store, 80))


def test_what_kafka_forgets_between_the_stop_and_its_acceptance_is_counted_too(broker):
    store = MemoryStore()
    gap_story(broker, store)

    async def story():
        broker.forget(P, 75)
        await accept(store)
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 75)
        return await look(store, "tally:0")

    state = asyncio.run(story())
    assert state.missing == {"predictions/0": 25}
    assert told(broker)[-1] == (NoticeKind.RESUMED, Gap(topic="predictions", first=50, last=74))


def test_a_second_gap_is_a_second_stop_and_both_are_counted(broker):
    store = MemoryStore()
    gap_story(broker, store)

    async def story():
        await accept(store)
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 80)
        broker.add(P, *numbers(100, 109))
        broker.forget(P, 105)
        await stopped(broker, store, "gap")
        await accept(store)
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 85)
        return await look(store, "tally:0")

    assert asyncio.run(story()).missing == {"predictions/0": 25}


def test_a_topic_that_was_made_anew_stops_the_unit_and_is_read_from_its_beginning_once_accepted(broker, monkeypatch):
    monkeypatch.setattr("driftline.platform.inbox.LOOK_AGAIN_S", 0.01)
    store = MemoryStore()

    async def story():
        broker.add(P, *numbers(0, 9))
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 10)
        broker.make_anew(P)
        broker.add(P, *numbers(100, 102))
        watch = await stopped(broker, store, "gap")
        assert "predictions-0 ends at 3, but was already read up to 10: the topic has been made anew" in watch.stopped
        await accept(store)
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 13)

    asyncio.run(story())
    assert broker.values(Topic.METRICS) == [*numbers(0, 9), *numbers(100, 102)]
    assert told(broker) == [(NoticeKind.GAP, None), (NoticeKind.RESUMED, None)]


def test_a_broker_that_does_not_yet_know_its_end_is_no_topic_made_anew(broker, monkeypatch):
    monkeypatch.setattr("driftline.platform.inbox.LOOK_AGAIN_S", 0.01)
    store, looks = MemoryStore(), []

    async def story():
        broker.add(P, *numbers(0, 9))
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 10)

        async def early(self, partitions):
            looks.append(1)
            return {p: len(broker.logs.get(p, [])) if len(looks) > 2 else 0 for p in partitions}

        monkeypatch.setattr(Consumer, "end_offsets", early)
        broker.add(P, b"10")
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 11)

    asyncio.run(story())
    assert told(broker) == []


def test_a_unit_that_begins_without_state_says_and_counts_what_kafka_no_longer_holds(broker):
    store = MemoryStore()

    async def story():
        broker.add(P, *numbers(0, 9))
        broker.forget(P, 4)
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 6)
        broker.add(P, b"10")
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 7)
        return await look(store, "tally:0")

    assert asyncio.run(story()).missing == {"predictions/0": 4}
    gap = Gap(topic="predictions", first=0, last=3)
    assert told(broker) == [(NoticeKind.GAP, gap), (NoticeKind.RESUMED, gap)]


def test_nobody_can_let_a_unit_go_on_that_has_moved_meanwhile(broker):
    store = MemoryStore()
    gap_story(broker, store)

    async def story():
        seen = (await look(store, "tally:0")).stop
        await accept(store)
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 80)
        with pytest.raises(DriftlineError, match="no longer stands still"):
            await release(store, "tally:0", seen, "late", 6)

    asyncio.run(story())


def test_a_record_on_which_a_step_raises_twice_is_refused_and_its_neighbours_count_once(broker):
    store = MemoryStore()

    async def story():
        broker.add(P, *numbers(0, 9))
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 10)
        broker.add(P, *numbers(10, 39), b"poison", *numbers(40, 69))
        broker.add(OUT, *numbers(70, 79), b"poison", b"80")
        watch = UnitWatch("tally:0")
        loop = loop_on(broker, store, watch=watch)
        await run(loop, lambda: len(broker.values(Topic.METRICS)) == 81)
        return watch

    watch = asyncio.run(story())
    assert broker.values(Topic.METRICS) == numbers(0, 80)
    assert broker.values(Topic.DEAD_LETTERS) == [b"poison", b"poison"]
    letters = broker.headers(Topic.DEAD_LETTERS)
    assert {letter["driftline.reason"] for letter in letters} == {b"step-failed"}
    assert {(letter["driftline.topic"], letter["driftline.offset"]) for letter in letters} == {
        (b"predictions", b"40"),
        (b"outcomes", b"10"),
    }
    assert b"ValueError: invalid literal" in letters[0]["driftline.detail"]
    assert (watch.refused, watch.dead_letters) == (2, {"step-failed": 2})
    assert told(broker) == []


@pytest.mark.parametrize("times", [1, 2])
def test_a_step_that_raises_once_or_twice_for_no_reason_of_its_records_refuses_nothing(broker, times):
    raised = []

    class Flaky(Tally):
        def step(self, taken, reached):
            if len(raised) < times:
                raised.append(1)
                raise RuntimeError("now and then")
            return super().step(taken, reached)

    broker.add(P, *numbers(0, 9))
    asyncio.run(run(loop_on(broker, MemoryStore(), Flaky), lambda: len(broker.values(Topic.METRICS)) == 10))
    assert (broker.values(Topic.DEAD_LETTERS), told(broker)) == ([], [])


def test_of_two_records_that_only_raise_together_the_later_one_is_refused(broker):
    broker.add(P, b"1", b"pair", b"mate", b"2", b"pair", b"3")
    asyncio.run(run(loop_on(broker, MemoryStore()), lambda: b"3" in broker.values(Topic.METRICS)))
    assert broker.values(Topic.METRICS) == [b"1", b"pair", b"mate", b"2", b"3"]
    (letter,) = broker.headers(Topic.DEAD_LETTERS)
    assert letter["driftline.offset"] == b"4"


def test_more_than_a_handful_in_a_row_stops_the_unit_and_nothing_of_them_is_acknowledged(broker):
    store = MemoryStore()
    broker.add(P, *numbers(0, 9), *[b"poison"] * 8, *numbers(10, 19))

    async def story():
        watch = await stopped(broker, store, "stopped")
        assert "more than 5 records in a row cannot be worked on" in watch.stopped
        assert "`driftline partitions resume tally 0`" in watch.stopped
        assert (broker.values(Topic.METRICS), broker.values(Topic.DEAD_LETTERS)) == ([], [])
        assert told(broker) == [(NoticeKind.STOPPED, None)]
        await accept(store)
        await stopped(broker, store, "stopped")  # in a new process nothing is refused yet, and it is no better
        await accept(store)
        await run(loop_on(broker, store, Mended), lambda: len(broker.values(Topic.METRICS)) == 20)

    asyncio.run(story())
    assert broker.values(Topic.METRICS) == numbers(0, 19)
    assert len(broker.values(Topic.DEAD_LETTERS)) == 0


class Mended(Tally):
    """The next version, without the bug."""

    def _read(self, value):
        if value != b"poison":
            super()._read(value)

    def step(self, taken, reached):
        step = super().step(taken, reached)
        step.outbox = [record for record in step.outbox if record.value != b"poison"]
        return step


def test_one_that_goes_on_in_the_same_process_knows_what_it_has_refused(broker):
    store = MemoryStore()
    broker.add(P, *numbers(0, 9), *[b"poison"] * 8, *numbers(10, 19))

    asyncio.run(stands_still_and_goes_on(broker, store, 20))
    assert broker.values(Topic.DEAD_LETTERS) == [b"poison"] * 8
    assert told(broker) == [(NoticeKind.STOPPED, None), (NoticeKind.RESUMED, None)]


def test_refused_records_far_apart_do_not_stop_the_unit(broker):
    store = MemoryStore()

    async def story():
        watch = UnitWatch("tally:0")
        task = asyncio.create_task(loop_on(broker, store, watch=watch).run())
        for n in range(12):
            broker.add(P, b"poison")
            await until(lambda n=n: len(broker.values(Topic.DEAD_LETTERS)) == n + 1, task)
            broker.add(P, b"%d" % n)
            await until(lambda n=n: len(broker.values(Topic.METRICS)) == n + 1, task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return watch

    assert asyncio.run(story()).refused == 12
    assert told(broker) == []


def test_a_handful_in_a_row_is_counted_over_steps(broker):
    store = MemoryStore()

    async def story():
        watch = UnitWatch("tally:0")
        task = asyncio.create_task(loop_on(broker, store, watch=watch).run())
        for n in range(5):
            broker.add(P, b"poison")
            await until(lambda n=n: len(broker.values(Topic.DEAD_LETTERS)) == n + 1, task)
        broker.add(P, b"poison")
        await until(lambda: bool(watch.stopped), task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())
    assert len(broker.values(Topic.DEAD_LETTERS)) == 5
    assert told(broker) == [(NoticeKind.STOPPED, None)]


def test_a_step_that_raises_whatever_it_is_given_stops_the_unit(broker):
    class Broken(Tally):
        def step(self, taken, reached):
            raise KeyError("model")

    broker.add(P, b"1")
    watch = asyncio.run(stopped(broker, MemoryStore(), "stopped", Broken))
    assert "a step raises whatever it is given: KeyError: 'model'" in watch.stopped
    assert broker.values(Topic.DEAD_LETTERS) == []


def test_a_machine_without_memory_is_not_blamed_on_a_record(broker):
    broker.add(P, b"1", b"unwell")
    with pytest.raises(MemoryError):
        asyncio.run(run(loop_on(broker, MemoryStore()), lambda: False))
    assert (broker.values(Topic.DEAD_LETTERS), told(broker)) == ([], [])


def test_a_unit_that_stops_on_purpose_loses_nothing_and_goes_on_where_it_stood(broker):
    store = MemoryStore()

    async def story():
        broker.add(P, *numbers(0, 4))
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 5)
        broker.add(P, *numbers(5, 9), b"halt", *numbers(10, 14))
        watch = await stopped(broker, store, "all-bad")
        assert watch.stopped == "all-bad: three in a row are bad; `driftline partitions resume tally 0`"
        assert broker.values(Topic.METRICS) == numbers(0, 4)
        await accept(store)
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 16)

    asyncio.run(story())
    assert broker.values(Topic.METRICS) == [*numbers(0, 9), b"halt", *numbers(10, 14)]
    assert told(broker) == [(NoticeKind.ALL_BAD, None), (NoticeKind.RESUMED, None)]
    assert "somebody has looked at it" in notices(broker)[-1].detail


def test_a_unit_that_stops_in_the_life_in_which_it_has_stored_goes_on_where_it_stood(broker):
    store = MemoryStore()

    async def story():
        broker.add(P, *numbers(0, 4))
        running = asyncio.create_task(loop_on(broker, store).run())
        await until(lambda: len(broker.values(Topic.METRICS)) == 5, running)
        broker.add(P, b"halt", *numbers(5, 9))
        await until(lambda: told(broker), running)
        await accept(store)
        await until(lambda: b"9" in broker.values(Topic.METRICS), running)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(story())
    assert broker.values(Topic.METRICS) == [*numbers(0, 4), b"halt", *numbers(5, 9)]


def test_a_unit_that_stops_before_it_has_any_state_begins_as_a_fresh_one(broker):
    store = MemoryStore()
    broker.add(P, *numbers(0, 4), b"halt")
    broker.forget(P, 2)

    async def story():
        await stopped(broker, store, "all-bad")
        await accept(store)
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 4)
        return await look(store, "tally:0")

    assert asyncio.run(story()).missing == {"predictions/0": 2}


def test_a_gap_found_when_another_stop_is_released_is_a_stop_of_its_own(broker):
    store = MemoryStore()

    async def story():
        broker.add(P, b"0")
        await run(loop_on(broker, store), lambda: len(broker.values(Topic.METRICS)) == 1)
        broker.add(P, b"1", b"halt", b"2", b"3")
        await stopped(broker, store, "all-bad")
        broker.forget(P, 4)
        await accept(store)
        await stopped(broker, store, "gap")
        await accept(store)
        await run(loop_on(broker, store), lambda: b"3" in broker.values(Topic.METRICS))

    asyncio.run(story())
    assert [kind for kind, _ in told(broker)] == [NoticeKind.ALL_BAD, NoticeKind.GAP, NoticeKind.RESUMED]


def test_an_unforeseen_error_ends_the_loop(broker):
    class Broken(Tally):
        def cut(self, waiting, reached):
            raise RuntimeError("a bug outside of a step")

    broker.add(P, b"1")
    with pytest.raises(RuntimeError, match="a bug outside"):
        asyncio.run(run(loop_on(broker, MemoryStore(), Broken), lambda: False))


def test_a_hint_at_once_that_raises_holds_up_nothing_and_is_logged(broker, caplog):
    class Hasty(Tally):
        def at_once(self, records):
            raise RuntimeError("hasty")

    broker.add(P, *numbers(0, 9))
    asyncio.run(run(loop_on(broker, MemoryStore(), Hasty), lambda: len(broker.values(Topic.METRICS)) == 10))
    assert any("is not answered" in record.message and record.exc_info for record in caplog.records)


def test_a_clock_that_does_not_keep_up_is_told_once_and_taken_back_once(broker, monkeypatch):
    store = MemoryStore()
    watch = UnitWatch("tally:0", live=True)
    behind = [100, 100, 100, 20, 10, 10, 40]

    class Late(Tally):
        def step(self, taken, reached):
            watch.note(1, int(time.time() * 1000) - 1000 * behind[0])
            return super().step(taken, reached)

    async def story():
        for n in range(len(behind)):
            broker.add(P, b"%d" % n)
            await run(loop_on(broker, store, Late, watch), lambda n=n: len(broker.values(Topic.METRICS)) == n + 1)
            behind.pop(0)

    asyncio.run(story())
    assert [n.kind for n in notices(broker)] == [NoticeKind.BEHIND, NoticeKind.CAUGHT_UP, NoticeKind.BEHIND]
    assert notices(broker)[0].detail == "The decision time lies 100 s behind the clock."
    assert standing.BEHIND_S == 30


def test_a_replay_is_never_behind(broker):
    watch = UnitWatch("tally:0", live=False)

    class Late(Tally):
        def step(self, taken, reached):
            watch.note(1, 1000)
            return super().step(taken, reached)

    broker.add(P, b"1")
    asyncio.run(run(loop_on(broker, MemoryStore(), Late, watch), lambda: len(broker.values(Topic.METRICS)) == 1))
    assert (told(broker), watch.behind_s(10**12)) == ([], None)


class Counting(MemoryStore):
    """Counts its writes."""

    def __init__(self):
        super().__init__()
        self.writes = []

    async def write(self, unit, expected, position, changes, outbox):
        self.writes.append(sum(map(len, outbox.values())))
        await super().write(unit, expected, position, changes, outbox)


def test_a_step_is_one_write_whatever_its_size(broker):
    store = Counting()
    broker.add(P, *[b"1" * 5_000] * 4_000)
    asyncio.run(run(loop_on(broker, store, Wide), lambda: len(broker.values(Topic.METRICS)) == 4_000))
    assert len(store.writes) == 1
    assert store.writes[0] > 20_000_000


class Wide(Tally):
    """Takes numbers of any length."""

    def _read(self, value):
        self.total += 1


def test_a_batch_that_begins_before_the_position_brings_only_what_is_new(broker):
    served = []

    def meddle(consumer, batches):
        log = next(iter(broker.logs.values()))
        if batches and not served:
            served.append(1)
        elif batches:
            batches = {partition: log[records[0].offset - 3 :] for partition, records in batches.items()}
        return batches

    async def story():
        broker.meddle = meddle
        store = MemoryStore()
        task = asyncio.create_task(loop_on(broker, store).run())
        for n in range(4):
            broker.add(P, *numbers(n * 5, n * 5 + 4))
            await until(lambda n=n: len(broker.values(Topic.METRICS)) >= n * 5 + 5, task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())
    assert broker.values(Topic.METRICS) == numbers(0, 19)


def test_a_batch_that_begins_after_the_position_is_dropped_and_asked_for_again(broker):
    dropped = []

    def meddle(consumer, batches):
        if batches and not dropped:
            dropped.append(1)
            return {partition: records[4:] for partition, records in batches.items()}
        return batches

    broker.meddle = meddle
    broker.add(P, *numbers(0, 9))
    asyncio.run(run(loop_on(broker, MemoryStore()), lambda: len(broker.values(Topic.METRICS)) >= 10))
    assert (broker.values(Topic.METRICS), dropped) == (numbers(0, 9), [1])


def test_a_hole_in_the_log_itself_is_passed(broker):
    def meddle(consumer, batches):
        return {p: kept for p, records in batches.items() if (kept := [r for r in records if r.offset not in (0, 1)])}

    broker.meddle = meddle
    broker.add(P, *numbers(0, 9))
    asyncio.run(run(loop_on(broker, MemoryStore()), lambda: len(broker.values(Topic.METRICS)) >= 8))
    assert broker.values(Topic.METRICS) == numbers(2, 9)
