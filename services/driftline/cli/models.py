"""`driftline models` and `driftline retrain`."""

from __future__ import annotations

import getpass
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from driftline.cli.asking import YES, make_sure
from driftline.cli.commanding import COMMENT, WAIT, ask, tell
from driftline.cli.showing import AS_JSON
from driftline.errors import DriftlineError
from driftline.events.base import decode, iso
from driftline.events.retraining import ModelState
from driftline.events.topics import Topic
from driftline.platform import settings as settings_module
from driftline.platform.artifacts import load_estimator
from driftline.platform.declare import latest_spec, wait_for_result
from driftline.platform.kafka import read_all
from driftline.platform.registering import read_reference, register
from driftline.platform.settings import Settings
from driftline.spec.model import MonitorSpec


@click.group()
def models() -> None:
    """Champions: bring in the first one, list them, promote, reject, go back."""


@models.command("register")
@click.argument("model")
@click.option("--version", required=True, help="What predictions of this model will carry as `version`.")
@click.option("--artifact", required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--reference",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Rows with a column a feature. With a column `outcome`: rows that the model was not made from; what its "
    "scores mean is learnt from them. They are kept with the model, with `id` and `time` where they have these.",
)
@WAIT
@AS_JSON
def register_model(model: str, version: str, artifact: Path, reference: Path, wait: float, as_json: bool) -> None:
    """Bring in the first champion of MODEL, whose spec has been applied.

    ARTIFACT is a scikit-learn model saved by skops; REFERENCE (Parquet or CSV) has a column a feature: rows such as the
    model was made from, which become its baseline.

    \b
    driftline models register flight-delay --version 1 --artifact model.skops --reference january.parquet
    """
    settings = settings_module.load()
    spec = _spec(settings, model)
    estimator = load_estimator(artifact)
    command = register(settings, spec, version, estimator, read_reference(spec, reference), getpass.getuser())
    result = wait_for_result(settings, command.id, wait)
    tell(result, f"{model} version {version} is the champion", as_json=as_json)


@models.command("list")
@AS_JSON
def list_models(as_json: bool) -> None:
    """The champion of every model, and since when."""
    newest = {state.model: state for state in _states()}
    if as_json:
        click.echo(msgspec.json.encode(list(newest.values())))
        return
    table = Table("model", "champion", "since", "state", "reason", "previous", box=None)
    for state in newest.values():
        previous, since = state.previous.version if state.previous else "", iso(state.champion.since)
        table.add_row(state.model, state.champion.version, since, state.state, state.reason, previous)
    Console().print(table)


@models.command("show")
@click.argument("model")
@AS_JSON
def show_model(model: str, as_json: bool) -> None:
    """Who has served MODEL, since when and why, newest last."""
    states = [state for state in _states() if state.model == model]
    if not states:
        raise DriftlineError(f"{model} has no champion; bring in the first with `driftline models register`")
    if as_json:
        click.echo(msgspec.json.encode(states))
        return
    table = Table("at", "champion", "state", "beside it", "reason", box=None)
    for state in states:
        beside = state.shadow.version if state.shadow else ""
        table.add_row(iso(state.at), state.champion.version, state.state, beside, state.reason)
    Console().print(table)


@models.command("promote")
@click.argument("model")
@click.option("--verdict", required=True, help="The verdict that you have looked at: `driftline verdicts show`.")
@COMMENT
@WAIT
@AS_JSON
def promote_candidate(model: str, verdict: str, comment: str, wait: float, as_json: bool) -> None:
    """Let the candidate serve that waits for an approval, or that too little is known of.

    \b
    driftline models promote flight-delay --verdict 5d41402abc4b2a76 --comment "checked the segments"
    """
    result = ask(model, "promote", wait, verdict=verdict, comment=comment)
    tell(result, f"the candidate of verdict {verdict} is let through", as_json=as_json)


@models.command("reject")
@click.argument("model")
@click.option("--verdict", required=True, help="The verdict that you have looked at: `driftline verdicts show`.")
@COMMENT
@WAIT
@AS_JSON
def reject_candidate(model: str, verdict: str, comment: str, wait: float, as_json: bool) -> None:
    """Refuse the candidate that waits for an approval."""
    result = ask(model, "reject", wait, verdict=verdict, comment=comment)
    tell(result, f"the candidate of verdict {verdict} is refused", as_json=as_json)


@models.command("rollback")
@click.argument("model")
@click.option("--to", metavar="VERSION", help="The version before, by name: needed if it was taken back itself.")
@COMMENT
@WAIT
@YES
@AS_JSON
def roll_back(model: str, to: str | None, comment: str, wait: float, yes: bool, as_json: bool) -> None:
    """Let the version serve again that served before.

    \b
    driftline models rollback flight-delay --comment "too many false alarms"
    driftline models rollback flight-delay --to 7
    """
    last = next((state for state in reversed(_states()) if state.model == model), None)
    if last is None or last.previous is None:
        raise DriftlineError(f"{model} has no version to go back to")
    before = last.previous.version
    make_sure(f"{model}: go back from version {last.champion.version} to {to or before}?", yes)
    # named, so that of two people who want the same only one changes something
    version = to or (None if last.state == "rolled-back" else before)
    result = ask(model, "rollback", wait, version=version, comment=comment)
    tell(result, f"{model} version {before} is the champion again", as_json=as_json)


@click.command()
@click.argument("model")
@WAIT
@AS_JSON
def retrain(model: str, wait: float, as_json: bool) -> None:
    """Ask for a retrain of MODEL now; the candidate still has to pass the gate."""
    _spec(settings_module.load(), model)
    tell(ask(model, "retrain", wait), f"a retrain of {model} is requested", as_json=as_json)


def _states() -> list[ModelState]:
    records = read_all(settings_module.load(), Topic.MODELS)
    return [decode(record.value, ModelState) for record in records if record.value]


def _spec(settings: Settings, model: str) -> MonitorSpec:
    known = latest_spec(settings, model)
    if known is None:
        raise DriftlineError(f"no spec of {model} has been applied; run `driftline apply FILE` first")
    return known[1]


commands: list[click.Command] = [models, retrain]
