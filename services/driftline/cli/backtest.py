"""`driftline backtest`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from driftline.backtesting.comparing import compare
from driftline.backtesting.findings import Findings, Tell
from driftline.backtesting.job import Inputs, run
from driftline.backtesting.mapping import Columns
from driftline.backtesting.page.page import page_of
from driftline.cli.backtest_summary import show, show_comparison
from driftline.errors import DriftlineError
from driftline.events.topics import Topic
from driftline.spec.model import MonitorSpec
from driftline.spec.reader import read_spec

FILE = click.Path(path_type=Path, dir_okay=False)


COLUMNS = {
    "id": "What joins an outcome to its prediction.",
    "time": "When each prediction was made: RFC 3339 (UTC where the offset is missing) or epoch milliseconds.",
    "prediction": "The predicted label or number.",
    "score": "The probability of the positive label.",
    "outcome": "What came true; without --outcomes it stands in the predictions.",
    "outcome_time": "When the outcome became known.",
    "version": "The version of the model; without one all predictions are of version 1.",
    "model": "The model's name; rows of other models are left out, and counted.",
}


def with_columns(command: Callable[..., None]) -> Callable[..., None]:
    """Options that name columns; see `columns_of`."""
    for name, says in reversed(COLUMNS.items()):
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, f"column_{name}", metavar="COLUMN", help=says)(command)
    return command


def columns_of(options: Mapping[str, str | None]) -> Columns:
    """What the options of `with_columns` name."""
    return Columns(**{name.removeprefix("column_"): column for name, column in options.items()})


@click.command("backtest")
@click.argument("spec", type=FILE)
@click.option("--predictions", type=FILE, required=True, help="One row a prediction, a column a feature.")
@click.option("--outcomes", type=FILE, help="One row an outcome; leave it out where outcomes stand in the predictions.")
@click.option("--reference", type=FILE, help="Rows such as the model was made from: the baseline that drift needs.")
@click.option("--compare", "other", type=FILE, help="Another spec: which alerts would its rules have raised?")
@click.option("--html", type=FILE, help="Write the report, one file that needs nothing else.")
@click.option("--json", "as_json", is_flag=True, help="One line an event, as the services would have published it.")
@with_columns
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
    if html is not None and not html.resolve().parent.is_dir():
        raise DriftlineError(f"{html}: there is no directory {html.resolve().parent}")
    inputs = Inputs(predictions, outcomes, reference, columns_of(columns))
    ours, theirs = read_spec(spec), None if other is None else read_spec(other)
    found = _run(ours, inputs, _print_event if as_json else None)
    console = Console()
    if not as_json:
        show(found, console)
    if theirs is not None and other is not None:
        pairs = compare(found, _run(theirs, inputs, None))
        show_comparison(pairs, spec.name, other.name, console)
    if html is not None:
        html.write_text(page_of(found), encoding="utf-8")
    if not as_json:
        told = f"The report is in {html}." if html is not None else "--html report.html writes this with pictures."
        click.echo(f"\n{told}")


def _run(spec: MonitorSpec, inputs: Inputs, tell: Tell | None) -> Findings:
    with Shown() as shown:
        return run(spec, inputs, tell, shown)


def _print_event(topic: Topic, event: bytes) -> None:
    click.get_binary_stream("stdout").write(b'{"topic":"%s","event":%s}\n' % (topic.value.encode(), event))


class Shown:
    """A bar on standard error, where that is a terminal. See `backtesting.job.Progress`."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bars.add_task("", total=None)

    def __enter__(self) -> Shown:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, what: str, rows: int | None) -> None:
        """See `Progress`."""
        self._bars.remove_task(self._task)
        self._task = self._bars.add_task(what, total=rows)

    def advance(self, rows: int) -> None:
        """See `Progress`."""
        self._bars.advance(self._task, rows)


commands: list[click.Command] = [backtest]
