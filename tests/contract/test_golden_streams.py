"""Real streams through ledger, panes and metrics, against numbers that scikit-learn gave outside this project."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from tests.cells import cells_of_categories, cells_of_numbers
from tests.engine import Engine
from tests.streams import beside, golden, meta, rows

from driftline.core.baseline import make_baseline
from driftline.core.binning import bins_from_reference, to_numbers
from driftline.core.distances import chi_squared, jensen_shannon, psi
from driftline.core.drift import drift_of
from driftline.core.metrics import compute
from driftline.core.pane import Layout, Pane, Totals
from driftline.events.baselines import NumberBins
from driftline.events.inputs import Outcome, Prediction
from driftline.spec.metrics import CALIBRATION_BINS
from driftline.spec.reader import parse_spec

STREAMS = ("elec2", "bike", "car_loan")
SLICE_MS = 3_600_000
PANE_MS = 60_000
BATCH = 5_000

pytestmark = beside

SPEC = """
model: {name}
task: {task}
{labels}
features: {{{features}}}
horizon: 400d
lateness: 0s
pane: 1m
windows: {{day: {{span: 24h}}}}
"""


def millis(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def answer(text, task):
    return float(text) if task == "regression" else int(float(text))


def spec_of(of):
    binary = of["task"] == "binary"
    return parse_spec(
        SPEC.format(
            name=of["name"],
            task=of["task"],
            labels='labels: ["0", "1"]\npositive: "1"' if binary else "",
            features=", ".join(f"{name}: {{type: category, missing: allowed}}" for name in of["features"]),
        ),
        "spec",
    )


def layout_of(spec, stream, side):
    reference = rows(stream, "reference")
    columns = {name: [row[name] for row in reference] for name in spec.features}
    scores = to_numbers([float(row[f"proba_{side}"]) for row in reference]) if spec.task == "binary" else None
    numbers = None if scores is not None else to_numbers([float(row[f"pred_{side}"]) for row in reference])
    return Layout(bins_from_reference(spec, columns, scores, numbers))


def arrivals_of(spec, stream, sides):
    """Everything that is sent, in the order of arrival: a prediction at its own time, an outcome when it was seen."""
    found = []
    for row in rows(stream, "predictions"):
        time, features = millis(row["ts"]), {name: row[name] for name in spec.features}
        for side in sides:
            score = float(row[f"proba_{side}"]) if spec.task == "binary" else None
            told = answer(row[f"pred_{side}"], spec.task)
            event = Prediction(
                id=row["id"], model=spec.model, version=side, time=time, features=features, prediction=told, score=score
            )
            found.append((time, event))
    for row in rows(stream, "outcomes"):
        time = millis(row["observed_at"])
        known = answer(row["label"], spec.task)
        found.append((time, Outcome(id=row["id"], model=spec.model, time=time, outcome=known)))
    return sorted(found, key=lambda pair: pair[0])


@pytest.fixture(scope="module", params=STREAMS)
def replayed(request):
    """A stream, batch by batch of slices: its panes added up by version and chunk, and what else was counted."""
    stream = request.param
    known = golden(stream)
    spec, sides = spec_of(meta(stream)), list(known["overall"])
    layouts = {side: layout_of(spec, stream, side) for side in sides}
    starts = [millis(row["ts"]) // PANE_MS for row in rows(stream, "predictions")][:: known["chunk_size"]]
    totals = {(side, i): Totals.of(layouts[side], []) for side in sides for i in range(len(starts))}
    engine, counters = Engine(spec, layouts, SLICE_MS), Counter()
    for batch in batches(arrivals_of(spec, stream, sides)):
        result = engine.feed(batch)
        for delta in (delta for deltas in result.panes.values() for delta in deltas):
            of_chunk = totals[delta.version, bisect_right(starts, delta.pane) - 1]
            of_chunk.vector[list(delta.cells)] += np.array(delta.counts)
            for name, value in delta.sums.items():
                of_chunk.sums[name] = of_chunk.sums.get(name, 0) + value
        for of_slice in result.counters.values():
            counters.update(of_slice[spec.model])
    return SimpleNamespace(stream=stream, golden=known, spec=spec, totals=totals, counters=counters)


def batches(arrivals):
    """Whole slices at a time."""
    while arrivals:
        last = arrivals[min(BATCH, len(arrivals)) - 1][0] // SLICE_MS
        taken = [pair for pair in arrivals if pair[0] // SLICE_MS <= last]
        arrivals = arrivals[len(taken) :]
        yield taken


def whole(replayed, side):
    """All chunks of a version."""
    chunks = [totals for (version, _), totals in replayed.totals.items() if version == side]
    names = {name for totals in chunks for name in totals.sums}
    sums = {name: sum(totals.sums.get(name, 0) for totals in chunks) for name in names}
    return Totals(chunks[0].layout, np.sum([totals.vector for totals in chunks], axis=0), sums)


def held_apart(stream):
    """By row, how much larger its log loss is with us than in the reference.

    It differs where the model was wrong with a probability of exactly 0 or 1: the reference held those to
    [1e-15, 1 - 1e-15], we hold them to the eps of a double, as scikit-learn does by default.
    """
    truth = {row["id"]: float(row["label"]) for row in rows(stream, "outcomes")}
    theirs = {0.0: -math.log(1e-15), 1.0: -math.log(1 - (1 - 1e-15))}
    found = []
    for row in rows(stream, "predictions"):
        label, score = truth.get(row["id"]), float(row["proba_a"])
        wrong = label is not None and score in theirs and score != label
        found.append(-math.log(np.finfo(float).eps) - theirs[score] if wrong else 0.0)
    return found


def check(found, expected, task, apart):
    """`apart`: see `held_apart`, the sum over these rows."""
    if task == "regression":
        names = {"mae": "mae", "rmse": "rmse", "bias": "mean_error_pred_minus_true", "r2": "r2"}
        for ours, theirs in names.items():
            assert compute(found, ours).value == pytest.approx(expected[theirs], abs=1e-9)
        return
    (tn, fp), (fn, tp) = found.histogram("confusion").reshape(2, 2).tolist()
    assert (tp, fp, tn, fn) == tuple(expected[name] for name in ("tp", "fp", "tn", "fn"))
    for name in ("accuracy", "precision", "recall", "f1", "brier"):
        assert compute(found, name).value == pytest.approx(expected[name], abs=1e-9)
    assert compute(found, "log_loss").value == pytest.approx(expected["log_loss"] + apart / expected["n"], abs=1e-9)
    auc = compute(found, "auc")
    error = abs(auc.value - expected["roc_auc"])
    assert error <= auc.error_bound + 1e-12
    assert error < 0.0005


def test_every_event_is_counted_once(replayed):
    counts = replayed.golden["counts"]
    for side in replayed.golden["overall"]:
        everything = whole(replayed, side)
        assert (everything.n, everything.labelled) == (counts["predictions"], counts["joined"])
    # what was delivered again came with a later time: it takes the place of the same outcome
    assert replayed.counters == {"corrections": counts["duplicates"]}


def test_metrics_over_all_are_those_of_scikit_learn(replayed):
    apart = sum(held_apart(replayed.stream)) if replayed.spec.task == "binary" else 0
    for side, expected in replayed.golden["overall"].items():
        found = whole(replayed, side)
        assert found.labelled == expected["n"]
        check(found, expected, replayed.spec.task, apart)


def test_metrics_by_chunk_are_those_of_scikit_learn(replayed):
    known = replayed.golden
    apart = held_apart(replayed.stream) if replayed.spec.task == "binary" else []
    assert len(known["chunks"]) >= 4
    for i, chunk in enumerate(known["chunks"]):
        for side in known["overall"]:
            found = replayed.totals[side, i]
            assert found.n == chunk["end"] - chunk["start"] + 1
            assert found.labelled == chunk[side]["n"]
            check(found, chunk[side], replayed.spec.task, sum(apart[chunk["start"] : chunk["end"] + 1]))


def test_average_precision_and_calibration_are_near_those_of_the_rows(replayed):
    """Which the reference numbers do not have: against scikit-learn, and the sums over the same bins, here."""
    if replayed.spec.task == "regression":
        return
    truth = {row["id"]: int(float(row["label"])) for row in rows(replayed.stream, "outcomes")}
    known = [row for row in rows(replayed.stream, "predictions") if row["id"] in truth]
    labels = np.array([truth[row["id"]] for row in known])
    for side in replayed.golden["overall"]:
        scores = np.array([float(row[f"proba_{side}"]) for row in known])
        found = compute(whole(replayed, side), "average_precision")
        error = abs(found.value - average_precision_score(labels, scores))
        assert error <= found.error_bound + 1e-12
        assert error < 0.002
        which = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        expected = np.abs(np.bincount(which, scores - labels)).sum() / labels.size
        found = compute(whole(replayed, side), "ece")
        assert abs(found.value - expected) <= found.error_bound < 0.001


def floored_psi(counts, known):
    """The index as the reference numbers have it: shares are held to at least 1e-4."""
    p, q = (np.maximum(side / side.sum(), 1e-4) for side in (counts, known))
    return float(((p - q) * np.log(p / q)).sum())


def test_the_drift_of_categories_is_that_of_the_reference_numbers(replayed):
    """Exactly so under their floor for empty cells; ours is a prior, which moves it by what that adds to a cell."""
    reference = rows(replayed.stream, "reference")
    checked = 0
    for name, told in replayed.golden["feature_drift"].items():
        if told["type"] != "categorical":
            continue
        bins = replayed.totals["a", 0].layout.bins.features[name]
        known = np.bincount(cells_of_categories(bins, [row[name] for row in reference]), minlength=len(bins.values) + 2)
        for i, row in enumerate(told["rows"]):
            counts = replayed.totals["a", i].histogram(f"feature:{name}")
            if counts[-2]:  # values that the baseline has not seen share a cell with us, and have one each with them
                continue
            some = (counts > 0) | (known > 0)
            expected = row[told["columns"].index("psi_eps1e-4")]
            assert floored_psi(counts[some], known[some]) == pytest.approx(expected, abs=1e-9)
            told_of = dict(zip(told["columns"], row, strict=True))
            assert jensen_shannon(counts, known) == pytest.approx(told_of["js_distance_base2"], abs=1e-9)
            statistic, _, p_value = chi_squared(counts, known)
            if some.sum() > 2:  # of two values theirs has Yates' correction
                assert statistic == pytest.approx(told_of["chi2"], rel=1e-9, abs=1e-9)
                assert p_value == pytest.approx(told_of["chi2_p"], rel=1e-6, abs=1e-300)
            if ((counts == 0) == (known == 0)).all():
                assert psi(counts, known) == pytest.approx(expected, rel=0.02, abs=counts.size / counts.sum())
            checked += 1
    assert checked > 10


@pytest.mark.parametrize("stream", STREAMS)
def test_the_drift_of_numbers_is_that_of_the_reference_numbers_within_its_bounds(stream):
    figures = golden(stream)
    names = [name for name, told in figures["feature_drift"].items() if told["type"] == "numeric"]
    features = ", ".join(f"{name}: {{type: number, missing: allowed}}" for name in names)
    spec = parse_spec(SPEC.format(name=stream, task="regression", labels="", features=features), "spec")
    reference, served = rows(stream, "reference"), rows(stream, "predictions")
    known = {name: to_numbers([number(row[name]) for row in reference]) for name in names}
    baseline = make_baseline(spec, known, None, None, "1", stream)
    layout = Layout(baseline.bins)
    worst = 0.0
    for name in names:
        told = figures["feature_drift"][name]
        every = to_numbers([number(row[name]) for row in served])
        for row in told["rows"]:
            expected = dict(zip(told["columns"], row, strict=True))
            seen = every[expected["start"] : expected["start"] + figures["chunk_size"]]
            cells = layout.cells[f"feature:{name}"].start + cells_of_numbers(layout.bins.features[name], seen)
            found = drift_of(Totals.of(layout, [Pane.of(cells, np.ones(cells.size, np.int64), {})]), baseline)[name]
            assert found.ks - 1e-9 <= expected["ks"] <= found.ks + found.error_bounds["ks"] + 1e-9
            worst = max(worst, expected["ks"] - found.ks)
            bins = layout.bins.features[name]
            if seen.min() >= bins.least and seen.max() <= bins.most:  # else ours holds values to the reference's
                off = abs(found.wasserstein - expected["wasserstein"])
                assert off <= found.error_bounds["wasserstein"] + 1e-9
            deciles = NumberBins(edges=tuple(np.unique(np.quantile(known[name], np.arange(1, 10) / 10))))
            sides = [np.bincount(cells_of_numbers(deciles, side), minlength=13)[:-3] for side in (seen, known[name])]
            if len(deciles.edges) == 9:
                assert floored_psi(*sides) == pytest.approx(expected["psi_10_ref_deciles_eps1e-4"], abs=0.01)
    assert worst < 0.05


def number(text):
    return float(text) if text else None
