"""Faults of ownership: workers that come and go, and one that sleeps while another takes its place."""

from __future__ import annotations

import re
import signal
import time

from tests.chaos.buffers import of_unit, sabotaged
from tests.chaos.machines import Arena, Machine, wait_for
from tests.chaos.report import Result, Stopwatch, conclude
from tests.chaos.saboteur import Fault
from tests.chaos.stage import PARTITIONS, Stage

EVERY_S = 2.0


def owned(machine: Machine) -> list[list[int]]:
    """The units that a worker was given, at each assignment."""
    found = re.findall(r"works on (\[[\d, ]*\]|nothing)", machine.log.read_text(errors="replace"))
    return [[int(n) for n in re.findall(r"\d+", units)] for units in found]


def rebalance_storm(arena: Arena, seconds: float, portion: int, rebalances: int) -> Result:
    """Every two seconds another worker joins or one leaves, by turns killed and stopped, while events keep coming.

    One that is gone keeps its partitions until its session ends, so what is shown is that each of them goes on then. It
    lasts until there have been so many rebalances, also where machines are slow to start.
    """
    with Stage(arena, "rebalance-storm") as stage:
        steady = stage.worker()
        wait_for("the one that stays has everything", lambda: owned(steady))
        pulse = Pulse(stage)
        watch = Stopwatch()
        visitors: list[Machine] = []
        while watch.seconds < seconds or assignments(stage) <= rebalances:
            assert watch.seconds < 10 * seconds, f"{assignments(stage)} assignments in {watch.seconds:.0f} s"
            visitors.append(stage.worker(slot=1 + len(visitors), name="visitor"))
            pulse.beat_for(EVERY_S, portion)
            if len(visitors) > 2:
                leaves = visitors[-3]
                leaves.kill() if len(visitors) % 2 else leaves.stop()
                pulse.beat_for(EVERY_S, portion)
        for visitor in visitors[-2:]:
            visitor.kill()
        at_the_end = stage.standing()
        assert at_the_end.waiting(stage.ends), "nothing was in hand when the last ones were killed"
        after = Stopwatch()
        stage.finish_sending()
        recovery = stage.wait_moves(at_the_end)
        stage.wait_all_applied(steady)
        notes = [
            f"{len(visitors)} workers came and went within {watch.seconds:.0f} s, {assignments(stage)} assignments",
            f"longest silence of a partition {pulse.longest:.1f} s; all applied {after.seconds:.1f} s after the storm",
        ]
        return conclude(stage, len(visitors), [recovery], notes)


def assignments(stage: Stage) -> int:
    """How often a worker was given units."""
    return sum(len(owned(machine)) for machine in stage.machines)


class Pulse:
    """Keeps events coming, and notes how long a partition stands still meanwhile."""

    def __init__(self, stage: Stage) -> None:
        self.longest = 0.0
        self._stage = stage
        self._seen = stage.standing()
        self._moved = dict.fromkeys(range(PARTITIONS), time.monotonic())

    def beat_for(self, seconds: float, portion: int) -> None:
        """Send portion after portion."""
        watch = Stopwatch()
        while watch.seconds < seconds:
            self._stage.send(portion, 1.0)
            standing, now = self._stage.standing(), time.monotonic()
            for number in range(PARTITIONS):
                if of_unit(standing, number) > of_unit(self._seen, number):
                    self._moved[number] = now
                self.longest = max(self.longest, now - self._moved[number])
            self._seen = standing


def paused_past_its_session(arena: Arena, rounds: int, portion: int) -> Result:
    """A worker is stopped with work in hand until another has taken over and stored; then it goes on where it was."""
    with Stage(arena, "paused-past-its-session") as stage:
        nothing = stage.standing()
        stage.send(portion)
        workers = [stage.worker(slot=slot) for slot in (0, 1)]
        wait_for("both have their share", lambda: all(owned(w) and len(owned(w)[-1]) == 2 for w in workers))
        stage.wait_moves(nothing)
        recoveries, waited = [], []
        for number in range(rounds):
            sleeper, other = workers[number % 2], workers[1 - number % 2]
            wait_for("both have their share", lambda: all(len(owned(w)[-1]) == 2 for w in workers))
            units = owned(sleeper)[-1]
            before = stage.standing()
            stage.send(portion)
            wait_for("something of it is stored", lambda b=before: stage.standing().total > b.total, 120, 0.002)
            sleeper.signal(signal.SIGSTOP)
            wait_for("it is stopped", sleeper.paused)
            stage.send(portion)
            now = stage.standing()
            waited.append(sum(max(0, end - now.offsets[p]) for p, end in stage.ends.items() if p[1] in units))
            assert waited[-1]
            recoveries.append(
                wait_for(
                    "the other has taken over and stored",
                    lambda u=units, n=now: all(of_unit(stage.standing(), unit) > of_unit(n, unit) for unit in u),
                )
            )
            assert owned(other)[-1] == list(range(PARTITIONS))
            stage.send(portion)
            assert sleeper.paused()
            sleeper.signal(signal.SIGCONT)
        stage.finish_sending()
        stage.wait_all_applied(*workers)
        notes = [f"records of the sleeper's partitions waiting: {waited}", *refusals(stage)]
        return conclude(stage, rounds, recoveries, notes)


def refusals(stage: Stage) -> list[str]:
    """How often a worker was told that what it held was no longer its own."""
    refused = sum(machine.said("is now another worker's") for machine in stage.machines)
    return [f"writes refused by the fence: {refused}"]


def owner_of_the_outbox_paused(arena: Arena, portion: int) -> Result:
    """A worker sleeps between the acknowledgement of its outbox and its clearing, while its successor stores another.

    The successor is stopped just before it relays. The first wakes up, clears and tries to write: the successor's
    outbox must stand untouched, for it is all that is left of what it stored.
    """
    with Stage(arena, "owner-of-the-outbox-paused") as stage:
        stage.send(portion)
        to_sleep = Fault(call="clear", do="stop")
        to_die_on_reload = Fault(call="load", nth=PARTITIONS + 1)
        first, asleep = sabotaged(stage, "first", to_sleep, to_die_on_reload)
        wait_for("the first sleeps before it clears", lambda: asleep.exists() and first.paused())
        (unit,) = [n for n in range(PARTITIONS) if stage.outbox(n)][:1]
        mine = stage.outbox(unit)
        stage.send(portion)
        at_pause = stage.standing()
        waiting = at_pause.waiting(stage.ends)
        assert waiting
        to_stop = Fault(call="write", when="after", unit=f"monitor:{unit}", do="stop")
        second, stopped = sabotaged(stage, "second", to_stop, slot=1)
        recovery = wait_for("the second has stored", lambda: stopped.exists() and second.paused())
        assert first.paused()
        theirs = stage.outbox(unit)
        assert theirs
        assert not theirs & mine
        assert of_unit(stage.standing(), unit) > of_unit(at_pause, unit)
        first.signal(signal.SIGCONT)
        wait_for("the first has been refused, or has noticed", lambda: not first.alive() or len(owned(first)) > 1)
        assert stage.outbox(unit) == theirs, "the first has touched its successor's outbox"
        second.kill()
        first.end()
        workers = [stage.worker(slot=slot, name="after") for slot in (0, 1)]
        stage.finish_sending()
        stage.wait_all_applied(*workers)
        notes = [f"records waiting: {waiting}; outbox entries left alone: {len(theirs)}", *refusals(stage)]
        return conclude(stage, 1, [recovery], notes)
