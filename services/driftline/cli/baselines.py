"""`driftline baselines`."""

from __future__ import annotations

import click
import msgspec
from rich.console import Console
from rich.table import Table

from driftline.core.differing import Difference, differences
from driftline.errors import DriftlineError
from driftline.events.baselines import Baseline, decode_baselines_record
from driftline.events.topics import Topic
from driftline.platform import settings as settings_module
from driftline.platform.kafka import read_all

MOVING = ("first ", "previous ", "hour_of_week ")
"""How the ids of sums of panes begin, see `core.references.reference_id`."""


@click.group()
def baselines() -> None:
    """What versions are compared with."""


@baselines.command("list")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def list_baselines(model: str, as_json: bool) -> None:
    """The baselines of MODEL, in the order in which they were written.

    \b
    driftline baselines list flight-delay
    """
    found = [
        {"version": b.version, "id": b.id, "rows": b.n, "outcomes": "labelled" in b.counts, "source": b.source}
        for b in _of(model)
    ]
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    table = Table(box=None)
    for name in ("version", "id", "rows", "outcomes known", "source"):
        table.add_column(name, justify="right" if name == "rows" else "left")
    for each in found:
        known = "yes" if each["outcomes"] else "no"
        table.add_row(str(each["version"]), str(each["id"])[:12], f"{each['rows']:,}", known, str(each["source"]))
    Console(highlight=False).print(table if found else f"{model} has no baselines")


@baselines.command("diff")
@click.argument("model")
@click.argument("first")
@click.argument("second")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def diff(model: str, first: str, second: str, as_json: bool) -> None:
    """How two baselines of MODEL differ, feature by feature. FIRST and SECOND are versions, or beginnings of ids.

    Their bins may differ: the shares are compared, not the cells. These are reference data, of a registered model or of
    a training. What `first`, `previous` and `hour_of_week` name are sums of panes that are nowhere written: a report
    says which, and how far its window lies from them.

    \b
    driftline baselines diff flight-delay 1 v20130531-f78217
    """
    known = _of(model)
    found = differences(_named(known, model, first), _named(known, model, second))
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    table = Table(box=None)
    for name in ("feature", "moved", f"missing in {first}", f"in {second}", f"usual in {first}", f"in {second}"):
        table.add_column(name, justify="left" if name == "feature" else "right")
    for each in found:
        table.add_row(*_row(each))
    Console(highlight=False).print(table if found else "they have no features in common")


def _row(of: Difference) -> list[str]:
    middle = [f"{m:.4g}" if isinstance(m, float) else m or "" for m in of.middle]
    return [of.feature, "" if of.moved is None else f"{of.moved:.3f}", *(f"{m:.1%}" for m in of.missing), *middle]


def _of(model: str) -> list[Baseline]:
    records = read_all(settings_module.load(), Topic.BASELINES)
    found = [decode_baselines_record(record.value) for record in records if record.value]
    return [each for each in found if isinstance(each, Baseline) and each.model == model]


def _named(known: list[Baseline], model: str, name: str) -> Baseline:
    """The newest baseline of a version, or the one whose id begins so."""
    found = [each for each in known if each.version == name] or [each for each in known if each.id.startswith(name)]
    if not found and name.startswith(MOVING):
        raise DriftlineError(
            f"`{name}` is a sum of {model}'s own panes, which is nowhere written: reports tell how far "
            "their windows lie from it"
        )
    if not found:
        there = ", ".join(dict.fromkeys(each.version for each in known)) or "none"
        raise DriftlineError(f"{model} has no baseline of version {name}; versions with one: {there}")
    return found[-1]


commands: list[click.Command] = [baselines]
