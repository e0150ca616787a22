"""How each version is counted: in which cells its answers and outcomes fall, for rows of any versions at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.core.arrivals import Joined
from driftline.core.binning import DELAY_EDGES, LATENCY_EDGES
from driftline.core.columns import PredictionColumns
from driftline.core.edges import EdgeTable, EdgeTables
from driftline.core.pane import PROBABILITY_BYTES, Layout
from driftline.core.plans import UNTOLD

I64 = NDArray[np.int64]
IntArray = NDArray[np.integer[Any]]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
U8 = NDArray[np.uint8]

NO_LABEL = -1
"""Stands for the positive label of a model that has none."""


class Kinds:
    """How each series of predictions is counted: the id of its bins, the layout that follows from them, its panes."""

    def __init__(self) -> None:
        self._kinds: dict[int, tuple[str, Layout]] = {}
        self._pane_ms: dict[int, int] = {}
        self._tables: KindTables | None = None

    def __contains__(self, series: int) -> bool:
        return series in self._kinds

    def __getitem__(self, series: int) -> tuple[str, Layout]:
        return self._kinds[series]

    def add(self, series: int, bins_id: str, layout: Layout, pane_ms: int) -> None:
        """Say how a series is counted, once and for good, and how long its panes are."""
        self._kinds[series] = bins_id, layout
        self._pane_ms[series] = pane_ms
        self._tables = None

    @property
    def tables(self) -> KindTables:
        """Arrays over all series."""
        if self._tables is None:
            self._tables = KindTables(self._kinds, self._pane_ms)
        return self._tables


class KindTables:
    """What the cells of answers and outcomes follow from, by series."""

    def __init__(self, kinds: Mapping[int, tuple[str, Layout]], pane_ms: Mapping[int, int]) -> None:
        size = max(kinds, default=0) + 1
        self._pane_ms, self._latency, self._delay = (np.zeros(size, np.int64) for _ in range(3))
        self.width = max((layout.size for _, layout in kinds.values()), default=1)
        self.regression = np.zeros(size, np.bool_)
        self.multiclass = np.zeros(size, np.bool_)
        self._table, self._labels, self._positive, self._confusion, self._score, self._negative, self._positives = (
            np.zeros(size, np.int64) for _ in range(7)
        )
        self._prediction, self._said, self._sizes, self.not_negative, self.nonzero_truth = (
            np.zeros(size, np.int64) for _ in range(5)
        )
        self.centre = np.zeros(size)
        edges: list[EdgeTable] = []
        for series, (_, layout) in kinds.items():
            bins, cells = layout.bins, layout.cells
            self._table[series] = len(edges)
            self._pane_ms[series] = pane_ms[series]
            self._latency[series], self._delay[series] = cells["latency"].start, cells["label_delay"].start
            if bins.score is None:
                assert bins.prediction is not None, "bins have a score or a prediction"
                self.regression[series] = True
                edges.append(EdgeTable.of_numbers(bins.prediction, cells["prediction"].start))
                self._sizes[series], self.centre[series] = len(edges), layout.centre
                self.not_negative[series] = cells["not_negative"].start
                self.nonzero_truth[series] = cells["nonzero_truth"].start
                edges.append(EdgeTable(layout.error_edges.tolist(), cells["absolute_error"].start))
                continue
            edges.append(EdgeTable(bins.score, 0))
            self._labels[series], self._prediction[series] = len(bins.labels), cells["prediction"].start
            self._confusion[series], self._score[series] = cells["confusion"].start, cells["score"].start
            self._negative[series], self._positives[series] = cells["score|neg"].start, cells["score|pos"].start
            if bins.scores:
                self.multiclass[series], self._positive[series] = True, NO_LABEL
                continue
            self._positive[series], self._said[series] = (
                bins.labels.index(str(bins.positive)),
                cells["score|said"].start,
            )
        self._edges = EdgeTables(edges)
        self._errors = ErrorTables(size, kinds)
        self.shares = ShareTables(kinds)

    def errors_by_feature(self, joined: Joined) -> tuple[I64, I64]:
        """Row and cell of each feature's value by whether the prediction was right."""
        wrong = np.where(
            self.regression[joined.series],
            np.abs(joined.answer - joined.truth) > self._errors.large[joined.series],
            joined.truth != joined.label,
        )
        return self._errors.cells(joined.series, wrong, joined.tail)

    def answer_cells(self, series: IntArray, answers: F64) -> I64:
        """The cell of each score, or predicted number, among all predictions."""
        return self._binned(series, answers) + self._score[series]

    def label_cells(self, new: PredictionColumns) -> tuple[I64, I64]:
        """Row and cell of each predicted label among all predictions."""
        rows = np.flatnonzero(~self.regression[new.series])
        return rows, self._prediction[new.series[rows]] + new.label[rows]

    def said_cells(self, new: PredictionColumns, answers: I64) -> tuple[I64, I64]:
        """Row and cell of each score of a positive prediction; `answers`: what `answer_cells` gave."""
        rows = np.flatnonzero(~self.regression[new.series] & (new.label == self._positive[new.series]))
        series = new.series[rows]
        return rows, answers[rows] - self._score[series] + self._said[series]

    def latency_cells(self, new: PredictionColumns) -> tuple[I64, I64]:
        """Row and cell of each latency that was told."""
        rows = np.flatnonzero(~np.isnan(new.latency))
        found = np.searchsorted(LATENCY_EDGES, new.latency[rows], side="right")
        return rows, self._latency[new.series[rows]] + found

    def delay_cells(self, joined: Joined) -> I64:
        """The cell of the time from the start of each prediction's pane to its outcome."""
        delay = joined.time - joined.pane * self._pane_ms[joined.series]
        cells: I64 = self._delay[joined.series] + np.searchsorted(DELAY_EDGES, delay, side="right")
        return cells

    def error_cells(self, series: IntArray, sizes: F64) -> I64:
        """The cell of each absolute error."""
        return self._found(self._sizes[series], sizes)

    def positive(self, series: IntArray, truth: I64, label: I64) -> Bools:
        """Whether each outcome is its model's positive label; multiclass: whether the prediction came true."""
        found: Bools = truth == np.where(self.multiclass[series], label, self._positive[series])
        return found

    def confusion_cells(self, series: IntArray, truth: I64, label: I64) -> I64:
        """The cell of each pair of outcome and prediction."""
        cells: I64 = truth * self._labels[series] + label + self._confusion[series]
        return cells

    def labelled_score_cells(self, series: IntArray, answers: F64, positive: Bools) -> I64:
        """The cell of each score among those of its outcome."""
        return self._binned(series, answers) + np.where(positive, self._positives[series], self._negative[series])

    def _binned(self, series: IntArray, answers: F64) -> I64:
        return self._found(self._table[series], answers)

    def _found(self, table: I64, answers: F64) -> I64:
        one = table.size and bool((table == table[0]).all())
        return self._edges.cells(int(table[0]) if one else table, answers)


class ShareTables:
    """The probabilities of labels in the tails of multiclass predictions, and where they are counted, by series."""

    def __init__(self, kinds: Mapping[int, tuple[str, Layout]]) -> None:
        self._layouts = {series: layout for series, (_, layout) in kinds.items() if layout.bins.scores}
        self._edges = {
            series: EdgeTables([EdgeTable(edges, i * layout.label_bins) for i, edges in enumerate(layout.bins.scores)])
            for series, layout in self._layouts.items()
        }

    def told(self, series: IntArray, tails: U8) -> Iterator[tuple[Layout, I64, F64]]:
        """The rows of each series whose labels have probabilities, and these: (rows, labels)."""
        if not self._layouts:
            return
        for code in self._layouts.keys() & set(np.unique(series).tolist()):
            layout, rows = self._layouts[code], np.flatnonzero(series == code)
            begin, size = len(layout.bins.features), PROBABILITY_BYTES * len(layout.bins.scores)
            shares = np.ascontiguousarray(tails[rows, begin : begin + size]).view(np.float64)
            some = ~np.isnan(shares[:, 0])
            yield layout, rows[some], shares[some]

    def of_predictions(self, series: IntArray, tails: U8, label: IntArray) -> tuple[I64, I64]:
        """Row and cell of each label's probability, and once more of the label that was predicted."""
        found = []
        for layout, rows, shares in self.told(series, tails):
            cells = self._cells(series, rows, shares)
            said = cells[np.arange(rows.size), label[rows]] + layout.cells["scores|said"].start
            cells += layout.cells["scores"].start
            found += [(np.repeat(rows, cells.shape[1]), cells.reshape(-1)), (rows, said)]
        return _joined(found)

    def of_joined(self, joined: Joined) -> tuple[I64, I64]:
        """Row and cell of each label's probability by whether that label came true."""
        found = []
        for layout, rows, shares in self.told(joined.series, joined.tail):
            cells = self._cells(joined.series, rows, shares)
            came = np.arange(cells.shape[1]) == joined.truth[rows].astype(np.int64)[:, None]
            cells += np.where(came, layout.cells["scores|pos"].start, layout.cells["scores|neg"].start)
            found.append((np.repeat(rows, cells.shape[1]), cells.reshape(-1)))
        return _joined(found)

    def of_outcomes(self, joined: Joined) -> F64:
        """The probability of what came true, a row each; NaN where none was told, or the model is not multiclass."""
        chances = np.full(joined.series.size, np.nan)
        for _, rows, shares in self.told(joined.series, joined.tail):
            chances[rows] = shares[np.arange(rows.size), joined.truth[rows].astype(np.int64)]
        return chances

    def _cells(self, series: IntArray, rows: I64, shares: F64) -> I64:
        """The cell of each probability from where its histograms begin."""
        if not rows.size:
            return np.empty((0, shares.shape[1]), np.int64)
        edges = self._edges[int(series[rows[0]])]
        return np.stack([edges.cells(i, column) for i, column in enumerate(shares.T)], axis=1)


def _joined(pairs: Sequence[tuple[I64, I64]]) -> tuple[I64, I64]:
    nothing = np.empty(0, np.int64)
    rows, cells = (np.concatenate([nothing, *(pair[i] for pair in pairs)]) for i in (0, 1))
    return rows, cells


class ErrorTables:
    """Where the cells of `right:NAME` and `wrong:NAME` begin, by series and place of the feature in the tails."""

    def __init__(self, size: int, kinds: Mapping[int, tuple[str, Layout]]) -> None:
        most = max((len(layout.bins.features) for _, layout in kinds.values()), default=0)
        self._right, self._wrong = (np.full((size, most), -1, np.int64) for _ in range(2))
        self.large = np.zeros(size)
        for series, (_, layout) in kinds.items():
            self.large[series] = layout.bins.large_error or 0.0
            for place, name in enumerate(layout.bins.features):
                if f"right:{name}" in layout.cells:
                    self._right[series, place] = layout.cells[f"right:{name}"].start
                    self._wrong[series, place] = layout.cells[f"wrong:{name}"].start

    def cells(self, series: IntArray, wrong: Bools, tails: U8) -> tuple[I64, I64]:
        """See `KindTables.errors_by_feature`. `tails` as in `core.rows`."""
        most = self._right.shape[1]
        begin = np.where(wrong[:, None], self._wrong[series], self._right[series])
        told = (begin >= 0) & (tails[:, :most] != UNTOLD)
        rows = np.repeat(np.arange(series.size), most).reshape(begin.shape)
        return rows[told], (begin + tails[:, :most])[told]
