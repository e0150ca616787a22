"""Window reports. Topic `metrics`, key model."""

from __future__ import annotations

import msgspec

from driftline.events.base import Event, Millis

ALL = "all"
"""The segment of everybody."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """`[start, end)` in event time."""

    name: str
    start: Millis
    end: Millis


class MetricValue(msgspec.Struct, frozen=True, kw_only=True):
    """One number and how far to trust it.

    `value` is null where it is not defined (no labels, one class). `low` and `high` are the 95 % interval, null where
    none can be given; `method` says how it was made. `error_bound`: how far `value` can be from the exact figure
    because it was computed from histograms (0 for exact metrics). `n`: the samples behind it.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    method: str = ""
    error_bound: float = 0.0
    baseline: float | None = None


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """How far a feature, the score or the prediction is from the baseline, in the measures of `spec.measures`.

    Null: not defined. Shares are of `n`. `error_bounds`: how far `ks` and `wasserstein` can be from the figures of the
    single values, because they were computed from bins. `error_effect`: by how much the share of errors is higher
    because values moved between bins (`core.ranking`).
    """

    psi: float | None
    n: int
    missing: float
    out_of_range: float
    unseen: float
    error_effect: float | None = None
    jensen_shannon: float | None = None
    hellinger: float | None = None
    total_variation: float | None = None
    wasserstein: float | None = None
    ks: float | None = None
    cramers_v: float | None = None
    chi_squared: float | None = None
    p_value: float | None = None
    error_bounds: dict[str, float] = {}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """How the model was served and how its outcomes came, of the window's predictions.

    Quantiles by name (`p50`), without interval, null beyond the last bin of their histograms. `latency_ms` is what
    predictions told, known to within a quarter (`error_bound`; below 51 s). `label_delay_s` is from a prediction to its
    outcome, of the labelled ones: known to within a third (below 648 days) and half a pane, because it is counted
    from the pane's start and half a pane is taken off.
    """

    predictions_per_second: float
    latency_ms: dict[str, MetricValue]
    label_delay_s: dict[str, MetricValue]


class CalibrationBin(msgspec.Struct, frozen=True, kw_only=True):
    """Labelled rows whose score lies in `[low, high)`: how many, their mean score, how many of them are positive.

    Of a multiclass model: what it said of its answers, and how many of these came true.
    """

    low: float
    high: float
    n: int
    score: float
    positives: int


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one segment; `cut`: what it is cut by, as in the spec. It is empty for `all`, which is everybody.

    A segment of fewer than 30 predictions has figures without intervals, and neither drift nor estimates nor operation.

    `evicted`: predictions of the model, of all versions, that were forgotten early since the window began because more
    were kept than `max_kept`. Their outcomes find nothing, so `coverage` is lower by at most as many.
    `calibration`: of everybody, what scores meant; bins without rows are left out. `estimates`: what metrics are
    expected to be of all predictions, with and without outcomes, from what scores meant in the baseline
    (`core.estimation`); empty where the baseline has no outcomes.
    """

    segment: str
    n: int
    labelled: int
    coverage: float
    metrics: dict[str, MetricValue]
    drift: dict[str, Drift]
    confusion: dict[str, dict[str, int]] = {}
    calibration: tuple[CalibrationBin, ...] = ()
    estimates: dict[str, MetricValue] = {}
    operation: Operation | None = None
    evicted: int = 0
    cut: str = ""


class WindowReport(Event, frozen=True, kw_only=True):
    """One model version in one window, as known at decision time `revision`.

    `completeness`: the share of source partitions that had been read up to the window's end and its lateness; below 1
    while a partition is left out. `counters`: of the model since the first slice: what the monitor did not count as a
    prediction or an outcome, and the triggers that asked for nothing. `segments`: everybody comes first, then those of
    each way to cut, the largest by themselves. `together`: by way to cut, how many segments are told as `(other)`; as
    `(labels)`, how many labels of a multiclass model are. `estimates_withdrawn`: in two of the last three windows what
    came true lay apart from its estimate, so what is estimated is not to be relied on; rules do not.
    """

    model: str
    version: str
    role: str
    window: Window
    revision: Millis
    completeness: float
    baseline: str
    segments: tuple[Segment, ...]
    together: dict[str, int] = msgspec.field(default_factory=dict)
    estimates_withdrawn: bool = False
    counters: dict[str, int] = msgspec.field(default_factory=dict)
