"""`driftline explain`: what became of one prediction."""

from __future__ import annotations

import click
from rich.table import Table

from driftline.cli.showing import AS_JSON, moment, short, show, show_json
from driftline.core.explaining import Came, Explained
from driftline.errors import DriftlineError
from driftline.events.base import iso, to_millis
from driftline.events.inputs import Outcome, Prediction, label_name
from driftline.platform import settings as settings_module
from driftline.platform.explained import explained


@click.command()
@click.argument("prediction", metavar="PREDICTION_ID")
@click.option("--model", help="Only of this model; several may use the same ids.")
@AS_JSON
def explain(prediction: str, model: str | None, as_json: bool) -> None:
    """What was said under an id, whether it counted, what came true, and which windows it is in.

    By model and version: every arrival of the prediction, its values against what the spec in force allows, every
    outcome, and the windows that hold it with the report in which it first counted.

    \b
    driftline explain 2013-04-02T09:15/EWR/UA1545
    driftline explain UA1545 --model flight-delay --json
    """
    found = explained(settings_module.load(), prediction, model)
    if not found:
        whose = "" if model is None else f" of {model}"
        raise DriftlineError(f"no prediction{whose} has the id {prediction}, neither in the topics nor in the archive")
    if as_json:
        show_json(found)
        return
    for number, one in enumerate(found):
        if number:
            click.echo("")
        _show(one)


def _show(one: Explained) -> None:
    spec = f"spec {one.spec}" if one.spec else "no spec was in force"
    click.echo(f"{one.id}: version {one.version} of {one.model} ({spec})")
    table = Table("arrived", "what", "came to", "says", "event time", "where", box=None)
    for came in one.predictions:
        event = came.event
        assert isinstance(event, Prediction)
        score = "" if event.score is None else f", score {event.score:.4g}"
        latency = "" if event.latency_ms is None else f", in {event.latency_ms:g} ms"
        table.add_row(*_begin(came, event.role), label_name(event.prediction) + score + latency, *_end(came))
    for came in one.outcomes:
        assert isinstance(came.event, Outcome)
        table.add_row(*_begin(came, "outcome"), label_name(came.event.outcome), *_end(came))
    show(table)
    if not one.outcomes:
        click.echo("no outcome has come")
    if one.checks:
        table = Table("input", "value", "declared", "", box=None)
        for check in one.checks:
            table.add_row(
                check.name, "" if check.value is None else str(check.value), check.declared, check.wrong or "ok"
            )
        show(table)
    if one.windows:
        table = Table("window", "from", "to", "counts since", "with its outcome since", "n", "newest report", box=None)
        for window in one.windows:
            due = "" if window.due is None else f", due {iso(window.due)}"
            counted = moment(window.counted) or ("not reported" + due if not window.reports else "not yet")
            labelled = moment(window.labelled)
            last = ("" if window.n is None else str(window.n), short(window.report or ""))
            table.add_row(window.window, iso(window.start), iso(window.end), counted, labelled, *last)
        show(table)


def _begin(came: Came, what: str) -> tuple[str, str, str]:
    return moment(came.arrival), what, f"{came.fate}{f' ({came.why})' if came.why else ''}"


def _end(came: Came) -> tuple[str, str]:
    row = f" row {came.row}" if came.row else ""
    return iso(to_millis(came.event.time)), f"partition {came.partition} at {came.offset}{row}"


commands: list[click.Command] = [explain]
