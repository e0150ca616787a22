"""What the demo tells at the end: the timeline, how often each thing happened or why it did not, the comparison."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from driftline.events.alerts import AlertKind, AlertState
from driftline.events.retraining import Trigger
from examples.flights.story import Story


def summarise(story: Story, compared: dict[str, dict[str, float]], events: int, seconds: float) -> dict[str, Any]:
    """Everything in one JSON document."""
    fired = {(a.fingerprint, a.episode) for a in story.alerts if _fires(a) and a.kind is AlertKind.METRIC}
    asked = Counter(request.trigger for request in story.requests)
    decided = Counter(verdict.decision for verdict in story.verdicts)
    happened = {
        "alerts on a metric": len(fired),
        "retrains asked for by the schedule": asked[Trigger.SCHEDULE],
        "retrains asked for by an alert": asked[Trigger.RULE],
        "promotions": decided["promote"],
        "refusals": decided["refuse"],
        "failed trainings": sum(candidate.error is not None for candidate in story.candidates),
    }
    return {
        "events": events,
        "seconds": round(seconds, 1),
        "timeline": [{"at": at, "what": what} for at, what in story.timeline()],
        "happened": happened,
        "why_not": {what: why_not(story, what) for what, n in happened.items() if not n and what != "failed trainings"},
        "comparison": compared,
    }


def why_not(story: Story, what: str) -> str:
    """Why something that this demo is about did not happen in this run."""
    firing = [alert for alert in story.alerts if _fires(alert)]
    if what == "alerts on a metric":
        champions = {state.champion.version for state in story.models}
        lowest = min((v for c in champions for _, v in story.metric("week", c, "auc")), default=None)
        return "no week was judged" if lowest is None else f"the lowest weekly AUC was {lowest:.3f}"
    if what == "retrains asked for by the schedule":
        return "the first of a month did not come, or came within the cooldown after another retrain"
    if what == "retrains asked for by an alert":
        asking = [alert for alert in firing if alert.kind is AlertKind.METRIC]
        return "each came within the cooldown after another retrain" if asking else "no alert that asks for one fired"
    reasons = Counter(verdict.reason for verdict in story.verdicts)
    if not reasons:
        return "no candidate was judged"
    return "the gate said " + ", ".join(f"{reason} {n} times" for reason, n in reasons.most_common())


def show(summary: dict[str, Any], picture: Path, console: Console) -> None:
    """The summary for people."""
    console.rule("what happened")
    for line in summary["timeline"]:
        _say(console, f"{datetime.fromtimestamp(line['at'] / 1000, UTC):%Y-%m-%d %H:%M}  {line['what']}")
    console.rule("the same flights, with Driftline's promotions and without")
    for side, figures in summary["comparison"].items():
        _say(
            console,
            f"{side:<18} AUC {figures['auc']:.4f}   log loss {figures['log_loss']:.4f}   "
            f"missed delays {figures['missed_delays']:,.0f}   false alarms {figures['false_alarms']:,.0f}   "
            f"of {figures['flights']:,.0f} flights",
        )
    console.rule("how often")
    for what, n in summary["happened"].items():
        why = summary["why_not"].get(what)
        _say(console, f"{what}: {n}" + (f" ({why})" if why else ""))
    _say(console, f"{summary['events']:,} events in {summary['seconds']} s; picture: {picture}")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _fires(alert: Any) -> bool:
    return alert.state is AlertState.FIRING
