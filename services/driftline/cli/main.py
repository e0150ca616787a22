"""The `driftline` command."""

from __future__ import annotations

import sys

import click
from kafka.errors import KafkaError
from redis.exceptions import RedisError

from driftline.cli import (
    alerts,
    backtest,
    baselines,
    cases,
    explain,
    gate,
    keys,
    letters,
    local,
    models,
    partitions,
    slices,
    spec,
    trace,
    verdicts,
)
from driftline.errors import DriftlineError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="driftline")
def cli() -> None:
    """Watch machine-learning models in production over Kafka.

    \b
    driftline up                       start Kafka, Redis and the workers on this machine
    driftline apply monitor.yaml       say what to watch
    driftline models register ...      bring in the first champion
    driftline status                   see whether everything makes progress
    driftline init predictions.csv     write a first spec from a file: no servers needed
    driftline backtest monitor.yaml    what would have been said about files: no servers needed
    """


GROUPS = (
    local,
    spec,
    backtest,
    models,
    gate,
    keys,
    alerts,
    cases,
    verdicts,
    trace,
    explain,
    baselines,
    partitions,
    slices,
    letters,
)
for command in (command for group in GROUPS for command in group.commands):
    cli.add_command(command)


def main() -> None:
    """Run the command; what goes wrong on purpose is one sentence on standard error and exit code 1."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except DriftlineError as error:
        click.echo(f"driftline: {error}", err=True)
        sys.exit(1)
    except (KafkaError, RedisError) as error:
        click.echo(f"driftline: a server does not answer ({error}); is it running? `driftline up` starts one", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
