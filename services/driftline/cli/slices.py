"""`driftline slices`."""

from __future__ import annotations

import getpass

import click

from driftline.errors import DriftlineError
from driftline.events.alerts import SliceSpan
from driftline.platform import settings as settings_module
from driftline.platform.declare import accept_missing


@click.group()
def slices() -> None:
    """What the monitor tells control."""


@slices.command("accept")
@click.argument("partition", type=int)
@click.argument("first", type=int)
@click.argument("last", type=int)
@click.option("--wait", type=float, default=30.0, show_default=True, help="Seconds to wait for control's answer.")
def accept(partition: int, first: int, last: int, wait: float) -> None:
    """Let control go on without slices FIRST to LAST of PARTITION, which are missing from topic slices.

    An alert `hole-in-slices` names them. What they held is counted nowhere.
    """
    missing = SliceSpan(partition=partition, first=first, last=last)
    results = accept_missing(settings_module.load(), missing, getpass.getuser(), wait)
    for result in results:
        if not result.accepted:
            raise DriftlineError(f"refused: {result.reason}")
    click.echo(f"control goes on without slices {first} to {last} of partition {partition}")


commands: list[click.Command] = [slices]
