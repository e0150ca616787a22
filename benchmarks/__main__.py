"""The command `python -m benchmarks`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from benchmarks import page as pages
from benchmarks.answers import WrongAnswer
from benchmarks.registry import ALL, Benchmark, Place, run
from benchmarks.results import RESULTS, Result, load, to_console
from benchmarks.servers import Failed
from benchmarks.workload import location
from driftline.errors import DriftlineError
from driftline.platform.local.stack import interrupt_on_signals

WIDTH = 160
EXPECTED = (Failed, WrongAnswer, DriftlineError, ValueError)


class Shown:
    """A bar on a terminal, lines elsewhere; on standard error, so that `--json` can be piped."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(stderr=True)
        self._bars = Bars(
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bars.add_task("", total=None)
        self._begun = False

    def __enter__(self) -> Shown:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def expect(self, steps: int) -> None:
        """See `measure.Progress`."""
        self._bars.update(self._task, total=steps)

    def __call__(self, text: str) -> None:
        """See `measure.Progress`."""
        self._bars.update(self._task, description=text, advance=1 if self._begun else 0)
        self._begun = True
        if not self._console.is_terminal:
            self._console.print(f"{self._title}: {text}", highlight=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Measure Driftline beside what else could be used.

    \b
    python -m benchmarks all                   every table (about half an hour)
    python -m benchmarks all --quick           each in a tiny form: that it runs, no figures to quote
    python -m benchmarks engine --rounds 9     one table, more rounds
    python -m benchmarks stream --json         for machines
    python -m benchmarks all --save            keep the results in benchmarks/results ...
    python -m benchmarks page                  ... and write docs/performance.md from them

    The workload is W1 (../shared/bench/workload.py beside the project, or DRIFTLINE_WORKLOAD=FILE); where that is
    missing, one of the same shape is made, and every table says so. DRIFTLINE_BOOTSTRAP and DRIFTLINE_REDIS_URL name
    servers to use; else a Kafka and a Redis are started for the time, and removed. Figures are medians of rounds in
    which all contenders take turns; compare ratios, not machines.
    """


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--quick", is_flag=True, help="A tiny form: that it runs, no figures to quote."),
        click.option("--json", "as_json", is_flag=True, help="For machines, on standard output."),
        click.option("--save", is_flag=True, help="Keep the result in benchmarks/results."),
    ):
        command = option(command)
    return command


def _command(benchmark: Benchmark) -> click.Command:
    @_options
    @click.option("--rounds", type=click.IntRange(1), help="How often each contender takes its turn.")
    @click.option("--predictions", type=click.IntRange(1000), help="How many predictions.")
    @click.option("--rate", type=click.IntRange(100), help="Predictions a second, with as many outcomes.")
    def command(quick: bool, as_json: bool, save: bool, **asked: int | None) -> None:
        changed = {name: n for name, n in asked.items() if n is not None}
        with Place() as place:
            _tell([_measured(benchmark, place, quick, changed)], as_json, save)

    text = (
        f"{benchmark.says}\n\n\b\npython -m benchmarks {benchmark.name}\npython -m benchmarks {benchmark.name} --quick"
    )
    return click.command(benchmark.name, help=f"{text}\n\nNeeds: {benchmark.needs.value}.")(command)


for _each in ALL:
    cli.add_command(_command(_each))


@cli.command("all")
@_options
@click.option("--but", multiple=True, type=click.Choice([each.name for each in ALL]), help="Leave one out.")
def everything(quick: bool, as_json: bool, save: bool, but: tuple[str, ...]) -> None:
    """Every table, one after the other; goes on where one fails, and then ends with exit code 1.

    \b
    python -m benchmarks all --quick
    python -m benchmarks all --save --but memory
    """
    results, failed = [], []
    with Place() as place:
        for benchmark in ALL:
            if benchmark.name in but:
                continue
            try:
                results.append(_measured(benchmark, place, quick, {}))
            except EXPECTED as error:
                failed.append(benchmark.name)
                click.echo(f"benchmarks: {benchmark.name}: {error}", err=True)
                continue
            if not as_json:
                _tell(results[-1:], False, save)
    if as_json:
        _tell(results, True, save)
    if failed:
        raise Failed(f"no figures of {', '.join(failed)}; see above")


@cli.command()
def page() -> None:
    """Write the tables of docs/performance.md from benchmarks/results."""
    click.echo("written" if pages.write() else "docs/performance.md is as the results have it")


@cli.command()
@click.argument("label")
def record(label: str) -> None:
    """Keep the present results' main figures in the page's history under LABEL.

    \b
    python -m benchmarks record "columns instead of objects"
    """
    click.echo(f"kept in {pages.record(label, load(RESULTS))}")


def _measured(benchmark: Benchmark, place: Place, quick: bool, changed: dict[str, int]) -> Result:
    with Shown(benchmark.name) as progress:
        return run(benchmark, place, progress, quick=quick, changed=changed)


def _tell(results: list[Result], as_json: bool, save: bool) -> None:
    for result in results:
        if save:
            result.save()
    if as_json:
        click.echo(msgspec.json.encode(results if len(results) != 1 else results[0]))
        return
    console = Console()
    for result in results:
        to_console(result, console if console.is_terminal else Console(width=WIDTH))
        console.print()


def main() -> None:
    """Run the command; what goes wrong on purpose is a sentence on standard error and exit code 1."""
    interrupt_on_signals()
    path, sentence = location()
    if path is None:
        click.echo(f"benchmarks: {sentence}", err=True)
    try:
        cli(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except EXPECTED as error:
        click.echo(f"benchmarks: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
