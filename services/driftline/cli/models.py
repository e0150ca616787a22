"""`driftline models` and `driftline retrain`."""

from __future__ import annotations

import getpass
import time
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from driftline.errors import DriftlineError
from driftline.events.admin import Command, CommandResult
from driftline.events.base import decode, digest_id, iso
from driftline.events.retraining import ModelState
from driftline.events.topics import Topic
from driftline.platform import settings as settings_module
from driftline.platform.artifacts import load_estimator
from driftline.platform.declare import latest_spec, send_command, wait_for_result
from driftline.platform.kafka import read_all, read_deployment
from driftline.platform.registering import read_reference, register
from driftline.platform.settings import Settings
from driftline.spec.model import MonitorSpec

WAIT = click.option("--wait", type=float, default=30.0, show_default=True, help="Seconds to wait for control's answer.")


@click.group()
def models() -> None:
    """Champions: bring in the first one, list them."""


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
def register_model(model: str, version: str, artifact: Path, reference: Path, wait: float) -> None:
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
    _tell(wait_for_result(settings, command.id, wait), f"{model} version {version} is the champion")


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def list_models(as_json: bool) -> None:
    """The champion of every model, and since when."""
    newest: dict[str, ModelState] = {}
    for record in read_all(settings_module.load(), Topic.MODELS):
        if record.value:
            state = decode(record.value, ModelState)
            newest[state.model] = state
    if as_json:
        click.echo(msgspec.json.encode(list(newest.values())))
        return
    table = Table("model", "champion", "since", "reason", "previous", box=None)
    for state in newest.values():
        previous = state.previous.version if state.previous else ""
        table.add_row(state.model, state.champion.version, iso(state.champion.since), state.reason, previous)
    Console().print(table)


@click.command()
@click.argument("model")
@WAIT
def retrain(model: str, wait: float) -> None:
    """Ask for a retrain of MODEL now; the candidate still has to pass the gate."""
    settings = settings_module.load()
    _spec(settings, model)
    now = int(time.time() * 1000)
    command = Command(
        id=digest_id("retrain", model, now), model=model, action="retrain", author=getpass.getuser(), written_at=now
    )
    send_command(settings, read_deployment(settings), command)
    _tell(wait_for_result(settings, command.id, wait), f"a retrain of {model} is requested")


def _spec(settings: Settings, model: str) -> MonitorSpec:
    known = latest_spec(settings, model)
    if known is None:
        raise DriftlineError(f"no spec of {model} has been applied; run `driftline apply FILE` first")
    return known[1]


def _tell(result: CommandResult, done: str) -> None:
    if not result.accepted:
        raise DriftlineError(f"refused: {result.reason}")
    click.echo(done)


commands: list[click.Command] = [models, retrain]
