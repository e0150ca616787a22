"""Windows that end after so many events or so much time, whichever is first."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.timeline.partitions import begun, reports
from tests.timeline.shards import HOUR, QUARTER, Shard, catalog, delta, play, spec

from driftline.core.windows import Run
from driftline.errors import SpecError
from driftline.spec.model import WindowSpec
from driftline.spec.reader import parse_spec

SPEC = spec(
    windows={"batch": WindowSpec(span=timedelta(hours=1), every=timedelta(hours=1), events=100)},
    rules=(),
    horizon=timedelta(hours=3),
)


def told(log, of=SPEC):
    return [
        ((r.window.start // QUARTER, r.window.end // QUARTER), r.segments[0].n) for r in reports(play(log, catalog(of)))
    ]


def test_a_window_ends_with_the_pane_in_which_its_events_are_complete():
    log = begun()
    for quarter, n in ((1, 60), (2, 60), (3, 100), (4, 10)):
        log.slice(0, quarter, delta(quarter, open_=n))
    assert told(log.until(4)) == [((1, 3), 120), ((3, 4), 100)]


def test_a_window_with_fewer_events_ends_after_its_span():
    log = begun().slice(0, 1, delta(1, open_=5)).slice(0, 2, delta(2, open_=5)).until(40)
    assert told(log) == [((1, 5), 10)]


def test_the_next_window_begins_with_the_next_event():
    log = begun().slice(0, 1, delta(1, open_=100)).slice(0, 9, delta(9, open_=100)).until(12)
    assert told(log) == [((1, 2), 100), ((9, 10), 100)]


def test_a_window_is_told_at_its_end_and_not_before():
    log = begun().slice(0, 1, delta(1, open_=100)).until(1)
    assert told(log) == [((1, 2), 100)]
    log = begun().slice(0, 1, delta(1, open_=99)).until(3)
    assert told(log) == []


def test_an_event_that_comes_late_into_a_closed_window_is_counted_there():
    log = begun().slice(0, 1, delta(1, right=50, open_=50)).slice(0, 3, delta(1, right=50, labels_only=True)).until(40)
    found = [(r.segments[0].n, r.segments[0].labelled) for r in reports(play(log, catalog(SPEC)))]
    assert found == [(100, 50), (100, 100)]


def test_versions_have_windows_of_their_own():
    log = begun().slice(0, 1, delta(1, open_=100), delta(1, open_=60, version="2", role="shadow"))
    log.slice(0, 2, delta(2, open_=60, version="2", role="shadow")).until(4)
    found = {(r.version, r.window.end // QUARTER): r.segments[0].n for r in reports(play(log, catalog(SPEC)))}
    assert found == {("1", 2): 100, ("2", 3): 120}


@pytest.mark.parametrize("read", [2, 3, 4, 5])
def test_a_restart_in_the_middle_changes_nothing(read):
    log = begun()
    for quarter in range(1, 9):
        log.slice(quarter % 2, quarter, delta(quarter, open_=30 + quarter)).until(quarter)
    whole, restarted = play(log, catalog(SPEC)), Shard(log, catalog(SPEC))
    for source in log.records:
        restarted.fetch(source, read)
    restarted.go_on()
    restarted.restart()
    restarted.run()
    assert len(reports(whole)) >= 2
    assert [o.value for o in restarted.outbox if o.value] == [o.value for o in whole.outbox if o.value]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 70)), min_size=1, max_size=40))
def test_every_event_is_in_one_window_and_none_is_too_long(events):
    run, closed = Run(window="batch", version="1", role="champion"), []
    for pane, n in sorted(events):
        while (end := run.end(SPEC)) is not None and end <= pane * QUARTER:
            closed.append((run.start, end, sum(m for start, m in run.counts.items() if start < end)))
            run.close(end)
        run.counts[pane * QUARTER] = run.counts.get(pane * QUARTER, 0) + n
    assert sum(n for *_, n in closed) + sum(run.counts.values()) == sum(n for _, n in events)
    for start, end, n in closed:
        assert 0 < end - start <= HOUR
        assert n >= 100 or end - start == HOUR
    assert all(a[1] <= b[0] for a, b in pairwise(closed))


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ("{span: 1h, events: 0}", "a window ends after one event at least"),
        ("{span: 1h, events: 10, every: 1h}", "a window that ends after so many `events` has no `every`"),
        ("{events: 10}", "`span` is missing"),
    ],
)
def test_a_wrong_window_is_told(window, said):
    text = f"model: m\ntask: regression\nfeatures: {{x: {{type: number}}}}\nwindows: {{w: {window}}}\n"
    with pytest.raises(SpecError, match=said):
        parse_spec(text, "spec")


def test_it_is_a_spec_like_any_other():
    text = "model: m\ntask: regression\nfeatures: {x: {type: number}}\nwindows: {w: {span: 1h, events: 1_000}}\n"
    found = parse_spec(text, "spec").windows["w"]
    assert msgspec.structs.astuple(found) == (timedelta(hours=1), timedelta(hours=1), 1000)
