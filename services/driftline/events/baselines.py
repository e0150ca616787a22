"""What a model version is compared with, and what follows from it. Topic `baselines`, never changed once written."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from driftline.events.base import Decision, Event, Millis, decode


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


class CategoryBins(msgspec.Struct, frozen=True, kw_only=True, tag="category", omit_defaults=True):
    """One bin a value of `values`, one for all of `others`, which are known too, one for unseen values, one for null.

    With `buckets` not all that is known is listed, or nothing is known: any other value falls into the bucket that is
    XXH3 (64 bits, of its UTF-8) modulo `buckets`, where several may meet, and nothing is called unseen.
    """

    values: tuple[str, ...]
    others: tuple[str, ...] = ()
    buckets: int = 0


class Bins(msgspec.Struct, frozen=True, kw_only=True):
    """How the values of one (model, version) are counted: `score` edges for binary, `prediction` for regression.

    Multiclass: `score` edges for the probability of the answer, `scores` for that of each of `labels`, which are those
    that are told by themselves and `(other)` for the rest.
    `large_error`: beyond it a regression's absolute error counts as an error where errors are told by feature. None:
    they are not.
    """

    features: dict[str, NumberBins | CategoryBins]
    labels: tuple[str, ...] = ()
    positive: str | None = None
    score: tuple[float, ...] | None = None
    scores: tuple[tuple[float, ...], ...] = ()
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


class Calibration(Decision, frozen=True, kw_only=True, tag="calibration", tag_field="type"):
    """The threshold that a rule with a budget of false alarms has for a version, from the version's first days.

    `alarms` in the time `per` is the budget, over all features and segments of the rule. `threshold` is passed where a
    figure is greater (`above`), or else smaller; `clear` is where an alert ends. Both are null where the baseline says
    too little (`reason`): then the rule is not judged. `windows`: those of the baseline that could be judged. `beyond`:
    the threshold is rarer than anything in the baseline, and follows from how its extremes thin out. `held_back`: how
    often a threshold from the first two thirds of the baseline would have fired in the rest of it, which is
    `held_back_time` long; null where that is too short to tell. `argument`: of a detector, what of it `threshold` is;
    `windows` are then the values that it was fed, and `clear` is null. `summary` says it in plain words.
    """

    version: str
    rule: str
    alarms: float
    per: timedelta
    above: bool
    threshold: float | None
    clear: float | None
    windows: int
    baseline: str
    at: Millis
    summary: str
    reason: str = ""
    beyond: bool = False
    held_back: int | None = None
    held_back_time: timedelta = timedelta(0)
    argument: str = ""


class _Tagged(msgspec.Struct):
    type: str = ""


def decode_baselines_record(data: bytes) -> Baseline | Calibration:
    """Read a record of topic `baselines`. Raises `msgspec.ValidationError` where it is none."""
    if decode(data, _Tagged).type:
        return decode(data, Calibration)
    return decode(data, Baseline)
