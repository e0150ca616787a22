"""Replaying recorded events at high speed, in lockstep with the workers (`clock: events`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Self

from driftline.client.lockstep import Cluster, KafkaCluster
from driftline.errors import DeploymentError, DriftlineError
from driftline.events.base import Millis, encode, iso
from driftline.events.inputs import Outcome, Prediction
from driftline.events.partitioning import partition_of
from driftline.events.topics import Topic
from driftline.platform import settings as settings_module
from driftline.platform.records import Outgoing
from driftline.platform.settings import Settings
from driftline.spec.model import millis

Stamped = tuple[Millis, Prediction | Outcome]
"""An event and the instant at which it arrives in the replay."""

LISTEN_S = 0.05
MOST_HOLDS = 50
"""A stretch that is held more often than this has a trigger that fires on every slice."""


class WaitReason(StrEnum):
    """What a replay waits for."""

    WORKERS = "workers"  # monitor and control have not decided up to the stretch's end yet
    ATTEMPTS = "attempts"  # a training or a comparison is under way: the replayed clock is held


@dataclass(frozen=True)
class Wait:
    """A wait that goes on: since `seconds` of wall time, with the replayed clock at `at`; `requests` are unanswered."""

    reason: WaitReason
    at: Millis
    seconds: float
    requests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stretch:
    """What a stretch came to: events sent, where the clock stands now, the retrain requests that it was held for."""

    events: int
    end: Millis
    held_for: tuple[str, ...]


class Replay:
    """Sends recorded events stretch by stretch; decisions fall where they would have fallen in life.

    The clock of the deployment stands wherever the replay has brought it. `stretch` returns once everything up to its
    end is decided and no training or comparison is open, so whoever scores the next stretch first re-reads the champion
    (`Champion.refresh`). `on_wait` is called again and again during a wait. Raises `DeploymentError` for a
    deployment with another clock, and `DriftlineError` where no worker has advanced for `patience_s`, or an attempt is
    unanswered after `attempt_limit_s` of wall time.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        patience_s: float = 60.0,
        attempt_limit_s: float = 900.0,
        on_wait: Callable[[Wait], None] | None = None,
        cluster: Cluster | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster or KafkaCluster(settings or settings_module.load())
        self._slice_ms = millis(self._cluster.deployment.slice)
        self._patience_s = patience_s
        self._attempt_limit_s = attempt_limit_s
        self._on_wait = on_wait or _keep_quiet
        self._clock = clock
        self._end: Millis = 0
        self._now: Millis = 0

    def run(self, stretches: Iterable[tuple[Millis, Iterable[Stamped]]]) -> Iterator[Stretch]:
        """`stretch` after `stretch`, each asked for only when the one before it is through."""
        for end, events in stretches:
            yield self.stretch(end, events)

    def stretch(self, end: Millis, events: Iterable[Stamped]) -> Stretch:
        """Replay what arrives before `end`, and go on when everything up to it is decided.

        Stamps must lie between the last stretch's end and `end`; the events may come in any order. Not sent at all
        where a stamp does not, or where the deployment has already decided beyond `end`.
        """
        ordered = sorted(events, key=_stamp)
        self._check(end, ordered)
        # 1 send. 2 let time pass to the end everywhere, behind the records of each partition; wait until all of it is
        # acknowledged. 3 wait until it is decided, for which every partition must have come to the end: nothing is
        # decided before it is sent. A crash before 3: another replay of the stretch sends repeats, counted once.
        sent = self._cluster.send(map(self._outgoing, ordered))
        self._end = end
        self._pass_time(max(end, self._now))
        # 4 while attempts are open: hold the clock until each is answered, let one slice pass so that control takes
        # the answer, and look again: its decision may have opened the next one.
        held: list[str] = []
        for _ in range(MOST_HOLDS):
            unanswered = self._open_attempts()
            if not unanswered:
                return Stretch(sent, self._now, tuple(dict.fromkeys(held)))
            held += unanswered
            self._await_answers(unanswered)
            self._pass_time(self._now + self._slice_ms)
        raise DriftlineError(
            f"attempts were still open after the clock had been held {MOST_HOLDS} times at {iso(end)}: {held[-1]}; "
            "see `driftline logs control`"
        )

    def close(self) -> None:
        """Disconnect."""
        self._cluster.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, end: Millis, ordered: list[Stamped]) -> None:
        if ordered and not self._end <= ordered[0][0] <= ordered[-1][0] < end:
            raise DriftlineError(
                f"stamps from {iso(ordered[0][0])} to {iso(ordered[-1][0])} do not lie in the stretch from "
                f"{iso(self._end)} to {iso(end)}"
            )
        if end <= self._end:
            raise DriftlineError(f"a stretch to {iso(end)} cannot follow one to {iso(self._end)}")
        decided = max((progress.decision_time for progress in self._cluster.decided.values()), default=0)
        if not self._end and decided >= end:
            raise DeploymentError(
                f"the deployment has already decided up to {iso(decided)}, and time does not run back to {iso(end)}: "
                "replay into a new deployment, under another DRIFTLINE_PREFIX"
            )

    def _outgoing(self, stamped: Stamped) -> Outgoing:
        stamp, event = stamped
        topic = Topic.PREDICTIONS if isinstance(event, Prediction) else Topic.OUTCOMES
        partition = _partition(event.id, self._cluster.deployment.partitions)
        return Outgoing(topic, event.id.encode(), encode(event), partition, (), stamp)

    def _pass_time(self, to: Millis) -> None:
        """Tick, then wait until every shard has decided up to the last whole slice before `to`."""
        self._cluster.tick(to)
        self._now = to
        goal = to - to % self._slice_ms
        since = moved = self._clock()
        before = self._decided()
        while (decided := self._decided()) < goal:
            now = self._clock()
            if decided > before:
                before, moved = decided, now
            if now - moved > self._patience_s:
                reached = f"have decided up to {iso(decided)}" if decided >= 0 else "have decided nothing yet"
                raise DriftlineError(
                    f"the workers {reached} and have not advanced for {self._patience_s:g} s, while the replay is at "
                    f"{iso(to)}; see `driftline status` and `driftline logs`"
                )
            self._on_wait(Wait(WaitReason.WORKERS, to, now - since))
            self._cluster.listen(LISTEN_S)

    def _await_answers(self, requests: tuple[str, ...]) -> None:
        since = self._clock()
        while missing := tuple(request for request in requests if request not in self._cluster.answered):
            waited = self._clock() - since
            if waited > self._attempt_limit_s:
                raise DriftlineError(
                    f"no verdict and no failed candidate for request {missing[0]} within {self._attempt_limit_s:g} s; "
                    "see `driftline status`, `driftline logs trainer` and `driftline logs gate`"
                )
            self._on_wait(Wait(WaitReason.ATTEMPTS, self._now, waited, missing))
            self._cluster.listen(LISTEN_S)

    def _decided(self) -> Millis:
        """How far the slowest shard has decided; -1: one has not said anything yet."""
        shards = range(self._cluster.deployment.shards)
        known = self._cluster.decided
        return min(known[shard].decision_time if shard in known else -1 for shard in shards)

    def _open_attempts(self) -> tuple[str, ...]:
        known = self._cluster.decided
        return tuple(request for shard in sorted(known) for request in known[shard].open_attempts)


def _keep_quiet(_: Wait) -> None:
    pass


def _stamp(stamped: Stamped) -> Millis:
    return stamped[0]


@lru_cache(maxsize=1 << 17)  # a shadow's prediction and the outcome have the champion's id; murmur2 costs 5 us
def _partition(key: str, partitions: int) -> int:
    return partition_of(key, partitions)
