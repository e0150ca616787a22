"""car_loan, chunk by chunk, beside the tables that NannyML 0.13.1 printed: estimates, metrics, spread and drift.

`docs/published-tables.md` tells how far they lie apart at most, and what is defined otherwise.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tests.engine import Engine
from tests.streams import beside, published, rows

from driftline.core.baseline import make_baseline
from driftline.core.binning import to_numbers
from driftline.core.drift import drift_of
from driftline.core.estimation import calibration, estimates
from driftline.core.intervals import metrics_of_window
from driftline.core.metrics import formula_of
from driftline.core.pane import Layout, Pane, Totals
from driftline.events.inputs import Outcome, Prediction
from driftline.spec.reader import parse_spec

ESTIMATED = "tutorial_estimating_standard_performance_metrics_binary"
ESTIMATED_CONFUSION = "tutorial_estimating_confusion_matrix_binary"
REALISED = "tutorial_calculating_standard_metrics_binary"
REALISED_CONFUSION = "tutorial_calculating_confusion_matrix_binary"
DRIFT = "tutorial_drift_univariate"
FEATURE = "debt_to_income_ratio"
PAGE = Path(__file__).parents[2] / "docs" / "published-tables.md"

CHUNK = 5_000
DIGITS = 5e-7
"""Half of the last digit that is printed."""
EXACT = ("accuracy", "precision", "recall", "specificity", "f1")
CELLS = ("true_positive", "true_negative", "false_positive", "false_negative")

pytestmark = beside

SPEC = parse_spec(
    f"""
model: car_loan
task: binary
labels: ["0", "1"]
positive: "1"
features: {{{FEATURE}: {{type: number}}}}
horizon: 400d
windows: {{day: {{span: 24h}}}}
""",
    "spec",
)


@pytest.fixture(scope="module")
def baseline():
    """The reference rows, whose outcomes are known."""
    reference = rows("car_loan", "reference")
    return make_baseline(
        SPEC,
        {FEATURE: [float(row[FEATURE]) for row in reference]},
        to_numbers([float(row["proba_a"]) for row in reference]),
        [row["pred_a"] for row in reference],
        "a",
        "reference rows",
        [str(int(float(row["label"]))) for row in reference],
    )


@pytest.fixture(scope="module")
def panes(baseline):
    """One of each chunk, with all outcomes."""
    layout = Layout(baseline.bins)
    truth = {row["id"]: str(int(float(row["label"]))) for row in rows("car_loan", "outcomes_complete")}
    served, found = rows("car_loan", "predictions"), []
    engine = Engine(SPEC, {"a": layout}, 60_000)
    for chunk in range(len(served) // CHUNK):
        events, time = [], chunk * 60_000
        for row in served[chunk * CHUNK : (chunk + 1) * CHUNK]:
            told = {"id": row["id"], "model": "car_loan", "time": time}
            features = {FEATURE: float(row[FEATURE])}
            score = float(row["proba_a"])
            said = Prediction(**told, version="a", features=features, prediction=row["pred_a"], score=score)
            events += [(time, said), (time, Outcome(**told, outcome=truth[row["id"]]))]
        (delta,) = engine.feed(events).panes[chunk]
        found.append(Pane.of(np.array(delta.cells), np.array(delta.counts), delta.sums))
    assert len(found) == 10
    return found


@pytest.fixture(scope="module")
def chunks(baseline, panes):
    """Each chunk's totals, with what its predictions are expected to be by figure, and what they were."""
    layout = Layout(baseline.bins)
    known = Totals(layout, np.concatenate([baseline.counts[name] for name in layout.cells]), {})
    expected = estimates(calibration(known))
    names = (*EXACT, "auc", "average_precision")
    formulas = {name: formula_of(name, SPEC.costs) for name in names}
    found = []
    for pane in panes:
        totals = Totals.of(layout, [pane])
        were = metrics_of_window(totals, [pane], formulas, ("car_loan",))
        found.append((totals, {name: formula.point(totals).value for name, formula in expected.items()}, were))
    return found


def printed(table, column):
    """The column of the analysis period, a figure a chunk."""
    periods = ("chunk/period", "chunk/chunk/period")
    of = published("car_loan", table)
    return np.array([float(row[column]) for row in of if next(row[p] for p in periods if p in row) == "analysis"])


def cells_of(totals):
    """The confusion matrix in shares of all rows."""
    (tn, fp), (fn, tp) = totals.histogram("confusion").reshape(2, 2) / CHUNK
    return dict(zip(CELLS, (tp, tn, fp, fn), strict=True))


def expected_cells(totals, figures):
    """The one that follows from expected figures and the share that is predicted positive."""
    (_, fp), (_, tp) = totals.histogram("confusion").reshape(2, 2)
    predicted = (fp + tp) / CHUNK
    hits = figures["precision"] * predicted
    missed = hits / figures["recall"] - hits
    return dict(zip(CELLS, (hits, 1 - predicted - missed, predicted - hits, missed), strict=True))


def furthest(ours, theirs):
    return float(np.abs(np.array(ours) - theirs).max())


@pytest.fixture(scope="module")
def apart(chunks, baseline):
    """The largest difference in any chunk, by what is compared."""
    columns = {"auc": "roc_auc", "accuracy": "accuracy", "f1": "f1"}
    found = {
        f"estimated {name}": furthest([said[name] for _, said, _ in chunks], printed(ESTIMATED, f"{column}/value"))
        for name, column in columns.items()
    }
    for cell in CELLS:
        theirs = printed(ESTIMATED_CONFUSION, f"{cell}/value")
        ours = [expected_cells(totals, said)[cell] for totals, said, _ in chunks]
        found[f"estimated {cell.replace('_', ' ')}s"] = furthest(ours, theirs)
    for name in (*EXACT, "auc", "average_precision"):
        theirs = printed(REALISED, f"{columns.get(name, name)}/value")
        found[name.replace("_", " ")] = furthest([were[name].value for _, _, were in chunks], theirs)
    for cell in CELLS:
        ours = [cells_of(totals)[cell] for totals, _, _ in chunks]
        found[f"{cell.replace('_', ' ')}s"] = furthest(ours, printed(REALISED_CONFUSION, f"{cell}/value"))
    drift = [drift_of(totals, baseline)[FEATURE] for totals, _, _ in chunks]
    for name, column in (("ks", "kolmogorov_smirnov"), ("jensen_shannon", "jensen_shannon")):
        theirs = printed(DRIFT, f"{FEATURE}/{column}/value")
        found[f"{column.replace('_', '-')} of {FEATURE}"] = furthest([getattr(d, name) for d in drift], theirs)
    return found


def test_estimates_are_those_that_were_published(apart):
    assert max(far for name, far in apart.items() if name.startswith("estimated")) < DIGITS


def test_what_came_true_is_what_was_published(apart):
    for name in (*EXACT, *(f"{cell.replace('_', ' ')}s" for cell in CELLS)):
        assert apart[name] < DIGITS, name


def test_figures_of_scores_are_those_that_were_published_within_their_bounds(chunks):
    for name, column in (("auc", "roc_auc"), ("average_precision", "average_precision")):
        for (_, _, were), theirs in zip(chunks, printed(REALISED, f"{column}/value"), strict=True):
            assert abs(were[name].value - theirs) <= were[name].error_bound + DIGITS


def test_an_interval_is_as_wide_as_the_published_error_of_sampling_makes_it(chunks):
    """Theirs is the reference's, for every chunk alike; ours is the chunk's own and grows when the model does worse."""

    def ratios(name, column):
        theirs = printed(REALISED, f"{column}/sampling_error")
        return [
            (were[name].high - were[name].low) / 2 / 1.96 / error
            for (_, _, were), error in zip(chunks, theirs, strict=True)
        ]

    for name in ("accuracy", "precision", "recall", "specificity"):
        found = ratios(name, name)
        assert all(0.9 < ratio < 1.1 for ratio in found[:5]), name
        assert all(1 < ratio < 1.4 for ratio in found[5:]), name
    assert all(1.2 < ratio < 1.65 for ratio in ratios("auc", "roc_auc"))
    assert all(0.5 < ratio < 0.67 for ratio in ratios("f1", "f1"))


def test_drift_is_what_was_published_within_what_bins_can_hide(chunks, baseline):
    theirs = printed(DRIFT, f"{FEATURE}/kolmogorov_smirnov/value")
    for (totals, _, _), expected in zip(chunks, theirs, strict=True):
        found = drift_of(totals, baseline)[FEATURE]
        assert found.ks - DIGITS <= expected <= found.ks + found.error_bounds["ks"] + DIGITS


def test_the_estimates_see_the_drop_that_is_known(chunks):
    auc = [said["auc"] for _, said, _ in chunks]
    assert min(auc[:5]) > max(auc[5:]) + 0.005


def test_the_page_tells_the_largest_differences(apart):
    told = dict(re.findall(r"^\| (.+?) \| ([\d.e-]+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert told == {name: f"{far:.1e}" if far > 1e-9 else "0" for name, far in apart.items()}
