"""Metrics of models with many labels: of all of them together, and of each against the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from driftline.core.metrics.closed_forms import hanley_mcneil, left_out_rows, score_of_table
from driftline.core.metrics.confusion import by_score
from driftline.core.metrics.formula import Draws, FloatArray, Formula, Interval, ratio
from driftline.core.metrics.scores import auc_of, many_aucs, orderless, rarer_class
from driftline.core.pane import Layout, Totals
from driftline.events.reports import MetricValue

Counts = TypeVar("Counts", FloatArray, NDArray[np.int64])


class Margins(NamedTuple):
    """How often each label was predicted rightly, came true, was predicted: (m, labels) each."""

    hits: FloatArray
    actual: FloatArray
    predicted: FloatArray


Each = Callable[[Margins], FloatArray]
"""A figure of each label, (m, labels): NaN where it is not defined."""
Of = Callable[[Margins], FloatArray]
"""A figure of all labels together, (m,)."""


def precision(m: Margins) -> FloatArray:
    """Of those that were predicted to be of a label, the share that is."""
    return ratio(m.hits, m.predicted)


def recall(m: Margins) -> FloatArray:
    """Of those that are of a label, the share that was predicted to be."""
    return ratio(m.hits, m.actual)


def f1(m: Margins) -> FloatArray:
    """2 hits / (predicted + actual)."""
    return ratio(2 * m.hits, m.predicted + m.actual)


def macro(each: Each) -> Of:
    """The mean over the labels that occur, as an outcome or a prediction; what is not defined of one counts as 0."""

    def of(m: Margins) -> FloatArray:
        occurs = (m.actual + m.predicted) > 0
        return ratio(np.where(occurs, np.nan_to_num(each(m)), 0.0).sum(axis=1), occurs.sum(axis=1))

    return of


def _weighted(each: Each) -> Of:
    """The mean over the outcomes of their labels' figures."""
    return lambda m: ratio((np.nan_to_num(each(m)) * m.actual).sum(axis=1), m.actual.sum(axis=1))


def _micro(m: Margins) -> FloatArray:
    """All labels taken together: each prediction is one, so precision, recall and F1 are the same."""
    return ratio(m.hits.sum(axis=1), m.predicted.sum(axis=1))


def _margins(layout: Layout, counts: FloatArray) -> Margins:
    """Of histograms of (outcome, prediction)."""
    matrices = counts.reshape(-1, len(layout.bins.labels), len(layout.bins.labels))
    return Margins(np.diagonal(matrices, axis1=1, axis2=2), matrices.sum(axis=2), matrices.sum(axis=1))


def _margins_of(totals: Totals) -> Margins:
    return _margins(totals.layout, totals.histogram("confusion").astype(np.float64))


def _margins_in(draws: Draws) -> Margins:
    """Those of a draw are sums of its blocks'."""
    return Margins(*(draws.weights @ part for part in _margins(draws.layout, draws.blocks("confusion"))))


def _without_a_row(totals: Totals) -> tuple[Margins, FloatArray]:
    """The margins without a row of each cell of the confusion matrix in turn, and how many rows each has."""
    size = len(totals.layout.bins.labels)
    matrix = totals.histogram("confusion").reshape(size, size)
    outcome, prediction = np.nonzero(matrix)
    place = np.arange(outcome.size)
    hits, actual, predicted = (np.repeat(part, outcome.size, axis=0) for part in _margins_of(totals))
    hits[place, outcome] -= outcome == prediction
    actual[place, outcome] -= 1
    predicted[place, prediction] -= 1
    return Margins(hits, actual, predicted), matrix[outcome, prediction].astype(np.float64)


def _number(found: FloatArray) -> float | None:
    return None if np.isnan(found[0]) else float(found[0])


def _together(of: Of) -> Formula:
    """A figure of all rows; as long as rows are independent, leaving one out tells its interval."""

    def closed(totals: Totals, value: MetricValue, _: float) -> Interval | None:
        without, times = _without_a_row(totals)
        assert value.value is not None, "asked only where there is a value"
        return left_out_rows(value.value, of(without), times)

    return Formula(
        lambda totals: MetricValue(value=_number(of(_margins_of(totals))), n=totals.labelled),
        lambda draws: of(_margins_in(draws)),
        closed,
    )


def of_label(name: str, label: str) -> Formula:
    """The binary metric `name` of one label against the rest."""
    if name == "auc":
        return _auc_of_label(label)
    each = {"precision": precision, "recall": recall, "f1": f1}[name]

    def one(layout: Layout) -> Of:
        place = layout.bins.labels.index(label)
        if name == "f1":  # as of a binary model: 0 where there is nothing positive
            return lambda m: np.where(m.actual.sum(axis=1) > 0, np.nan_to_num(f1(m)[:, place]), np.nan)
        return lambda m: each(m)[:, place]

    def point(totals: Totals) -> MetricValue:
        margins, place = _margins_of(totals), totals.layout.bins.labels.index(label)
        rows = {"precision": margins.predicted, "recall": margins.actual}.get(name)
        n = totals.labelled if rows is None else int(rows[0, place])
        return MetricValue(value=_number(one(totals.layout)(margins)), n=n)

    def scarce(totals: Totals) -> float:
        margins, place = _margins_of(totals), totals.layout.bins.labels.index(label)
        hits, actual, predicted = (float(part[0, place]) for part in margins)
        rows = {"precision": predicted, "recall": actual}.get(name, actual + predicted - hits)
        return min(hits, rows - hits)

    def of_table(totals: Totals, _: MetricValue, spread: float) -> Interval:
        margins, place = _margins_of(totals), totals.layout.bins.labels.index(label)
        hits, actual, predicted = (float(part[0, place]) for part in margins)
        rest = totals.labelled - actual - predicted + hits
        table = np.array([[[rest, predicted - hits], [actual - hits, hits]]])
        return score_of_table(
            lambda m: 2 * m[:, 1, 1] / (m[:, 1].sum(axis=1) + m[:, :, 1].sum(axis=1)), table, (0.0, 1.0), spread
        )

    closed = of_table if name == "f1" else by_score
    return Formula(point, lambda draws: one(draws.layout)(_margins_in(draws)), closed, scarce)


def _of_row(layout: Layout, counts: Counts, place: int) -> Counts:
    """The histogram of one label's probability: (..., bins)."""
    return counts[..., place * layout.label_bins : (place + 1) * layout.label_bins]


def _label_auc(totals: Totals, place: int) -> MetricValue:
    layout = totals.layout
    bins = len(layout.bins.scores[place]) + 1
    negative, positive = (
        _of_row(layout, totals.histogram(name), place)[:bins] for name in ("scores|neg", "scores|pos")
    )
    return auc_of(negative, positive, orderless(layout.bins.scores[place]))


def _label_aucs(draws: Draws, place: int) -> FloatArray:
    negative, positive = (_of_row(draws.layout, draws.blocks(name), place) for name in ("scores|neg", "scores|pos"))
    return many_aucs(draws.weights, negative, positive)


def _auc_of_label(label: str) -> Formula:
    def classes(totals: Totals) -> tuple[int, int]:
        place = totals.layout.bins.labels.index(label)
        negative, positive = (
            int(_of_row(totals.layout, totals.histogram(name), place).sum()) for name in ("scores|neg", "scores|pos")
        )
        return positive, negative

    def closed(totals: Totals, value: MetricValue, spread: float) -> Interval:
        assert value.value is not None, "asked only where there is a value"
        return Interval(*hanley_mcneil(value.value, *classes(totals), spread), "hanley-mcneil")

    return Formula(
        lambda totals: _label_auc(totals, totals.layout.bins.labels.index(label)),
        lambda draws: _label_aucs(draws, draws.layout.bins.labels.index(label)),
        closed,
        lambda totals: rarer_class(_label_auc(totals, totals.layout.bins.labels.index(label)), *classes(totals)),
    )


def _auc_ovr(totals: Totals) -> MetricValue:
    """The mean over the labels that some rows are of and others are not; so is the bound."""
    each = [_label_auc(totals, place) for place in range(len(totals.layout.bins.labels))]
    known = [(found.value, found.error_bound) for found in each if found.value is not None]
    n = max((found.n for found in each), default=0)
    if not known:
        return MetricValue(value=None, n=n)
    value, bound = (sum(parts) / len(known) for parts in zip(*known, strict=True))
    return MetricValue(value=value, n=n, error_bound=bound)


def _many_auc_ovr(draws: Draws) -> FloatArray:
    each = np.stack([_label_aucs(draws, place) for place in range(len(draws.layout.bins.labels))])
    known = ~np.isnan(each)
    return ratio(np.nan_to_num(each).sum(axis=0), known.sum(axis=0))


MANY_LABELS: dict[str, Formula] = {
    **{f"{each.__name__}_macro": _together(macro(each)) for each in (precision, recall, f1)},
    **{f"{each.__name__}_micro": _together(_micro)._replace(closed=by_score) for each in (precision, recall, f1)},
    **{f"{each.__name__}_weighted": _together(_weighted(each)) for each in (precision, recall, f1)},
    "auc_ovr": Formula(_auc_ovr, _many_auc_ovr),
}
