"""From validated arrivals to slices: the monitor's pure step for one run of slices in one source partition.

The ledger decides, event by event in the order of the log, what counts; then the panes of all slices are counted at
once, because numpy pays off only on many rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftline.core.arrivals import ArrivedOutcome, ArrivedPrediction
from driftline.core.binning import (
    cells_of_categories,
    cells_of_numbers,
    cells_of_scores,
    to_numbers,
)
from driftline.core.breaches import breaches_of
from driftline.core.ledger import Fate, Joined, Kept, Ledger, Truth
from driftline.core.pane import SCALE, Layout
from driftline.events.baselines import NumberBins
from driftline.events.slices import Breach, PaneDelta
from driftline.spec.model import MonitorSpec

IntArray = NDArray[np.int64]


class Group(NamedTuple):
    """What a pane delta belongs to."""

    slice: int
    version: str
    role: str
    pane: int


@dataclass
class ModelSlices:
    """What one model's arrivals changed, by slice number."""

    panes: dict[int, list[PaneDelta]] = field(default_factory=dict)
    breaches: dict[int, list[Breach]] = field(default_factory=dict)
    counters: dict[int, dict[str, int]] = field(default_factory=dict)

    def count(self, slice_number: int, what: str, n: int = 1) -> None:
        """Add `n` to a counter of a slice."""
        counters = self.counters.setdefault(slice_number, {})
        counters[what] = counters.get(what, 0) + n


def step(
    ledger: Ledger,
    spec: MonitorSpec,
    layouts: Mapping[str, tuple[str, Layout]],
    predictions: Sequence[ArrivedPrediction],
    outcomes: Sequence[ArrivedOutcome],
) -> ModelSlices:
    """Apply one model's arrivals, each in log order, and say what each slice changed.

    Within a slice, predictions come before outcomes. `layouts` has (bins id, layout) of every version that occurs in
    the ledger or in `predictions`. Changes `ledger`; the same ledger and arrivals give the same result.
    """
    result = ModelSlices()
    counted: list[ArrivedPrediction] = []
    joined: list[tuple[int, Joined]] = []
    present = -1
    for arrived in _in_order(predictions, outcomes):
        if arrived.slice != present:
            # at each slice in which this model has arrivals, so that the count does not depend on batches
            present = arrived.slice
            orphans = ledger.forget(present)
            if orphans:
                result.count(present, "orphans", orphans)
        key = Ledger.key(arrived.id)
        if isinstance(arrived, ArrivedPrediction):
            a = arrived
            kept = Kept(a.slice, a.version, a.role, a.pane, a.value, a.score, a.digest, None)
            fate, pairs = ledger.predict(key, kept)
            if fate is Fate.COUNTED:
                counted.append(a)
        else:
            o = arrived
            fate, pairs = ledger.outcome(key, Truth(o.slice, o.offset, o.time, o.value, o.digest, False))
        if fate is not Fate.COUNTED:
            result.count(arrived.slice, fate.value)
        joined.extend((arrived.slice, pair) for pair in pairs)
    for version in sorted({a.version for a in counted} | {pair.prediction.version for _, pair in joined}):
        bins_id, layout = layouts[version]
        rows = [a for a in counted if a.version == version]
        pairs_of_version = [(s, pair) for s, pair in joined if pair.prediction.version == version]
        for group, delta in _count(spec, version, bins_id, layout, rows, pairs_of_version):
            result.panes.setdefault(group.slice, []).append(delta)
        for slice_number, breach in breaches_of(spec, version, rows):
            result.breaches.setdefault(slice_number, []).append(breach)
    return result


def _in_order(
    predictions: Sequence[ArrivedPrediction], outcomes: Sequence[ArrivedOutcome]
) -> Iterator[ArrivedPrediction | ArrivedOutcome]:
    position = 0
    for prediction in predictions:
        while position < len(outcomes) and outcomes[position].slice < prediction.slice:
            yield outcomes[position]
            position += 1
        yield prediction
    yield from outcomes[position:]


class _Cells:
    """Collects (group, cell, count) triples of one version and adds them up."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.groups: dict[Group, int] = {}
        self._keys: list[IntArray] = []
        self._counts: list[IntArray] = []
        self.sums: dict[int, dict[str, int]] = {}

    def group(self, group: Group) -> int:
        return self.groups.setdefault(group, len(self.groups))

    def add(self, groups: IntArray, histogram: str, cells: IntArray, counts: IntArray | None = None) -> None:
        self._keys.append(groups * self.layout.size + self.layout.cells[histogram].start + cells)
        self._counts.append(np.ones(groups.size, np.int64) if counts is None else counts)

    def add_to_sum(self, group: int, name: str, value: int) -> None:
        sums = self.sums.setdefault(group, {})
        sums[name] = sums.get(name, 0) + value

    def totals(self) -> dict[int, tuple[IntArray, IntArray]]:
        if not self._keys:
            return {}
        keys, where = np.unique(np.concatenate(self._keys), return_inverse=True)
        counts = np.zeros(keys.size, np.int64)
        np.add.at(counts, where, np.concatenate(self._counts))
        keys, counts = keys[counts != 0], counts[counts != 0]
        starts = np.searchsorted(keys // self.layout.size, np.arange(len(self.groups) + 1))
        return {
            g: (keys[starts[g] : starts[g + 1]] % self.layout.size, counts[starts[g] : starts[g + 1]])
            for g in range(len(self.groups))
        }


def _count(
    spec: MonitorSpec,
    version: str,
    bins_id: str,
    layout: Layout,
    rows: Sequence[ArrivedPrediction],
    joined: Sequence[tuple[int, Joined]],
) -> list[tuple[Group, PaneDelta]]:
    cells = _Cells(layout)
    if rows:
        _count_predictions(cells, spec, layout, rows)
    if joined:
        _count_outcomes(cells, layout, joined)
    totals = cells.totals()
    deltas = []
    for group, number in sorted(cells.groups.items()):
        where, counts = totals[number]
        sums = {name: value for name, value in sorted(cells.sums.get(number, {}).items()) if value}
        if not where.size and not sums:
            continue
        delta = PaneDelta(
            model=spec.model,
            version=version,
            role=group.role,
            pane=group.pane,
            bins=bins_id,
            cells=tuple(where.tolist()),
            counts=tuple(counts.tolist()),
            sums=sums,
        )
        deltas.append((group, delta))
    return deltas


def _count_predictions(cells: _Cells, spec: MonitorSpec, layout: Layout, rows: Sequence[ArrivedPrediction]) -> None:
    groups = np.array([cells.group(Group(a.slice, a.version, a.role, a.pane)) for a in rows], dtype=np.int64)
    cells.add(groups, "n", np.zeros(groups.size, np.int64))
    for column, name in enumerate(spec.features):
        bins = layout.bins.features.get(name)
        if bins is None:  # declared after this version's bins were made
            continue
        values = [a.values[column] for a in rows]
        # a feature whose declared type changed since the bins were made is counted as the bins have it
        if isinstance(bins, NumberBins):
            numeric = [v if isinstance(v, int | float) else None for v in values]
            found = cells_of_numbers(bins, to_numbers(numeric))
        else:
            found = cells_of_categories(bins, values)
        cells.add(groups, f"feature:{name}", found)
    if layout.bins.score is not None:
        cells.add(groups, "score", cells_of_scores(layout.bins.score, _scores([a.score for a in rows])))
    if layout.bins.prediction is not None:
        cells.add(groups, "prediction", cells_of_numbers(layout.bins.prediction, np.array([a.value for a in rows])))


def _count_outcomes(cells: _Cells, layout: Layout, joined: Sequence[tuple[int, Joined]]) -> None:
    groups = np.array(
        [cells.group(Group(s, j.prediction.version, j.prediction.role, j.prediction.pane)) for s, j in joined],
        dtype=np.int64,
    )
    sign = np.array([j.sign for _, j in joined], dtype=np.int64)
    predicted = np.array([j.prediction.value for _, j in joined])
    actual = np.array([j.truth.value for _, j in joined])
    cells.add(groups, "labelled", np.zeros(groups.size, np.int64), sign)
    bins = layout.bins
    if bins.score is None:
        errors = predicted - actual
        _add_sums(cells, groups, sign, "absolute_error", np.abs(errors))
        _add_sums(cells, groups, sign, "squared_error", errors * errors)
        return
    cells.add(groups, "confusion", (actual * len(bins.labels) + predicted).astype(np.int64), sign)
    scores = _scores([j.prediction.score for _, j in joined])
    positive = actual == bins.labels.index(str(bins.positive))
    found = cells_of_scores(bins.score, scores)
    for name, chosen in (("score|neg", ~positive), ("score|pos", positive)):
        cells.add(groups[chosen], name, found[chosen], sign[chosen])
    scored = ~np.isnan(scores)
    _add_sums(cells, groups[scored], sign[scored], "log_loss", log_losses(scores[scored], positive[scored]))


def log_losses(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Negative log likelihood of each outcome, natural logarithm; scores are held to [eps, 1 - eps] of a double."""
    eps = np.finfo(np.float64).eps
    p = np.clip(scores, eps, 1 - eps)
    return np.where(positive, -np.log(p), -np.log1p(-p))


def _add_sums(cells: _Cells, groups: IntArray, sign: IntArray, name: str, terms: NDArray[np.float64]) -> None:
    # each term is rounded once, then all is integer; Python's own, since squared errors may need more than 64 bits
    for group, direction, term in zip(groups.tolist(), sign.tolist(), terms.tolist(), strict=True):
        cells.add_to_sum(group, name, direction * fixed_point(term))


def fixed_point(term: float) -> int:
    """A finite term as an integer of 1/SCALE, rounded half to even; the product by a power of two is exact."""
    numerator, denominator = term.as_integer_ratio()
    quotient, rest = divmod(numerator * SCALE, denominator)
    doubled = 2 * rest
    return quotient + (doubled > denominator or (doubled == denominator and quotient % 2 == 1))


def _scores(scores: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if score is None else score for score in scores], dtype=np.float64)
