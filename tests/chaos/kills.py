"""Faults of workers: killed at any moment, and just before and after each step of the loop."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.chaos.machines import Arena, Machine, wait_for
from tests.chaos.report import Result, conclude
from tests.chaos.saboteur import Fault, armed
from tests.chaos.stage import SABOTAGED, Stage

ATTEMPTS = 20


def struck(stage: Stage, begin: int) -> str | None:
    """The proof that work is in hand: something of it is stored, and something is not. None: it is not."""
    standing = stage.standing()
    waiting = standing.waiting(stage.ends)
    return f"{standing.total - begin} stored, {waiting} waiting" if standing.total > begin and waiting else None


def kill_in_hand(stage: Stage, machine: Machine, portion: int, begin: int, delay_s: float) -> int:
    """Send a portion, kill the worker a moment after it has begun to come; returns the records that were waiting.

    Zero: it had finished, so this kill proves nothing.
    """
    before = stage.standing()
    stage.send(portion)
    wait_for("the worker takes something of it", lambda: stage.standing().total > before.total, 120, 0.002)
    time.sleep(delay_s)  # not a wait for anything: when the fault comes
    machine.kill()
    standing = stage.standing()
    assert standing.total > begin
    return standing.waiting(stage.ends)


def worker_killed(arena: Arena, kills: int, portion: int) -> Result:
    """SIGKILL in the middle of a batch, again and again, at random moments."""
    with Stage(arena, "worker-killed") as stage:
        nothing = stage.standing()
        stage.send(portion)
        monitor = stage.worker()
        stage.wait_moves(nothing)
        begin = nothing.total
        recoveries: list[float] = []
        waited: list[int] = []
        for attempt in range(ATTEMPTS * kills):
            more = portion * (1 + attempt // 4)  # whoever is quick needs more in hand
            waiting = kill_in_hand(stage, monitor, more, begin, stage.random.random() * 0.2 / (1 + attempt % 4))
            killed_at = stage.standing()
            monitor.start()
            if waiting:
                waited.append(waiting)
                recoveries.append(stage.wait_moves(killed_at))
            if len(waited) == kills:
                break
        assert len(waited) == kills, f"only {len(waited)} of {ATTEMPTS * kills} kills hit work in progress"
        stage.finish_sending()
        stage.wait_all_applied(monitor)
        return conclude(stage, kills, recoveries, [f"records waiting at the kills: {min(waited)} to {max(waited)}"])


STEPS = (
    Fault(call="load", when="before"),
    Fault(call="load", when="after", nth=2),
    Fault(call="fetch", when="after", nth=3),
    Fault(call="cut", when="after", nth=2),
    Fault(call="step", when="before", nth=3),
    Fault(call="step", when="after", nth=2),
    Fault(call="write", when="before", nth=3),
    Fault(call="write", when="after", nth=2),
    Fault(call="send", when="before", nth=4),
    Fault(call="send", when="after", nth=9),
    Fault(call="clear", when="before", nth=3),
    Fault(call="clear", when="after", nth=2),
    Fault(call="commit", when="before"),
    Fault(call="commit", when="after", nth=2),
)
"""Just before and just after each numbered step of the loop: fetch, cut and step, write, relay and clear, hint."""


def killed_at_each_step(arena: Arena, portion: int, steps: Sequence[Fault]) -> Result:
    """A worker ends itself at an exact point of its loop; the next one dies at the next point, and so on."""
    with Stage(arena, "killed-at-each-step") as stage:
        nothing = stage.standing()
        stage.send(portion)
        first = stage.worker()
        stage.wait_moves(nothing)
        begin = nothing.total
        first.kill()
        for number, fault in enumerate(steps):
            for _ in range(ATTEMPTS):
                stage.send(portion)
                assert struck(stage, begin), f"nothing is in hand for {fault}"
                victim = stage.worker(module=SABOTAGED, name=f"dies-{number}", **armed(fault))
                victim.wait_killed()
                if stage.waiting():
                    break
            else:
                raise AssertionError(f"{fault} came {ATTEMPTS} times when everything was done")
        stage.finish_sending()
        standing = stage.standing()
        last = stage.worker(name="last")
        recoveries = [stage.wait_moves(standing)]
        stage.wait_all_applied(last)
        return conclude(stage, len(steps), recoveries)
