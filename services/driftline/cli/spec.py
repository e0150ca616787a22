"""`driftline apply` and `driftline spec`."""

from __future__ import annotations

import difflib
import getpass
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from driftline.cli.showing import AS_JSON
from driftline.errors import DriftlineError, Unreachable
from driftline.events.admin import SpecRevision
from driftline.events.base import iso
from driftline.events.baselines import Calibration
from driftline.platform import retention
from driftline.platform import settings as settings_module
from driftline.platform.declare import apply_spec, latest_calibrations, latest_spec, spec_revisions
from driftline.platform.settings import Settings
from driftline.spec.durations import parse_duration
from driftline.spec.model import MOST_LABELS, MonitorSpec
from driftline.spec.plain import to_plain
from driftline.spec.reader import read_spec

FILE = click.Path(path_type=Path, dir_okay=False)
NOT_YET = "not judged yet: its threshold is calibrated when the first days of a version are over"


@click.command()
@click.argument("file", type=FILE)
@click.option("--dry-run", is_flag=True, help="Change nothing: show which alerts the rules would have raised.")
@click.option("--over", default="30d", show_default=True, help="With --dry-run: how far back, in archived time.")
@AS_JSON
def apply(file: Path, dry_run: bool, over: str, as_json: bool) -> None:
    """Put a monitor spec into force; an unchanged one is left alone.

    With --dry-run the spec and the one in force are both played over what the archive holds of the last time, and their
    alerts shown side by side.

    \b
    driftline apply monitor.yaml
    driftline apply monitor.yaml --dry-run --over 7d
    """
    spec, settings = read_spec(file), settings_module.load()
    if dry_run:
        from driftline.cli import dry_run as work  # the engine takes two seconds to import

        work.dry_run(settings, spec, file.name, _span(over), as_json=as_json)
        return
    revision, new = apply_spec(settings, spec, getpass.getuser())
    _warn(settings)
    if as_json:
        click.echo(msgspec.json.encode({"model": spec.model, "revision": revision, "new": new}))
    else:
        click.echo(f"{spec.model}@{revision} {'is in force' if new else 'is in force already: nothing has changed'}")


def _span(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise DriftlineError(f"--over: {error}") from error


def _warn(settings: Settings) -> None:
    """The spec is in force, whatever comes of this."""
    try:
        found = retention.warnings(settings)
    except Unreachable as error:
        found = [f"whether Kafka keeps enough to rebuild from is not known: {error}"]
    for warning in found:
        click.echo(f"warning: {warning}", err=True)


@click.group("spec")
def spec_group() -> None:
    """Look at monitor specs."""


@spec_group.command("check")
@click.argument("file", type=FILE)
def check_spec(file: Path) -> None:
    """Say everything that is wrong with a spec, without touching anything."""
    spec = read_spec(file)
    click.echo(f"{file}: {spec.model} is fine")
    if len(spec.labels) > MOST_LABELS:
        click.echo(
            f"the first {MOST_LABELS} labels are told by themselves, the other {len(spec.labels) - MOST_LABELS} as one"
        )


@spec_group.command("show")
@click.argument("what")
def show_spec(what: str) -> None:
    """Print a spec with every default filled in: of a FILE, or the newest one of a MODEL.

    Of a model, rules with `false_alarms` are shown with the threshold that these came to, and how it stood up.

    \b
    driftline spec show monitor.yaml
    driftline spec show flight-delay
    """
    if Path(what).exists():
        plain = to_plain(read_spec(Path(what)))
    else:
        settings = settings_module.load()
        known = latest_spec(settings, what)
        if known is None:
            raise DriftlineError(f"there is neither a file nor an applied spec named {what}")
        plain = _with_calibrations(known[1], latest_calibrations(settings, what))
    click.echo(msgspec.json.format(msgspec.json.encode(plain), indent=2))


@spec_group.command("history")
@click.argument("model")
@AS_JSON
def history(model: str, as_json: bool) -> None:
    """Every revision of MODEL's spec: when it was applied, by whom, and what was changed."""
    revisions = _revisions(model)
    if as_json:
        click.echo(msgspec.json.encode(revisions))
        return
    table = Table("revision", "applied", "by", "changed", box=None)
    before: dict[str, Any] = {}
    for each in revisions:
        words = [word for word in each.spec if each.spec[word] != before.get(word)] if before else []
        table.add_row(str(each.revision), iso(each.written_at), each.author, ", ".join(words) or "first")
        before = each.spec
    Console().print(table)


@spec_group.command("diff")
@click.argument("model")
@click.argument("old", required=False)
@click.argument("new", required=False)
def diff(model: str, old: str | None, new: str | None) -> None:
    """What changed between two specs of MODEL: revisions by number, or a FILE; without any, the last two revisions.

    \b
    driftline spec diff flight-delay
    driftline spec diff flight-delay 1 3
    driftline spec diff flight-delay 3 monitor.yaml
    """
    revisions = {str(each.revision): each.spec for each in _revisions(model)}
    numbers = list(revisions)
    if old is None:
        if len(numbers) < 2:
            raise DriftlineError(f"{model} has one revision only; name a file to compare it with")
        old, new = numbers[-2:]
    first, second = (_plain(revisions, model, name or numbers[-1]) for name in (old, new))
    lines = difflib.unified_diff(first, second, f"{model} {old}", f"{model} {new or numbers[-1]}", lineterm="")
    click.echo("\n".join(lines) or "no difference")


def _plain(revisions: Mapping[str, dict[str, Any]], model: str, name: str) -> list[str]:
    """A spec as lines of JSON."""
    if name not in revisions and not Path(name).exists():
        raise DriftlineError(f"{name} is neither a file nor a revision of {model}; there are {', '.join(revisions)}")
    plain = revisions[name] if name in revisions else to_plain(read_spec(Path(name)))
    return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode().splitlines()


def _revisions(model: str) -> list[SpecRevision]:
    found = spec_revisions(settings_module.load(), model)
    if not found:
        raise DriftlineError(f"no spec of {model} has been applied; run `driftline apply FILE` first")
    return found


def _with_calibrations(spec: MonitorSpec, found: Mapping[str, Calibration]) -> dict[str, Any]:
    """The spec as plain JSON, each rule with a budget with what its threshold was calibrated to last, if it was."""
    plain = to_plain(spec)
    for rule, shown in zip(spec.rules, plain["rules"], strict=True):
        last = found.get(rule.name)
        if rule.false_alarms is None:
            continue
        if last is None or (last.alarms, last.per) != (rule.false_alarms.alarms, rule.false_alarms.per):
            shown["calibrated"] = {"threshold": None, "summary": NOT_YET}
        else:
            names = ("version", "argument", "threshold", "clear", "held_back", "held_back_time", "baseline", "summary")
            told = msgspec.to_builtins(last)
            shown["calibrated"] = {name: told[name] for name in names}
    return plain


commands: list[click.Command] = [apply, spec_group]
