"""`driftline verdicts`."""

from __future__ import annotations

import click
from rich.table import Table

from driftline.cli.showing import AS_JSON, moment, short, show, show_json
from driftline.errors import DriftlineError
from driftline.events.retraining import Verdict
from driftline.events.topics import Topic
from driftline.platform import settings as settings_module
from driftline.platform import stored


@click.group()
def verdicts() -> None:
    """What the gate has said of candidates."""


@verdicts.command("show")
@click.argument("name", metavar="VERDICT")
@AS_JSON
def show_verdict(name: str, as_json: bool) -> None:
    """The comparison behind a verdict. VERDICT is its id, or that of its candidate, or `model/version`.

    The beginning of an id is enough. A gain is positive where the candidate is better.

    \b
    driftline verdicts show flight-delay/v20130531-f78217
    """
    told = stored.events(settings_module.load(), Topic.VERDICTS, Verdict)
    found = [v for v in told if v.id.startswith(name) or v.candidate.startswith(name) or name == _version(v)]
    if len(found) != 1:
        what = f"{len(found)} verdicts are called so" if found else "there is no such verdict"
        raise DriftlineError(f"{name}: {what}; `driftline cases show CASE` has those of a case")
    (verdict,) = found
    if as_json:
        show_json(verdict)
        return
    click.echo(f"{verdict.decision}: {verdict.reason}")
    champion = verdict.champion or "nobody"
    click.echo(f"{_version(verdict)} against {champion}; candidate {short(verdict.candidate)}, verdict {verdict.id}")
    if (rows := verdict.rows) is not None:
        span = f"{moment(rows.span.start)} to {moment(rows.span.end)}"
        click.echo(f"{rows.n} held-out rows of {span}, {rows.blocks} blocks, digest {rows.digest}; {verdict.method}")
    table = Table("metric", "champion", "candidate", "gain", "low", "high", "p", box=None)
    for m in verdict.metrics:
        gain = f"{m.difference:+.4g}"
        table.add_row(
            m.name, f"{m.champion:.4g}", f"{m.candidate:.4g}", gain, *map(_figure, (m.low, m.high, m.p_value))
        )
    show(table)


def _version(verdict: Verdict) -> str:
    return f"{verdict.model}/{verdict.version}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


commands: list[click.Command] = [verdicts]
