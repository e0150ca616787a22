"""The life of alerts: pure transitions, each with the event that tells of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from driftline.core.ranking import ranked
from driftline.core.rules import BREACHES, Reading, Reason, threshold
from driftline.core.worst import worst_segments
from driftline.events.alerts import AlarmBudget, Alert, AlertKind, AlertState, Evidence, Severity
from driftline.events.base import Millis, digest_id, iso
from driftline.events.reports import ALL, Segment, WindowReport
from driftline.events.slices import Breach, BreachReason
from driftline.spec.model import RuleSpec

QUIET_MS = 3_600_000
"""A range alert resolves after an hour of decision time without another value outside the range."""


SETTLED_AFTER = 100
"""Values without a change after which a detector's alert is over: many changes in a row are one alert."""
LATELY = 10
"""The last values, which an alert tells beside those before."""


class Change(StrEnum):
    """Reasons of changes that follow from no judgement."""

    QUIET = "back-in-range"
    VERSION_REPLACED = "version-replaced"
    RULE_REMOVED = "rule-removed"
    NOT_IMPROVED = "not-improved-in-time"
    CLOSED_BY_HUMAN = "closed-by-a-human"
    PENDING = "not-yet-often-enough"
    NOT_CONFIRMED = "not-confirmed"  # a provisional alert whose values turned out not to count
    RESUMED = "resumed"
    CAUGHT_UP = "caught-up"
    BACK = "back"  # a partition that was left out
    ACCEPTED = "accepted-by-a-human"
    HISTORY_PASSED = "two-horizons-passed"
    NOTHING_EVICTED = "nothing-evicted-for-a-horizon"
    PARTITIONERS_AGREE = "partitioners-agree"
    FOUND = "change-found"
    SETTLED = "no-further-change"


class Standing(msgspec.Struct, kw_only=True):
    """One fingerprint as it stands. `breaches`: the last `of` judged windows, True where they breached.

    `last`: the event last published of this episode, on which the next one builds.
    """

    state: AlertState = AlertState.INACTIVE
    episode: int = 0
    breaches: list[bool] = []
    judged: Millis = -1
    last: Alert | None = None
    quiet_since: Millis = 0


def fingerprint(model: str, version: str, segment: str, rule: str) -> str:
    """The identity of an alert over all its episodes."""
    return digest_id("alert", model, version, segment, rule)


def observe(
    standing: Standing,
    rule: RuleSpec,
    reading: Reading,
    reason: Reason,
    report: WindowReport,
    segment: Segment,
    at: Millis,
    budget: AlarmBudget | None = None,
) -> Alert | None:
    """Take in the judgement of one more window; returns the event if the alert's state changes.

    `pending` while fewer than `k` of the last `of` windows breach, `firing` from then on, `resolved` at the first
    window that is clear. A window is judged once: the caller does not come again with the same one. `budget`: what the
    rule's threshold was calibrated for.
    """
    breach = reason in BREACHES
    standing.breaches = [*standing.breaches, breach][-rule.of :]
    standing.judged = report.window.end
    often = sum(standing.breaches) >= rule.k
    match standing.state:
        case AlertState.INACTIVE | AlertState.RESOLVED if breach:
            standing.episode += 1
            target, why = (AlertState.FIRING, reason.value) if often else (AlertState.PENDING, Change.PENDING.value)
            started = at
        case AlertState.PENDING if breach and often:
            target, why, started = AlertState.FIRING, reason.value, _since(standing, at)
        case AlertState.PENDING if not any(standing.breaches):
            target, why, started = AlertState.RESOLVED, reason.value, _since(standing, at)
        case AlertState.FIRING if reason is Reason.CLEARED:
            standing.breaches = []
            target, why, started = AlertState.RESOLVED, reason.value, _since(standing, at)
        case _:
            return None
    standing.state = target
    standing.last = _metric_alert(standing, rule, reading, why, report, segment, started, at, budget)
    return standing.last


def observe_change(
    standing: Standing, rule: RuleSpec, model: str, version: str, values: Sequence[float], quiet: int, at: Millis
) -> Alert | None:
    """What a detector says to its last value: a change that it finds (`quiet` 0) opens an episode, and further ones
    belong to it; it is over after `SETTLED_AFTER` values without one.
    """
    if quiet:
        return resolve(standing, Change.SETTLED, at) if quiet >= SETTLED_AFTER else None
    lately, before = values[-LATELY:], values[:-LATELY] or values
    now, then = (math.fsum(part) / len(part) for part in (lately, before))
    what = f"that of one `{rule.window}`" if rule.window else f"the mean of {rule.min_samples} or more"
    name = fingerprint(model, version, ALL, rule.name)
    told = Alert(
        id="",
        fingerprint=name,
        episode=0,
        model=model,
        version=version,
        segment=ALL,
        rule=rule.name,
        kind=AlertKind.DETECTOR,
        severity=rule.severity,
        state=AlertState.FIRING,
        reason=Change.FOUND,
        since=at,
        at=at,
        value=now,
        n=len(values),
        summary=f"{rule.detector} finds a change in {rule.target} of {model} version {version}: {now:.4g} in the last "
        f"{len(lately)} of {len(values)} values, {then:.4g} before; each is {what}.",
    )
    return fire(standing, told)


def fire(standing: Standing, told: Alert) -> Alert | None:
    """Open an episode with `told`, whose number and id follow from it; None where one is firing already."""
    if standing.state is AlertState.FIRING:
        return None
    standing.episode += 1
    standing.state = AlertState.FIRING
    name = digest_id(told.fingerprint, standing.episode, AlertState.FIRING)
    standing.last = msgspec.structs.replace(told, id=name, episode=standing.episode)
    return standing.last


def observe_breach(standing: Standing, rule: RuleSpec, breach: Breach, at: Millis, cause: str) -> Alert | None:
    """Values that are not allowed: the first opens an episode and fires at once, the rest are counted into it."""
    standing.quiet_since = at
    if standing.state is AlertState.FIRING:
        assert standing.last is not None, "a firing alert has been published"
        standing.last = msgspec.structs.replace(standing.last, n=standing.last.n + breach.n)
        return None
    return fire(standing, _breach_alert(rule, breach, at, cause))


def foretell_breach(standing: Standing | None, rule: RuleSpec, breach: Breach, at: Millis, cause: str) -> Alert | None:
    """What `observe_breach` will say if the breach counts; None where it would say nothing. Changes nothing."""
    if standing is not None and standing.state is AlertState.FIRING:
        return None
    told = _breach_alert(rule, breach, at, cause)
    episode = 1 if standing is None else standing.episode + 1
    name = digest_id(told.fingerprint, episode, "provisional", cause)
    return msgspec.structs.replace(told, id=name, episode=episode, provisional=True)


def withdraw(foretold: Alert, at: Millis) -> Alert:
    """Take a provisional alert back: its values did not count."""
    return msgspec.structs.replace(
        foretold,
        id=digest_id(foretold.id, Change.NOT_CONFIRMED),
        caused_by=(foretold.id,),
        state=AlertState.RESOLVED,
        reason=Change.NOT_CONFIRMED.value,
        at=at,
        summary=f"{foretold.rule} on {_whom(foretold)} is withdrawn: its values did not count.",
    )


def _breach_alert(rule: RuleSpec, breach: Breach, at: Millis, cause: str) -> Alert:
    low, high = breach.low, breach.high
    value = breach.worst if isinstance(breach.worst, float) else None
    return Alert(
        id="",
        caused_by=(cause, *breach.samples),
        fingerprint=fingerprint(breach.model, breach.version, "all", rule.name),
        episode=0,
        model=breach.model,
        version=breach.version,
        segment="all",
        rule=rule.name,
        kind=AlertKind.RANGE,
        severity=rule.severity,
        state=AlertState.FIRING,
        reason=breach.reason,
        since=at,
        at=at,
        value=value,
        low=low,
        high=high,
        threshold=high if value is not None and high is not None and value > high else low,
        n=breach.n,
        evidence=Evidence(samples=breach.samples),
        summary=_breach_sentence(breach),
    )


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


def resolve(
    standing: Standing, change: Change, at: Millis, caused_by: tuple[str, ...] = (), comment: str = ""
) -> Alert | None:
    """End the episode for a reason that is no judgement; None where none is under way."""
    if standing.state not in (AlertState.PENDING, AlertState.FIRING):
        return None
    assert standing.last is not None, "an open episode has been published"
    standing.state = AlertState.RESOLVED
    standing.breaches = []
    last = standing.last
    standing.last = msgspec.structs.replace(
        last,
        id=digest_id(last.fingerprint, last.episode, AlertState.RESOLVED),
        caused_by=(last.id, *caused_by),
        state=AlertState.RESOLVED,
        reason=change.value,
        at=at,
        summary=f"{last.rule} on {_whom(last)} is over: {change.value.replace('-', ' ')}"
        + (f" ({comment})." if comment else "."),
    )
    return standing.last


def manual_intervention(
    model: str, version: str, case: str, opened_by: str, tried: tuple[str, ...], at: Millis
) -> Alert:
    """Call a human: a case did not end well within the agreed time."""
    name = fingerprint(model, version, "all", f"manual-intervention:{case}")
    return Alert(
        id=digest_id(name, 1, AlertState.FIRING),
        caused_by=(case,),
        fingerprint=name,
        episode=1,
        model=model,
        version=version,
        segment="all",
        rule=opened_by,
        kind=AlertKind.MANUAL_INTERVENTION,
        severity=Severity.CRITICAL,
        state=AlertState.FIRING,
        reason=Change.NOT_IMPROVED,
        since=at,
        at=at,
        evidence=Evidence(tried=tried),
        summary=f"{model} has not become better in the agreed time after {opened_by}: a human is needed. "
        f"Tried: {'; '.join(tried) or 'nothing'}.",
    )


def _whom(alert: Alert) -> str:
    if not alert.model:
        return alert.segment
    whose = "" if alert.segment == ALL else f" where {alert.segment}"
    return f"{alert.model} version {alert.version}{whose}" if alert.version else alert.model


def _since(standing: Standing, at: Millis) -> Millis:
    return standing.last.since if standing.last else at


def _metric_alert(
    standing: Standing,
    rule: RuleSpec,
    reading: Reading,
    reason: str,
    report: WindowReport,
    segment: Segment,
    since: Millis,
    at: Millis,
    budget: AlarmBudget | None,
) -> Alert:
    name = fingerprint(report.model, report.version, segment.segment, rule.name)
    return Alert(
        id=digest_id(name, standing.episode, standing.state),
        caused_by=(report.id,),
        fingerprint=name,
        episode=standing.episode,
        model=report.model,
        version=report.version,
        segment=segment.segment,
        rule=rule.name,
        kind=AlertKind(rule.kind),
        severity=rule.severity,
        state=standing.state,
        reason=reason,
        since=since,
        at=at,
        value=reading.value,
        low=reading.low,
        high=reading.high,
        threshold=threshold(rule),
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
        summary=_sentence(standing.state, rule, reading, report, segment, budget),
    )


def _sentence(
    state: AlertState,
    rule: RuleSpec,
    reading: Reading,
    report: WindowReport,
    segment: Segment,
    budget: AlarmBudget | None,
) -> str:
    limit = threshold(rule)
    side = "above" if rule.above is not None else "below"
    value = "undefined" if reading.value is None else f"{reading.value:.4g}"
    interval = "" if reading.low is None or reading.high is None else f" (95 % {reading.low:.4g} to {reading.high:.4g})"
    where = f"in the {report.window.name} up to {iso(report.window.end)}, n = {reading.n}"
    whose = f" where {segment.segment}" if segment.cut else ""
    who = f"{reading.name} of {report.model} version {report.version}{whose}"
    if state is AlertState.RESOLVED:
        return f"{who} is {value}{interval} {where}: no longer {side} {limit:g}."
    often = f", {rule.k} of {rule.of} windows needed" if rule.of > 1 else ""
    rare = "" if budget is None else f"; by chance this happens {budget.words}"
    return f"{who} is {value}{interval} {where}: {side} the threshold {limit:g}{often}{rare}."
