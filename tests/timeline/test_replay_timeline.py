"""A replay in lockstep, as a timeline: what it sends, when it ticks, what it waits for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from driftline.client.replay import MOST_HOLDS, Replay, Wait, WaitReason
from driftline.errors import DeploymentError, DriftlineError
from driftline.events.admin import Deployment, Progress
from driftline.events.inputs import Outcome, Prediction
from driftline.events.partitioning import partition_of

SLICE = 900_000
DAY = 96 * SLICE


class Workers:
    """A deployment without Kafka. `diary` is the timeline; `on_listen` plays what the workers do meanwhile."""

    def __init__(self, shards: int = 1) -> None:
        self.deployment = Deployment(
            id="d",
            clock="events",
            slice=timedelta(milliseconds=SLICE),
            max_stall=timedelta(minutes=1),
            partitions=4,
            shards=shards,
        )
        self.decided: dict[int, Progress] = {}
        self.answered: set[str] = set()
        self.diary: list[tuple] = []
        self.sent = []
        self.ticked = 0
        self.on_listen: Callable[[], None] = self.keep_up

    def send(self, records) -> int:
        self.sent = list(records)
        self.diary.append(("sent", len(self.sent)))
        return len(self.sent)

    def tick(self, time) -> None:
        self.diary.append(("tick", time))
        self.ticked = time

    def listen(self, timeout_s) -> None:
        self.diary.append(("listen",))
        self.on_listen()

    def close(self) -> None:
        self.diary.append(("close",))

    def decide(self, time, *attempts, shard=0) -> None:
        self.diary.append(("decided", shard, time))
        self.decided[shard] = Progress(shard=shard, decision_time=time, open_attempts=attempts)

    def keep_up(self, *attempts) -> None:
        for shard in range(self.deployment.shards):
            self.decide(self.ticked - self.ticked % SLICE, *attempts, shard=shard)


def prediction(id: str, stamp: int) -> tuple[int, Prediction]:
    return stamp, Prediction(id=id, model="m", version="1", time=stamp, prediction="late")


def outcome(id: str, stamp: int) -> tuple[int, Outcome]:
    return stamp, Outcome(id=id, model="m", time=stamp, outcome="late")


def replay(workers: Workers, **options) -> Replay:
    return Replay(cluster=workers, **options)


def test_a_stretch_is_sent_ticked_and_decided_before_the_next_one_is_asked_for():
    workers = Workers()

    def stretches():
        for day in (1, 2):
            workers.diary.append(("asked", day))
            yield day * DAY, [prediction(f"p{day}", (day - 1) * DAY)]

    assert [s.events for s in replay(workers).run(stretches())] == [1, 1]
    assert workers.diary == [
        ("asked", 1),
        ("sent", 1),
        ("tick", DAY),
        ("listen",),
        ("decided", 0, DAY),
        ("asked", 2),
        ("sent", 1),
        ("tick", 2 * DAY),
        ("listen",),
        ("decided", 0, 2 * DAY),
    ]


def test_events_go_out_in_order_of_stamp_each_id_to_one_partition():
    workers = Workers()
    replay(workers).stretch(DAY, [outcome("b", 7), prediction("b", 5), prediction("a", 3), outcome("a", 9)])
    assert [(r.timestamp, r.topic.value, r.key) for r in workers.sent] == [
        (3, "predictions", b"a"),
        (5, "predictions", b"b"),
        (7, "outcomes", b"b"),
        (9, "outcomes", b"a"),
    ]
    assert [r.partition for r in workers.sent] == [partition_of(r.key.decode(), 4) for r in workers.sent]


def test_it_waits_for_the_slowest_shard():
    workers = Workers(shards=2)
    steps = iter([(0, DAY), (1, DAY - SLICE), (1, DAY)])

    def one_by_one():
        shard, time = next(steps)
        workers.decide(time, shard=shard)

    workers.on_listen = one_by_one
    assert replay(workers).stretch(DAY, []).end == DAY
    assert next(steps, None) is None


def test_an_end_within_a_slice_is_reached_when_the_whole_slices_before_it_are_decided():
    workers = Workers()
    replay(workers).stretch(DAY + 5, [])
    assert workers.decided[0].decision_time == DAY


def test_the_clock_is_held_until_the_attempt_is_answered_and_then_ticks_one_slice_on():
    workers = Workers()
    script = iter(
        [
            lambda: workers.keep_up("r1"),
            lambda: None,  # the training goes on
            lambda: workers.answered.add("r1"),
            lambda: workers.keep_up(),
        ]
    )
    workers.on_listen = lambda: next(script)()
    waits: list[Wait] = []
    stretch = replay(workers, on_wait=waits.append).stretch(DAY, [])
    assert [entry for entry in workers.diary if entry[0] in ("tick", "decided")] == [
        ("tick", DAY),
        ("decided", 0, DAY),
        ("tick", DAY + SLICE),
        ("decided", 0, DAY + SLICE),
    ]
    assert stretch.end == DAY + SLICE
    assert stretch.held_for == ("r1",)
    assert [(wait.reason, wait.at, wait.requests) for wait in waits] == [
        (WaitReason.WORKERS, DAY, ()),
        (WaitReason.ATTEMPTS, DAY, ("r1",)),
        (WaitReason.ATTEMPTS, DAY, ("r1",)),
        (WaitReason.WORKERS, DAY + SLICE, ()),
    ]


def test_an_attempt_that_follows_a_refusal_at_once_holds_the_clock_again():
    workers = Workers()
    workers.answered = {"r1", "r2"}
    after = {DAY: ("r1",), DAY + SLICE: ("r2",), DAY + 2 * SLICE: ()}
    workers.on_listen = lambda: workers.keep_up(*after[workers.ticked])
    stretch = replay(workers).stretch(DAY, [])
    assert stretch.held_for == ("r1", "r2")
    assert stretch.end == DAY + 2 * SLICE


def test_the_next_stretch_begins_at_the_last_end_though_the_clock_was_held_past_it():
    workers = Workers()
    workers.answered = {"r1"}
    workers.on_listen = lambda: workers.keep_up(*(("r1",) if workers.ticked == DAY else ()))
    running = replay(workers)
    running.stretch(DAY, [])
    workers.on_listen = workers.keep_up
    assert running.stretch(2 * DAY, [prediction("p", DAY)]).events == 1


def test_time_never_runs_back_after_a_hold():
    workers = Workers()
    workers.answered = {"r1"}
    workers.on_listen = lambda: workers.keep_up(*(("r1",) if workers.ticked == DAY else ()))
    running = replay(workers)
    running.stretch(DAY, [])
    workers.on_listen = workers.keep_up
    running.stretch(DAY + 1, [])
    assert [entry[1] for entry in workers.diary if entry[0] == "tick"] == [DAY, DAY + SLICE, DAY + SLICE]


def test_attempts_without_end_are_an_error():
    workers = Workers()
    workers.answered = {"r"}
    workers.on_listen = lambda: workers.keep_up("r")
    with pytest.raises(DriftlineError, match=f"held {MOST_HOLDS} times"):
        replay(workers).stretch(DAY, [])


def test_workers_that_do_not_advance_are_named_after_the_patience():
    workers = Workers()
    workers.on_listen = lambda: None
    seconds = iter(range(1000))
    with pytest.raises(DriftlineError, match=r"decided nothing yet.*10 s.*`driftline status`.*`driftline logs`"):
        replay(workers, patience_s=10, clock=lambda: next(seconds)).stretch(DAY, [])


def test_slow_workers_are_waited_for_as_long_as_they_advance():
    workers = Workers()
    steps = iter(range(SLICE, DAY + 1, SLICE))
    workers.on_listen = lambda: workers.decide(next(steps))
    seconds = iter(range(0, 10_000, 9))
    assert replay(workers, patience_s=10, clock=lambda: next(seconds)).stretch(DAY, []).end == DAY


def test_an_unanswered_attempt_is_named_after_its_limit():
    workers = Workers()
    workers.on_listen = lambda: workers.keep_up("r1")
    seconds = iter(range(1000))
    with pytest.raises(DriftlineError, match=r"request r1 within 5 s.*driftline logs trainer"):
        replay(workers, attempt_limit_s=5, clock=lambda: next(seconds)).stretch(DAY, [])


@pytest.mark.parametrize("stamp", [DAY - 1, 2 * DAY])
def test_a_stamp_outside_its_stretch_is_refused_before_anything_is_sent(stamp):
    workers = Workers()
    running = replay(workers)
    running.stretch(DAY, [])
    workers.diary.clear()
    with pytest.raises(DriftlineError, match="do not lie in the stretch"):
        running.stretch(2 * DAY, [prediction("p", DAY), prediction("q", stamp)])
    assert workers.diary == []


def test_a_deployment_that_has_decided_further_is_refused():
    workers = Workers()
    workers.decide(2 * DAY)
    with pytest.raises(DeploymentError, match="another DRIFTLINE_PREFIX"):
        replay(workers).stretch(DAY, [])
