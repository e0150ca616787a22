"""What windows are compared with: reference data, or the model's own panes of another time."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np
import pytest
from tests.timeline.partitions import begun, reports
from tests.timeline.shards import HOUR, catalog, delta, play, spec

from driftline.control.calendar import units_of
from driftline.control.panes import Panes, Series
from driftline.core.drift import psi
from driftline.core.references import WEEK_MS
from driftline.spec.model import BaselineSpec, Cut, SegmentSpec, WindowSpec

BY_ORIGIN = (SegmentSpec(cuts=(Cut(name="origin", source="attribute"),)),)


def compared(**baseline):
    return spec(baseline=BaselineSpec(**baseline), rules=(), segments=BY_ORIGIN)


def moved(told, by):
    """The same delta with the feature's values `by` bins further on: cell 5 is the one that `delta` uses."""
    cells = tuple(cell + by if cell == 5 else cell for cell in told.cells)
    assert cells != told.cells or not by
    return msgspec.structs.replace(told, cells=cells)


def played(of, *hours):
    """One (right, wrong, bins moved) an hour, all in its first quarter; everybody and one segment. Reports by hour."""
    log = begun()
    for hour, (right, wrong, by) in enumerate(hours):
        told = moved(delta(4 * hour + 1, right=right, wrong=wrong), by)
        part = msgspec.structs.replace(told, cut="origin", segment="origin=EWR")
        log.slice(0, 4 * hour + 1, told, part).until(4 * hour + 2)
    shard = play(log.until(4 * len(hours) + 2), catalog(of))
    return {r.window.end // HOUR: r for r in reports(shard)}, shard


def test_the_window_before_is_the_baseline_by_name_of_its_span():
    found, _ = played(compared(kind="previous", window="hour"), (90, 10, 0), (60, 40, 2), (80, 20, 2))
    assert found[1].baseline == "default:m@1"
    assert found[1].segments[0].drift["x"].psi is None
    assert found[1].segments[0].metrics["accuracy"].baseline is None
    assert found[2].baseline == "previous m/1 1970-01-01T00:00:00Z/1970-01-01T01:00:00Z"
    assert found[2].segments[0].metrics["accuracy"].baseline == 0.9
    assert found[3].segments[0].metrics["accuracy"].baseline == 0.6
    assert found[2].segments[0].drift["x"].psi > 1
    assert found[3].segments[0].drift["x"].psi == pytest.approx(0, abs=1e-9)


def test_a_segment_is_compared_with_itself():
    found, _ = played(compared(kind="previous", window="hour"), (90, 10, 0), (60, 40, 2))
    everybody, origin = found[2].segments
    assert origin.segment == "origin=EWR"
    assert origin.metrics["accuracy"].baseline == 0.9
    assert origin.drift["x"].psi == everybody.drift["x"].psi > 1


def test_the_beginning_of_a_version_is_its_baseline_once_it_is_over_and_stays():
    of = compared(kind="first", span=timedelta(hours=2))
    hours = [(90, 10, 0), (70, 30, 0), (60, 40, 2), *[(50, 50, 2)] * 9]
    found, shard = played(of, *hours)
    assert [found[hour].segments[0].metrics["accuracy"].baseline for hour in (1, 2, 3, 12)] == [None, None, 0.8, 0.8]
    assert found[12].baseline == "first m/1 1970-01-01T00:00:00Z/1970-01-01T02:00:00Z"
    panes = Panes()
    panes.restore(shard.stored["panes:m"].items())
    kept = panes.between(HOUR, Series("1", "champion"), 0, 20 * HOUR)
    assert sorted(kept)[:2] == [0, 1]
    assert len(kept) < len(hours)


def test_the_same_hour_of_the_weeks_before_is_the_baseline():
    of = compared(kind="hour_of_week", weeks=2)
    week = WEEK_MS // 900_000
    log = begun()
    for number, right in ((1, 90), (1 + week, 70), (5 + week, 10), (1 + 2 * week, 50)):
        log.slice(0, number, delta(number, right=right, wrong=100 - right))
    found = {r.window.start: r for r in reports(play(log.until(2 * week + 12), catalog(of)))}
    now = found[2 * WEEK_MS]
    assert now.segments[0].metrics["accuracy"].value == 0.5
    assert now.segments[0].metrics["accuracy"].baseline == 0.8
    first = "1970-01-01T00:00:00Z/1970-01-01T01:00:00Z"
    assert now.baseline == f"hour_of_week m/1 {first}, 1970-01-08T00:00:00Z/1970-01-08T01:00:00Z"
    assert found[WEEK_MS].segments[0].metrics["accuracy"].baseline == 0.9


def test_drift_from_panes_is_that_of_their_counts():
    found, _ = played(compared(kind="previous", window="hour"), (90, 10, 0), (60, 40, 2))
    then, now = (np.bincount([cell], weights=[100], minlength=24).astype(np.int64) for cell in (3, 5))
    assert found[2].segments[0].drift["x"].psi == pytest.approx(psi(now, then), rel=0.05)


def test_long_windows_are_compared_through_few_panes():
    of = spec(
        pane=timedelta(seconds=10),
        windows={"hour": WindowSpec(span=timedelta(hours=1), every=timedelta(hours=1))},
        baseline=BaselineSpec(kind="hour_of_week", weeks=4),
    )
    assert sorted(units_of(of)) == [30_000, HOUR]


def test_the_first_days_are_kept_while_they_last():
    of = compared(kind="first", span=timedelta(hours=30))
    found, _ = played(of, *[(80, 20, 0)] * 20, *[(60, 40, 0)] * 12)
    assert found[31].segments[0].metrics["accuracy"].baseline == pytest.approx((20 * 80 + 10 * 60) / 3000)
