"""Panes as the monitor makes them, from plain arrays: for tests of the numbers that are computed from panes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tests.engine import Engine

from driftline.core.binning import bins_from_reference
from driftline.core.pane import Layout, Pane
from driftline.events.inputs import Outcome, Prediction
from driftline.spec.reader import parse_spec

PANE_MS = 60_000
COMMON = "horizon: 48h\nlateness: 0s\npane: 1m\nwindows: {hour: {span: 1h}}\n"
BINARY = parse_spec(
    f"model: m\ntask: binary\nlabels: [no, yes]\npositive: yes\nfeatures: {{x: {{type: number}}}}\n{COMMON}", "binary"
)
ANIMALS = ("ant", "bee", "cat", "dog", "elk")
MULTICLASS = parse_spec(
    f"model: m\ntask: multiclass\nlabels: [{', '.join(ANIMALS)}]\nfeatures: {{x: {{type: number}}}}\n{COMMON}", "many"
)
REGRESSION = parse_spec(f"model: m\ntask: regression\nfeatures: {{x: {{type: number}}}}\n{COMMON}", "regression")


def binary_layout(reference_scores: Sequence[float] | None = None) -> Layout:
    """The layout of a binary version; its score bins follow the reference scores where given."""
    scores = None if reference_scores is None else np.asarray(reference_scores, dtype=float)
    return Layout(bins_from_reference(BINARY, {}, scores, None))


def multiclass_layout(reference: np.ndarray[tuple[int, int], np.dtype[np.float64]] | None = None) -> Layout:
    """The layout of a version with many labels; its bins follow the reference's probabilities, (rows, labels)."""
    said = None if reference is None else reference.max(axis=1)
    return Layout(bins_from_reference(MULTICLASS, {}, said, None, reference))


def regression_layout() -> Layout:
    """The layout of a regression version without reference."""
    return Layout(bins_from_reference(REGRESSION, {}, None, None))


def panes_of(
    layout: Layout,
    predicted: Sequence[object],
    actual: Sequence[object],
    scores: Sequence[float | dict[str, float] | None] | None = None,
    panes: int = 1,
) -> list[Pane]:
    """Rows spread evenly over `panes` panes in their order; an `actual` of None never gets an outcome."""
    spec = MULTICLASS if layout.bins.scores else BINARY if layout.bins.score is not None else REGRESSION
    predictions: list[tuple[int, Prediction | Outcome]] = []
    outcomes: list[tuple[int, Prediction | Outcome]] = []
    for i, (told, truth) in enumerate(zip(predicted, actual, strict=True)):
        time = i * panes // len(predicted) * PANE_MS
        event = Prediction(
            id=str(i),
            model="m",
            version="1",
            time=time,
            features={"x": 1.0},
            prediction=told,
            **({} if scores is None else {"scores" if layout.bins.scores else "score": scores[i]}),
        )
        predictions.append((time, event))
        if truth is not None:
            outcomes.append((time, Outcome(id=str(i), model="m", time=time, outcome=truth)))
    result = Engine(spec, {"1": layout}, PANE_MS * panes).feed([*predictions, *outcomes])
    found = [Pane() for _ in range(panes)]
    for deltas in result.panes.values():
        for delta in deltas:
            found[delta.pane] += Pane.of(np.array(delta.cells), np.array(delta.counts), delta.sums)
    return found
