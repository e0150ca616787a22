"""Alerts. Topic `alerts`, key fingerprint."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from driftline.events.base import Event, Millis
from driftline.events.reports import Window


class AlertKind(StrEnum):
    """What sort of thing went wrong."""

    RANGE = "range"
    METRIC = "metric"
    DRIFT = "drift"
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
    """A feature and how far it has moved from the baseline."""

    feature: str
    psi: float


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What an alert rests on."""

    baseline: str | None = None
    report: str | None = None
    features: tuple[FeatureEffect, ...] = ()
    samples: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()


class Alert(Event, frozen=True, kw_only=True):
    """One change of one alert. `fingerprint` = (model, version, segment, rule); `episode` counts from 1.

    `reason` is the named reason of the judgement behind this change; `summary` is one plain sentence.
    """

    fingerprint: str
    episode: int
    model: str
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
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    n: int = 0
    coverage: float | None = None
    window: Window | None = None
    evidence: Evidence = Evidence()
