"""`driftline up`, `down`, `status`, `logs`, `topics`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from driftline.cli.parameters import Duration
from driftline.cli.showing import AS_JSON, WIDE
from driftline.errors import DeploymentError
from driftline.events.base import iso
from driftline.platform import retention
from driftline.platform import settings as settings_module
from driftline.platform import status as status_module
from driftline.platform import topics as topics_module
from driftline.platform.living import wait_until_they_live
from driftline.platform.local.stack import WORKERS, LocalStack, interrupt_on_signals
from driftline.platform.status import Worker

DURATION = Duration()


def _say(text: str) -> None:
    click.echo(f"driftline: {text}", err=True)


def _stack() -> LocalStack:
    return LocalStack(settings_module.state_directory(), say=_say)


def _deployment_options(command: Any) -> Any:
    """Options that fix a deployment when its topics are made."""
    for option in (
        click.option("--clock", type=click.Choice(["live", "events"]), default="live", show_default=True),
        click.option("--slice", "slice_length", type=DURATION, default="1s", show_default=True, help="unit of time"),
        click.option(
            "--max-stall",
            type=DURATION,
            default="1m",
            show_default=True,
            help="a partition that stays away for longer is left out until it is back (clock live)",
        ),
        click.option("--partitions", type=click.IntRange(1), default=4, show_default=True, help="of the input topics"),
        click.option("--shards", type=click.IntRange(1), default=1, show_default=True, help="of control"),
        click.option("--retention", type=DURATION, default="14d", show_default=True, help="of the raw topics"),
    ):
        command = option(command)
    return command


@click.command()
@_deployment_options
@click.option("--servers-only", is_flag=True, help="Kafka and Redis, no workers, no topics.")
@click.option("--foreground", is_flag=True, help="Stay until Ctrl-C, then stop everything.")
def up(servers_only: bool, foreground: bool, **deployment: Any) -> None:
    """Start Kafka, Redis and the workers on this machine, each unless it is configured elsewhere.

    \b
    driftline up
    driftline up --foreground
    DRIFTLINE_BOOTSTRAP=broker:9092 driftline up      use a running Kafka
    """
    stack = _stack()
    interrupt_on_signals()
    addresses = stack.start()
    try:
        if not servers_only:
            settings = settings_module.load()
            topics_module.create(settings, **deployment)
            _say("starting the workers")
            stack.start_workers()
            wait_until_they_live(settings, WORKERS, stack.processes)
        redis = settings_module.without_password(addresses.redis_url)
        click.echo(f"Kafka {addresses.bootstrap}   Redis {redis}   state {stack.state}")
        if foreground:
            _stay(stack)
    except BaseException:
        _say("stopping")
        stack.stop()
        raise


def _stay(stack: LocalStack) -> None:
    """Until Ctrl-C, which is how this is meant to end, or until somebody else has stopped the stack."""
    try:
        _say("running; Ctrl-C stops everything")  # within the try: who reads this may be quick
        while stack.running():
            time.sleep(0.5)
    except KeyboardInterrupt:
        _say("stopping")
        stack.stop()


@click.command()
def down() -> None:
    """Stop everything that `driftline up` started."""
    _stack().stop()


@click.command()
@AS_JSON
def status(as_json: bool) -> None:
    """Say for each worker whether it makes progress, not merely whether it runs.

    `lag` is records that wait; `behind` how far its decision time lies behind the clock; `kept` predictions that wait
    for their outcome or their horizon; `dead letters` and `records` those since it started; `doing` what takes it long,
    such as how far a training is.

    \b
    driftline status
    driftline status --json | jq '.workers[] | select(.progress != "ok")'
    """
    found = status_module.read(settings_module.load(), _stack().processes())
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    Console(width=None if sys.stdout.isatty() else WIDE).print(_table(found.workers))
    for problem in found.problems:
        click.echo(problem)


def _table(workers: Sequence[Worker]) -> Table:
    table = Table(box=None)
    for name in ("worker", "process", "progress"):
        table.add_column(name)
    for name in ("lag", "behind", "kept", "memory", "dead letters", "records"):
        table.add_column(name, justify="right")
    for name in ("last record", "decision time", "doing"):
        table.add_column(name)
    for worker in workers:
        table.add_row(
            f"{worker.service}-{worker.slot}" if worker.slot else worker.service,
            f"{worker.process} {worker.pid or ''}".strip(),
            worker.progress,
            _shown(worker.lag),
            "" if worker.behind_s is None else f"{worker.behind_s:.0f} s",
            _shown(worker.kept),
            "" if worker.memory is None else f"{worker.memory / 1e6:.0f} MB",
            _shown(worker.dead_letters),
            _shown(worker.events),
            "" if worker.last_event is None else iso(worker.last_event),
            "" if worker.decision_time is None else iso(worker.decision_time),
            worker.note,
        )
    return table


def _shown(number: int | None) -> str:
    return "" if number is None else str(number)


@click.command()
@click.argument("name", required=False, type=click.Choice(["kafka", "redis", *WORKERS]))
@click.option("-f", "--follow", is_flag=True, help="Go on printing as lines come.")
@click.option("-n", "--lines", type=click.IntRange(1), default=50, show_default=True)
def logs(name: str | None, follow: bool, lines: int) -> None:
    """Print the end of the logs of one process, or of all.

    \b
    driftline logs monitor -f
    """
    stack = _stack()
    names = [name] if name else ["kafka", "redis", *WORKERS]
    files = [str(path) for each in names if (path := stack.log_file(each)).exists()]
    if not files:
        raise DeploymentError(f"no logs under {stack.state}; has anything been started? `driftline up`")
    arguments = ["tail", "-n", str(lines), *(["-F"] if follow else []), *files]
    try:
        subprocess.run(arguments, check=False)
    except KeyboardInterrupt:
        return


@click.group()
def topics() -> None:
    """Make and check the topics."""


@topics.command()
@_deployment_options
@click.option("--replication", type=click.IntRange(1), default=1, show_default=True)
def create(replication: int, **deployment: Any) -> None:
    """Make the topics that are missing, with their partitions, retention and clock.

    \b
    driftline topics create --partitions 12 --replication 3
    DRIFTLINE_PREFIX=replay. driftline topics create --clock events --slice 15m
    """
    made = topics_module.create(settings_module.load(), replication=replication, **deployment)
    click.echo(f"{len(made)} topics made" if made else "all topics are there")


@topics.command("check")
@click.option("--json", "as_json", is_flag=True, help="For machines; exits with 1 where something is wrong.")
def check_topics(as_json: bool) -> None:
    """Say what is wrong with the topics and how to mend it; warn where Kafka keeps too little to rebuild from.

    \b
    driftline topics check
    driftline topics check --json | jq .warnings
    """
    settings = settings_module.load()
    problems = topics_module.check(settings)
    warnings = [] if problems else retention.warnings(settings)
    if as_json:
        click.echo(msgspec.json.encode({"problems": problems, "warnings": warnings}))
        raise SystemExit(1 if problems else 0)
    if problems:
        raise DeploymentError("\n".join(problems))
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo("all topics are as they should be" + (", but for the warnings" if warnings else ""))


commands = [up, down, status, logs, topics]
