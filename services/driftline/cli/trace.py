"""`driftline trace`: why something happened, and whether what is told of it can be relied on."""

from __future__ import annotations

import sys
import time
from itertools import takewhile

import click
from rich.table import Table
from rich.text import Text
from rich.tree import Tree as Drawn

from driftline.cli.showing import AS_JSON, moment, short, show, show_json
from driftline.core.chain import Chain, judged
from driftline.core.trace import Node, Tree
from driftline.errors import DriftlineError
from driftline.platform import settings as settings_module
from driftline.platform import witnesses
from driftline.platform.kafka import read_deployment
from driftline.platform.settings import Settings
from driftline.platform.tracing import trace as traced

LOOKS = 3
"""What control has decided is stored a moment before it stands in the topics."""
LOOK_S = 1.0


class _OrId(click.Group):
    """A group whose first word may be what the command without a name takes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """An id is what `show` is asked for. Options may stand before it."""
        options = list(takewhile(lambda word: word.startswith("-"), args))
        if words := args[len(options) :]:
            name, *others = words if words[0] in self.commands else ["show", *words]
            args = [name, *options, *others]
        return super().parse_args(ctx, args)


@click.group(cls=_OrId, subcommand_metavar="ID | verify [MODEL]")
def trace() -> None:
    """What led to something, and what it led to.

    ID is a prediction, an alert, a case, a request, a candidate, a verdict, a report, a command, a version as in
    `flight-delay/2`, or a revision of a spec as in `flight-delay@2`. Of ids that Driftline made, the beginning is
    enough, as lists show it.

    \b
    driftline alerts list
    driftline trace 5f0c2a9d11e3
    driftline trace flight-delay/v20130531-f78217 --json
    driftline trace verify flight-delay
    """


@trace.command("show")
@click.argument("name", metavar="ID")
@AS_JSON
def show_trace(name: str, as_json: bool) -> None:
    """The same as `driftline trace ID`, also for an id that is called as one of its commands."""
    tree = traced(settings_module.load(), name)
    if as_json:
        show_json(tree)
    else:
        show(_drawn(tree))


@trace.command("verify")
@click.argument("model", required=False)
@AS_JSON
def verify_chain(model: str | None, as_json: bool) -> None:
    """Whether the decisions about MODEL, or all, stand as they were made: none changed, missing, moved or copied.

    Each names the SHA-256 of the one before it, and of the commands, candidates and verdicts that caused it, which are
    looked at too. The end of a chain is proven by what control remembers, and the archive is a second copy. Exits with
    1 where something is wrong, and says where.
    """
    settings = settings_module.load()
    chains, notes = _verified(settings)
    found = [chain for chain in chains if model in (None, chain.model) or not chain.model]
    if model is not None and not any(chain.model == model for chain in found):
        raise DriftlineError(f"nothing has been decided about {model}")
    if as_json:
        show_json({"chains": found, "notes": notes})
    else:
        _show_chains(found, notes)
    if any(chain.faults for chain in found):
        sys.exit(1)


def _verified(settings: Settings) -> tuple[list[Chain], list[str]]:
    remembered, notes = witnesses.remembered(settings, read_deployment(settings).shards), list[str]()
    if remembered is None:
        notes.append("Redis does not answer: that nothing is cut off at the end is not proven")
    archive, until = witnesses.archived(settings)
    if not until:
        notes.append("there is no archive to compare with")
    for look in range(LOOKS):
        # only where something seems to be wrong all is read, ticks too
        topics = witnesses.standing(settings) if look else witnesses.standing(settings, archive, until)
        chains = judged(topics, archive, until, remembered)
        faults = [fault for chain in chains for fault in chain.faults]
        if not faults or (look and all(fault.place is not None for fault in faults)) or look == LOOKS - 1:
            break
        time.sleep(LOOK_S)
    return chains, notes


def _show_chains(chains: list[Chain], notes: list[str]) -> None:
    table = Table("model", "decisions", "written again", "before chains", "faults", "digest of the last", box=None)
    for chain in chains:
        numbers = (chain.decisions, chain.repeats, chain.before, len(chain.faults))
        table.add_row(chain.model or "(unreadable)", *map(str, numbers), chain.end.previous)
    show(table)
    for chain in chains:
        for fault in chain.faults:
            number = "" if fault.number is None else f" decision {fault.number},"
            where = "" if fault.place is None else f" {fault.place}"
            click.echo(f"{chain.model}: {fault.flaw}:{number}{where}: {fault.detail}")
    for note in notes:
        click.echo(note)


def _drawn(tree: Tree) -> Drawn:
    drawn = Drawn(_line(tree.root))
    for title, branches in (("led to by", tree.causes), ("led to", tree.effects)):
        _grow(drawn.add(Text(title if branches else f"{title}: nothing known")), branches)
    return drawn


def _grow(drawn: Drawn, branches: list[Node]) -> None:
    for node in branches:
        _grow(drawn.add(_line(node)), node.branches)


def _line(node: Node) -> Text:
    seen = "  (its branches stand elsewhere in the tree)" if node.seen else ""
    return Text(f"{moment(node.at) or '-':20}  {node.kind} {short(node.id)}  {node.sentence}{seen}")


commands: list[click.Command] = [trace]
