"""`driftline init`."""

from __future__ import annotations

from pathlib import Path

import click

from driftline.backtesting.figures import Line, lines
from driftline.backtesting.first_look import Look, look_at
from driftline.backtesting.first_spec import main_metric, threshold_of, windows_for, write_spec
from driftline.backtesting.job import Inputs, run
from driftline.cli.backtest import FILE, Shown, columns_of, with_columns
from driftline.errors import DriftlineError
from driftline.spec.reader import parse_spec

NO_NAME = {"predictions", "data", "train", "test", "log"}
"""File names that name no model."""


@click.command("init")
@click.argument("file", type=FILE)
@click.option("--outcomes", type=FILE, help="One row an outcome: how long they take, and which figures are usual.")
@click.option("--name", help="The model's name; else the file's.")
@click.option("--output", type=FILE, default=Path("monitor.yaml"), show_default=True, help="Where to write the spec.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
@with_columns
def init(file: Path, outcomes: Path | None, name: str | None, output: Path, force: bool, **columns: str | None) -> None:
    """Look at a FILE of predictions and their features (CSV or Parquet) and write a first monitor spec.

    Ranges reach a little beyond what is in the file, categories with few values are listed, windows hold enough rows to
    be judged. With outcomes, in the file or apart, the first rule's threshold comes from what is usual in it.

    \b
    driftline init predictions.csv --outcomes outcomes.csv
    driftline init predictions.parquet --prediction pred_a --output churn.yaml
    """
    if output.exists() and not force:
        raise DriftlineError(f"{output} exists; --force overwrites it, --output FILE writes elsewhere")
    asked = columns_of(columns)
    with Shown() as shown:
        shown.begin("looking", None)
        look = look_at(file, outcomes, asked, shown.advance)
        model = name or _name_of(file)
        text = write_spec(look, model)
        line = _usual(look, text, Inputs(file, outcomes, None, asked), shown)
    text = write_spec(look, model, threshold_of(line))
    parse_spec(text, str(output))
    output.write_text(text, encoding="utf-8")
    given = {"outcomes": outcomes} | {option.removeprefix("column_"): column for option, column in columns.items()}
    more = "".join(f" --{option.replace('_', '-')} {value}" for option, value in given.items() if value is not None)
    features = len(look.features())
    click.echo(f"{output}: {features} feature{'s' if features != 1 else ''} from {look.rows:,} rows of {file}. Next:")
    click.echo(f"driftline backtest {output} --predictions {file}{more} --html report.html")


def _usual(look: Look, text: str, inputs: Inputs, shown: Shown) -> Line | None:
    """The main metric over the longer window, in this file under the spec so far; None without outcomes."""
    if look.outcomes is None:
        return None
    found = run(parse_spec(text, "the first spec"), inputs, None, shown)
    made = lines(found, windows_for(look).long)
    return next((line for line in made if line.metric == main_metric(look)), None)


def _name_of(file: Path) -> str:
    stem = file.name.split(".")[0]
    return "my-model" if stem.lower() in NO_NAME else stem


commands: list[click.Command] = [init]
