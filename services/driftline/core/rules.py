"""From a reading to a judgement with a named reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from driftline.core.metrics.closed_forms import wilson
from driftline.events.alerts import Severity
from driftline.events.reports import Segment, WindowReport
from driftline.spec.model import RuleSpec


class Reason(StrEnum):
    """Why a reading does or does not breach a rule."""

    BREACH_CERTAIN = "breach-certain"  # the interval's near bound is past the threshold too
    BREACH_UNCERTAIN = "breach-uncertain"  # the value is past the threshold, the bound is not, or there is none
    NOT_CERTAIN = "not-certain"  # the same, where the rule asks for certainty: no breach
    CLEARED = "cleared"  # past the clear threshold, on the good side
    WITHIN = "within"  # neither in breach nor clear
    TOO_FEW_SAMPLES = "too-few-samples"
    TOO_LITTLE_COVERAGE = "too-little-coverage"
    UNDEFINED = "undefined"  # the figure does not exist for these samples
    NO_BASELINE = "no-baseline"  # the threshold is relative to a figure that is not known


BREACHES = (Reason.BREACH_CERTAIN, Reason.BREACH_UNCERTAIN)
UNJUDGED = (Reason.TOO_FEW_SAMPLES, Reason.TOO_LITTLE_COVERAGE, Reason.UNDEFINED, Reason.NO_BASELINE)


@dataclass(frozen=True)
class Reading:
    """One figure of one window. `coverage` is None where outcomes play no part (drift). `name` says which figure.

    `baseline`: the same figure of what the window is compared with, where it is known.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    coverage: float | None
    baseline: float | None = None


def read(rule: RuleSpec, segment: Segment) -> list[Reading]:
    """The figures of a segment that a rule is about: one metric, or one drift figure a feature."""
    if rule.kind in ("metric", "estimate"):
        estimated = rule.kind == "estimate"
        metric = (segment.estimates if estimated else segment.metrics).get(rule.target)
        if metric is None:
            return []
        name, coverage = (f"estimated {rule.target}", None) if estimated else (rule.target, segment.coverage)
        return [Reading(name, metric.value, metric.low, metric.high, metric.n, coverage, metric.baseline)]
    if rule.kind == "coverage":
        return [_share("coverage", segment.coverage, segment.n)]
    drifts = ((name, segment.drift[name]) for name in rule.features if name in segment.drift)
    if rule.kind == "data":
        return [_share(f"{rule.target}({name})", getattr(drift, rule.target), drift.n) for name, drift in drifts]
    return [
        Reading(f"{rule.target}({name})", getattr(drift, rule.target), None, None, drift.n, None)
        for name, drift in drifts
    ]


def _share(name: str, value: float, n: int) -> Reading:
    """A share of n rows, with Wilson's interval."""
    low, high = wilson(value, n) if n else (None, None)
    return Reading(name, value if n else None, low, high, n, None)


def at_reading(rule: RuleSpec, reading: Reading) -> RuleSpec:
    """The rule with its thresholds in the figure's own unit, as it is for one reading."""
    baseline = reading.baseline
    if not rule.relative or baseline is None:
        return rule
    bad = abs(baseline) if rule.above is not None else -abs(baseline)
    shares = {word: getattr(rule, word) for word in ("above", "below", "clear_above", "clear_below", "critical")}
    moved = {word: baseline + share * bad for word, share in shares.items() if share is not None}
    return msgspec.structs.replace(rule, **moved, relative=False)


def severity_of(rule: RuleSpec, reading: Reading) -> Severity:
    """How loud a breach is: critical past the rule's second threshold, with certainty where that is asked for."""
    rule = at_reading(rule, reading)
    figure = _near(rule, reading) if rule.certain else reading.value
    critical = rule.critical is not None and _is_past(rule, figure, rule.critical)
    return Severity.CRITICAL if critical else rule.severity


def _near(rule: RuleSpec, reading: Reading) -> float | None:
    """The bound of the interval that is nearer to the threshold."""
    return reading.low if rule.above is not None else reading.high


def _is_past(rule: RuleSpec, figure: float | None, limit: float) -> bool:
    if figure is None:
        return False
    return figure > limit if rule.above is not None else figure < limit


def judged_in(rule: RuleSpec, report: WindowReport) -> list[Segment]:
    """The segments that a rule is judged in: everybody, and those of the ways to cut that it names.

    None where it is about estimates that turned out not to be reliable.
    """
    if rule.kind == "estimate" and report.estimates_withdrawn:
        return []
    return [segment for segment in report.segments if not segment.cut or segment.cut in rule.segments]


def judge_worst(rule: RuleSpec, readings: Sequence[Reading]) -> tuple[Reading, Reason] | None:
    """The reading furthest on the bad side of those that can be judged, and its judgement; None where none can.

    One with too few samples never hides another's breach, and clear means that the worst is clear.
    """
    judged = [(reading, reason) for reading in readings if (reason := judge(rule, reading)) not in UNJUDGED]
    sign = 1.0 if rule.above is not None else -1.0
    return max(judged, key=lambda pair: sign * (pair[0].value or 0.0), default=None)


def judge(rule: RuleSpec, reading: Reading) -> Reason:
    """Why `reading` does or does not breach `rule`. Pure: the same reading always gets the same reason."""
    if reading.n < rule.min_samples:
        return Reason.TOO_FEW_SAMPLES
    if reading.coverage is not None and reading.coverage < rule.min_coverage:
        return Reason.TOO_LITTLE_COVERAGE
    if reading.value is None:
        return Reason.UNDEFINED
    if rule.relative and reading.baseline is None:
        return Reason.NO_BASELINE
    rule = at_reading(rule, reading)
    limit, clear = threshold(rule), rule.clear_below if rule.above is not None else rule.clear_above
    assert limit is not None, "the spec reader allows no rule without a threshold"
    if not _is_past(rule, reading.value, limit):
        return Reason.WITHIN if _is_past(rule, reading.value, limit if clear is None else clear) else Reason.CLEARED
    if _is_past(rule, _near(rule, reading), limit):
        return Reason.BREACH_CERTAIN
    return Reason.NOT_CERTAIN if rule.certain else Reason.BREACH_UNCERTAIN


def threshold(rule: RuleSpec) -> float | None:
    """The firing threshold."""
    return rule.above if rule.above is not None else rule.below
