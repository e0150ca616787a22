"""`driftline gate`."""

from __future__ import annotations

import click
import msgspec

from driftline.cli.gate_words import explanation
from driftline.cli.showing import AS_JSON
from driftline.errors import DriftlineError
from driftline.events.base import decode
from driftline.events.retraining import Verdict
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform import settings as settings_module
from driftline.platform.comparing import again
from driftline.platform.kafka import read_all
from driftline.platform.settings import Settings


@click.group()
def gate() -> None:
    """Why candidates were promoted, held or refused."""


@gate.command("explain")
@click.argument("verdict")
@click.option("--rerun", is_flag=True, help="Compute it again from the rows and artifacts kept, and compare.")
@AS_JSON
def explain(verdict: str, rerun: bool, as_json: bool) -> None:
    """VERDICT in plain words, with every figure that it rests on.

    VERDICT is its id, the beginning of it, or `model/version` of the candidate. With --rerun the exit code is 1 where a
    number other than a latency is not what it was.

    \b
    driftline gate explain flight-delay/v20130531-f78217
    driftline gate explain 5d0c44 --rerun
    driftline gate explain 5d0c44 --json | jq .reason
    """
    settings = settings_module.load()
    found = _named(settings, verdict)
    different = _again(settings, found) if rerun else None
    if as_json:
        plain = msgspec.to_builtins(found)
        told = plain if different is None else {"verdict": plain, "same": not different, "different": different}
        click.echo(msgspec.json.encode(told))
    else:
        click.echo(explanation(found))
        if different is not None:
            same = "Computed again from the kept rows and artifacts: every number is the same (latencies left out)."
            unlike = "Computed again from the kept rows and artifacts, these are not the same:"
            click.echo("\n" + ("\n  ".join([unlike, *different]) if different else same))
    if different:
        raise click.exceptions.Exit(1)


def _again(settings: Settings, verdict: Verdict) -> list[str]:
    if verdict.kept is None:
        raise DriftlineError(f"verdict {verdict.id} kept no rows: {verdict.reason}")
    return again(settings, verdict, verdict.kept)


def _named(settings: Settings, name: str) -> Verdict:
    """The newest verdict of this id, beginning of an id, or `model/version`."""
    records = read_all(settings, Topic.VERDICTS)
    known = [decode(r.value, Verdict) for r in records if r.value and r.header(MARK_HEADER) is None]
    found = [each for each in known if each.id.startswith(name)] or [
        each for each in known if f"{each.model}/{each.version}" == name
    ]
    if not found:
        newest = ", ".join(f"{each.model}/{each.version} ({each.id[:12]})" for each in known[-5:]) or "there are none"
        raise DriftlineError(f"no verdict {name}; the newest: {newest}")
    return found[-1]


commands: list[click.Command] = [gate]
