"""A rule's figures of many windows at once, each a weighted sum of panes, without the reports around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from driftline.core.budget import FiguresOf, FloatArray
from driftline.core.drift import histogram_of, many
from driftline.core.estimation import calibration, estimates
from driftline.core.metrics import Draws, Formula, formula_of
from driftline.core.pane import Layout, Pane, Totals
from driftline.spec.metrics import higher_is_better
from driftline.spec.model import MonitorSpec, RuleSpec

AT_ONCE = 250


def greater_is_worse(rule: RuleSpec) -> bool:
    """The bad side of a rule's figure, which its spec has made sure that there is."""
    return rule.kind == "drift" or not higher_is_better(rule.target)


def figures_of(spec: MonitorSpec, rule: RuleSpec, layout: Layout, panes: Sequence[Pane]) -> FiguresOf:
    """The figures of one segment, as `rule` judges them, but turned so that greater is worse; `panes` in time order.

    A pane in which nothing came is empty. NaN where the rule would not judge: too few samples, too few outcomes, or
    a figure that is not defined.
    """
    if rule.kind == "drift":
        return _drift(rule, layout, panes)
    sign = 1.0 if greater_is_worse(rule) else -1.0
    if rule.kind == "metric":
        return _metric(rule, formula_of(rule.target, spec.costs), layout, panes, sign)
    meaning = calibration(Totals.of(layout, panes))
    if meaning is None:
        return lambda windows, *_: np.full(windows.shape[0], np.nan)
    return _metric(rule, estimates(meaning)[rule.target], layout, panes, sign)


def _metric(rule: RuleSpec, formula: Formula, layout: Layout, panes: Sequence[Pane], sign: float) -> FiguresOf:
    samples = np.array([formula.point(Totals.of(layout, [pane])).n for pane in panes], np.float64)
    counts = _counts(layout, panes)
    predicted, labelled = (counts[:, [cell]].toarray()[:, 0] for cell in (0, 1))

    def values_of(windows: csr_array) -> FloatArray:
        used = np.unique(windows.indices)
        blocks = Totals.of_parts(layout, [panes[number] for number in used], range(used.size), used.size)
        return sign * formula.resampled(Draws(blocks, windows[:, used].toarray()))

    def level(baseline: FloatArray) -> float:
        weights = baseline.astype(np.int64)
        sums: dict[str, int] = {}
        for weight, pane in zip(weights.tolist(), panes, strict=True):
            for name, value in pane.sums.items():
                sums[name] = sums.get(name, 0) + weight * value
        total = Totals(layout, (weights @ counts).astype(np.int64), sums)
        return sign * float(formula.resampled(Draws([total], np.ones((1, 1))))[0])

    def figures(windows: csr_array, compared: FloatArray, known: FloatArray) -> FloatArray:
        values = np.concatenate([np.empty(0), *(values_of(part) for part in _parts(windows))])
        if compared is not known:
            values += level(known) - level(compared)
        judged = windows @ samples >= max(1, rule.min_samples)
        if rule.kind == "metric":
            judged &= windows @ labelled >= rule.min_coverage * (windows @ predicted)
        return np.where(judged, values, np.nan)

    return figures


def _drift(rule: RuleSpec, layout: Layout, panes: Sequence[Pane]) -> FiguresOf:
    counts = _counts(layout, panes)
    parts = {}
    for name in rule.features:
        cells = layout.cells.get(histogram_of(layout, name)[0])
        if cells is not None:
            parts[name] = counts[:, cells.start : cells.stop]

    def figures(windows: csr_array, reference: FloatArray, _: FloatArray) -> FloatArray:
        return np.concatenate([np.empty(0), *(worst_of(part, reference) for part in _parts(windows))])

    def worst_of(windows: csr_array, reference: FloatArray) -> FloatArray:
        worst = np.full(windows.shape[0], np.nan)
        for name, part in parts.items():
            found = (windows @ part).toarray()
            values = many(layout, name, rule.target, found, reference @ part)
            enough = found.sum(axis=1) >= max(1, rule.min_samples)
            worst = np.fmax(worst, np.where(enough, values, np.nan))
        return worst

    return figures


def _parts(windows: csr_array) -> Iterator[csr_array]:
    """Some windows at a time, which share most of their panes: what is spread out of them then fits into memory."""
    for start in range(0, windows.shape[0], AT_ONCE):
        yield windows[start : start + AT_ONCE]


def _counts(layout: Layout, panes: Sequence[Pane]) -> csr_array:
    """(panes, cells of the layout)."""
    nothing: NDArray[np.int64] = np.empty(0, np.int64)
    ends = np.cumsum([0, *(pane.cells.size for pane in panes)])
    cells = np.concatenate([nothing, *(pane.cells for pane in panes)])
    counts = np.concatenate([nothing, *(pane.counts for pane in panes)]).astype(np.float64)
    return csr_array((counts, cells, ends), shape=(len(panes), layout.size))
