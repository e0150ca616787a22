"""Asking before something is done that cannot be undone."""

from __future__ import annotations

import sys

import click

from driftline.errors import DriftlineError

YES = click.option("--yes", is_flag=True, help="Do not ask.")


def make_sure(question: str, yes: bool) -> None:
    """Ask on standard error, so that standard output stays for machines; anything but yes ends the command."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise DriftlineError("nothing was done: there is nobody to ask; say --yes")
    click.confirm(question, abort=True, err=True)
