"""The ledger against a plain model of its rules, in any batches and through any number of restarts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import xxhash
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests import plain_ledger as plain

from driftline.core.arrivals import Observed, Predicted
from driftline.core.ledger import Ledger
from driftline.core.series import SeriesTable

KEPT = 12
WIDEST = 2
MODELS = ("m", "n")

arrivals = st.lists(
    st.tuples(
        st.sampled_from(["p", "o"]),
        st.sampled_from(MODELS),
        st.integers(0, 2),  # id
        st.integers(0, 4),  # slices since the arrival before
        st.integers(0, 3),  # version or outcome time
        st.integers(0, 1),  # value
    ),
    max_size=40,
)


SUPERSEDED_WHEN_THE_PREDICTION_WAS_GONE = [
    ("p", "n", 2, 0, 0, 0),
    ("o", "n", 2, 5, 1, 0),
    ("p", "m", 0, 7, 0, 0),
    ("o", "n", 2, 2, 0, 0),
    ("o", "n", 2, 3, 0, 0),
]


def timed(events):
    """The events with their slice numbers, in the ledger's order: in a slice, predictions come first."""
    now, found = 0, []
    for event in events:
        now += event[3]
        found.append((now, event))
    return sorted(found, key=lambda pair: (pair[0], pair[1][0] == "o"))


def key_of(name):
    return np.frombuffer(xxhash.xxh3_128_digest(str(name).encode()), np.uint64)


def width_of(version):
    """Versions carry tails of different widths, one of them none."""
    return int(version) % (WIDEST + 1)


def columns_of(table, events):
    """The batch as the ledger takes it, and where each arrival stands in it."""
    predicted, observed, place = [], [], []
    for now, (kind, model, name, _, detail, value) in events:
        low, high = key_of(name)
        if kind == "p":
            series = table.predictions_of(model, str(detail), KEPT, width_of(detail))
            tail = np.full(WIDEST, value + 1, np.uint8)
            place.append((0, len(predicted)))
            predicted.append((low, high, series, now, now + KEPT, now, False, 0.5, value, value, tail))
        else:
            place.append((1, len(observed)))
            observed.append((low, high, table.outcomes_of(model, KEPT), now, now + KEPT, detail, value))
    kinds_p = (np.uint64, np.uint64, np.uint32, np.int64, np.int64, np.int64, np.bool_, float, np.uint8, np.uint64)
    kinds_p += (np.uint8,)
    kinds_o = (np.uint64, np.uint64, np.uint32, np.int64, np.int64, np.int64, np.uint8)
    columns = [
        kind(*(np.array([row[i] for row in rows], t) for i, t in enumerate(types)))
        for kind, rows, types in ((Predicted, predicted, kinds_p), (Observed, observed, kinds_o))
    ]
    return columns, place


def run(events, cuts=frozenset(), restarts=frozenset()):
    """Feed events in batches of whole slices; returns the fates in order, the joins by slice, the orphans by slice."""
    table = SeriesTable()
    ledger = Ledger(table, labels=True)
    stored, fates, joins, orphans = {}, [], Counter(), Counter()
    found, end = timed(events), 0
    slices = sorted({now for now, _ in found})
    batch = []
    for i, now in enumerate(slices):
        batch += [pair for pair in found if pair[0] == now]
        if i not in cuts and i != len(slices) - 1:
            continue
        (predicted, observed), place = columns_of(table, batch)
        applied = ledger.apply(predicted, observed)
        fates += [int((applied.predicted, applied.observed)[kind][at]) for kind, at in place]
        j = applied.joined
        for at, series, pane, truth, sign, tail in zip(j.slice, j.series, j.pane, j.truth, j.sign, j.tail, strict=True):
            entry = table[int(series)]
            told = tuple(tail[: entry.width].tolist())
            joins[int(at), entry.model, entry.version, int(pane), int(truth), told] += int(sign)
        for at, series in ledger.forget(now):
            orphans[at] += series.size
        batch, end = [], now
        changes = ledger.take_changes()
        for name, more in changes.append.items():
            stored[name] = stored.get(name, b"") + more
        for name in changes.forget:
            stored.pop(name, None)
        if i in restarts:
            table = SeriesTable(table.entries)
            ledger = Ledger(table, labels=True)
            ledger.restore(stored)
    for at, series in ledger.forget(end + 10 * KEPT):
        orphans[at] += series.size
    assert len(ledger) == 0
    return fates, {k: n for k, n in joins.items() if n}, dict(orphans)


FATES = list(plain.Fate)


def expected(events):
    """The same by the plain ledger, one event at a time."""
    ledgers = {model: plain.Ledger(KEPT, plain.Ledger.segment_size(KEPT)) for model in MODELS}
    fates, joins = [], Counter()
    for offset, (now, (kind, model, name, _, detail, value)) in enumerate(timed(events)):
        book, key = ledgers[model], plain.Ledger.key(str(name))
        if kind == "p":
            item = plain.Kept(now, str(detail), "champion", now, float(value), None, value, None)
            fate, joined = book.predict(key, item)
        else:
            truth = plain.Truth(now, offset, detail, float(value), detail * 2 + value, False)
            fate, joined = book.outcome(key, truth)
        fates.append(FATES.index(fate))
        for j in joined:
            version = j.prediction.version
            told = (int(j.prediction.digest) + 1,) * width_of(version)
            joins[now, model, version, j.prediction.pane, int(j.truth.value), told] += j.sign
    return fates, {k: n for k, n in joins.items() if n}


@settings(max_examples=60, deadline=None)
@given(arrivals)
def test_what_is_joined_and_what_became_of_each_arrival_follows_from_the_rules_alone(events):
    assert run(events)[:2] == expected(events)


@settings(max_examples=60, deadline=None)
@given(arrivals, st.sets(st.integers(0, 59)), st.sets(st.integers(0, 59)))
@example(SUPERSEDED_WHEN_THE_PREDICTION_WAS_GONE, set(), set())
def test_neither_batches_nor_restarts_change_anything(events, cuts, restarts):
    assert run(events, cuts, restarts) == run(events, frozenset(range(60)))


@settings(max_examples=40, deadline=None)
@given(arrivals)
@example([("o", "n", 1, 0, 1, 0), ("o", "n", 1, 0, 0, 0), ("o", "n", 1, 0, 1, 0)])  # told, superseded, told again
def test_an_outcome_that_met_nothing_is_an_orphan_and_no_other(events):
    _, joins, orphans = run(events)
    met = {(model, name) for kind, model, name, *_ in events if kind == "p"}
    alone = {(model, name) for kind, model, name, *_ in events if kind == "o"} - met
    if not joins:
        assert sum(orphans.values()) >= len(alone)
    if not alone and len(timed(events)) and timed(events)[-1][0] < KEPT:
        assert orphans == {}


@pytest.mark.parametrize("labels", [True, False])
def test_a_row_costs_what_it_is_said_to(labels):
    assert Ledger(SeriesTable(), labels=labels).rows.row_bytes <= 58.5
