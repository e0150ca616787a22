"""What `driftline backtest` and `driftline init` do."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from driftline.backtesting.comparing import compare
from driftline.backtesting.figures import Line, lines
from driftline.backtesting.findings import Findings, Tell
from driftline.backtesting.first_look import Look, look_at
from driftline.backtesting.first_spec import LEFT_OUT, main_metric, threshold_of, windows_for, write_spec
from driftline.backtesting.first_task import guess_task
from driftline.backtesting.job import Inputs, run
from driftline.backtesting.mapping import Columns
from driftline.backtesting.page.page import page_of
from driftline.cli.backtest_summary import show, show_comparison, show_letters
from driftline.errors import DriftlineError
from driftline.events.topics import Topic
from driftline.spec.model import MonitorSpec
from driftline.spec.reader import parse_spec, read_spec

WIDTH = 110
"""Columns of the summary where it is not read on a terminal."""
NO_NAME = {"predictions", "data", "train", "test", "log"}
"""File names that name no model."""


def inputs(predictions: Path, outcomes: Path | None, reference: Path | None, columns: Mapping[str, str]) -> Inputs:
    """What the options name."""
    return Inputs(predictions, outcomes, reference, Columns(**columns))


def backtest(spec: Path, given: Inputs, other: Path | None, html: Path | None, *, as_json: bool) -> None:
    """Run one, or two to compare, and show what was found."""
    if html is not None:
        _check_directory(html)
    ours, theirs = read_spec(spec), None if other is None else read_spec(other)
    found = _run(ours, given, _print_event if as_json else None)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    if not as_json:
        show(found, console)
    if theirs is not None and other is not None:
        pairs = compare(found, _run(theirs, given, None))
        show_comparison(pairs, spec.name, other.name, len(found.versions), console)
    if html is not None:
        html.write_text(page_of(found), encoding="utf-8")
    if not as_json:
        told = f"The report is in {html}." if html is not None else "--html report.html writes this with pictures."
        click.echo(f"\n{told}")


def init(given: Inputs, name: str | None, output: Path, *, force: bool) -> None:
    """Write a first spec and say what to do with it."""
    if output.exists() and not force:
        raise DriftlineError(f"{output} exists; --force overwrites it, --output FILE writes elsewhere")
    _check_directory(output)
    file = given.predictions
    model = name or _name_of(file)
    with Shown() as shown:
        shown.begin("looking", None)
        look = look_at(file, given.outcomes, given.columns, shown.advance)
        found = _first_run(look, write_spec(look, model), given, shown)
    spec = write_spec(look, model, None if found is None else threshold_of(_usual(look, found)))
    parse_spec(spec, str(output))
    output.write_text(spec, encoding="utf-8")
    left = look.left_out()
    said = [f"columns left out ({LEFT_OUT}): {', '.join(left)}"] if left else []
    for text in (*look.said, *guess_task(look).said, *said):
        click.echo(f"note: {text}")
    if found is not None:
        show_letters(found, Console(width=WIDTH))
    count = len(look.features())
    click.echo(f"{output}: {count} feature{'s' if count != 1 else ''} from {look.rows:,} rows of {file}. Next:")
    click.echo(_next(given, output))


def _next(given: Inputs, output: Path) -> str:
    """The command that plays the spec over the same rows."""
    options = {"predictions": given.predictions, "outcomes": given.outcomes}
    options |= {f.name.replace("_", "-"): getattr(given.columns, f.name) for f in fields(Columns)}
    words = [word for what, value in options.items() if value is not None for word in (f"--{what}", str(value))]
    return shlex.join(["driftline", "backtest", str(output), *words, "--html", "report.html"])


def _first_run(look: Look, text: str, given: Inputs, shown: Shown) -> Findings | None:
    """This file under the spec so far; None without outcomes."""
    return None if look.outcomes is None else run(parse_spec(text, "the first spec"), given, None, shown)


def _usual(look: Look, found: Findings) -> Line | None:
    """The main metric over the longer window."""
    made = lines(found, windows_for(look).long)
    return next((line for line in made if line.metric == main_metric(look)), None)


def _check_directory(file: Path) -> None:
    """Raises `DriftlineError` where `file` cannot be written for want of a directory."""
    if not file.resolve().parent.is_dir():
        raise DriftlineError(f"{file}: there is no directory {file.resolve().parent}")


def _name_of(file: Path) -> str:
    stem = file.name.split(".")[0].replace("@", "-")  # which stands between a model and its revision
    return "my-model" if stem.lower() in NO_NAME else stem


def _run(spec: MonitorSpec, given: Inputs, tell: Tell | None) -> Findings:
    with Shown() as shown:
        return run(spec, given, tell, shown)


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
