"""What `driftline apply --dry-run` does: old rules beside new ones over what the archive holds."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click
import msgspec
from rich.console import Console

from driftline.backtesting.comparing import Pair, compare
from driftline.backtesting.findings import Episode, Findings
from driftline.backtesting.job import Inputs, run
from driftline.backtesting.mapping import Columns
from driftline.cli.backtest_summary import show_budgets, show_comparison
from driftline.cli.backtest_work import WIDTH, Shown
from driftline.errors import DriftlineError
from driftline.events.base import iso
from driftline.events.baselines import Baseline
from driftline.events.retraining import Span
from driftline.platform import archive_tables as tables
from driftline.platform.archive import query
from driftline.platform.declare import check_change, declared_baselines, latest_spec
from driftline.platform.kafka import read_deployment
from driftline.platform.settings import Settings
from driftline.spec.model import MonitorSpec, millis

COLUMNS = Columns(
    id=tables.ID,
    time=tables.TIME,
    prediction=tables.PREDICTION,
    score=tables.SCORE,
    outcome=tables.OUTCOME,
    outcome_time=tables.TIME,
    version=tables.VERSION,
)
NONE_IN_FORCE = "none"


def dry_run(settings: Settings, spec: MonitorSpec, name: str, over: timedelta, *, as_json: bool) -> None:
    """Play `spec`, and the one in force, over the archived rows of the last time. Nothing is changed."""
    known = latest_spec(settings, spec.model)
    if known is not None:
        check_change(known[1], spec)
    specs = [spec] if known is None else [known[1], spec]
    slice_ms = millis(read_deployment(settings).slice)
    part = _span(settings, spec.model, over)
    with tempfile.TemporaryDirectory(prefix="driftline-") as directory:
        files = tables.export(settings.archive_dir, slice_ms, specs, part, Path(directory))
        given = Inputs(files.predictions, files.outcomes, None, COLUMNS, declared_baselines(settings, spec.model))
        new = _run(spec, given)
        old = None if known is None else _run(known[1], given)
    here = f"{spec.model}@{known[0]}" if known is not None else NONE_IN_FORCE
    pairs = compare(old, new) if old is not None else [Pair(None, episode) for episode in new.episodes()]
    if as_json:
        click.echo(
            msgspec.json.encode(_plain(pairs, here, name, part, files.rows) | {"calibrations": new.calibrations})
        )
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    predictions, outcomes = files.rows
    console.print(
        f"{predictions:,} predictions and {outcomes:,} outcomes from {iso(part.start)} to {iso(part.end)}; "
        "nothing is changed"
    )
    show_budgets(new, console)
    show_comparison(pairs, here, name, len(new.versions), console)


def _span(settings: Settings, model: str, over: timedelta) -> Span:
    """Up to the newest archived prediction."""
    sql = "SELECT max(time) AS newest FROM predictions WHERE model = ?"
    (row,) = query(settings.archive_dir, sql, (model,)).to_pylist()
    if row["newest"] is None:
        raise DriftlineError(
            f"the archive ({settings.archive_dir}) holds no prediction of {model}; is the archiver running?"
        )
    end = row["newest"] + 1
    return Span(start=end - millis(over), end=end)


def _run(spec: MonitorSpec, given: Inputs) -> Findings:
    # attempts would wait for trainers and gates that are not asked here
    with Shown() as shown:
        return run(msgspec.structs.replace(spec, retrain=None), replace(given, baselines=_of(spec, given)), None, shown)


def _of(spec: MonitorSpec, given: Inputs) -> Sequence[Baseline]:
    return given.baselines if spec.baseline.kind == "training" else ()


def _plain(pairs: Sequence[Pair], here: str, there: str, part: Span, rows: tuple[int, int]) -> dict[str, object]:
    def episode(one: Episode | None) -> object:
        if one is None:
            return None
        return {"fired": one.fired, "until": None if one.resolved is None else one.resolved.at}

    return {
        "span": part,
        "predictions": rows[0],
        "outcomes": rows[1],
        "old": here,
        "new": there,
        "alerts": [{"where": pair.where, "old": episode(pair.here), "new": episode(pair.there)} for pair in pairs],
    }
