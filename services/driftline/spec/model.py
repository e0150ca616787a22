"""The resolved monitor spec: every default filled in. What a user writes is read by `spec.reader`."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import msgspec

from driftline.events.alerts import Severity
from driftline.events.base import Millis
from driftline.spec.metrics import Task

LARGEST = 1e140
"""A number of a regression beyond this is refused: sums of squares of any number of smaller ones fit into a double."""
MOST_LABELS = 100
"""Labels of a multiclass model that are told by themselves; the others are told as one."""
OTHER = "(other)"


class FeatureSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A declared feature. What its `range`, `allowed` or `missing` forbids raises a warning, without any rule."""

    type: Literal["number", "category"]
    range: tuple[float, float] | None = None
    allowed: tuple[str, ...] | None = None
    missing: Literal["allowed", "forbidden"] = "forbidden"


class OutputSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The declared range of `score` or `prediction`."""

    range: tuple[float, float]


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """What the predictions of a segment have in common: a feature's or an attribute's value, or its bucket.

    `edges`, strictly increasing: k of them make k + 1 buckets, `(-inf, first)`, `[first, second)`, ...; none: each
    value is by itself.
    """

    name: str
    source: Literal["feature", "attribute"]
    edges: tuple[float, ...] = ()


class SegmentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A way to cut a model's predictions into segments: by one thing, or by a pair of them."""

    cuts: tuple[Cut, ...]

    @property
    def name(self) -> str:
        """What it is cut by, as in `origin` or `origin, carrier`."""
        return ", ".join(cut.name for cut in self.cuts)


class WindowSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A trailing span in event time, whose ends are multiples of `every` since 1970.

    With `events` it ends at the end of the pane in which so many predictions have come since it began, or after `span`,
    whichever is first; it begins with the first pane after the one before.
    """

    span: timedelta
    every: timedelta
    events: int | None = None


class BaselineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What windows are compared with. `training`: the version's own reference data. Else panes of the same version:

    * first: the first `span` of them
    * previous: the last closed window named `window` before the one that is compared
    * hour_of_week: the same time of the week, in the `weeks` weeks before
    """

    kind: Literal["training", "first", "previous", "hour_of_week"] = "training"
    span: timedelta = timedelta(0)
    window: str = ""
    weeks: int = 0


class FalseAlarms(msgspec.Struct, frozen=True, kw_only=True):
    """How often a rule may fire for nothing: `alarms` in the time `per`, over all its features and segments together.

    `alarms` is a rule's share where the whole model has one budget.
    """

    alarms: float
    per: timedelta


class RuleSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One rule. Exactly one of the kinds:

    * range:  `target` is a feature or output; fires on the first value outside its declared range.
    * metric: `target` is a metric over `window`, judged against `above`/`below`.
    * estimate: likewise, what the metric is expected to be, with or without outcomes.
    * drift:  `target` is a drift measure over `window` for `features` (resolved: names, never "all").
    * data:   likewise, `target` being the share of values that are `missing`, `out_of_range` or `unseen`.
    * coverage: the share of predictions in `window` that have an outcome when it is first reported.
    * silence: no prediction of the model came for `quiet`, in decision time.
    * detector: `detector` with `params` watches `target` (`error`, `score`, `prediction`, or a numeric feature), slice
      by slice: the mean of each `min_samples` values; or with a `window` a metric of it; fires when it finds a change.

    `clear_above`/`clear_below` (defaults: the firing threshold) must be reached to resolve; `k` of the last `of`
    windows must breach to fire. A window with fewer than `min_samples` or less than `min_coverage` is not judged.
    `certain`: only what is past a threshold with the near bound of its interval counts as past it. `critical`: past it,
    on the same side, the alert becomes critical. `relative`: all thresholds are shares of the baseline's figure, by
    which they lie away from it on the bad side. `segments`: the ways to cut in whose segments it is judged too;
    `retrain` is about everybody alone.
    `false_alarms`, in place of `above`/`below`, or of a detector's main argument: what that is calibrated for, once for
    each version.
    """

    name: str
    kind: Literal["range", "metric", "drift", "estimate", "detector", "data", "coverage", "silence"]
    target: str
    features: tuple[str, ...] = ()
    window: str | None = None
    above: float | None = None
    below: float | None = None
    clear_above: float | None = None
    clear_below: float | None = None
    k: int = 1
    of: int = 1
    min_samples: int = 100
    min_coverage: float = 0.9
    severity: Severity = Severity.WARNING
    retrain: bool = False
    segments: tuple[str, ...] = ()
    detector: str = ""
    params: dict[str, float] = {}
    false_alarms: FalseAlarms | None = None
    certain: bool = False
    critical: float | None = None
    relative: bool = False
    quiet: timedelta = timedelta(0)


MEMORY_LIMIT = 4_000_000_000


class RetrainSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How candidates are made: by exactly one of `trainer`, a function `package.module:function`, and `command`.

    `budget` attempts per `budget_per`. `memory_limit`: bytes that each process of a training may take. `exclude`:
    periods of event time that are in no data. `retries`: so often a failed attempt is made again by itself. After
    `max_refusals` candidates that did not pass the gate a case that a rule opened calls a human.
    """

    trainer: str | None = None
    command: tuple[str, ...] = ()
    span: timedelta
    holdout: timedelta
    label_delay: timedelta
    cooldown: timedelta
    budget: int
    budget_per: timedelta
    improve_within: timedelta
    deadline: timedelta
    time_limit: timedelta
    memory_limit: int = MEMORY_LIMIT
    schedule: str | None = None
    exclude: tuple[tuple[Millis, Millis], ...] = ()
    retries: int = 0
    max_refusals: int = 3


class VetoSpec(msgspec.Struct, frozen=True, kw_only=True):
    """No segment of these ways to cut may certainly lose `worse_by` in the promotion metric."""

    segments: tuple[str, ...]
    worse_by: float


class PromotionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """When a candidate replaces the champion: the gain in `metric` >= `min_effect` and its lower bound > 0.

    `block`: how long a stretch of rows counts as one observation. `not_worse`: by how much other metrics may get worse.
    `max_latency_ratio`: how much slower than the champion; `max_size`: of the artifact, in bytes.
    `policy`: whether a human approves first. `shadow`: so long a candidate answers beside the champion before live
    figures decide. `probation`: so long after a promotion the two are compared on, and a worse one rolled back.
    """

    metric: str
    min_effect: float
    confidence: float = 0.95
    block: timedelta = timedelta(days=1)
    not_worse: dict[str, float] = {}
    veto: VetoSpec | None = None
    max_latency_ratio: float | None = None
    max_size: int | None = None
    policy: Literal["auto", "approve"] = "auto"
    shadow: timedelta = timedelta(0)
    probation: timedelta = timedelta(0)


class MonitorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that Driftline knows about one model. Durations are timedeltas; `pane` divides every span and `every`.

    `costs`: what a prediction costs, by outcome, then prediction. `max_kept`: beyond so many predictions and waiting
    outcomes, over all partitions, the oldest are forgotten early. `repeat`: so often a firing alert is told again that
    nobody has acknowledged; 0: never.
    """

    model: str
    task: Task
    labels: tuple[str, ...]
    positive: str | None
    features: dict[str, FeatureSpec]
    outputs: dict[str, OutputSpec]
    horizon: timedelta
    lateness: timedelta
    pane: timedelta
    max_ahead: timedelta
    max_kept: int = 50_000_000
    windows: dict[str, WindowSpec]
    metrics: tuple[str, ...]
    costs: dict[str, dict[str, float]] = {}
    rules: tuple[RuleSpec, ...]
    retrain: RetrainSpec | None
    promotion: PromotionSpec
    retain_raw: timedelta
    segments: tuple[SegmentSpec, ...] = ()
    baseline: BaselineSpec = BaselineSpec()
    repeat: timedelta = timedelta(0)


def told(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels as they are told: the first `MOST_LABELS`, and `OTHER` in place of all that come after them."""
    return labels if len(labels) <= MOST_LABELS else (*labels[:MOST_LABELS], OTHER)


def millis(duration: timedelta) -> int:
    """A duration in whole milliseconds."""
    return (duration.days * 86_400 + duration.seconds) * 1000 + duration.microseconds // 1000
