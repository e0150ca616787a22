"""From what counts to what each slice changed in which pane: all models and slices of a batch at once.

Every prediction and every join gives a handful of (group, cell) pairs; sorted, equal ones stand together and are
counted. So the work follows the number of events, not the number of models, panes or cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.core.arrivals import Joined
from driftline.core.columns import PredictionColumns
from driftline.core.kinds import Kinds, KindTables
from driftline.core.pane import fine
from driftline.core.plans import FeatureCells
from driftline.core.segments import SegmentCodes
from driftline.core.series import SeriesTable
from driftline.core.sums import Sums, add_sums
from driftline.events.reports import ALL
from driftline.events.slices import PaneDelta

I64 = NDArray[np.int64]
IntArray = NDArray[np.integer[Any]]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
U8 = NDArray[np.uint8]

_ROOM = 256
"""Codes of one way to cut."""
LARGEST_RATIO = 1e9
"""A truth near 0 makes an error relative to it as large as can be: it is held to this."""


def count(
    table: SeriesTable,
    kinds: Kinds,
    segments: SegmentCodes,
    new: PredictionColumns,
    features: FeatureCells,
    joined: Joined,
) -> dict[int, list[PaneDelta]]:
    """By slice, what changed in each pane, in the order of model, version, role, pane, segment.

    `features`: those of `new`. Everybody is counted first, then once more each way to cut into segments.
    """
    groups = _Groups(table, segments, new, features.tails, joined)
    of = kinds.tables
    cells = _Cells(groups.size, of.width)
    sums: Sums = {}
    answers = of.answer_cells(new.series, new.answer)
    labels, said, latencies = of.label_cells(new), of.said_cells(new, answers), of.latency_cells(new)
    numeric = of.regression[joined.series]
    judged, verdicts = of.errors_by_feature(joined)
    shares = of.shares.of_predictions(new.series, features.tails, new.label)
    came, came_in = of.shares.of_joined(joined)
    for number, (of_new, of_joined) in enumerate(groups.ways):
        here, there = (slice(None) if number == 0 else group >= 0 for group in (of_new, of_joined))
        for rows, found in ((features.rows, features.cells), labels, said, latencies, shares):
            pairs = of_new[rows]
            told = slice(None) if number == 0 else pairs >= 0
            cells.add(pairs[told], found[told])
        cells.add(of_new[here], np.zeros(of_new[here].size, np.int64))
        cells.add(of_new[here], answers[here])
        of_way, group, errors = joined.chosen(there), of_joined[there], numeric[there]
        cells.add(group, np.ones(group.size, np.int64), of_way.sign)
        cells.add(group, of.delay_cells(of_way), of_way.sign)
        for rows, found in ((judged, verdicts), (came, came_in)):
            pairs = of_joined[rows]
            told = slice(None) if number == 0 else pairs >= 0
            cells.add(pairs[told], found[told], joined.sign[rows][told])
        if errors.any():
            _count_errors(of, of_way.chosen(errors), group[errors], cells, sums)
        if not errors.all():
            _count_labels(of, of_way.chosen(~errors), group[~errors], cells, sums)
    return _deltas(table, kinds, segments, groups, cells, sums)


class _Groups:
    """What a pane delta belongs to: (slice, series, role, pane, segment), numbered.

    `ways`: for everybody and then each way to cut, the group of each prediction and of each join, -1 for none. The last
    column is 0 for everybody, else `place * _ROOM + code + 1` of the segment (see `core.segments`).
    """

    def __init__(
        self, table: SeriesTable, segments: SegmentCodes, new: PredictionColumns, tails: U8, joined: Joined
    ) -> None:
        codes = [np.zeros(new.size + joined.series.size, np.int64)]
        for place in range(segments.most):
            both = segments.of(new.series, tails, place), segments.of(joined.series, joined.tail, place)
            code = np.concatenate(both)
            codes.append(np.where(code < 0, -1, place * _ROOM + code + 1))
        cut = np.concatenate(codes)
        kept = np.flatnonzero(cut >= 0)
        columns = [
            np.tile(np.concatenate([ours.astype(np.int64), theirs.astype(np.int64)]), len(codes))[kept]
            for ours, theirs in (
                (new.slice, joined.slice),
                (new.series, joined.series),
                (new.shadow, joined.shadow),
                (new.pane, joined.pane),
            )
        ]
        columns[1] = table.ranks[columns[1]]  # so that order does not depend on who was seen first
        self._unique, which = _numbered([*columns, cut[kept]])
        group = np.full(cut.size, -1, np.int64)
        group[kept] = which
        self.ways = [(way[: new.size], way[new.size :]) for way in np.split(group, len(codes))]
        self.size = self._unique[0].size
        self._by_rank = table.by_rank

    def each(self) -> list[tuple[int, int, bool, int, int]]:
        """(slice, series, shadow, pane, segment) by number."""
        slices, ranks, shadow, pane, cut = self._unique
        series = self._by_rank[ranks].tolist()
        return list(zip(slices.tolist(), series, (shadow > 0).tolist(), pane.tolist(), cut.tolist(), strict=True))


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


def _count_errors(of: KindTables, joined: Joined, groups: I64, cells: _Cells, sums: Sums) -> None:
    """What numbers that came true add, or take back. A row that has no such term adds 0 to its sum."""
    answer, truth, sign = joined.answer, joined.truth, joined.sign
    errors, from_centre = answer - truth, truth - of.centre[joined.series]
    sizes, both = np.abs(errors), np.abs(answer) + np.abs(truth)
    logged, divided = (answer >= 0) & (truth >= 0), truth != 0
    logs = np.log1p(np.where(logged, answer, 0)) - np.log1p(np.where(logged, truth, 0))
    with np.errstate(over="ignore"):
        shares = np.divide(sizes, np.abs(truth), out=np.zeros(sizes.size), where=divided)
    terms = {
        fine("absolute_error"): sizes,
        fine("error"): errors,
        fine("squared_error"): errors * errors,
        fine("truth"): from_centre,
        fine("squared_truth"): from_centre * from_centre,
        fine("squared_log_error"): logs * logs,
        "relative_error": np.minimum(shares, LARGEST_RATIO),
        "symmetric_error": np.divide(2 * sizes, both, out=np.zeros(sizes.size), where=both > 0),
    }
    add_sums(sums, groups, sign, terms)
    cells.add(groups, of.error_cells(joined.series, sizes), sign)
    cells.add(groups[logged], of.not_negative[joined.series[logged]], sign[logged])
    cells.add(groups[divided], of.nonzero_truth[joined.series[divided]], sign[divided])


def _count_labels(of: KindTables, joined: Joined, groups: I64, cells: _Cells, sums: Sums) -> None:
    """What labels that came true add, or take back."""
    truth, label = joined.truth.astype(np.int64), joined.label.astype(np.int64)
    cells.add(groups, of.confusion_cells(joined.series, truth, label), joined.sign)
    positive = of.positive(joined.series, truth, label)
    cells.add(groups, of.labelled_score_cells(joined.series, joined.answer, positive), joined.sign)
    many, scored = of.multiclass[joined.series], ~np.isnan(joined.answer)
    binary = scored & ~many
    scores, came = joined.answer[binary], positive[binary]
    losses = {"log_loss": log_losses(scores, came), "brier": (np.clip(scores, 0, 1) - came) ** 2}
    add_sums(sums, groups[binary], joined.sign[binary], losses)
    if many.any():
        chances, among = of.shares.of_outcomes(joined), scored & many
        lost = log_losses(chances[among], np.ones(int(among.sum()), np.bool_))
        add_sums(sums, groups[among], joined.sign[among], {"log_loss": lost})


def log_losses(scores: F64, positive: Bools) -> F64:
    """Negative log likelihood of each outcome, natural logarithm; scores are held to [eps, 1 - eps] of a double."""
    eps = np.finfo(np.float64).eps
    p = np.clip(scores, eps, 1 - eps)
    return np.where(positive, -np.log(p), -np.log1p(-p))


def _deltas(
    table: SeriesTable, kinds: Kinds, segments: SegmentCodes, groups: _Groups, cells: _Cells, sums: Sums
) -> dict[int, list[PaneDelta]]:
    where, counts, starts = cells.totals()
    cell_list, count_list, start_list = where.tolist(), counts.tolist(), starts.tolist()
    deltas: dict[int, list[PaneDelta]] = {}
    for group, (number, series, shadow, pane, cut) in enumerate(groups.each()):
        begin, end = start_list[group], start_list[group + 1]
        totals = {name: value for name, value in sorted(sums.get(group, {}).items()) if value}
        if begin == end and not totals:
            continue
        entry = table[series]
        told = segments.told(series, *divmod(cut - 1, _ROOM)) if cut else ("", ALL)
        delta = PaneDelta(
            model=entry.model,
            version=entry.version or "",
            role="shadow" if shadow else "champion",
            pane=pane,
            bins=kinds[series][0],
            cells=tuple(cell_list[begin:end]),
            counts=tuple(count_list[begin:end]),
            sums=totals,
            cut=told[0],
            segment=told[1],
        )
        deltas.setdefault(number, []).append(delta)
    if segments.most:  # codes follow from who was seen first, which must not decide the order
        for each in deltas.values():
            each.sort(key=attrgetter("model", "version", "role", "pane", "cut", "segment"))
    return deltas
