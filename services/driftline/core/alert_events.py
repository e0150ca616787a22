"""What alerts say: the event of each kind with its evidence and its plain sentence. Ids and episodes are not theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from driftline.core.breaches import SAMPLES
from driftline.core.ranking import ranked
from driftline.core.rules import Reading, at_reading, severity_of, threshold
from driftline.core.worst import worst_segments
from driftline.events.alerts import AlarmBudget, Alert, AlertKind, AlertState, Evidence, Severity
from driftline.events.base import Millis, digest_id, iso
from driftline.events.reports import ALL, Segment, WindowReport
from driftline.events.retraining import Case
from driftline.events.slices import Breach, BreachReason
from driftline.spec.durations import show_duration
from driftline.spec.model import RuleSpec

BROKEN = "feature-broken"
"""The reason of a range alert once most values of late are not allowed."""
LATELY = 10
"""The last values that a detector has seen, which an alert tells beside those before."""


def fingerprint(model: str, version: str, segment: str, rule: str) -> str:
    """The identity of an alert over all its episodes."""
    return digest_id("alert", model, version, segment, rule)


def alert_about(
    kind: AlertKind,
    model: str,
    version: str,
    rule: str,
    severity: Severity,
    reason: str,
    at: Millis,
    summary: str,
    *,
    segment: str = ALL,
) -> Alert:
    """A firing alert, about everybody where nothing else is said, without id and episode."""
    return Alert(
        id="",
        fingerprint=fingerprint(model, version, segment, rule),
        episode=0,
        model=model,
        version=version,
        segment=segment,
        rule=rule,
        kind=kind,
        severity=severity,
        state=AlertState.FIRING,
        reason=reason,
        since=at,
        at=at,
        summary=summary,
    )


def whom(alert: Alert) -> str:
    """Whom an alert is about, in words."""
    if not alert.model:
        return alert.segment
    whose = "" if alert.segment == ALL else f" where {alert.segment}"
    return f"{alert.model} version {alert.version}{whose}" if alert.version else alert.model


def change_summary(
    rule: RuleSpec, model: str, version: str, values: Sequence[float], budget: AlarmBudget | None
) -> tuple[str, float]:
    """What a detector has found, and the mean of the last values."""
    lately, before = values[-LATELY:], values[:-LATELY] or values
    now, then = (math.fsum(part) / len(part) for part in (lately, before))
    what = f"that of one `{rule.window}`" if rule.window else f"the mean of {rule.min_samples} or more"
    return (
        f"{rule.detector} finds a change in {rule.target} of {model} version {version}: {now:.4g} in the last "
        f"{len(lately)} of {len(values)} values, {then:.4g} before; each is {what}{_rare(budget)}."
    ), now


def silence_summary(rule: RuleSpec, model: str, heard: Millis) -> str:
    """That predictions are missing."""
    return f"No prediction of {model} has come for {show_duration(rule.quiet)}: the last ones came at {iso(heard)}."


def breach_alert(rule: RuleSpec, breach: Breach, at: Millis, cause: str) -> Alert:
    """Values that are not allowed."""
    told = alert_about(
        AlertKind.RANGE,
        breach.model,
        breach.version,
        rule.name,
        rule.severity,
        breach.reason,
        at,
        _breach_sentence(breach),
    )
    told = msgspec.structs.replace(
        told,
        caused_by=(cause, *breach.samples),
        figure=breach.name,
        n=breach.n,
        evidence=Evidence(samples=breach.samples),
    )
    return _with_number(told, breach)


def with_more(last: Alert, breach: Breach) -> Alert:
    """An alert of values that are not allowed, with more of them.

    `n` counts all, whatever was wrong with them; the samples are the first `SAMPLES` in the order of decision; `value`
    is the number farthest outside its range so far, the first of several. `reason` stays what it was.
    """
    samples = tuple(dict.fromkeys((*last.evidence.samples, *breach.samples)))[:SAMPLES]
    evidence = msgspec.structs.replace(last.evidence, samples=samples)
    grown = msgspec.structs.replace(last, n=last.n + breach.n, evidence=evidence)
    if _beyond(breach.worst, breach.low, breach.high) > _beyond(last.value, last.low, last.high):
        grown = _with_number(grown, breach)
    return msgspec.structs.replace(grown, summary=episode_sentence(grown))


def _with_number(alert: Alert, breach: Breach) -> Alert:
    """With the number that left its range, if one did, and the bound that it passed."""
    value, low, high = breach.worst, breach.low, breach.high
    if not isinstance(value, float):
        return alert
    passed = high if high is not None and value > high else low
    return msgspec.structs.replace(alert, value=value, low=low, high=high, threshold=passed)


def _beyond(value: float | str | None, low: float | None, high: float | None) -> float:
    """How far a number lies outside its range; minus infinity where there is none."""
    if not isinstance(value, float) or low is None or high is None:
        return -math.inf
    return max(low - value, value - high)


def episode_sentence(alert: Alert) -> str:
    """What a range alert says that has had more than its first breach."""
    broken = " is broken" if alert.reason == BROKEN else ""
    who = f"{alert.figure} of {alert.model} version {alert.version}{broken}"
    farthest = "" if alert.value is None else f", {alert.value:g} the farthest outside [{alert.low:g}, {alert.high:g}]"
    return f"{who}: {alert.n} values that are not allowed since {iso(alert.since)}{farthest}."


def _breach_sentence(breach: Breach) -> str:
    who = f"{breach.name} of {breach.model} version {breach.version}"
    how_often = f"in {breach.n} prediction{'s' if breach.n > 1 else ''} so far"
    match breach.reason:
        case BreachReason.OUT_OF_RANGE:
            return f"{who} left its range [{breach.low:g}, {breach.high:g}]: {breach.worst:g}, {how_often}."
        case BreachReason.NOT_ALLOWED:
            return f"{who} is none of its allowed values: {str(breach.worst)[:80]!r}, {how_often}."
        case BreachReason.MISSING:
            return f"{who} is missing, {how_often}."


def metric_alert(
    rule: RuleSpec,
    reading: Reading,
    state: AlertState,
    reason: str,
    report: WindowReport,
    segment: Segment,
    at: Millis,
    budget: AlarmBudget | None,
) -> Alert:
    """A figure of a window against a rule."""
    rule, severity = at_reading(rule, reading), severity_of(rule, reading)
    return Alert(
        id="",
        caused_by=(report.id,),
        fingerprint=fingerprint(report.model, report.version, segment.segment, rule.name),
        episode=0,
        model=report.model,
        version=report.version,
        segment=segment.segment,
        rule=rule.name,
        kind=AlertKind(rule.kind),
        severity=severity,
        state=state,
        reason=reason,
        since=at,
        at=at,
        figure=reading.name,
        value=reading.value,
        low=reading.low,
        high=reading.high,
        threshold=rule.critical if severity is not rule.severity else threshold(rule),
        n=reading.n,
        coverage=reading.coverage,
        window=report.window,
        evidence=Evidence(
            baseline=report.baseline,
            report=report.id,
            features=ranked(segment.drift),
            segments=() if segment.cut else worst_segments(rule, reading, report),
            false_alarms=budget,
        ),
        summary=_sentence(state, rule, reading, report, segment, budget),
    )


def _sentence(
    state: AlertState,
    rule: RuleSpec,
    reading: Reading,
    report: WindowReport,
    segment: Segment,
    budget: AlarmBudget | None,
) -> str:
    critical = severity_of(rule, reading) is not rule.severity
    limit = rule.critical if critical else threshold(rule)
    side = "above" if rule.above is not None else "below"
    value = "undefined" if reading.value is None else f"{reading.value:.4g}"
    interval = "" if reading.low is None or reading.high is None else f" (95 % {reading.low:.4g} to {reading.high:.4g})"
    where = f"in the {report.window.name} up to {iso(report.window.end)}, n = {reading.n}"
    whose = f" where {segment.segment}" if segment.cut else ""
    who = f"{reading.name} of {report.model} version {report.version}{whose}"
    if state is AlertState.RESOLVED:
        return f"{who} is {value}{interval} {where}: no longer {side} {threshold(rule):g}."
    what = "critical threshold" if critical else "threshold"
    often = f", {rule.k} of {rule.of} windows needed" if rule.of > 1 else ""
    return f"{who} is {value}{interval} {where}: {side} the {what} {limit:g}{often}{_rare(budget)}."


def _rare(budget: AlarmBudget | None) -> str:
    return "" if budget is None else f"; by chance this happens {budget.words}"


def manual_alert(version: str, case: Case, why: str, tried: tuple[str, ...], at: Millis) -> Alert:
    """A human is needed."""
    opened_by = case.rule or case.trigger.value
    summary = (
        f"{case.model} has not become better after {opened_by} ({why.replace('-', ' ')}): a human is needed. "
        f"Tried: {'; '.join(tried) or 'nothing'}."
    )
    name = f"manual-intervention:{case.case}"  # one episode a case, whichever rule opened it
    told = alert_about(AlertKind.MANUAL_INTERVENTION, case.model, version, name, Severity.CRITICAL, why, at, summary)
    return msgspec.structs.replace(told, caused_by=(case.id,), rule=opened_by, evidence=Evidence(tried=tried))
