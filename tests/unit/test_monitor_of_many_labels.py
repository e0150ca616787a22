"""The monitor's work on a model with many labels: the probability of each arrives, stays, and is counted once."""

from __future__ import annotations

import msgspec
import numpy as np
import orjson
import pytest
from tests.unit.test_monitor_work import OUT, Log, P, catalog, run, spec

from driftline.core.binning import default_bins
from driftline.core.columns import digests
from driftline.core.metrics import compute
from driftline.core.pane import Layout, Pane, Totals
from driftline.events.columns import COLUMNS, PredictionBatch
from driftline.events.slices import Slice

__all__ = ["catalog"]  # a fixture

LABELS = ("ant", "bee", "cat")
MANY = spec(task="multiclass", labels=LABELS, positive=None)
REASON = "driftline.reason"


@pytest.fixture
def many(catalog):
    catalog.specs["m", 1] = MANY
    return catalog


def event(name, prediction="ant", scores=None, time=2000, **fields):
    features = {"x": 1.0, "c": "a"}
    head = {"id": name, "model": "m", "version": "1", "time": time, "prediction": prediction, "features": features}
    return head | ({} if scores is None else {"scores": scores}) | fields


def predict(log, name, *args, **fields):
    log.add(P, 2000, orjson.dumps(event(name, *args, **fields)))


def slices_of(slices):
    return [msgspec.json.decode(each, type=Slice) for each in slices]


def totals_of(slices, of=MANY):
    panes = [Pane.of(np.array(d.cells), np.array(d.counts), d.sums) for each in slices_of(slices) for d in each.panes]
    return Totals.of(Layout(default_bins(of)), panes)


def busy():
    """Predictions of two versions, outcomes before and after them, corrections and repeats."""
    log, rng = Log(), np.random.default_rng(0)
    outcomes = []
    for i in range(120):
        time = 2000 + i * 60
        scores = dict(zip(LABELS, rng.dirichlet([1, 1, 1]).tolist(), strict=True))
        for version in ("1", "2")[: 1 + (i % 3 == 0)]:
            sent = event(f"p{i}", LABELS[i % 3], scores if i % 7 else None, time, version=version)
            log.add(P, time, orjson.dumps(sent))
            if i % 40 == 5:
                log.add(P, time, orjson.dumps(sent))
        if i % 5:
            outcomes.append((time + (900 if i % 2 else -400), f"p{i}", LABELS[(i // 2) % 3]))
        if i % 11 == 0:
            outcomes.append((time + 1500, f"p{i}", LABELS[i % 3]))
    for time, name, truth in sorted(outcomes):
        log.outcome(time, name, truth)
    log.end(60_000)
    return log


@pytest.mark.parametrize("sizes", [(1,) * 300, (3, 50, 7, 11)])
def test_slices_are_the_same_bytes_whatever_the_batches_and_after_a_restart_at_every_step(many, sizes):
    log = busy()
    expected = run(log, many)
    assert expected[0]
    assert run(log, many, sizes) == run(log, many, sizes, restart=True) == expected


def test_columns_count_as_single_messages_do(many):
    rows = [("a", "ant", {"ant": 0.5, "bee": 0.25, "cat": 0.25}), ("b", "bee", None), ("c", "cat", {"cat": 1.0})]
    single, columns = Log(), Log()
    for row in rows:
        predict(single, *row)
    batch = PredictionBatch(
        model="m",
        version="1",
        id=[name for name, _, _ in rows],
        time=[2000] * 3,
        prediction=[answer for _, answer, _ in rows],
        features={"x": [1.0] * 3, "c": ["a"] * 3},
        scores={label: [None if scores is None else scores.get(label) for _, _, scores in rows] for label in LABELS},
    )
    ((_, message),) = batch.split(1)
    columns.add(P, 2000, message, b"", (("content-type", COLUMNS.encode()),))
    for log in (single, columns):
        log.outcome(3000, "c", "cat")
        log.end(5000)
    assert run(columns, many) == run(single, many)
    found = totals_of(run(single, many)[0])
    assert found.histogram("score").tolist()[-1] == 1  # the row without scores
    assert found.histogram("scores").sum() == 2 * len(LABELS)
    assert compute(found, "log_loss").value == pytest.approx(0.0, abs=1e-12)


def test_a_column_of_scores_that_is_too_short_refuses_the_message(many):
    message = {"model": "m", "version": "1", "id": ["a", "b"], "time": [2000] * 2, "prediction": ["ant"] * 2}
    log = Log()
    log.add(P, 2000, orjson.dumps(message | {"scores": {"ant": [0.5]}}), b"", (("content-type", COLUMNS.encode()),))
    log.end(5000)
    _, (letter,) = run(log, many)
    assert dict(letter.headers)[REASON] == b"not-an-event"


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({"ant": 0.5, "dog": 0.5}, b"unknown-label"),
        ({"ant": "half"}, b"not-an-event"),
        ({"ant": None}, b"not-an-event"),
        ([0.5, 0.5], b"not-an-event"),
        (0.5, b"not-an-event"),
    ],
)
@pytest.mark.parametrize("in_columns", [False, True], ids=["single", "in columns"])
def test_scores_that_cannot_be_used_are_a_dead_letter_and_their_neighbours_count(many, scores, reason, in_columns):
    if in_columns and (not isinstance(scores, dict) or None in scores.values()):
        pytest.skip("columns have no such row")
    log = Log()
    if in_columns:
        sent = {"model": "m", "version": "1", "id": ["good", "bad"], "time": [2000] * 2, "prediction": ["ant"] * 2}
        sent["scores"] = {label: [None, score] for label, score in scores.items()}
        log.add(P, 2000, orjson.dumps(sent), b"", (("content-type", COLUMNS.encode()),))
    else:
        predict(log, "good")
        predict(log, "bad", "ant", scores)
    log.end(5000)
    slices, (letter,) = run(log, many)
    assert dict(letter.headers)[REASON] == reason
    assert orjson.loads(letter.value)["id"] == "bad"
    assert totals_of(slices).n == 1


def test_a_probability_outside_its_range_is_told_with_the_one_that_is_farthest_out(many):
    log = Log()
    predict(log, "fine", "ant", {"ant": 0.5, "bee": 0.5, "cat": 0.0})
    predict(log, "none")
    predict(log, "odd", "ant", {"ant": 0.9, "bee": 1.2, "cat": -0.4})
    log.end(5000)
    (found,) = [breach for each in slices_of(run(log, many)[0]) for breach in each.breaches]
    assert (found.name, found.n, found.worst, found.samples) == ("score", 1, -0.4, ("odd",))


def test_the_same_answer_with_other_scores_is_a_conflict(many):
    log = Log()
    predict(log, "a", "ant", {"ant": 0.5, "bee": 0.5})
    predict(log, "a", "ant", {"bee": 0.5, "ant": 0.5})
    predict(log, "a", "ant", {"ant": 0.5, "cat": 0.5})
    log.end(5000)
    (counters,) = [each.counters["m"] for each in slices_of(run(log, many)[0]) if each.counters]
    assert counters == {"duplicates": 1, "conflicts": 1}


def test_labels_beyond_the_hundredth_are_told_as_one(many):
    labels = tuple(f"l{i}" for i in range(130))
    many.specs["m", 1] = of = spec(task="multiclass", labels=labels, positive=None)
    log = Log()
    predict(log, "a", "l3", {"l3": 0.5, "l110": 0.2, "l120": 0.3})
    predict(log, "b", "l129", {"l129": 1.0})
    log.outcome(3000, "a", "l110")
    log.outcome(3000, "b", "l105")
    log.end(5000)
    slices, dead = run(log, many)
    assert dead == []
    found = totals_of(slices, of)
    assert found.layout.bins.labels == (*labels[:100], "(other)")
    assert found.histogram("prediction").nonzero()[0].tolist() == [3, 100]
    assert compute(found, "accuracy").value == 0.5  # what is told as one is one label
    assert compute(found, "log_loss").value == pytest.approx(-np.log(0.5) / 2, abs=1e-9)


def test_what_a_binary_model_sends_as_scores_is_not_looked_at_unless_it_is_none(catalog):
    log = Log()
    log.add(P, 2000, orjson.dumps(event("a", "yes", {"anything": 7})))
    log.add(P, 2000, orjson.dumps(event("b", "yes", 0.5)))
    log.end(5000)
    _, (letter,) = run(log, catalog)
    assert orjson.loads(letter.value)["id"] == "b"


def test_a_digest_does_not_depend_on_the_rows_beside_it():
    numbers = np.array([1.0, 2.0, 3.0])
    names = np.array([7, 8], np.uint64)
    together = digests([np.array([1, 2, 3])], (numbers, np.array([2, 0, 1])), (names, np.array([0, 2, 0])))
    alone = [
        digests([np.array([1])], (numbers[:2], np.array([2])), (names[:0], np.array([0]))),
        digests([np.array([2])], (numbers[:0], np.array([0])), (names, np.array([2]))),
        digests([np.array([3])], (numbers[2:], np.array([1])), (names[:0], np.array([0]))),
    ]
    assert together.tolist() == [each.item() for each in alone]


def test_a_repeat_is_one_though_other_models_stand_beside_it(catalog):
    """Of a model without categories, first alone, then among rows of one that has some."""
    numbers = spec(model="n", features={"x": spec().features["x"]})
    catalog.specs["n", 1] = numbers
    log = Log()
    log.mark(P, 0, "spec n@1")
    sent = orjson.dumps(event("a", "yes", model="n"))
    log.add(P, 2000, sent)
    log.add(OUT, 2000, orjson.dumps({"id": "z", "model": "m", "time": 2000, "outcome": "yes"}))
    log.add(P, 4000, sent)
    log.add(P, 4000, orjson.dumps(event("b", "yes", time=4000)))
    log.end(9000)
    for batches in ((10**9,), (3, 1, 1)):
        counters = [each.counters for each in slices_of(run(log, catalog, batches)[0]) if each.counters]
        assert {"n": {"duplicates": 1}} in counters
