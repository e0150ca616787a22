"""Faults of those who send: everything three times in any order, and records that nobody can use."""

from __future__ import annotations

from tests.chaos.machines import Arena, wait_for
from tests.chaos.malformed import Odd, kinds
from tests.chaos.report import Result, conclude
from tests.chaos.stage import CONTROL, Stage


def every_event_three_times(arena: Arena, portion: int, portions: int, kills: int) -> Result:
    """Each prediction and outcome comes three times, in any order, and the worker is killed meanwhile."""
    with Stage(arena, "every-event-three-times", copies=3) as stage:
        control = stage.worker(module=CONTROL, name="control")
        nothing = stage.standing()
        stage.send(portion)
        monitor = stage.worker()
        stage.wait_moves(nothing)
        waited = []
        for number in range(portions):
            before = stage.standing()
            stage.send(portion)
            if number < kills:
                wait_for("something of it is stored", lambda b=before: stage.standing().total > b.total, 120, 0.002)
                monitor.kill()
                waited.append(stage.waiting())
                monitor.start()
        stage.finish_sending()
        stage.wait_all_applied(monitor)
        stage.wait_decided(control)
        result = conclude(stage, len(waited), notes=[f"records waiting at the kills: {waited}"])
        assert result.verdict.reports
        return result


def malformed_among_good(arena: Arena, portion: int, portions: int, rounds: int) -> Result:
    """Every kind of record that cannot be used, between good ones, with the worker killed in the middle of them."""
    with Stage(arena, "malformed-among-good") as stage:
        control = stage.worker(module=CONTROL, name="control")
        nothing = stage.standing()
        stage.send(portion)
        monitor = stage.worker()
        stage.wait_moves(nothing)
        sent: list[Odd] = []
        for number in range(portions):
            for again in range(rounds):
                odd = list(kinds(stage.now, f"{number}-{again}"))
                stage.random.shuffle(odd)
                sent += odd
                stage.send_odd(odd)
            before = stage.standing()
            stage.send(portion)
            if number == portions // 2:
                wait_for("something of it is stored", lambda b=before: stage.standing().total > b.total, 120, 0.002)
                monitor.kill()
                waiting = stage.waiting()
                monitor.start()
        stage.finish_sending()
        stage.wait_all_applied(monitor)
        stage.wait_decided(control)
        bad = sum(odd.reason is not None for odd in sent)
        result = conclude(
            stage, 1, notes=[f"{bad} of {len(sent)} odd records are malformed; {waiting} records waiting at the kill"]
        )
        assert result.verdict.letters_found >= bad
        return result
