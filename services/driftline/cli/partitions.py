"""`driftline partitions`: units that stand still, and letting them go on."""

from __future__ import annotations

import getpass

import click
import msgspec
from rich.console import Console
from rich.table import Table

from driftline.cli.asking import YES, make_sure
from driftline.cli.showing import AS_JSON
from driftline.errors import DriftlineError
from driftline.events.base import iso
from driftline.events.slices import NoticeKind
from driftline.platform import settings as settings_module
from driftline.platform import units
from driftline.platform.settings import Settings
from driftline.platform.stops import Stop

WAIT = click.option("--wait", type=float, default=30.0, show_default=True, help="Seconds to wait for its worker.")
SERVICE = click.argument("service", type=click.Choice(["monitor", "control"]))
NUMBER = click.argument("number", type=click.IntRange(0))


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """What came of letting a unit go on. `goes_on`: its worker has taken it up within the time."""

    unit: str
    goes_on: bool
    lost: list[units.Lost]


@click.group()
def partitions() -> None:
    """What stands still, and letting it go on: partitions of monitor, shards of control.

    A worker's unit stands still where going on would lose something or count something wrong. Nothing of it is lost
    meanwhile, as long as Kafka keeps what it has not read.
    """


@partitions.command("list")
@AS_JSON
def list_partitions(as_json: bool) -> None:
    """Where every unit stands, and why it stands still.

    \b
    driftline partitions list
    driftline partitions list --json | jq '.[] | select(.stop)'
    """
    found = units.states(settings_module.load())
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    table = Table("unit", "next offsets", "missing", "since", "stands still", box=None)
    for state in found:
        sources = state.position.sources if state.position else {}
        table.add_row(
            state.unit,
            " ".join(f"{name}:{offset}" for name, (offset, _) in sources.items()) or "nothing stored",
            str(sum(state.missing.values()) or ""),
            "" if state.stop is None else iso(state.stop.since),
            "" if state.stop is None else f"{state.stop.kind}: {state.stop.detail}",
        )
    Console().print(table)


@partitions.command("accept-gap")
@SERVICE
@NUMBER
@YES
@WAIT
@AS_JSON
def accept_gap(service: str, number: int, yes: bool, wait: float, as_json: bool) -> None:
    """Go on from the earliest record that Kafka keeps, without those that are gone.

    For a unit that stands still because records were gone from Kafka before they were read, or because a topic was
    made anew. Says what is lost, and asks, before it does it. `driftline partitions list` counts what is missing.

    \b
    driftline partitions accept-gap monitor 3
    driftline partitions accept-gap monitor 3 --yes --json
    """
    settings, unit = settings_module.load(), f"{service}:{number}"
    state, stop = units.standing_still(settings, unit, NoticeKind.GAP)
    lost = units.lost(settings, state)
    for gone in lost:
        click.echo(_sentence(gone), err=True)
    click.echo(
        "None of these will ever be counted, and an outcome whose prediction is among them finds none. Figures are "
        "exact again two horizons after the earliest record kept.",
        err=True,
    )
    make_sure(f"Let {unit} go on without them?", yes)
    _go_on(settings, unit, stop, lost, wait, as_json)


@partitions.command()
@SERVICE
@NUMBER
@WAIT
@AS_JSON
def resume(service: str, number: int, wait: float, as_json: bool) -> None:
    """Let a unit go on where it stood, once what made it stop has been looked at.

    For one that stopped because everything that came was bad, or because it could not work on what came. It loses
    nothing, and stops again if nothing has changed.

    \b
    driftline partitions resume monitor 3
    """
    settings, unit = settings_module.load(), f"{service}:{number}"
    others = [kind for kind in NoticeKind if kind is not NoticeKind.GAP]
    _, stop = units.standing_still(settings, unit, *others)
    _go_on(settings, unit, stop, [], wait, as_json)


def _go_on(settings: Settings, unit: str, stop: Stop, lost: list[units.Lost], wait: float, as_json: bool) -> None:
    units.let_go_on(settings, unit, stop, getpass.getuser())
    state = units.wait_until_it_goes(settings, unit, stop, wait)
    if state.stop is not None and state.stop != stop:
        raise DriftlineError(f"{unit} went on, and stands still again: {state.stop.kind}: {state.stop.detail}")
    if as_json:
        click.echo(msgspec.json.encode(Gone(unit=unit, goes_on=state.stop is None, lost=lost)))
    elif state.stop is None:
        click.echo(f"{unit} goes on")
    else:
        click.echo(f"{unit} goes on as soon as its worker runs; it did not within {wait:g} s, see `driftline status`")


def _sentence(gone: units.Lost) -> str:
    place = f"{gone.topic}-{gone.partition}"
    if gone.last is None:
        return f"{place} was made anew: whatever followed offset {gone.first} in the old one"
    return f"{place}: {gone.records} records, offsets {gone.first} to {gone.last}"


commands: list[click.Command] = [partitions]
