"""From what counts to what each slice changed in which pane: all models and slices of a batch at once.

Every prediction and every join gives a handful of (group, cell) pairs; sorted, equal ones stand together and are
counted. So the work follows the number of events, not the number of models, panes or cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.core.binning import DELAY_EDGES, LATENCY_EDGES
from driftline.core.columns import PredictionColumns
from driftline.core.edges import EdgeTable, EdgeTables
from driftline.core.ledger import Joined
from driftline.core.pane import SCALE, Layout
from driftline.core.plans import Plans
from driftline.core.series import SeriesTable
from driftline.events.slices import PaneDelta

I64 = NDArray[np.int64]
IntArray = NDArray[np.integer[Any]]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

LARGEST_RATIO = 1e9
"""A truth near 0 makes an error relative to it as large as can be: it is held to this."""
LARGE = float(1 << 52)
"""Terms that add up to less have whole parts that fit into 64 bits; so do the fractions, in fixed point, of 2^23."""


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
        self._table, self._labels, self._positive, self._confusion, self._score, self._negative, self._positives = (
            np.zeros(size, np.int64) for _ in range(7)
        )
        self._prediction, self._errors, self.not_negative, self.nonzero_truth = (
            np.zeros(size, np.int64) for _ in range(4)
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
                self._errors[series], self.centre[series] = len(edges), layout.centre
                self.not_negative[series] = cells["not_negative"].start
                self.nonzero_truth[series] = cells["nonzero_truth"].start
                edges.append(EdgeTable(layout.error_edges.tolist(), cells["absolute_error"].start))
                continue
            edges.append(EdgeTable(bins.score, 0))
            self._labels[series], self._positive[series] = len(bins.labels), bins.labels.index(str(bins.positive))
            self._confusion[series], self._score[series] = cells["confusion"].start, cells["score"].start
            self._prediction[series] = cells["prediction"].start
            self._negative[series], self._positives[series] = cells["score|neg"].start, cells["score|pos"].start
        self._edges = EdgeTables(edges)

    def answer_cells(self, series: IntArray, answers: F64) -> I64:
        """The cell of each score, or predicted number, among all predictions."""
        return self._binned(series, answers) + self._score[series]

    def label_cells(self, series: IntArray, label: NDArray[np.uint8]) -> I64:
        """The cell of each predicted label among all predictions."""
        cells: I64 = self._prediction[series] + label
        return cells

    def latency_cells(self, series: IntArray, latency: F64) -> I64:
        """The cell of each latency."""
        cells: I64 = self._latency[series] + np.searchsorted(LATENCY_EDGES, latency, side="right")
        return cells

    def delay_cells(self, joined: Joined) -> I64:
        """The cell of the time from the start of each prediction's pane to its outcome."""
        delay = joined.time - joined.pane * self._pane_ms[joined.series]
        cells: I64 = self._delay[joined.series] + np.searchsorted(DELAY_EDGES, delay, side="right")
        return cells

    def error_cells(self, series: IntArray, sizes: F64) -> I64:
        """The cell of each absolute error."""
        return self._found(self._errors[series], sizes)

    def positive(self, series: IntArray, truth: I64) -> Bools:
        """Whether each outcome is its model's positive label."""
        found: Bools = truth == self._positive[series]
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


def count(
    table: SeriesTable, plans: Plans, kinds: Kinds, new: PredictionColumns, joined: Joined
) -> dict[int, list[PaneDelta]]:
    """By slice, what changed in each pane, in the order of model, version, role, pane."""
    groups = _Groups(table, new, joined)
    of = kinds.tables
    cells = _Cells(groups.size, of.width)
    cells.add(groups.of_new, np.zeros(new.size, np.int64))
    features = plans.tables
    for rows, found in (
        features.number_cells(new.plan, new.numbers),
        features.category_cells(new.plan, new.categories),
    ):
        cells.add(groups.of_new[rows], found)
    cells.add(groups.of_new, of.answer_cells(new.series, new.answer))
    labels = ~of.regression[new.series]
    cells.add(groups.of_new[labels], of.label_cells(new.series[labels], new.label[labels]))
    timed = ~np.isnan(new.latency)
    cells.add(groups.of_new[timed], of.latency_cells(new.series[timed], new.latency[timed]))
    cells.add(groups.of_joined, of.delay_cells(joined), joined.sign)
    sums: Sums = {}
    numeric = of.regression[joined.series]
    cells.add(groups.of_joined, np.ones(joined.sign.size, np.int64), joined.sign)
    if numeric.any():
        _count_errors(of, joined.chosen(numeric), groups.of_joined[numeric], cells, sums)
    if not numeric.all():
        _count_labels(of, joined.chosen(~numeric), groups.of_joined[~numeric], cells, sums)
    return _deltas(table, kinds, groups, cells, sums)


class _Groups:
    """What a pane delta belongs to: (slice, series, role, pane), numbered in the order in which deltas are told."""

    def __init__(self, table: SeriesTable, new: PredictionColumns, joined: Joined) -> None:
        columns = [
            np.concatenate([ours.astype(np.int64), theirs.astype(np.int64)])
            for ours, theirs in (
                (new.slice, joined.slice),
                (new.series, joined.series),
                (new.shadow, joined.shadow),
                (new.pane, joined.pane),
            )
        ]
        columns[1] = table.ranks[columns[1]]  # so that order does not depend on who was seen first
        self._unique, which = _numbered(columns)
        self.of_new, self.of_joined = which[: new.size], which[new.size :]
        self.size = self._unique[0].size
        self._by_rank = table.by_rank

    def each(self) -> list[tuple[int, int, bool, int]]:
        """(slice, series, shadow, pane) by number."""
        slices, series, shadow, pane = self._unique
        return list(
            zip(slices.tolist(), self._by_rank[series].tolist(), (shadow > 0).tolist(), pane.tolist(), strict=True)
        )


def _numbered(columns: Sequence[I64]) -> tuple[list[I64], I64]:
    """The different rows of `columns`, in order, and the number of each row among them."""
    spans = [(int(column.min(initial=0)), int(column.max(initial=0))) for column in columns]
    code = np.zeros(columns[0].size, np.int64)
    room = 1
    for column, (low, high) in zip(columns, spans, strict=True):
        room *= high - low + 1
        code = code * (high - low + 1) + (column - low)
    if room > 2**62:  # too far apart for one number: rank them first
        ranked = [np.unique(column, return_inverse=True)[1].reshape(-1) for column in columns]
        _, first, which = np.unique(np.column_stack(ranked), axis=0, return_index=True, return_inverse=True)
    else:
        _, first, which = np.unique(code, return_index=True, return_inverse=True)
    return [column[first] for column in columns], which.reshape(-1)


class _Cells:
    """Collects (group, cell) pairs, to be added or taken back, and adds them up."""

    def __init__(self, groups: int, width: int) -> None:
        self._groups, self._width = groups, width
        self._added: list[I64] = []
        self._taken: list[I64] = []

    def add(self, groups: I64, cells: I64, sign: I64 | None = None) -> None:
        codes = groups * self._width + cells
        if sign is None:
            self._added.append(codes)
        else:
            self._added.append(codes[sign > 0])
            self._taken.append(codes[sign < 0])

    def totals(self) -> tuple[I64, I64, I64]:
        """Cells and counts of all groups, none 0, and where each group begins (one more entry than groups)."""
        codes, counts = _counted(self._added)
        gone, times = _counted(self._taken)
        if gone.size:
            codes, where = np.unique(np.concatenate([codes, gone]), return_inverse=True)
            signed = np.concatenate([counts, -times])
            counts = np.zeros(codes.size, np.int64)
            np.add.at(counts, where, signed)
            codes, counts = codes[counts != 0], counts[counts != 0]
        starts = np.searchsorted(codes, np.arange(self._groups + 1) * self._width)
        return codes % self._width, counts, starts


def _counted(parts: Sequence[I64]) -> tuple[I64, I64]:
    codes = np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)
    if not codes.size:
        return codes, codes
    starts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
    return codes[starts], np.diff(np.append(starts, codes.size))


Sums = dict[int, dict[str, int]]
"""Fixed-point sums by name, by group."""


def _count_errors(of: KindTables, joined: Joined, groups: I64, cells: _Cells, sums: Sums) -> None:
    """What numbers that came true add, or take back."""
    answer, truth, sign = joined.answer, joined.truth, joined.sign
    errors = answer - truth
    sizes = np.abs(errors)
    both = np.abs(answer) + np.abs(truth)
    from_centre = truth - of.centre[joined.series]
    for name, terms in (
        ("absolute_error", sizes),
        ("error", errors),
        ("squared_error", errors * errors),
        ("truth", from_centre),
        ("squared_truth", from_centre * from_centre),
        ("symmetric_error", np.divide(2 * sizes, both, out=np.zeros(sizes.size), where=both > 0)),
    ):
        _add_sums(sums, name, groups, sign, terms)
    cells.add(groups, of.error_cells(joined.series, sizes), sign)
    logged, divided = (answer >= 0) & (truth >= 0), truth != 0
    if logged.any():
        logs = np.log1p(answer[logged]) - np.log1p(truth[logged])
        _add_sums(sums, "squared_log_error", groups[logged], sign[logged], logs * logs)
        cells.add(groups[logged], of.not_negative[joined.series[logged]], sign[logged])
    if divided.any():
        with np.errstate(over="ignore"):
            shares = np.minimum(sizes[divided] / np.abs(truth[divided]), LARGEST_RATIO)
        _add_sums(sums, "relative_error", groups[divided], sign[divided], shares)
        cells.add(groups[divided], of.nonzero_truth[joined.series[divided]], sign[divided])


def _count_labels(of: KindTables, joined: Joined, groups: I64, cells: _Cells, sums: Sums) -> None:
    """What labels that came true add, or take back."""
    truth, label = joined.truth.astype(np.int64), joined.label.astype(np.int64)
    cells.add(groups, of.confusion_cells(joined.series, truth, label), joined.sign)
    positive = of.positive(joined.series, truth)
    cells.add(groups, of.labelled_score_cells(joined.series, joined.answer, positive), joined.sign)
    scored = ~np.isnan(joined.answer)
    scores, came = joined.answer[scored], positive[scored]
    _add_sums(sums, "log_loss", groups[scored], joined.sign[scored], log_losses(scores, came))
    _add_sums(sums, "brier", groups[scored], joined.sign[scored], (np.clip(scores, 0, 1) - came) ** 2)


def log_losses(scores: F64, positive: Bools) -> F64:
    """Negative log likelihood of each outcome, natural logarithm; scores are held to [eps, 1 - eps] of a double."""
    eps = np.finfo(np.float64).eps
    p = np.clip(scores, eps, 1 - eps)
    return np.where(positive, -np.log(p), -np.log1p(-p))


def _add_sums(sums: Sums, name: str, groups: I64, sign: I64, terms: F64) -> None:
    """Add terms to the sums of their groups. Each is rounded once, then all is integer."""
    if not terms.size:
        return
    if float(np.abs(terms).max()) * terms.size < LARGE:
        whole = np.trunc(terms)  # whole parts by themselves, so that neither sum leaves 64 bits
        wholes, parts = np.zeros((2, int(groups.max()) + 1), np.int64)
        np.add.at(wholes, groups, whole.astype(np.int64) * sign)
        np.add.at(parts, groups, np.rint((terms - whole) * SCALE).astype(np.int64) * sign)
        for group in np.unique(groups).tolist():
            of_group = sums.setdefault(group, {})
            of_group[name] = of_group.get(name, 0) + int(wholes[group]) * SCALE + int(parts[group])
        return
    for group, direction, term in zip(groups.tolist(), sign.tolist(), terms.tolist(), strict=True):
        of_group = sums.setdefault(group, {})
        of_group[name] = of_group.get(name, 0) + direction * fixed_point(term)


def fixed_point(term: float) -> int:
    """A finite term as an integer of 1/SCALE, rounded half to even; the product by a power of two is exact."""
    numerator, denominator = term.as_integer_ratio()
    quotient, rest = divmod(numerator * SCALE, denominator)
    doubled = 2 * rest
    return quotient + (doubled > denominator or (doubled == denominator and quotient % 2 == 1))


def _deltas(table: SeriesTable, kinds: Kinds, groups: _Groups, cells: _Cells, sums: Sums) -> dict[int, list[PaneDelta]]:
    where, counts, starts = cells.totals()
    cell_list, count_list, start_list = where.tolist(), counts.tolist(), starts.tolist()
    deltas: dict[int, list[PaneDelta]] = {}
    for group, (number, series, shadow, pane) in enumerate(groups.each()):
        begin, end = start_list[group], start_list[group + 1]
        totals = {name: value for name, value in sorted(sums.get(group, {}).items()) if value}
        if begin == end and not totals:
            continue
        entry = table[series]
        delta = PaneDelta(
            model=entry.model,
            version=entry.version or "",
            role="shadow" if shadow else "champion",
            pane=pane,
            bins=kinds[series][0],
            cells=tuple(cell_list[begin:end]),
            counts=tuple(count_list[begin:end]),
            sums=totals,
        )
        deltas.setdefault(number, []).append(delta)
    return deltas
