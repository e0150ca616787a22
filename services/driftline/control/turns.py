"""Whose turn it is: up to which slice a shard may go, and which source partitions it leaves out or takes back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from driftline.control.feeds import Front
from driftline.events.alerts import SliceSpan
from driftline.events.base import Millis


@dataclass(frozen=True)
class Turn:
    """Go up to slice `target`. In the first slice of the turn, `leave` are left out from, and `back` are taken back."""

    target: int
    leave: frozenset[int] = frozenset()
    back: frozenset[int] = frozenset()


class _Still(NamedTuple):
    """A partition that has not moved: since when it was looked at last, and for how long it has stood in all."""

    finished: int
    looked: Millis
    stood: int


class Turns:
    """Decides the next turn. What it decides is carried out, and stored, by the shard.

    A partition is left out if it is read to its end, has finished no slice for `max_stall_ms` of the time that passes
    in the shard's own inputs, and another one is ahead of it by more than that. So one that moves is waited for, and
    where all stand still nobody is left out. `max_stall_ms` None: nobody ever is. One whose log has a hole holds the
    shard back until a human accepts that: `accepted` has the commands that did, by what is missing.

    `recorded` are the spans that were told of before the state was lost: they are repeated as they were.
    """

    def __init__(self, fronts: Mapping[int, Front], slice_ms: int, max_stall_ms: int | None) -> None:
        self.recorded: list[SliceSpan] = []
        self.accepted: dict[SliceSpan, str] = {}
        self._fronts = fronts
        self._slice_ms = slice_ms
        self._max_stall_ms = max_stall_ms
        self._still: dict[int, _Still] = {}

    def next(self, applied: int, passed: int, now: Millis, ended: Collection[int], inputs_ended: bool) -> Turn | None:
        """The next turn after slice `applied`, or None: wait.

        `passed`: the last slice whose end the shard's own inputs have shown, and `now` the arrival that they have
        reached. `ended`: partitions of which everything has been fetched; `inputs_ended`: so have the own inputs.
        """
        finished = {p: self._finished(p) for p in self._fronts}
        away = {p: front.feed.away for p, front in self._fronts.items() if front.feed.away is not None}
        back = frozenset(p for p, first in away.items() if self._returns(p, first, finished[p], applied))
        here = self._fronts.keys() - away.keys() | back
        self._watch(finished, now, ended, inputs_ended)
        lead = min(passed, max((finished[p] for p in here), default=-1))
        stuck = {p for p in here - back if finished[p] == applied and self._is_stuck(p, lead)}
        known = {span.partition for span in self.recorded if span.first == applied + 1}
        leave = frozenset(stuck | (known & (here - back)))
        target = min([passed, *(finished[p] for p in here - leave), *self._bounds(applied, away.keys() - back)])
        if here == leave or target <= applied:
            return None
        return Turn(target, leave, back)

    def hole(self, partition: int) -> tuple[int, SliceSpan] | None:
        """The first hole that nobody has accepted, after the slice that shows it."""
        missing = self._fronts[partition].missing
        return next(((number, span) for number, span in missing if span not in self.accepted), None)

    def _finished(self, partition: int) -> int:
        """The last slice that a partition has finished, at most up to a hole."""
        hole, finished = self.hole(partition), self._fronts[partition].finished
        return finished if hole is None else min(finished, hole[0] - 1)

    def _watch(self, finished: Mapping[int, int], now: Millis, ended: Collection[int], inputs_ended: bool) -> None:
        """Note for how long each partition has been read to its end and stood still."""
        for partition, number in finished.items():
            known = self._still.pop(partition, None)
            if partition not in ended:
                continue
            if known is not None and known.finished == number:
                # after a pause of this shard's own, what Kafka said of the ends is as old as the pause
                passed = min(now - known.looked, (self._max_stall_ms or 0) // 2)
                self._still[partition] = _Still(number, now, known.stood + passed)
            elif inputs_ended:  # else `now` may be long ago
                self._still[partition] = _Still(number, now, 0)

    def _is_stuck(self, partition: int, lead: int) -> bool:
        known = self._still.get(partition)
        if known is None or self._max_stall_ms is None or self.hole(partition) is not None:
            return False
        behind = (lead - known.finished) * self._slice_ms
        return known.stood > self._max_stall_ms and behind > self._max_stall_ms

    def _returns(self, partition: int, first: int, finished: int, applied: int) -> bool:
        for span in self.recorded:
            if (span.partition, span.first) == (partition, first) and span.last is not None:
                return applied + 1 == span.last <= finished
        return finished > applied

    def _bounds(self, applied: int, away: Collection[int]) -> list[int]:
        """Turns end before the slices in which something recorded was decided."""
        comes = [span.first - 1 for span in self.recorded if span.first > applied + 1]
        open_ = (span for span in self.recorded if span.first == applied + 1 or span.partition in away)
        return comes + [span.last - 1 for span in open_ if span.last is not None and span.last > applied]
