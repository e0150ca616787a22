"""What a backtest found: the events that the services would have published, as they are told, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from driftline.backtesting.letters import DeadLetter, Letters
from driftline.events.alerts import Alert, AlertState
from driftline.events.base import Millis
from driftline.events.baselines import Calibration
from driftline.events.reports import WindowReport
from driftline.events.retraining import Case, RetrainRequest
from driftline.events.topics import Topic, decode_record
from driftline.platform.records import Outgoing
from driftline.spec.model import MonitorSpec

Key = tuple[str, str, str, Millis]
"""(version, role, window, end)"""
Tell = Callable[[Topic, bytes], None]


@dataclass(frozen=True)
class Episode:
    """One episode of an alert: `fired` opens it; `resolved` is None where it goes on at the end."""

    fired: Alert
    resolved: Alert | None

    @property
    def about(self) -> tuple[str, str, str]:
        """(rule, version, segment)"""
        return self.fired.rule, self.fired.version, self.fired.segment


@dataclass
class Findings:
    """Of one backtest. `reports`: the last revision of each window, as first told; `said`: what was assumed.

    `rows`: of each file; `first` and `last`: the event times between which predictions lie. Earlier revisions are told
    as they come (`tell`), and not kept: what is kept grows with the windows, not with the rows.
    """

    spec: MonitorSpec
    tell: Tell | None = None
    reports: dict[Key, WindowReport] = field(default_factory=dict)
    alerts: list[Alert] = field(default_factory=list)
    requests: list[RetrainRequest] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    calibrations: list[Calibration] = field(default_factory=list)
    letters: Letters = field(default_factory=Letters)
    said: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    versions: tuple[str, ...] = ()
    first: Millis = 0
    last: Millis = 0
    decided: Millis = 0
    predictions: int = 0
    joined: int = 0
    counters: dict[str, int] = field(default_factory=dict)

    def take(self, record: Outgoing) -> None:
        """Take in a record that control writes."""
        value = record.value or b""
        if self.tell is not None:
            self.tell(record.topic, value)
        self._keep(decode_record(record.topic, value))

    def refuse(self, letter: DeadLetter) -> None:
        """Take in a row that cannot be used."""
        self.letters.take(letter)
        if self.tell is not None:
            self.tell(Topic.DEAD_LETTERS, msgspec.json.encode(letter))

    def _keep(self, event: object) -> None:
        match event:
            case WindowReport():
                self.reports[event.version, event.role, event.window.name, event.window.end] = event
            case Alert():
                self.alerts.append(event)
            case RetrainRequest():
                self.requests.append(event)
            case Case():
                self.cases.append(event)
            case Calibration():
                self.calibrations.append(event)

    def episodes(self) -> list[Episode]:
        """The alerts that fired, in the order in which they did."""
        ends = {(a.fingerprint, a.episode): a for a in self.alerts if a.state is AlertState.RESOLVED}
        fired: dict[tuple[str, int], Alert] = {}
        for alert in self.alerts:
            if alert.state is AlertState.FIRING:
                fired.setdefault((alert.fingerprint, alert.episode), alert)
        return [Episode(alert, ends.get(key)) for key, alert in fired.items()]

    def windows(self, version: str, role: str, name: str) -> list[WindowReport]:
        """The reports of one kind of window, by its end."""
        found = [r for (v, o, n, _), r in self.reports.items() if (v, o, n) == (version, role, name)]
        return sorted(found, key=lambda report: report.window.end)

    def series(self) -> list[tuple[str, str]]:
        """(version, role) of which there are reports, champions first."""
        return sorted({(version, role) for version, role, _, _ in self.reports}, key=lambda each: (each[1], each[0]))
