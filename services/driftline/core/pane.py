"""Panes: mergeable aggregates of one model version over one interval of event time.

A pane is an integer vector over a `Layout` (which cell means what) and a few fixed-point sums. Panes add exactly, in
any order: that one law carries windows, partitions, late labels and replay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from driftline.core.binning import DELAY_EDGES, LATENCY_EDGES, error_edges
from driftline.events.baselines import Bins, CategoryBins, NumberBins
from driftline.spec.model import LARGEST

IntArray = NDArray[np.int64]

PROBABILITY_BYTES = 8
"""A label's probability stays with its prediction as it came: what is lost of it would show in the log loss."""
SCALE_BITS, FINE_BITS = 40, 160
SCALE, FINE = 1 << SCALE_BITS, 1 << FINE_BITS
"""Fixed-point sums are integers of 1/SCALE (9e-13), so a mean of rounded terms errs by less than 5e-13. What has a
unit, or is squared for a root, is counted in 1/FINE: the root of such a mean errs by less than 1e-24.
"""


def fine(name: str) -> str:
    """The name of a sum that is counted in 1/FINE: what panes of before have by the bare name is in 1/SCALE."""
    return f"{name}.{FINE_BITS}"


@dataclass(frozen=True)
class Cells:
    """A histogram's place in the vector."""

    start: int
    size: int

    @property
    def stop(self) -> int:
        """One past its last cell."""
        return self.start + self.size


class Layout:
    """Which cell of a pane's vector counts what. It follows from the bins of (model, version) alone.

    Histograms, in this order:

    * `n`, `labelled`: one cell each: predictions, and those with an outcome
    * `feature:NAME`: numbers: bins, below, above, missing; categories: values, the others (one cell, if there are),
      buckets, unseen, missing
    * binary: `score` (bins, missing), `score|said` (the same bins, rows whose prediction is the positive label),
      `score|neg`, `score|pos` (labelled rows by outcome),
      `confusion` (row-major `[outcome, prediction]` over `bins.labels`), `prediction` (labels, as a category)
    * multiclass: the same without `score|said`, `score` being the probability of the answer and `score|pos` that of
      answers that came true; and of every label's probability, each a row of `label_bins` cells, `scores`,
      `scores|said` (rows whose prediction is that label), `scores|neg`, `scores|pos` (labelled rows by whether the
      outcome is that label)
    * regression: `prediction` (as a numeric feature), `not_negative` and `nonzero_truth` (one cell each: labelled rows
      that have a squared log error, a relative error), `absolute_error` (bins between `error_edges`)
    * `latency` (of predictions that tell it, ms), `label_delay` (from the pane's start to the outcome's time, ms): bins
      between `binning.LATENCY_EDGES` and `binning.DELAY_EDGES`
    * `right:NAME`, `wrong:NAME`: as `feature:NAME`, labelled rows by whether the prediction was right. In a regression
      it was if its error is not large (`Bins.large_error`), and without that there are none
    """

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self.error_edges: NDArray[np.float64] = np.empty(0)
        self.centre = 0.0
        """What truths are counted from, so that the digits of their spread are kept: the median prediction."""
        sizes: list[tuple[str, int]] = [("n", 1), ("labelled", 1)]
        sizes += [(f"feature:{name}", histogram_size(b)) for name, b in bins.features.items()]
        self.label_bins = max((len(edges) + 1 for edges in bins.scores), default=0)
        """Cells of the probability of one label: those of the label that has most."""
        if bins.score is not None:
            size = len(bins.score) + 2
            said = () if bins.scores else ("|said",)
            sizes += [(f"score{rows}", size) for rows in ("", *said, "|neg", "|pos")]
            sizes += [("confusion", len(bins.labels) ** 2), ("prediction", len(bins.labels) + 2)]
        if bins.scores:
            size = len(bins.scores) * self.label_bins
            sizes += [(f"scores{rows}", size) for rows in ("", "|said", "|neg", "|pos")]
        if bins.prediction is not None:
            sizes += [("prediction", histogram_size(bins.prediction)), ("not_negative", 1), ("nonzero_truth", 1)]
            self.error_edges = error_edges(bins.prediction)
            middle = bins.prediction.edges[len(bins.prediction.edges) // 2] if bins.prediction.edges else 0.0
            self.centre = min(max(middle, -LARGEST), LARGEST)
            sizes += [("absolute_error", self.error_edges.size + 1)]
        sizes += [("latency", LATENCY_EDGES.size + 1), ("label_delay", DELAY_EDGES.size + 1)]
        if bins.score is not None or bins.large_error is not None:
            each = [(name, histogram_size(b)) for name, b in bins.features.items()]
            sizes += [(f"{side}:{name}", size) for name, size in each for side in ("right", "wrong")]
        self.cells: dict[str, Cells] = {}
        start = 0
        for name, size in sizes:
            self.cells[name] = Cells(start, size)
            start += size
        self.size = start

    @property
    def tail(self) -> int:
        """Bytes that a kept prediction carries for these bins: one a feature, and the probabilities of its labels."""
        return len(self.bins.features) + PROBABILITY_BYTES * len(self.bins.scores)


def histogram_size(bins: NumberBins | CategoryBins) -> int:
    """Cells that a feature's histogram takes, the special ones included."""
    if isinstance(bins, NumberBins):
        return len(bins.edges) + 4
    return len(bins.values) + bool(bins.others) + bins.buckets + 2


@dataclass
class Pane:
    """A sparse integer vector and named fixed-point sums. `cells` are sorted and unique, `counts` never 0.

    Sums: `log_loss`, and binary `brier`; regression `relative_error`, `symmetric_error`, and by the name that `fine`
    gives them `absolute_error`, `squared_error`, `error` (prediction - truth), `truth` and `squared_truth` (from the
    layout's `centre`), `squared_log_error`.
    """

    cells: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    counts: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    sums: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, cells: IntArray, counts: IntArray, sums: Mapping[str, int]) -> Pane:
        """A pane from cells in any order, repeats allowed."""
        order = np.argsort(cells, kind="stable")  # radix or merge: what comes is made of sorted runs
        ordered = cells[order]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: cells.size])
        total = np.add.reduceat(counts[order], starts)
        kept = total != 0
        return cls(ordered[starts][kept], total[kept], {name: value for name, value in sorted(sums.items()) if value})

    @property
    def n(self) -> int:
        """Predictions: they are counted in cell 0 of every layout."""
        return int(self.counts[0]) if self.cells.size and self.cells[0] == 0 else 0

    @property
    def has_labels(self) -> bool:
        """Whether a prediction of it has an outcome: cell 1 counts those in every layout, and cells are sorted."""
        return 1 in self.cells[:2].tolist()

    def plus(self, cells: IntArray, counts: IntArray, sums: Mapping[str, int]) -> Pane:
        """This pane and more: cells in any order, repeats allowed."""
        total = dict(self.sums)
        for name, value in sums.items():
            total[name] = total.get(name, 0) + value
        return Pane.of(np.concatenate([self.cells, cells]), np.concatenate([self.counts, counts]), total)

    def __add__(self, other: Pane) -> Pane:
        return self.plus(other.cells, other.counts, other.sums)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Pane)
            and np.array_equal(self.cells, other.cells)
            and np.array_equal(self.counts, other.counts)
            and self.sums == other.sums
        )


@dataclass(frozen=True)
class Totals:
    """A sum of panes, spread out: `vector` has one entry a cell of `layout`."""

    layout: Layout
    vector: IntArray
    sums: dict[str, int]

    @classmethod
    def of(cls, layout: Layout, panes: Iterable[Pane]) -> Totals:
        """Add up `panes`, which all belong to `layout`."""
        every = list(panes)
        (whole,) = cls.of_parts(layout, every, [0] * len(every), 1)
        return whole

    @classmethod
    def of_parts(cls, layout: Layout, panes: Sequence[Pane], parts: Sequence[int], size: int) -> list[Totals]:
        """Add up `panes` by part: `parts` has the number of each pane's, below `size`."""
        vectors = np.zeros((size, layout.size), np.int64)
        sums: list[dict[str, int]] = [{} for _ in range(size)]
        if panes:
            row = np.repeat(np.asarray(parts) * layout.size, [pane.cells.size for pane in panes])
            cells, counts = np.concatenate([p.cells for p in panes]), np.concatenate([p.counts for p in panes])
            np.add.at(vectors.reshape(-1), row + cells, counts)
        for pane, part in zip(panes, parts, strict=True):
            total = sums[part]
            for name, value in pane.sums.items():
                total[name] = total.get(name, 0) + value
        return [cls(layout, vector, total) for vector, total in zip(vectors, sums, strict=True)]

    def histogram(self, name: str) -> IntArray:
        """The counts of one histogram of the layout."""
        cells = self.layout.cells[name]
        return self.vector[cells.start : cells.stop]

    def total(self, name: str) -> int:
        """A sum as an integer of 1/FINE, however fine its parts were counted."""
        return (self.sums.get(name, 0) << FINE_BITS - SCALE_BITS) + self.sums.get(fine(name), 0)

    def grain(self, name: str) -> float:
        """What the parts of a sum were rounded to."""
        return 1 / (SCALE if name in self.sums else FINE)

    @property
    def n(self) -> int:
        """Predictions."""
        return int(self.histogram("n")[0])

    @property
    def labelled(self) -> int:
        """Predictions that have an outcome."""
        return int(self.histogram("labelled")[0])
