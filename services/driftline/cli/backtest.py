"""`driftline backtest` and `driftline init`: what they can be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

FILE = click.Path(path_type=Path, dir_okay=False)
COLUMNS = {
    "id": "What joins an outcome to its prediction.",
    "time": "When each prediction was made: RFC 3339 (UTC where the offset is missing), or a number since 1970.",
    "prediction": "The predicted label or number.",
    "score": "The probability of the positive label; of many labels, what the names of their columns begin with.",
    "outcome": "What came true; without --outcomes it stands in the predictions.",
    "outcome_time": "When the outcome became known.",
    "version": "The version of the model; without one all predictions are of version 1.",
    "model": "The model's name; rows of other models are left out, and counted.",
}


def _with_columns(command: Callable[..., None]) -> Callable[..., None]:
    """Options that name columns."""
    for name, says in reversed(COLUMNS.items()):
        command = click.option(f"--{name.replace('_', '-')}", f"column_{name}", metavar="COLUMN", help=says)(command)
    return command


def _named(options: dict[str, str | None]) -> dict[str, str]:
    """The columns that were named, by what they hold."""
    return {name.removeprefix("column_"): column for name, column in options.items() if column is not None}


@click.command()
@click.argument("spec", type=FILE)
@click.option("--predictions", type=FILE, required=True, help="One row a prediction, a column a feature.")
@click.option("--outcomes", type=FILE, help="One row an outcome; leave it out where outcomes stand in the predictions.")
@click.option("--reference", type=FILE, help="Rows such as the model was made from: the baseline that drift needs.")
@click.option("--compare", "other", type=FILE, help="Another spec: which alerts would its rules have raised?")
@click.option("--html", type=FILE, help="Write the report, one file that needs nothing else.")
@click.option("--json", "as_json", is_flag=True, help="One line an event, as the services would have published it.")
@_with_columns
def backtest(
    spec: Path,
    predictions: Path,
    outcomes: Path | None,
    reference: Path | None,
    other: Path | None,
    html: Path | None,
    as_json: bool,
    **columns: str | None,
) -> None:
    """What would Driftline have said? The monitor and control over files: no Kafka, no Redis, no Java.

    Files are CSV (.gz is fine) or Parquet, of any size, in any order. Columns are found by their usual names, and the
    summary says which; name them where that fails. A row that cannot be used is counted and listed.

    \b
    driftline backtest monitor.yaml --predictions p.csv --outcomes o.csv.gz --reference train.parquet
    driftline backtest monitor.yaml --predictions p.parquet --outcome label --html report.html
    driftline backtest monitor.yaml --predictions p.csv --outcomes o.csv --compare stricter.yaml
    driftline backtest monitor.yaml --predictions p.csv --outcomes o.csv --json | grep '"alerts"'
    """
    if other is not None and as_json:
        raise click.UsageError("--compare shows two sets of alerts side by side; --json has one set of events")
    # the engine takes two seconds to import, which no other command should wait for
    from driftline.cli import backtest_work

    inputs = backtest_work.inputs(predictions, outcomes, reference, _named(columns))
    backtest_work.backtest(spec, inputs, other, html, as_json=as_json)


@click.command()
@click.argument("file", type=FILE)
@click.option("--outcomes", type=FILE, help="One row an outcome: how long they take, and which figures are usual.")
@click.option("--name", help="The model's name; else the file's.")
@click.option("--output", type=FILE, default=Path("monitor.yaml"), show_default=True, help="Where to write the spec.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
@_with_columns
def init(file: Path, outcomes: Path | None, name: str | None, output: Path, force: bool, **columns: str | None) -> None:
    """Look at a FILE of predictions and their features (CSV or Parquet) and write a first monitor spec.

    Ranges reach a little beyond what is in the file, categories with few values are listed, windows hold enough rows to
    be judged. With outcomes, in the file or apart, the first rule's threshold comes from what is usual in it.

    \b
    driftline init predictions.csv --outcomes outcomes.csv
    driftline init predictions.parquet --prediction pred_a --output churn.yaml
    """
    from driftline.cli import backtest_work  # see above

    backtest_work.init(backtest_work.inputs(file, outcomes, None, _named(columns)), name, output, force=force)


commands: list[click.Command] = [init, backtest]
