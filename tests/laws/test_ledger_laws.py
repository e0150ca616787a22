"""The ledger against a plain model of its rules, and through any number of restarts."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.core.ledger import Kept, Ledger, Truth

KEPT = 12

arrivals = st.lists(
    st.tuples(
        st.sampled_from(["p", "o"]),
        st.integers(0, 3),  # id
        st.integers(0, 4),  # slices since the arrival before
        st.integers(0, 3),  # version or outcome time
        st.integers(0, 1),  # value
    ),
    max_size=60,
)


def run(events, restart_after=frozenset()):
    """Feed events through a ledger; returns the net number of each (id, version, prediction slice, label) joined."""
    size = Ledger.segment_size(KEPT)
    ledger, stored = Ledger(KEPT, size), {}
    net: Counter = Counter()
    fates, orphans, now = [], 0, 0
    for offset, (kind, name, wait, detail, value) in enumerate(events):
        now += wait
        orphans += ledger.forget(now)
        key = Ledger.key(str(name))
        if kind == "p":
            item = Kept(now, str(detail), "champion", now, float(value), None, value, None)
            fate, joined = ledger.predict(key, item)
        else:
            fate, joined = ledger.outcome(key, Truth(now, offset, detail, float(value), detail * 2 + value, False))
        fates.append(fate)
        for j in joined:
            net[name, j.prediction.version, j.prediction.slice, j.truth.value] += j.sign
        if offset in restart_after:
            changes = ledger.take_changes()
            for segment in changes.forget:
                stored.pop(segment, None)
            for segment, fields in changes.drop.items():
                for field in fields:
                    stored.get(segment, {}).pop(field, None)
            for segment, fields in changes.put.items():
                stored.setdefault(segment, {}).update(fields)
            ledger = Ledger(KEPT, size)
            ledger.restore([item for fields in stored.values() for item in fields.items()])
    return fates, orphans, {key: n for key, n in net.items() if n}


def expected(events):
    """The rules as the docstring of the ledger states them, written the slow way."""
    predictions, outcomes, now = [], [], 0
    for offset, (kind, name, wait, detail, value) in enumerate(events):
        now += wait
        if kind == "p":
            known = [p for p in predictions if p[0] == name and p[1] == str(detail) and now - p[2] < KEPT]
            if not known:
                predictions.append((name, str(detail), now))
        else:
            outcomes.append((name, now, detail, offset, float(value)))
    net = {}
    for name, version, at in predictions:
        met = [o for o in outcomes if o[0] == name and abs(o[1] - at) < KEPT]
        if met:
            best = max(met, key=lambda o: (o[2], o[3]))
            # an exact repeat of what is joined changes nothing, so which of two equal ones is named does not matter
            net[name, version, at, best[4]] = 1
    return net


@settings(max_examples=300, deadline=None)
@given(arrivals)
def test_what_is_joined_follows_from_the_rules_alone(events):
    assert run(events)[2] == expected(events)


@settings(max_examples=200, deadline=None)
@given(arrivals, st.sets(st.integers(0, 59)))
def test_a_restart_after_any_event_changes_nothing(events, restarts):
    assert run(events, restarts) == run(events)
