"""Real streams through a backtest, against numbers that scikit-learn gave outside this project."""

from __future__ import annotations

import pytest
from tests.streams import beside, golden, meta, path_of

import driftline
from driftline.backtesting.findings import Findings
from driftline.backtesting.job import Inputs, run
from driftline.backtesting.mapping import Columns
from driftline.spec.reader import parse_spec

SIDES = [("elec2", "a"), ("elec2", "b"), ("bike", "a"), ("bike", "b"), ("car_loan", "a")]

pytestmark = beside

SPEC = """
model: {name}
task: {task}
{labels}
features: {{{features}}}
horizon: 400d
lateness: 400d
pane: 1d
windows: {{everything: {{span: 20000d}}}}
"""
"""One window from 1970 on holds the whole stream, and is first told when every outcome is there."""


@pytest.fixture(scope="module", params=SIDES, ids="-".join)
def streamed(request) -> tuple[str, Findings, dict, dict]:
    stream, side = request.param
    known = meta(stream)
    binary = known["task"] == "binary"
    spec = parse_spec(
        SPEC.format(
            name=stream,
            task=known["task"],
            labels='labels: ["0", "1"]\npositive: "1"' if binary else "",
            features=", ".join(f"{name}: {{type: category, missing: allowed}}" for name in known["features"]),
        ),
        "spec",
    )
    files = (path_of(stream, name) for name in ("predictions", "outcomes", "reference"))
    named = Columns(prediction=f"pred_{side}", score=f"proba_{side}" if binary else None)
    return side, run(spec, Inputs(*files, named)), golden(stream), known


def test_every_row_is_counted_once(streamed):
    _, found, figures, _ = streamed
    counts = figures["counts"]
    assert found.rows == {"predictions": counts["predictions"], "outcomes": counts["outcome_rows"]}
    assert (found.predictions, found.joined) == (counts["predictions"], counts["joined"])
    assert found.counters == {"corrections": counts["duplicates"]}
    assert found.letters.total == 0


def test_metrics_are_those_of_scikit_learn(streamed):
    side, found, figures, known = streamed
    expected = figures["overall"][side]
    (told,) = found.reports.values()
    everybody = told.segments[0]
    assert everybody.labelled == expected["n"]
    if known["task"] == "regression":
        exact = ("mae", "rmse")
    else:
        exact = ("accuracy", "f1")
        auc = everybody.metrics["auc"]
        assert abs(auc.value - expected["roc_auc"]) <= auc.error_bound + 1e-12
    for name in exact:
        assert everybody.metrics[name].value == pytest.approx(expected[name], abs=1e-9)


def test_it_says_what_it_took_for_granted(streamed):
    _, found, _, _ = streamed
    assert sum("taken as UTC" in said for said in found.said) == 2


def test_the_same_from_python_with_data_frames():
    pd = pytest.importorskip("pandas")
    predictions, outcomes = (pd.read_csv(path_of("elec2", name)) for name in ("predictions", "outcomes"))
    counts = golden("elec2")["counts"]
    spec = parse_spec(
        SPEC.format(
            name="elec2",
            task="binary",
            labels='labels: ["0", "1"]\npositive: "1"',
            features="nswdemand: {type: number}",
        ),
        "spec",
    )
    done = driftline.backtest(spec, predictions, outcomes, prediction="pred_a", score="proba_a")
    assert done.predictions == counts["predictions"]
    assert done.coverage == counts["joined"] / counts["predictions"]
