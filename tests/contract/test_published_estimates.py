"""Estimates without outcomes on car_loan, chunk by chunk, beside the tables that NannyML 0.13.1 printed."""

from __future__ import annotations

import numpy as np
import pytest
from tests.engine import Engine
from tests.streams import beside, published, rows

from driftline.core.baseline import make_baseline
from driftline.core.binning import to_numbers
from driftline.core.estimation import calibration, estimates
from driftline.core.pane import Layout, Pane, Totals
from driftline.events.inputs import Prediction
from driftline.spec.reader import parse_spec

TABLE = "tutorial_estimating_standard_performance_metrics_binary"
CHUNK = 5_000
LARGEST = 5e-7
"""The largest difference from the published figures in any chunk: they have six digits."""

pytestmark = beside

SPEC = parse_spec(
    """
model: car_loan
task: binary
labels: ["0", "1"]
positive: "1"
features: {driver_tenure: {type: number}}
horizon: 400d
windows: {day: {span: 24h}}
""",
    "spec",
)


@pytest.fixture(scope="module")
def chunks():
    """What the served predictions of each chunk are expected to be, by figure."""
    reference, served = rows("car_loan", "reference"), rows("car_loan", "predictions")
    baseline = make_baseline(
        SPEC,
        {"driver_tenure": [float(row["driver_tenure"]) for row in reference]},
        to_numbers([float(row["proba_a"]) for row in reference]),
        [row["pred_a"] for row in reference],
        "a",
        "reference rows",
        [str(int(float(row["label"]))) for row in reference],
    )
    layout = Layout(baseline.bins)
    known = Totals(layout, np.concatenate([baseline.counts[name] for name in layout.cells]), {})
    expected = estimates(calibration(known))
    engine, found = Engine(SPEC, {"a": layout}, 60_000), []
    for chunk in range(len(served) // CHUNK):
        events = []
        for i, row in enumerate(served[chunk * CHUNK : (chunk + 1) * CHUNK]):
            told = {"id": f"{chunk}/{i}", "model": "car_loan", "version": "a", "time": chunk * 60_000}
            features = {"driver_tenure": float(row["driver_tenure"])}
            event = Prediction(**told, features=features, prediction=row["pred_a"], score=float(row["proba_a"]))
            events.append((chunk * 60_000, event))
        (delta,) = engine.feed(events).panes[chunk]
        totals = Totals.of(layout, [Pane.of(np.array(delta.cells), np.array(delta.counts), delta.sums)])
        found.append({name: formula.point(totals) for name, formula in expected.items()})
    return found


def printed(column):
    """The column of the analysis period, a figure a chunk."""
    table = published("car_loan", TABLE)
    return [float(row[f"{column}/value"]) for row in table if row["chunk/period"] == "analysis"]


@pytest.mark.parametrize(("name", "column"), [("auc", "roc_auc"), ("accuracy", "accuracy"), ("f1", "f1")])
def test_estimates_are_those_that_were_published(chunks, name, column):
    theirs, ours = printed(column), [chunk[name].value for chunk in chunks]
    assert len(theirs) == len(ours) == 10
    assert max(abs(a - b) for a, b in zip(theirs, ours, strict=True)) < LARGEST


def test_the_estimates_see_the_drop_that_is_known(chunks):
    auc = [chunk["auc"].value for chunk in chunks]
    assert min(auc[:5]) > max(auc[5:]) + 0.005
