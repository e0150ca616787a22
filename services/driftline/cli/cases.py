"""`driftline cases`."""

from __future__ import annotations

import click
from rich.table import Table

from driftline.cli.commanding import COMMENT, WAIT, ask, tell
from driftline.cli.showing import AS_JSON, moment, short, show, show_json
from driftline.errors import DriftlineError
from driftline.events.retraining import Case
from driftline.events.topics import Topic
from driftline.platform import settings as settings_module
from driftline.platform import stored


@click.group()
def cases() -> None:
    """Retrain cases: why each was opened, what was tried, and what came of it."""


@cases.command("list")
@click.option("--model", help="Only of this model.")
@click.option("--state", help="Only in this state, as in `open` or `escalated`.")
@AS_JSON
def list_cases(model: str | None, state: str | None, as_json: bool) -> None:
    """Every case as it stands now.

    \b
    driftline cases list --model flight-delay
    driftline cases list --state open --json
    """
    newest = {case.case: case for case in _changes()}
    found = [case for case in newest.values() if model in (None, case.model) and state in (None, case.state)]
    if as_json:
        show_json(found)
        return
    table = Table("case", "model", "opened", "by", "state", "attempts", "deadline", "last change", box=None)
    for case in found:
        by = f"{case.trigger} {case.rule}" if case.rule else case.trigger
        last = f"{moment(case.at)} {case.reason}"
        about = (by, case.state, str(len(case.attempts)), moment(case.deadline), last)
        table.add_row(short(case.case), case.model, moment(case.opened_at), *about)
    show(table)


@cases.command("show")
@click.argument("name", metavar="CASE")
@AS_JSON
def show_case(name: str, as_json: bool) -> None:
    """Every change of CASE, and its attempts. The beginning of its name is enough."""
    changes = [case for case in _changes() if case.case.startswith(name) or case.id.startswith(name)]
    names = {case.case for case in changes}
    if len(names) != 1:
        what = f"{len(names)} cases are called so" if names else "there is no such case"
        raise DriftlineError(f"{name}: {what}; `driftline cases list` has them all")
    changes = [case for case in _changes() if case.case in names]
    last = changes[-1]
    if as_json:
        show_json({"case": last, "changes": changes})
        return
    figures = (
        "" if last.metric is None else f"; {last.metric} before {_figure(last.before)}, after {_figure(last.after)}"
    )
    click.echo(f"{last.model}, opened {moment(last.opened_at)} by {last.rule or last.trigger}: {last.state}{figures}")
    table = Table("attempt", "asked", "by", "state", "version", "reason", "candidate", "verdict", box=None)
    for attempt in last.attempts:
        about = (str(attempt.n), moment(attempt.requested_at), attempt.trigger, attempt.state, attempt.version or "")
        ids = (short(attempt.candidate or ""), short(attempt.verdict or ""))
        table.add_row(*about, attempt.reason, *ids)
    show(table)
    table = Table("at", "state", "reason", "id", "caused by", box=None)
    for case in changes:
        table.add_row(moment(case.at), case.state, case.reason, short(case.id), " ".join(map(short, case.caused_by)))
    show(table)


@cases.command("close")
@click.argument("name", metavar="CASE")
@COMMENT
@WAIT
@AS_JSON
def close_case(name: str, comment: str, wait: float, as_json: bool) -> None:
    """Close CASE, between two attempts. The beginning of its name is enough."""
    found = {case.case: case for case in _changes() if case.case.startswith(name)}
    if len(found) != 1:
        what = f"{len(found)} cases are called so" if found else "there is no such case"
        raise DriftlineError(f"{name}: {what}; `driftline cases list` has them all")
    (case,) = found.values()
    result = ask(case.model, "close", wait, case=case.case, comment=comment)
    tell(result, f"case {short(case.case)} of {case.model} is closed", as_json=as_json)


@cases.command("retrain")
@click.argument("model")
@WAIT
@AS_JSON
def next_attempt(model: str, wait: float, as_json: bool) -> None:
    """Ask for the next attempt of the open case of MODEL, or the first of a new one: as `driftline retrain`."""
    tell(ask(model, "retrain", wait), f"a retrain of {model} is requested", as_json=as_json)


def _changes() -> list[Case]:
    return sorted(stored.events(settings_module.load(), Topic.CASES, Case), key=lambda case: case.at)


def _figure(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4g}"


commands: list[click.Command] = [cases]
