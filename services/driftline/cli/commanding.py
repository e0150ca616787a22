"""Asking control for something, and saying what came of it."""

from __future__ import annotations

import getpass
import time
from typing import Any

import click
import msgspec

from driftline.errors import DriftlineError
from driftline.events.admin import Action, Command, CommandResult
from driftline.events.base import digest_id
from driftline.platform import settings as settings_module
from driftline.platform.declare import send_command, wait_for_result
from driftline.platform.kafka import read_deployment

WAIT = click.option("--wait", type=float, default=30.0, show_default=True, help="Seconds to wait for control's answer.")
COMMENT = click.option("--comment", default="", help="Why; it is kept with the decision.")


def ask(model: str, action: Action, wait: float, **about: Any) -> CommandResult:
    """Send a command about a model and wait for what comes of it. Raises `Unreachable`."""
    settings = settings_module.load()
    now = int(time.time() * 1000)
    command = Command(
        id=digest_id(action, model, *(str(value) for value in about.values()), now),
        model=model,
        action=action,
        author=getpass.getuser(),
        written_at=now,
        **about,
    )
    send_command(settings, read_deployment(settings), command)
    return wait_for_result(settings, command.id, wait)


def tell(result: CommandResult, done: str, *, as_json: bool = False) -> None:
    """Say what came of it. Raises `DriftlineError` where it was refused."""
    if as_json:
        click.echo(msgspec.json.encode(result))
    if not result.accepted:
        raise DriftlineError(f"refused: {result.reason}")
    if not as_json:
        click.echo(done)
