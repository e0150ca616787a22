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
        "behind": behind(story),
        "comparison": compared,
    }


def behind(story: Story) -> list[dict[str, Any]]:
    """What each alert on a metric says of its causes: the worst segment, and whose drift goes with the errors."""
    told = []
    for alert in story.alerts:
        if not _fires(alert) or alert.kind is not AlertKind.METRIC:
            continue
        evidence = alert.evidence
        segments = [{"name": s.segment, "value": s.value, "n": s.n} for s in evidence.segments[:1]]
        features = [{"name": f.feature, "psi": f.psi} for f in evidence.features[:1]]
        told.append({"at": alert.at, "rule": alert.rule, "segments": segments, "features": features})
    return told


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
    console.rule("what stood behind the alerts on a metric")
    for line in summary["behind"]:
        causes = [f"worst segment {s['name']} ({s['value']:.4f}, n = {s['n']})" for s in line["segments"]]
        causes += [f"first feature {f['name']} (psi {f['psi']:.3f})" for f in line["features"]]
        when = datetime.fromtimestamp(line["at"] / 1000, UTC)
        _say(console, f"{when:%Y-%m-%d %H:%M}  {line['rule']}: {'; '.join(causes) or 'nothing known'}")
    console.rule("the same flights, with Driftline's promotions and without")
    sides = {side: figures for side, figures in summary["comparison"].items() if side != "gain"}
    for side, figures in sides.items():
        _say(
            console,
            f"{side:<18} AUC {figures['auc']:.4f}   log loss {figures['log_loss']:.4f}   "
            f"missed delays {figures['missed_delays']:,.0f}   false alarms {figures['false_alarms']:,.0f}   "
            f"of {figures['flights']:,.0f} flights",
        )
    gain = summary["comparison"]["gain"]
    _say(console, f"gain in log loss {gain['log_loss']:+.4f} (95 % by days {gain['low']:+.4f} to {gain['high']:+.4f})")
    console.rule("how often")
    for what, n in summary["happened"].items():
        why = summary["why_not"].get(what)
        _say(console, f"{what}: {n}" + (f" ({why})" if why else ""))
    _say(console, f"{summary['events']:,} events in {summary['seconds']} s; picture: {picture}")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _fires(alert: Any) -> bool:
    return alert.state is AlertState.FIRING
