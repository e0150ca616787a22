"""Which alerts nobody needs to be told of: somebody silenced them, or they follow from another one that is told.

A dead feed or a break in the data makes figures move. What then fires is listed under its cause: one incident.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from driftline.core.alert_events import BROKEN
from driftline.core.alerts import Standing, retell
from driftline.events.alerts import Alert, AlertKind, AlertState, Severity
from driftline.events.base import Millis
from driftline.events.reports import ALL

_FIGURES = (AlertKind.METRIC, AlertKind.ESTIMATE, AlertKind.DRIFT, AlertKind.DETECTOR)
_FOLLOWS: Mapping[AlertKind, tuple[AlertKind, ...]] = {
    AlertKind.LAG: (*_FIGURES, AlertKind.COVERAGE, AlertKind.SILENCE, AlertKind.DATA),
    AlertKind.SILENCE: (*_FIGURES, AlertKind.COVERAGE, AlertKind.DATA),
    AlertKind.DATA: (*_FIGURES, AlertKind.COVERAGE),
    AlertKind.RANGE: _FIGURES,
}
"""What follows from an alert of each kind, those that explain most first."""


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts of one model that nobody needs to be told of until `until`. Empty: whatever it is."""

    id: str
    until: Millis
    author: str
    comment: str = ""
    rule: str = ""
    version: str = ""
    segment: str = ""
    severity: Severity | None = None

    def matches(self, alert: Alert) -> bool:
        """Whether it is about this alert. A call for a human is never silenced."""
        if alert.kind is AlertKind.MANUAL_INTERVENTION:
            return False
        pairs = ((self.rule, alert.rule), (self.version, alert.version), (self.segment, alert.segment))
        fits = all(wanted in ("", has) for wanted, has in pairs)
        return fits and self.severity in (None, alert.severity)


def mute(alert: Alert, silences: Iterable[Silence], firing: Sequence[Alert]) -> Alert:
    """The alert with why nobody needs to be told of it, if so. `firing`: what could be its cause."""
    cause = _cause(alert, firing)
    silence = next((each for each in silences if each.matches(alert)), None)
    muted = f"silenced by {silence.id}" if silence else f"caused by {cause.fingerprint}" if cause else ""
    return msgspec.structs.replace(alert, muted=muted, incident=cause.fingerprint if cause else "")


def settle(
    standings: Mapping[str, Standing], silences: Sequence[Silence], others: Sequence[Alert], at: Millis
) -> list[Alert]:
    """What is to be told again, because it is muted from now on or not any more, or has another effect.

    `others`: alerts beside these that could be a cause, such as those of source partitions.
    """
    told = []
    firing = [*others, *(s.last for s in standings.values() if s.state is AlertState.FIRING and s.last is not None)]
    for standing in standings.values():
        last = standing.last
        if not standing.is_open or last is None:
            continue
        now = mute(last, silences, firing)
        if (now.muted, now.incident) != (last.muted, last.incident):
            causes = tuple(cause.id for cause in firing if cause.fingerprint == now.incident)
            told.append(retell(standing, at, causes, muted=now.muted, incident=now.incident))
    return told + list_effects(standings, standings.values(), at)


def list_effects(causes: Mapping[str, Standing], others: Iterable[Standing], at: Millis) -> list[Alert]:
    """Of firing alerts by fingerprint those that are told again, because other ones have begun or ceased to follow."""
    followers = [s.last for s in others if s.is_open and s.last is not None and s.last.incident in causes]
    effects_of: dict[str, list[str]] = {}
    for alert in sorted(followers, key=lambda alert: alert.fingerprint):
        effects_of.setdefault(alert.incident, []).append(alert.fingerprint)
    told = []
    for name, standing in causes.items():
        last = standing.last
        if standing.state is not AlertState.FIRING or last is None:
            continue
        effects = tuple(effects_of.get(name, ()))
        if effects != last.evidence.effects:
            evidence = msgspec.structs.replace(last.evidence, effects=effects)
            told.append(retell(standing, at, evidence=evidence))
    return told


def _cause(alert: Alert, firing: Sequence[Alert]) -> Alert | None:
    """What explains an alert best."""
    for kind, follow in _FOLLOWS.items():
        if alert.kind in follow:
            for other in firing:
                if other.kind is kind and other.fingerprint != alert.fingerprint and _explains(other, alert):
                    return other
    return None


def _explains(cause: Alert, alert: Alert) -> bool:
    """Whether a cause is about the same predictions; of drift, about the same feature.

    Single values that are not allowed explain nothing: a feature must be broken.
    """
    if cause.model not in ("", alert.model) or cause.version not in ("", alert.version):
        return False
    if cause.segment not in (ALL, alert.segment) and cause.model:
        return False
    if cause.kind not in (AlertKind.DATA, AlertKind.RANGE):
        return True
    if cause.kind is AlertKind.RANGE and cause.reason != BROKEN:
        return False
    if not cause.figure:  # predictions were forgotten early, or do not meet their outcomes
        return alert.kind is AlertKind.COVERAGE
    if alert.kind is AlertKind.DRIFT:
        return _feature(cause.figure) == _feature(alert.figure)
    return alert.kind is not AlertKind.COVERAGE


def _feature(figure: str) -> str:
    """`psi(temp)` is about temp, and so is `temp`."""
    name, _, feature = figure.partition("(")
    return feature.removesuffix(")") or name
