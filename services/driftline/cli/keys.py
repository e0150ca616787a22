"""`driftline keys`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from driftline.platform import settings as settings_module
from driftline.platform.keys import Keyring


@click.group()
def keys() -> None:
    """Who may sign models: an artifact whose signature is not of a trusted key is never loaded.

    The first artifact stored on a machine makes a key, which is trusted there. Where else it is loaded, trust it.
    """


@keys.command("make")
@click.argument("name")
def make(name: str) -> None:
    """Make a key called NAME: trusted here, and what signs here from now on.

    The one that has signed so far is replaced; its signatures stay trusted.

    \b
    driftline keys make trainer-2024
    """
    key = _keyring().make(name)
    click.echo(f"key {key.id} ({key.name}) signs here from now on")
    click.echo(f"to load what it signs elsewhere, copy {key.file} there and run `driftline keys trust` with it")


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def list_keys(as_json: bool) -> None:
    """The keys whose signatures are believed here, and which of them signs here.

    \b
    driftline keys list
    driftline keys list --json | jq -r '.[] | select(.signs) | .file'
    """
    keyring = _keyring()
    signer = keyring.signer()
    found = [
        {"id": key.id, "name": key.name, "signs": key.id == signer, "file": str(key.file)} for key in keyring.trusted()
    ]
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    table = Table("id", "name", "signs here", box=None)
    for each in found:
        table.add_row(str(each["id"]), str(each["name"]), "yes" if each["signs"] else "")
    none = f"no key is trusted in {keyring.directory}; the first artifact makes one, or `driftline keys make NAME`"
    Console(highlight=False, soft_wrap=not found).print(table if found else none)


@keys.command("trust")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="What to call it here; by default as its file.")
def trust(file: Path, name: str | None) -> None:
    """Load from now on what the key signs whose public half is in FILE.

    \b
    driftline keys trust trainer-2024-5f1c0e.pem
    driftline keys trust /tmp/key.pem --name trainer-in-frankfurt
    """
    key = _keyring().trust(file, name)
    click.echo(f"key {key.id} ({key.name}) is trusted")


@keys.command("distrust")
@click.argument("id")
def distrust(id: str) -> None:
    """Load nothing any more that the key has signed whose id begins with ID. Models that serve go on serving.

    \b
    driftline keys distrust 5f1c0e
    """
    keyring = _keyring()
    key = keyring.distrust(id)
    click.echo(f"key {key.id} ({key.name}) is trusted no longer")
    if key.id == keyring.signer():
        click.echo("it is the one that signs here: nothing can be stored until `driftline keys make NAME` made another")


def _keyring() -> Keyring:
    return Keyring(settings_module.key_directory())


commands: list[click.Command] = [keys]
