"""`driftline apply` and `driftline spec`."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from driftline.errors import DriftlineError, Unreachable
from driftline.events.baselines import Calibration
from driftline.platform import retention
from driftline.platform import settings as settings_module
from driftline.platform.declare import apply_spec, latest_calibrations, latest_spec
from driftline.platform.settings import Settings
from driftline.spec.model import MOST_LABELS, MonitorSpec
from driftline.spec.plain import to_plain
from driftline.spec.reader import read_spec

FILE = click.Path(path_type=Path, dir_okay=False)
NOT_YET = "not judged yet: its threshold is calibrated when the first days of a version are over"


@click.command()
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def apply(file: Path, as_json: bool) -> None:
    """Put a monitor spec into force; an unchanged one is left alone.

    \b
    driftline apply monitor.yaml
    """
    spec, settings = read_spec(file), settings_module.load()
    revision, new = apply_spec(settings, spec, getpass.getuser())
    _warn(settings)
    if as_json:
        click.echo(msgspec.json.encode({"model": spec.model, "revision": revision, "new": new}))
    else:
        click.echo(f"{spec.model}@{revision} {'is in force' if new else 'is in force already: nothing has changed'}")


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
            names = ("version", "threshold", "clear", "held_back", "held_back_time", "baseline", "summary")
            told = msgspec.to_builtins(last)
            shown["calibrated"] = {name: told[name] for name in names}
    return plain


commands: list[click.Command] = [apply, spec_group]
