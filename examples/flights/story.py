"""What has happened so far, read from the topics as any subscriber would."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftline.events.alerts import Alert, AlertState
from driftline.events.base import Event, decode, iso
from driftline.events.reports import WindowReport
from driftline.events.retraining import Candidate, Case, ModelState, RetrainRequest, Verdict
from driftline.events.topics import Topic
from driftline.platform.following import Tail
from driftline.platform.settings import Settings
from examples.flights.serving import MODEL

KINDS: dict[Topic, type[Event]] = {
    Topic.METRICS: WindowReport,
    Topic.ALERTS: Alert,
    Topic.RETRAIN_REQUESTS: RetrainRequest,
    Topic.CANDIDATES: Candidate,
    Topic.VERDICTS: Verdict,
    Topic.CASES: Case,
    Topic.MODELS: ModelState,
}


@dataclass
class Story:
    """All events of the demo's model so far, each kind in order."""

    reports: dict[tuple[str, str, int], WindowReport] = field(default_factory=dict)
    """The newest revision by (window, version, end); in the week of a change of roles, of that with more flights."""
    alerts: list[Alert] = field(default_factory=list)
    requests: list[RetrainRequest] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    models: list[ModelState] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Add one event."""
        match event:
            case WindowReport():
                known = self.reports.get(place := (event.window.name, event.version, event.window.end))
                if known is None or known.role == event.role or known.segments[0].n <= event.segments[0].n:
                    self.reports[place] = event
            case Alert():
                self.alerts.append(event)
            case RetrainRequest():
                self.requests.append(event)
            case Candidate():
                self.candidates.append(event)
            case Verdict():
                self.verdicts.append(event)
            case Case():
                self.cases.append(event)
            case ModelState():
                self.models.append(event)

    def open_alerts(self) -> list[Alert]:
        """The alerts that fire now."""
        newest = {alert.fingerprint: alert for alert in self.alerts}
        return [alert for alert in newest.values() if alert.state is AlertState.FIRING]

    def metric(self, window: str, version: str, metric: str, least: int = 0) -> list[tuple[int, float]]:
        """(end, value) of a metric over time, where at least so many samples are behind it."""
        found = [
            (end, report.segments[0].metrics[metric])
            for (name, of, end), report in sorted(self.reports.items(), key=lambda item: item[0])
            if (name, of) == (window, version)
        ]
        return [(end, told.value) for end, told in found if told.value is not None and told.n >= least]

    def timeline(self) -> list[tuple[int, str]]:
        """(decision time, sentence) of everything that a person would want to know."""
        lines: list[tuple[int, str]] = []
        told = [alert for alert in self.alerts if alert.state is not AlertState.PENDING]
        lines += [(alert.at, f"alert {alert.state}: {alert.summary}") for alert in told]
        lines += [(r.requested_at, f"retrain requested ({r.trigger}: {r.reason})") for r in self.requests]
        at = {request.id: request.requested_at for request in self.requests}
        by_candidate = {verdict.candidate: verdict for verdict in self.verdicts}
        for candidate in self.candidates:
            when = at.get(candidate.request, 0)
            verdict = by_candidate.get(candidate.id)
            if candidate.error is not None:
                lines.append((when, f"training failed: {candidate.error.splitlines()[-1][:120]}"))
            elif verdict is not None:
                lines.append((when, f"verdict on {candidate.version}: {sentence(verdict)}"))
        lines += [(state.at, f"version {state.champion.version} serves ({state.reason})") for state in self.models]
        lines += [(case.at, f"case {case.state}: {case.reason}") for case in self.cases if "attempt" not in case.reason]
        return sorted(lines, key=lambda line: line[0])


def sentence(verdict: Verdict) -> str:
    """A verdict in one line: the metric that decides, both sides on the same rows, the gain and its interval."""
    if verdict.rows is None or not verdict.metrics:
        return f"{verdict.decision} ({verdict.reason})"
    judged = verdict.metrics[0]
    interval = "" if judged.low is None or judged.high is None else f" [{judged.low:+.4f}, {judged.high:+.4f}]"
    return (
        f"{verdict.decision} ({verdict.reason}); {judged.name} {judged.champion:.4f} -> {judged.candidate:.4f}, "
        f"gain {judged.difference:+.4f}{interval}, n = {verdict.rows.n}"
    )


class Follower:
    """Reads the topics into a story."""

    def __init__(self, settings: Settings) -> None:
        self.story = Story()
        self._tail = Tail(settings, *KINDS)

    def catch_up(self) -> Story:
        """Everything that stands in the topics by now."""
        for record in self._tail.catch_up():
            if record.value and record.source.topic in KINDS and not record.header("driftline-mark"):
                event = decode(record.value, KINDS[record.source.topic])
                if getattr(event, "model", MODEL) == MODEL:
                    self.story.take(event)
        return self.story

    def close(self) -> None:
        """Disconnect."""
        self._tail.close()


def day(time: int) -> str:
    """A date for people."""
    return iso(time)[:10]
