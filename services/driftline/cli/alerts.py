"""`driftline alerts`."""

from __future__ import annotations

import click
from rich.table import Table

from driftline.cli.commanding import COMMENT, WAIT, ask, tell
from driftline.cli.showing import AS_JSON, moment, short, show, show_json
from driftline.errors import DriftlineError
from driftline.events.admin import Matching
from driftline.events.alerts import Alert, AlertState, Severity
from driftline.events.topics import Topic
from driftline.platform import settings as settings_module
from driftline.platform import stored
from driftline.spec.durations import parse_duration

STATES = [str(state) for state in AlertState if state is not AlertState.INACTIVE]


@click.group()
def alerts() -> None:
    """What is wrong now, and what has been; take it on, or do not be told."""


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
        more = (("provisional", alert.provisional), ("muted", alert.muted), ("acknowledged", alert.acknowledged))
        state_told = ", ".join([alert.state, *(word for word, so in more if so)])
        about = (short(alert.id), alert.model, alert.severity, state_told, alert.rule, alert.reason, alert.summary)
        table.add_row(moment(alert.at), moment(alert.since), *about)
    show(table)


@alerts.command("ack")
@click.argument("name", metavar="ALERT")
@COMMENT
@WAIT
@AS_JSON
def acknowledge(name: str, comment: str, wait: float, as_json: bool) -> None:
    """Say that you look into ALERT: it is not told again. The beginning of its id is enough.

    \b
    driftline alerts ack 5d41402abc4b --comment "sensor 3 is being replaced"
    """
    alert = _named(name)
    result = ask(alert.model, "acknowledge", wait, fingerprint=alert.fingerprint, comment=comment)
    tell(result, f"{alert.rule} of {alert.model} is yours", as_json=as_json)


@alerts.command("close")
@click.argument("name", metavar="ALERT")
@COMMENT
@WAIT
@AS_JSON
def close(name: str, comment: str, wait: float, as_json: bool) -> None:
    """Close a call for manual intervention, which nothing else ends."""
    alert = _named(name)
    result = ask(alert.model, "close", wait, fingerprint=alert.fingerprint, comment=comment)
    tell(result, f"the call for a human about {alert.model} is closed", as_json=as_json)


@alerts.command("silence")
@click.argument("model")
@click.option("--lasts", required=True, help="For how long, as in `2h` or `7d`.")
@click.option("--rule", default="", help="Only alerts of this rule.")
@click.option("--version", default="", help="Only alerts of this version.")
@click.option("--segment", default="", help="Only alerts of this segment, as in `origin=EWR`.")
@click.option("--severity", type=click.Choice([str(each) for each in Severity]), help="Only as loud ones.")
@COMMENT
@WAIT
@AS_JSON
def silence(
    model: str,
    lasts: str,
    rule: str,
    version: str,
    segment: str,
    severity: str | None,
    comment: str,
    wait: float,
    as_json: bool,
) -> None:
    """Do not be told of alerts of MODEL for a while: they go through their states, and say that they are muted.

    \b
    driftline alerts silence flight-delay --rule input-drift --lasts 7d --comment "new airport"
    """
    try:
        matching = Matching(
            lasts=parse_duration(lasts),
            rule=rule,
            version=version,
            segment=segment,
            severity=None if severity is None else Severity(severity),
        )
    except ValueError as error:
        raise DriftlineError(f"--lasts: {error}") from error
    result = ask(model, "silence", wait, matching=matching, comment=comment)
    tell(result, f"silenced; to end it: driftline alerts unsilence {model} {result.command}", as_json=as_json)


@alerts.command("unsilence")
@click.argument("model")
@click.argument("name", metavar="SILENCE")
@WAIT
@AS_JSON
def unsilence(model: str, name: str, wait: float, as_json: bool) -> None:
    """End SILENCE, which a muted alert names."""
    tell(ask(model, "unsilence", wait, silence=name), "ended", as_json=as_json)


def _named(name: str) -> Alert:
    """The alert of which a change, or which itself, is called so."""
    told = stored.events(settings_module.load(), Topic.ALERTS, Alert)
    found = {a.fingerprint: a for a in told if a.id.startswith(name) or a.fingerprint.startswith(name)}
    if len(found) != 1:
        what = f"{len(found)} alerts are called so" if found else "there is no such alert"
        raise DriftlineError(f"{name}: {what}; `driftline alerts list` has them")
    return next(iter(found.values()))


def newest(told: list[Alert]) -> list[Alert]:
    """Of each alert the last change, in the order of time; a provisional one only where nothing else was said of it."""
    found: dict[tuple[str, int], Alert] = {}
    for alert in told:
        known = found.get((alert.fingerprint, alert.episode))
        if known is None or known.provisional or not alert.provisional:
            found[alert.fingerprint, alert.episode] = alert
    return sorted(found.values(), key=lambda alert: alert.at)


commands: list[click.Command] = [alerts]
