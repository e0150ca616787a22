"""Every event in one line: when, what kind, and one plain sentence with its evidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from driftline.events.admin import Command, CommandResult, SpecRevision
from driftline.events.alerts import Alert
from driftline.events.base import Event, Millis, iso, to_millis
from driftline.events.baselines import Baseline, Calibration
from driftline.events.inputs import Prediction, label_name
from driftline.events.reports import MetricValue, WindowReport
from driftline.events.retraining import Candidate, Case, ModelState, RetrainRequest, Span, Told, Verdict

SHOWN = 3
"""Metrics of a report that a line tells."""


class Line(NamedTuple):
    """`at`: decision time, or when it was written, or the event time of a prediction; None where none is known."""

    kind: str
    at: Millis | None
    sentence: str


def tell(event: Event | Prediction) -> Line:
    """The line of an event."""
    kind, at, say = _TOLD[type(event)]
    return Line(kind, at(event), say(event))


def number(value: float | None) -> str:
    """A figure for people."""
    return "undefined" if value is None else f"{value:.4g}"


def interval(low: float | None, high: float | None) -> str:
    """Its interval, with a space before it; nothing where there is none."""
    return "" if low is None or high is None else f" ({low:.4g} to {high:.4g})"


def _prediction(event: Prediction) -> str:
    score = f" with score {event.score:.4g}" if event.score is not None else ""
    role = "" if event.role == "champion" else f", as {event.role}"
    return f"version {event.version} of {event.model} says {label_name(event.prediction)}{score}{role}"


def _report(event: WindowReport) -> str:
    everybody = event.segments[0]

    def figure(name: str, told: MetricValue) -> str:
        return f"{name} {number(told.value)}{interval(told.low, told.high)}"

    figures = [figure(name, told) for name, told in list(everybody.metrics.items())[:SHOWN]]
    drifted = [(d.psi, name) for name, d in everybody.drift.items() if d.psi is not None]
    if drifted:
        psi, name = max(drifted)
        figures.append(f"most drift in {name} (psi {psi:.3f})")
    window = event.window
    return (
        f"version {event.version} in the {window.name} up to {iso(window.end)}: {', '.join(figures)}; "
        f"n = {everybody.n}, {everybody.coverage:.1%} with outcome"
    )


def _alert(event: Alert) -> str:
    known = "" if event.acknowledged is None else f" (acknowledged by {event.acknowledged.by})"
    muted = f" ({event.muted})" if event.muted else ""
    early = "provisional, " if event.provisional else ""
    return f"{early}{event.severity}, {event.state}: {event.summary}{known}{muted}"


def _request(event: RetrainRequest) -> str:
    recipe = event.recipe
    return (
        f"attempt {event.attempt} asked for by {event.trigger} ({event.reason}): train on {_span(recipe.training)}, "
        f"hold out {_span(recipe.holdout)}"
    )


def _candidate(event: Candidate) -> str:
    if event.error is not None:
        return f"training failed: {event.error}"
    rows = "" if event.trained_on is None else f" on {event.trained_on.n} rows of {_span(event.trained_on.span)}"
    own = ", ".join(_told(name, told) for name, told in event.validation.items())
    return f"version {event.version}, trained{rows} in {event.duration_s:.3g} s{'; of itself: ' + own if own else ''}"


def _told(name: str, told: Told) -> str:
    value, low, high = told if isinstance(told, tuple) else (told, None, None)
    return f"{name} {value:.4g}{interval(low, high)}"


def _verdict(event: Verdict) -> str:
    deciding = ""
    if event.metrics:
        m = event.metrics[0]
        deciding = (
            f"; {m.name} {m.champion:.4f} -> {m.candidate:.4f}, gain {m.difference:+.4g}{interval(m.low, m.high)}"
        )
    rows = "" if event.rows is None else f" on {event.rows.n} held-out rows of {event.rows.blocks} days"
    return (
        f"{event.decision} version {event.version} against {event.champion or 'nobody'}: {event.reason}{deciding}{rows}"
    )


def _case(event: Case) -> str:
    change = "" if event.before is None else f"; {event.metric} was {event.before:.4g}"
    change += "" if event.after is None else f", is {event.after:.4g}"
    return f"{event.state}: {event.reason.replace('-', ' ')}{change}"


def _model(event: ModelState) -> str:
    after = "" if event.previous is None else f", in place of {event.previous.version}"
    return f"version {event.champion.version} of {event.model} serves{after}: {event.reason}"


def _command(event: Command) -> str:
    about = f" version {event.version}" if event.version else ""
    return f"{event.author} asks: {event.action}{about}{' (' + event.comment + ')' if event.comment else ''}"


def _result(event: CommandResult) -> str:
    return f"{'done' if event.accepted else 'not done'}: {event.reason}"


def _baseline(event: Baseline) -> str:
    return f"of version {event.version} of {event.model}: {event.n} rows of {event.source}"


def _spec(event: SpecRevision) -> str:
    return f"{event.model}@{event.revision}, applied by {event.author} at {iso(event.written_at)}"


def _span(span: Span) -> str:
    return f"{iso(span.start)} to {iso(span.end)}"


_TOLD: dict[type[msgspec.Struct], tuple[str, Callable[..., Millis | None], Callable[..., str]]] = {
    Prediction: ("prediction", lambda e: to_millis(e.time), _prediction),
    WindowReport: ("report", lambda e: e.revision, _report),
    Alert: ("alert", lambda e: e.at, _alert),
    RetrainRequest: ("request", lambda e: e.requested_at, _request),
    Candidate: ("candidate", lambda e: e.written_at, _candidate),
    Verdict: ("verdict", lambda e: e.written_at, _verdict),
    Case: ("case", lambda e: e.at, _case),
    ModelState: ("model", lambda e: e.at, _model),
    Command: ("command", lambda e: e.written_at, _command),
    CommandResult: ("result", lambda e: e.at, _result),
    Calibration: ("calibration", lambda e: e.at, lambda e: e.summary),
    SpecRevision: ("spec", lambda _: None, _spec),
    Baseline: ("baseline", lambda _: None, _baseline),
}
