"""Alerts. Topic `alerts`, key fingerprint."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

import msgspec

from driftline.events.base import Decision, Millis
from driftline.events.reports import Window
from driftline.events.slices import Gap


class AlertKind(StrEnum):
    """What sort of thing went wrong."""

    RANGE = "range"
    METRIC = "metric"
    DRIFT = "drift"
    ESTIMATE = "estimate"
    DETECTOR = "detector"
    DATA = "data"  # what has been counted is not all that was sent, or not what it seems; values are not as declared
    COVERAGE = "coverage"  # outcomes are missing
    SILENCE = "silence"  # predictions are missing
    LAG = "lag"  # a part of the deployment does not keep up
    ARTIFACT = "artifact"  # a stored model was refused
    MANUAL_INTERVENTION = "manual-intervention"


class Severity(StrEnum):
    """How loud."""

    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(StrEnum):
    """An alert's life, one episode at a time.

        inactive -> pending -> firing -> resolved
            ^          |                    |
            +----------+--------------------+

    Only the last three are ever published.
    """

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class FeatureEffect(msgspec.Struct, frozen=True, kw_only=True):
    """A feature, how far it has moved from the baseline, and how far that goes with errors (see `reports.Drift`)."""

    feature: str
    psi: float
    error_effect: float | None = None


class SegmentEffect(msgspec.Struct, frozen=True, kw_only=True):
    """A segment that does worse than everybody in the figure of the alert.

    `effect`: by how much everybody's figure is worse for it, about: how much worse it does, times its share of the
    samples; `low` and `high` from the segment's own interval, where it has one.
    """

    segment: str
    value: float
    n: int
    effect: float
    low: float | None = None
    high: float | None = None


class SliceSpan(msgspec.Struct, frozen=True, kw_only=True):
    """Slices `first` to `last` of a source partition; `last` is None while it is not known yet."""

    partition: int
    first: int
    last: int | None


class AlarmBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What the threshold was calibrated for, and how that stood up: see `baselines.Calibration`, of which this is one.

    `words`: how often the rule may fire for nothing, as in `about 1 a month at your traffic`.
    """

    calibration: str
    alarms: float
    per: timedelta
    words: str
    held_back: int | None
    held_back_time: timedelta


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """Who looks into an alert, since when."""

    by: str
    at: Millis
    comment: str = ""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What an alert rests on. `effects`: fingerprints of the alerts that it is the cause of, while these are firing."""

    baseline: str | None = None
    report: str | None = None
    features: tuple[FeatureEffect, ...] = ()
    segments: tuple[SegmentEffect, ...] = ()
    samples: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    slices: SliceSpan | None = None
    gap: Gap | None = None
    false_alarms: AlarmBudget | None = None
    effects: tuple[str, ...] = ()


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The rule as it was judged: its thresholds, calibrated ones too, and every default filled in. See `spec.RuleSpec`.

    Of a `relative` rule they are shares of the baseline's figure. `params` are those that a detector was given, `quiet`
    is for how long nothing may come.
    """

    above: float | None = None
    below: float | None = None
    clear_above: float | None = None
    clear_below: float | None = None
    k: int = 1
    of: int = 1
    min_samples: int
    min_coverage: float
    certain: bool = False
    critical: float | None = None
    relative: bool = False
    quiet: timedelta = timedelta(0)
    detector: str = ""
    params: dict[str, float] = {}


class Alert(Decision, frozen=True, kw_only=True):
    """One change of one alert. `fingerprint` = (model, version, segment, rule); `episode` counts from 1.

    `reason` is the named reason of the judgement behind this change; `summary` is one plain sentence. An alert about a
    source partition has no model and no version, and one about all versions of a model no version: they are empty.
    `figure`: which figure was judged, as in `auc` or `psi(temp)`. `acknowledged`: somebody looks into it. `muted`:
    nobody needs to be told, and why: `silenced by ID`, or `caused by FINGERPRINT`, which is then the `incident` that it
    is part of. A muted alert goes through its states like any other.

    `provisional`: told before the slice that decides; the firing event of that episode follows, or a resolved one with
    the reason `not-confirmed`. `terms`: of the rule that is in force, where one in force is behind it.
    """

    fingerprint: str
    episode: int
    version: str
    segment: str
    rule: str
    kind: AlertKind
    severity: Severity
    state: AlertState
    reason: str
    since: Millis
    at: Millis
    summary: str
    figure: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    n: int = 0
    coverage: float | None = None
    window: Window | None = None
    evidence: Evidence = Evidence()
    provisional: bool = False
    acknowledged: Acknowledged | None = None
    muted: str = ""
    incident: str = ""
    terms: Terms | None = None
