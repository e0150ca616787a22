"""Bins of a model version and the reference counts in them. Topic `baselines`, never changed once written."""

from __future__ import annotations

import msgspec

from driftline.events.base import Event


class NumberBins(msgspec.Struct, frozen=True, kw_only=True, tag="number"):
    """Inner `edges`, strictly increasing: k edges make k+1 bins, value v falls into `searchsorted(edges, v, 'right')`.

    A value under `low` or over `high` (the declared range) falls into its own cell instead, and so does a missing one.
    `least` and `most`: the smallest and the largest reference value within that range, which end the outer bins.
    """

    edges: tuple[float, ...]
    low: float | None = None
    high: float | None = None
    least: float | None = None
    most: float | None = None


class CategoryBins(msgspec.Struct, frozen=True, kw_only=True, tag="category"):
    """One bin a known value; any other value is unseen, and null is missing."""

    values: tuple[str, ...]


class Bins(msgspec.Struct, frozen=True, kw_only=True):
    """How the values of one (model, version) are counted: `score` edges for binary, `prediction` for regression.

    `large_error`: beyond it a regression's absolute error counts as an error where errors are told by feature. None:
    they are not.
    """

    features: dict[str, NumberBins | CategoryBins]
    labels: tuple[str, ...] = ()
    positive: str | None = None
    score: tuple[float, ...] | None = None
    prediction: NumberBins | None = None
    large_error: float | None = None


class SegmentCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How the rows of one segment fell into the bins: as in `slices.PaneDelta`, which see."""

    cells: tuple[int, ...]
    counts: tuple[int, ...]
    sums: dict[str, int] = msgspec.field(default_factory=dict)


class Baseline(Event, frozen=True, kw_only=True):
    """The bins of (model, version) and how its reference data fell into them. Key `model/version`.

    `counts` has one entry a histogram of the layout (`core.pane.Layout`), e.g. `feature:temp`; `n` is the rows. Where
    outcomes are known too, all histograms are there, and `sums`, fixed-point integers as in panes. `segments`: the same
    by way to cut and segment, of the ways for which the rows have what is needed.
    """

    model: str
    version: str
    bins: Bins
    n: int
    counts: dict[str, tuple[int, ...]]
    source: str
    sums: dict[str, int] = msgspec.field(default_factory=dict)
    segments: dict[str, dict[str, SegmentCounts]] = msgspec.field(default_factory=dict)
