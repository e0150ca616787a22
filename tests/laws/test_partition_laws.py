"""The final report of a window follows from the events alone: over any number of partitions, in any order, repeated."""

from __future__ import annotations

import random
from functools import cache
from itertools import groupby

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.backtests import BINARY, CUT, DAY, HOUR, START, events_of, rows_of
from tests.services_in_memory import published

from driftline.events.base import decode
from driftline.events.inputs import Prediction
from driftline.events.reports import WindowReport
from driftline.events.topics import Topic
from driftline.spec.model import millis
from driftline.spec.reader import parse_spec

SPEC = parse_spec(CUT.format(**BINARY), "m.yaml")
FAST = (Phase.explicit, Phase.reuse, Phase.generate)
"""A seed is as small as any other: to look for a smaller one would only take time."""
END = START + 4 * DAY
"""By then all windows of the day are final."""


def final_reports(arrivals, **how):
    """The last report of each window, but for what it does not say about the window: its id, and what was counted."""
    found = {}
    for topic, value in published(SPEC, arrivals, END, **how):
        if topic is Topic.METRICS:
            told = decode(value, WindowReport)
            window = told.version, told.role, told.window.name, told.window.end
            found[window] = msgspec.structs.replace(told, id="", caused_by=(), counters={})
    return found


@cache
def day():
    """A day of events, corrections and conflicting repeats among them, and its final reports. They arrive at the end of
    their slice, so that none is ahead of its time in whatever order they come.
    """
    length = millis(SPEC.pane)
    arrivals = [(at // length * length + length - 1, e) for at, e in events_of(*rows_of("binary", days=1), SPEC)]
    found = final_reports(arrivals)
    assert len(found) > 24
    assert any(len(told.segments) > 5 for told in found.values())
    return arrivals, found


@settings(max_examples=8, deadline=None, phases=FAST)
@given(st.integers(1, 4), st.integers(0, 2**32))
def test_any_split_over_partitions_gives_the_same_final_reports(partitions, seed):
    (arrivals, expected), chance = day(), random.Random(seed)
    places = {event.id: chance.randrange(partitions) for _, event in arrivals}
    assert final_reports(arrivals, partitions=partitions, place=places.__getitem__) == expected


@settings(max_examples=8, deadline=None, phases=FAST)
@given(st.integers(1, 4), st.integers(0, 2**32), st.sampled_from([6 * HOUR, DAY]))
def test_so_does_any_order_within_a_slice_any_stretch_and_any_exact_repeat(partitions, seed, stretch):
    (arrivals, expected), chance = day(), random.Random(seed)
    places = {event.id: chance.randrange(partitions) for _, event in arrivals}
    again = [
        (arrival + chance.randrange(4) * millis(SPEC.pane), event)
        for arrival, event in arrivals
        if chance.random() < 0.1
    ]
    mixed = shuffled(sorted([*arrivals, *again], key=lambda pair: pair[0]), chance)
    found = final_reports(mixed, partitions=partitions, place=places.__getitem__, stretch_ms=stretch)
    assert found == expected


def shuffled(arrivals, chance: random.Random):
    """In any order within their slice, but for those of one id, whose order says which of two counts."""
    found = []
    for arrival, of_slice in groupby(arrivals, key=lambda pair: pair[0]):
        events = [event for _, event in of_slice]
        ids = [event.id for event in events]
        waiting = {name: [event for event in events if event.id == name] for name in ids}
        chance.shuffle(ids)
        found += [(arrival, waiting[name].pop(0)) for name in ids]
    return found


def test_the_day_has_repeats_that_conflict():
    said = {}
    for _, event in day()[0]:
        if isinstance(event, Prediction):
            said.setdefault(event.id, set()).add(msgspec.json.encode(event))
    assert any(len(each) > 1 for each in said.values())
