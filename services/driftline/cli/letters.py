"""`driftline dead-letters`: what could not be used, and putting it back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from driftline.cli.asking import YES, make_sure
from driftline.cli.parameters import Duration
from driftline.cli.showing import AS_JSON, WIDE
from driftline.errors import DriftlineError
from driftline.events.base import iso
from driftline.events.topics import DeadLetterReason, Topic
from driftline.platform import letters as letters_module
from driftline.platform import settings as settings_module
from driftline.platform.kafka import read_deployment
from driftline.platform.letters import Found, Letter, Wanted
from driftline.spec.model import millis


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A letter as `--json` shows it. `value` is text; what is no UTF-8 is shown with replacement characters."""

    offset: int
    at: str
    reason: str
    detail: str
    topic: str
    partition: int
    record_offset: int
    row: int
    model: str | None
    key: str | None
    value: str
    replayed: bool


def _filters(command: Any) -> Any:
    """Options that choose letters."""
    for option in (
        click.option("--reason", type=click.Choice([str(reason) for reason in DeadLetterReason]), help="Only these."),
        click.option("--model", help="Only of this model, as far as their bytes tell it."),
        click.option("--topic", type=click.Choice(["predictions", "outcomes"]), help="Only from this topic."),
        click.option("--since", type=Duration(), help="Only of the last, e.g. 24h."),
    ):
        command = option(command)
    return command


@click.group("dead-letters")
def dead_letters() -> None:
    """Records that could not be used: look at them, and put them back once what was wrong is mended."""


@dead_letters.command("list")
@_filters
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Show so many of the newest.")
@AS_JSON
def list_letters(limit: int, as_json: bool, **filters: Any) -> None:
    """What could not be used, and why: the newest of them, and how many there are of each reason.

    \b
    driftline dead-letters list --since 24h
    driftline dead-letters list --reason unknown-model --model flight-delay
    driftline dead-letters list --json | jq .by_reason
    """
    settings = settings_module.load()
    wanted = _wanted(**filters)
    found = letters_module.look_through(settings, wanted)
    newest = deque(letters_module.letters(settings, wanted, found.until), maxlen=limit)
    if as_json:
        shown = [_shown(letter, found) for letter in newest]
        click.echo(msgspec.json.encode({"letters": shown, "found": found.letters, "by_reason": found.by_reason}))
        return
    table = Table("written", "record", "reason", "model", "replayed", "detail", box=None)
    for letter in newest:
        record = f"{letter.topic}-{letter.partition} at {letter.record_offset}"
        table.add_row(
            iso(letter.at),
            record + (f" row {letter.row}" if letter.row else ""),
            letter.reason,
            letter.model or "",
            "yes" if letter.place in found.replayed else "",
            letter.detail,
        )
    Console(width=None if Console().is_terminal else WIDE).print(table)
    reasons = ", ".join(f"{n} {reason}" for reason, n in found.by_reason.most_common())
    click.echo(f"{found.letters} dead letters{': ' + reasons if reasons else ''}")


@dead_letters.command("replay")
@_filters
@click.option("--all", "everything", is_flag=True, help="All of them; else a --reason or a --model is needed.")
@click.option("--again", is_flag=True, help="Also those that have been replayed before.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@YES
@AS_JSON
def replay_letters(everything: bool, again: bool, dry_run: bool, yes: bool, as_json: bool, **filters: Any) -> None:
    """Put the original records back into their topic and partition, with their key and headers.

    Says how many, and asks, before it does it. Each record is put back once: a letter that has been replayed is passed
    over, and so is what became of it, unless you say --again. A record arrives anew: one whose event is older than its
    horizon by now becomes a dead letter again, `too-old`. One that is counted already counts as a duplicate.

    \b
    driftline apply monitor.yaml
    driftline dead-letters replay --reason unknown-model --model flight-delay --dry-run
    driftline dead-letters replay --reason unknown-model --model flight-delay
    """
    if not (everything or filters["reason"] or filters["model"]):
        raise DriftlineError("say which: --reason, --model, or --all")
    settings = settings_module.load()
    partitions = read_deployment(settings).partitions
    wanted = _wanted(**filters)
    found = letters_module.look_through(settings, wanted)

    def chosen() -> Any:
        read = letters_module.letters(settings, wanted, found.until)
        return letters_module.to_replay(read, found.replayed, again, partitions)

    number = sum(1 for _ in chosen())
    click.echo(f"{found.letters} dead letters, of which {number} would be put back", err=True)
    if number and not dry_run:
        make_sure(f"Put {number} records back?", yes)
        with _progress() as progress:
            task = progress.add_task("putting back", total=number)
            letters_module.replay(settings, chosen(), _advancing(progress, task))
    done = 0 if dry_run else number
    if as_json:
        click.echo(msgspec.json.encode({"found": found.letters, "to_replay": number, "replayed": done}))
    elif not dry_run:
        click.echo(f"{done} records were put back" if done else "nothing to put back")


def _wanted(reason: str | None, model: str | None, topic: str | None, since: timedelta | None) -> Wanted:
    begin = None if since is None else int(time.time() * 1000) - millis(since)
    return Wanted(reason=reason, model=model, topic=None if topic is None else Topic(topic).value, since=begin)


def _shown(letter: Letter, found: Found) -> Shown:
    return Shown(
        offset=letter.offset,
        at=iso(letter.at),
        reason=letter.reason,
        detail=letter.detail,
        topic=letter.topic,
        partition=letter.partition,
        record_offset=letter.record_offset,
        row=letter.row,
        model=letter.model,
        key=None if letter.key is None else letter.key.decode("utf-8", "replace"),
        value=letter.value.decode("utf-8", "replace"),
        replayed=letter.place in found.replayed,
    )


def _progress() -> Progress:
    """On standard error, so that standard output stays for machines."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _advancing(progress: Progress, task: Any) -> Callable[[int], None]:
    return lambda n: progress.advance(task, n)


commands: list[click.Command] = [dead_letters]
