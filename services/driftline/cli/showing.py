"""How commands show what they have read: tables for people, JSON for machines."""

from __future__ import annotations

from typing import Any

import click
import msgspec
from rich.console import Console, RenderableType

from driftline.events.base import Millis, iso

AS_JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")
WIDE = 200
"""Columns where no terminal limits them."""
SHORT = 12
"""So many characters of an id are shown; commands that take an id take them for it."""


def show(what: RenderableType) -> None:
    """Print a table or a tree; what stands in it is text, not markup."""
    console = Console(markup=False, highlight=False, soft_wrap=False)
    Console(width=None if console.is_terminal else WIDE, markup=False, highlight=False).print(what)


def show_json(what: Any) -> None:
    """Print it as JSON."""
    click.echo(msgspec.json.encode(what, enc_hook=str))


def moment(at: Millis | None) -> str:
    """An instant, or nothing."""
    return "" if at is None else iso(at)


def short(name: str) -> str:
    """The beginning of an id that Driftline made; what others have named is shown whole."""
    return name[:SHORT] if len(name) in (32, 64) and set(name) <= set("0123456789abcdef") else name
