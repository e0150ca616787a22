"""Estimates in control: told before outcomes come, judged by rules, withdrawn when they turn out wrong."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np
from tests.timeline.partitions import begun, reports
from tests.timeline.shards import catalog, delta, play, spec

from driftline.core.binning import default_bins
from driftline.core.pane import Layout
from driftline.events.alerts import AlertKind
from driftline.events.slices import PaneDelta
from driftline.spec.model import BaselineSpec, RuleSpec

LAYOUT = Layout(default_bins(spec()))
FIRST = BaselineSpec(kind="first", span=timedelta(hours=1))
LOW = RuleSpec(name="expected-low", kind="estimate", target="accuracy", window="hour", below=0.8, min_samples=50)
SPEC = spec(baseline=FIRST, rules=(LOW,), metrics=("accuracy",))
SURE, UNSURE = 900, 550
"""Bins of scores: where the model is right nine times in ten, and where it is right six times in ten."""


def scored(pane, at, *, right=0, wrong=0, open_=0, late=False):
    """Predictions of `yes` with a score in one bin; `late`: only their outcomes come now."""
    start = {name: cells.start for name, cells in LAYOUT.cells.items()}
    labelled = right + wrong
    counts = {start["labelled"]: labelled, start["confusion"] + 3: right, start["confusion"] + 1: wrong}
    counts |= {start["score|pos"] + at: right, start["score|neg"] + at: wrong}
    if not late:
        n = labelled + open_
        counts |= {0: n, start["feature:x"] + 3: n, start["score"] + at: n, start["score|said"] + at: n}
        counts |= {start["prediction"] + 1: n}
    cells, found = zip(*sorted((cell, count) for cell, count in counts.items() if count), strict=True)
    base = delta(pane, open_=1)
    return PaneDelta(**(msgspec.structs.asdict(base) | {"cells": cells, "counts": found}))


def learnt():
    """In the first hour it is seen what scores mean."""
    log = begun()
    for quarter in (1, 2, 3):
        log.slice(0, quarter, scored(quarter, SURE, right=90, wrong=10), scored(quarter, UNSURE, right=60, wrong=40))
    return log


def played(log, of=SPEC):
    shard = play(log, catalog(of))
    return shard, {r.window.end // 3_600_000: r for r in reports(shard)}


def test_an_estimate_is_told_and_judged_before_any_outcome_is_known():
    log = learnt().slice(0, 5, scored(5, SURE, open_=100)).slice(0, 9, scored(9, UNSURE, open_=100)).until(13)
    shard, found = played(log)
    assert found[1].segments[0].estimates == {}
    assert found[2].segments[0].labelled == found[3].segments[0].labelled == 0
    assert [round(found[hour].segments[0].estimates["accuracy"].value, 6) for hour in (2, 3)] == [0.9, 0.6]
    (alert,) = shard.alerts_in(shard.outbox)
    assert (alert.kind, alert.rule, round(alert.value, 6)) == (AlertKind.ESTIMATE, "expected-low", 0.6)
    assert alert.summary.startswith("estimated accuracy of m version 1 is 0.6 ")


def spread(hour, right):
    """Three quarters with outcomes: so many right of a hundred each."""
    return [(4 * hour + i, scored(4 * hour + i, SURE, right=right + i, wrong=100 - right - i)) for i in range(3)]


def hours(*right):
    log = learnt()
    for hour, each in enumerate(right, start=1):
        for number, told in spread(hour, each):
            log.slice(0, number, told)
    return log.until(4 * len(right) + 6)


def test_estimates_that_turn_out_wrong_twice_are_withdrawn_and_come_back_when_they_are_right():
    _, found = played(hours(90, 30, 30, 30, 90, 90, 90))
    told = [found[hour].estimates_withdrawn for hour in range(2, 9)]
    assert told == [False, False, False, True, True, True, False]
    assert all(np.isclose(found[hour].segments[0].estimates["accuracy"].value, 0.9) for hour in range(2, 9))


def test_a_rule_does_not_rely_on_estimates_that_are_withdrawn():
    log = hours(30, 30, 30)
    log.slice(0, 17, scored(17, UNSURE, open_=100)).until(22)
    shard, found = played(log)
    assert found[5].estimates_withdrawn
    assert round(found[5].segments[0].estimates["accuracy"].value, 6) == 0.6
    assert shard.alerts_in(shard.outbox) == []
