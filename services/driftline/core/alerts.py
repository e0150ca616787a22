"""The life of alerts: pure transitions, each with the event that tells of it.

An episode's first event of a state has an id by itself; what is told again while it fires (it became critical, somebody
acknowledged it, it is muted or not any more) is numbered.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from driftline.core.alert_events import (
    BROKEN,
    alert_about,
    breach_alert,
    change_summary,
    episode_sentence,
    manual_alert,
    metric_alert,
    silence_summary,
    whom,
    with_more,
)
from driftline.core.rules import BREACHES, Reading, Reason, severity_of
from driftline.events.alerts import Acknowledged, AlarmBudget, Alert, AlertKind, AlertState, Evidence, Severity
from driftline.events.base import Millis, digest_id
from driftline.events.reports import Segment, WindowReport
from driftline.events.retraining import Case
from driftline.events.slices import Breach
from driftline.spec.model import RuleSpec, millis

QUIET_MS = 3_600_000
"""A range alert resolves after an hour of decision time without another value outside the range."""
BLOCK = 30
"""Predictions from which on it can be said that most have a value that is not allowed."""
SETTLED_AFTER = 100
"""Values without a change after which a detector's alert is over: many changes in a row are one alert."""


class Change(StrEnum):
    """Reasons of changes that follow from no judgement."""

    QUIET = "back-in-range"
    FEATURE_BROKEN = BROKEN
    VERSION_REPLACED = "version-replaced"
    RULE_REMOVED = "rule-removed"
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
    NO_PREDICTIONS = "no-predictions"
    HEARD_AGAIN = "predictions-come-again"
    USABLE = "artifact-usable"


class Standing(msgspec.Struct, kw_only=True):
    """One fingerprint as it stands. `breaches`: the last `of` judged windows, True where they breached.

    `last`: the event last published of this episode, on which the next one builds. `retold`: how often it was told
    again while it fired. `block`: of a range alert, see `observe_break`: the predictions that had come, and the values
    of the episode that were not allowed, when it was last looked at.
    """

    state: AlertState = AlertState.INACTIVE
    episode: int = 0
    breaches: list[bool] = []
    judged: Millis = -1
    last: Alert | None = None
    quiet_since: Millis = 0
    retold: int = 0
    block: tuple[int, int] = (0, 0)

    @property
    def is_open(self) -> bool:
        """Whether an episode is under way."""
        return self.state in (AlertState.PENDING, AlertState.FIRING)

    def forget(self) -> None:
        """Of a version that is replaced only the number of its episodes is kept: it may come back."""
        self.state, self.last, self.breaches = AlertState.INACTIVE, None, []


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
    window that is clear. One that becomes critical while it fires is told again. A window is judged once: the caller
    does not come again with the same one. `budget`: what the rule's threshold was calibrated for.
    """
    breach = reason in BREACHES
    standing.breaches = [*standing.breaches, breach][-rule.of :]
    standing.judged = report.window.end
    often = sum(standing.breaches) >= rule.k
    match standing.state:
        case AlertState.INACTIVE | AlertState.RESOLVED if breach:
            target, why = (AlertState.FIRING, reason.value) if often else (AlertState.PENDING, Change.PENDING.value)
        case AlertState.PENDING if breach and often:
            target, why = AlertState.FIRING, reason.value
        case AlertState.PENDING if not any(standing.breaches):
            target, why = AlertState.RESOLVED, reason.value
        case AlertState.FIRING if breach and _rises(standing, rule, reading):
            target, why = AlertState.FIRING, reason.value
        case AlertState.FIRING if reason is Reason.CLEARED:
            standing.breaches = []
            target, why = AlertState.RESOLVED, reason.value
        case _:
            return None
    told = metric_alert(rule, reading, target, why, report, segment, at, budget)
    return _tell(standing, _with_what_is_known(standing, told))


def _with_what_is_known(standing: Standing, told: Alert) -> Alert:
    """Of an open episode."""
    last = standing.last
    if not standing.is_open or last is None:
        return told
    evidence = msgspec.structs.replace(told.evidence, effects=last.evidence.effects)
    known = {"acknowledged": last.acknowledged, "muted": last.muted, "incident": last.incident}
    return msgspec.structs.replace(told, evidence=evidence, **known)


def _rises(standing: Standing, rule: RuleSpec, reading: Reading) -> bool:
    """Whether an alert that fires as a warning becomes critical; it stays so until it is over."""
    loud = standing.last is not None and standing.last.severity is Severity.CRITICAL
    return not loud and severity_of(rule, reading) is Severity.CRITICAL


def _tell(standing: Standing, told: Alert) -> Alert:
    """Let an episode begin with `told`, or go on with it: what is known of the episode stays known."""
    before = standing.last
    if standing.is_open and before is not None:
        loud = max(before.severity, told.severity, key=list(Severity).index)
        told = msgspec.structs.replace(told, since=before.since, severity=loud)
    else:
        standing.episode += 1
        standing.retold = 0
    again = standing.state is told.state
    standing.retold += again
    standing.state = told.state
    parts = (told.fingerprint, standing.episode, told.state, *((standing.retold,) if again else ()))
    standing.last = msgspec.structs.replace(told, id=digest_id(*parts), episode=standing.episode)
    return standing.last


def retell(standing: Standing, at: Millis, caused_by: tuple[str, ...] = (), **changes: Any) -> Alert:
    """Tell of an open episode again, with changes to what was last told."""
    last = standing.last
    assert last is not None, "an open episode has been published"
    return _tell(standing, msgspec.structs.replace(last, caused_by=(last.id, *caused_by), at=at, **changes))


def acknowledge(standing: Standing, by: str, comment: str, at: Millis, cause: str) -> Alert | None:
    """Somebody looks into it; None where nothing is open or somebody does already."""
    if not standing.is_open or standing.last is None or standing.last.acknowledged is not None:
        return None
    return retell(standing, at, (cause,), acknowledged=Acknowledged(by=by, at=at, comment=comment))


def observe_change(
    standing: Standing,
    rule: RuleSpec,
    model: str,
    version: str,
    values: Sequence[float],
    quiet: int,
    at: Millis,
    budget: AlarmBudget | None = None,
) -> Alert | None:
    """What a detector says to its last value: a change that it finds (`quiet` 0) opens an episode, and further ones
    belong to it; it is over after `SETTLED_AFTER` values without one. `budget`: what it was calibrated for.
    """
    if quiet:
        return resolve(standing, Change.SETTLED, at) if quiet >= SETTLED_AFTER else None
    summary, now = change_summary(rule, model, version, values, budget)
    told = alert_about(AlertKind.DETECTOR, model, version, rule.name, rule.severity, Change.FOUND, at, summary)
    evidence = Evidence(false_alarms=budget)
    return fire(
        standing, msgspec.structs.replace(told, figure=rule.target, value=now, n=len(values), evidence=evidence)
    )


def observe_silence(standing: Standing, rule: RuleSpec, model: str, heard: Millis, at: Millis) -> Alert | None:
    """Whether predictions of a model come: `heard` is when the last ones did."""
    if at - heard < millis(rule.quiet):
        return resolve(standing, Change.HEARD_AGAIN, at)
    summary = silence_summary(rule, model, heard)
    told = alert_about(AlertKind.SILENCE, model, "", rule.name, rule.severity, Change.NO_PREDICTIONS, at, summary)
    return fire(standing, msgspec.structs.replace(told, since=heard))


def fire(standing: Standing, told: Alert) -> Alert | None:
    """Open an episode with `told`, whose number and id follow from it; None where one is firing already."""
    return None if standing.state is AlertState.FIRING else _tell(standing, told)


def observe_breach(
    standing: Standing, rule: RuleSpec, breach: Breach, at: Millis, cause: str, before: int = 0
) -> Alert | None:
    """Values that are not allowed: the first opens an episode and fires at once, the rest are counted into it.

    What is told of the episode from then on has their number, samples and farthest value: see `with_more`. `before`:
    the predictions of the version that came before those that the breach is of.
    """
    standing.quiet_since = at
    if standing.state is AlertState.FIRING:
        assert standing.last is not None, "a firing alert has been published"
        standing.last = with_more(standing.last, breach)
        return None
    standing.block = (before, 0)
    return fire(standing, breach_alert(rule, breach, at, cause))


def observe_break(standing: Standing, came: int, at: Millis, cause: str) -> Alert | None:
    """Whether what a range alert is about is broken: half of at least `BLOCK` predictions are in breach, or more.

    Blocks begin with the episode, and each where the one before ends, so that values that come singly never add up to
    it. What is broken stays so until the episode is over. `came`: the predictions of the version so far.
    """
    last = standing.last
    assert last is not None, "it is asked of an open episode"
    predictions, bad = came - standing.block[0], last.n - standing.block[1]
    if last.reason == BROKEN or predictions < BLOCK:
        return None
    standing.block = (came, last.n)
    if 2 * bad < predictions:
        return None
    broken = msgspec.structs.replace(last, reason=BROKEN)
    return retell(standing, at, (cause,), reason=BROKEN, summary=episode_sentence(broken))


def foretell_breach(standing: Standing | None, rule: RuleSpec, breach: Breach, at: Millis, cause: str) -> Alert | None:
    """What `observe_breach` will say if the breach counts; None where it would say nothing. Changes nothing."""
    if standing is not None and standing.state is AlertState.FIRING:
        return None
    told = breach_alert(rule, breach, at, cause)
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
        summary=f"{foretold.rule} on {whom(foretold)} is withdrawn: its values did not count.",
    )


def resolve(
    standing: Standing, change: Change, at: Millis, caused_by: tuple[str, ...] = (), comment: str = ""
) -> Alert | None:
    """End the episode for a reason that is no judgement; None where none is under way."""
    last = standing.last
    if not standing.is_open or last is None:
        return None
    standing.breaches = []
    why = change.value.replace("-", " ") + (f" ({comment})" if comment else "")
    return retell(
        standing,
        at,
        caused_by,
        state=AlertState.RESOLVED,
        reason=change.value,
        summary=f"{last.rule} on {whom(last)} is over: {why}.",
    )


def call_human(
    standing: Standing, version: str, case: Case, why: str, tried: tuple[str, ...], at: Millis
) -> Alert | None:
    """A case needs a human: told once a case, until a human closes it."""
    return fire(standing, manual_alert(version, case, why, tried, at))
