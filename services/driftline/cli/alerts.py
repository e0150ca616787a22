"""`driftline alerts`."""

from __future__ import annotations

import click
from rich.table import Table

from driftline.cli.showing import AS_JSON, moment, short, show, show_json
from driftline.events.alerts import Alert, AlertState
from driftline.events.topics import Topic
from driftline.platform import settings as settings_module
from driftline.platform import stored

STATES = [str(state) for state in AlertState if state is not AlertState.INACTIVE]


@click.group()
def alerts() -> None:
    """What is wrong now, and what has been."""


@alerts.command("list")
@click.option("--model", help="Only of this model.")
@click.option("--state", type=click.Choice(STATES), help="Only in this state; else those that are not over.")
@click.option("--history", is_flag=True, help="Every change of every alert, the over ones too.")
@AS_JSON
def list_alerts(model: str | None, state: str | None, history: bool, as_json: bool) -> None:
    """The alerts that are pending or firing, each as it stands now.

    \b
    driftline alerts list
    driftline alerts list --model flight-delay --history
    driftline alerts list --state firing --json | jq '.[].summary'
    """
    told = [a for a in stored.events(settings_module.load(), Topic.ALERTS, Alert) if model in (None, a.model)]
    told.sort(key=lambda alert: alert.at)
    found = told if history else newest(told)
    if state is not None:
        found = [alert for alert in found if alert.state == state]
    elif not history:
        found = [alert for alert in found if alert.state is not AlertState.RESOLVED]
    if as_json:
        show_json(found)
        return
    table = Table("at", "since", "id", "model", "severity", "state", "rule", "reason", "what", box=None)
    for alert in found:
        state_told = f"{alert.state}{', provisional' if alert.provisional else ''}"
        about = (short(alert.id), alert.model, alert.severity, state_told, alert.rule, alert.reason, alert.summary)
        table.add_row(moment(alert.at), moment(alert.since), *about)
    show(table)


def newest(told: list[Alert]) -> list[Alert]:
    """Of each alert the last change, in the order of time; a provisional one only where nothing else was said of it."""
    found: dict[tuple[str, int], Alert] = {}
    for alert in told:
        known = found.get((alert.fingerprint, alert.episode))
        if known is None or known.provisional or not alert.provisional:
            found[alert.fingerprint, alert.episode] = alert
    return sorted(found.values(), key=lambda alert: alert.at)


commands: list[click.Command] = [alerts]
