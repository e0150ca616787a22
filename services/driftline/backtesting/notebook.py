"""A backtest from Python: what a notebook calls, and what it shows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa

from driftline.backtesting.comparing import Pair, compare
from driftline.backtesting.figures import MEASURES, SHARES, coverage_of
from driftline.backtesting.findings import Episode, Findings
from driftline.backtesting.job import Inputs, run
from driftline.backtesting.letters import DeadLetter
from driftline.backtesting.mapping import Columns
from driftline.backtesting.page.page import page_of
from driftline.errors import DriftlineError
from driftline.events.alerts import Alert
from driftline.events.baselines import Calibration
from driftline.events.reports import MetricValue, Segment, WindowReport
from driftline.events.retraining import Case, RetrainRequest
from driftline.spec.model import MonitorSpec
from driftline.spec.reader import read_spec

FRAME_HEIGHT = 720
"""Pixels that the report takes in a notebook; it scrolls."""
_INSTANT = pa.timestamp("ms", "UTC")


class Backtest:
    """What Driftline would have said.

    `reports`: the last revision of each window (`driftline.events.reports.WindowReport`). `alerts`: every change of
    every alert (`driftline.events.alerts.Alert`). `requests`: the retrains asked for, and `cases`: what became of them.
    `calibrations`: the thresholds that budgets of false alarms came to (`driftline.events.baselines.Calibration`).
    `dead_letters`: the first rows of each reason that could not be used. `notes`: what was assumed, a sentence each. In
    a notebook it shows itself.
    """

    def __init__(self, found: Findings) -> None:
        self._found = found
        self.reports: list[WindowReport] = list(found.reports.values())
        self.alerts: list[Alert] = found.alerts
        self.requests: list[RetrainRequest] = found.requests
        self.cases: list[Case] = found.cases
        self.calibrations: list[Calibration] = found.calibrations
        self.dead_letters: list[DeadLetter] = found.letters.first
        self.notes: list[str] = found.said

    @property
    def predictions(self) -> int:
        """Predictions that counted."""
        return self._found.predictions

    @property
    def coverage(self) -> float:
        """The share of them that has an outcome."""
        return coverage_of(self._found)

    def episodes(self) -> list[Episode]:
        """The alerts that fired, each with when it began and when it ended."""
        return self._found.episodes()

    def metrics(self) -> pa.Table:
        """One row a window, segment and metric: value, interval, n, coverage and where they are from."""
        figures = tuple(name for name in MetricValue.__struct_fields__ if name != "n")
        rows = [
            _head(report, segment) | {"metric": name, "n": value.n} | {f: getattr(value, f) for f in figures}
            for report, segment in self._segments()
            for name, value in segment.metrics.items()
        ]
        return _table(rows, ("metric",), ("n", *figures))

    def drift(self) -> pa.Table:
        """One row a window, segment and feature: distances from the baseline, and shares of n."""
        rows = [
            _head(report, segment) | {"feature": name} | {f: getattr(value, f) for f in (*SHARES, *MEASURES)}
            for report, segment in self._segments()
            for name, value in segment.drift.items()
        ]
        return _table(rows, ("feature",), (*SHARES, *MEASURES))

    def compare(self, other: Backtest) -> list[Pair]:
        """The alerts of two sets of rules side by side: only here, only there, or both."""
        return compare(self._found, other._found)

    def html(self) -> str:
        """The report: one page that needs nothing else."""
        return page_of(self._found)

    def _segments(self) -> Iterator[tuple[WindowReport, Segment]]:
        return ((report, segment) for report in self.reports for segment in report.segments)

    def _repr_html_(self) -> str:
        # a frame of its own, so that neither side's styles reach the other
        style = f"width:100%;height:{FRAME_HEIGHT}px;border:0"
        return f'<iframe srcdoc="{escape(self.html())}" style="{style}" title="Backtest"></iframe>'

    def __repr__(self) -> str:
        found = self._found
        counted = f"{found.predictions:,} predictions, {self.coverage:.1%} with their outcome"
        told = f"{len(self.reports):,} windows, {len(self.episodes())} alerts fired"
        return f"<Backtest of {found.spec.model}: {counted}, {told}, {found.letters.total:,} rows left out>"


def backtest(
    spec: str | os.PathLike[str] | MonitorSpec,
    predictions: Any,
    outcomes: Any = None,
    reference: Any = None,
    **columns: str,
) -> Backtest:
    """What Driftline would have said about these rows, without Kafka.

    `spec` is the path of a monitor spec. `predictions`, `outcomes` and `reference` are paths (CSV, CSV.gz, Parquet),
    pyarrow tables or pandas data frames; without `outcomes` they stand in the predictions. `columns` name columns that
    are not called as usual: `id`, `time`, `prediction`, `score`, `outcome`, `outcome_time`, `version`, `model`.

    Raises `driftline.errors.DriftlineError` where something cannot be read or a column is missing; a row that cannot be
    used is a dead letter.

        driftline.backtest("monitor.yaml", predictions, outcomes, time="ts", prediction="pred_a")
    """
    unknown = sorted(columns.keys() - set(Columns.__dataclass_fields__))
    if unknown:
        known = ", ".join(Columns.__dataclass_fields__)
        raise DriftlineError(f"there is no column {', '.join(unknown)} to name; columns are {known}")
    read = spec if isinstance(spec, MonitorSpec) else read_spec(Path(spec))
    return Backtest(run(read, Inputs(predictions, outcomes, reference, Columns(**columns))))


def _head(report: WindowReport, segment: Segment) -> dict[str, Any]:
    return {
        "version": report.version,
        "role": report.role,
        "window": report.window.name,
        "start": report.window.start,
        "end": report.window.end,
        "revision": report.revision,
        "segment": segment.segment,
        "coverage": segment.coverage,
    }


def _table(rows: list[dict[str, Any]], names: tuple[str, ...], figures: tuple[str, ...]) -> pa.Table:
    """Typed also where there are no rows."""
    texts = ("version", "role", "window", "segment", *names, "method")
    kinds = (
        dict.fromkeys(texts, pa.string()) | dict.fromkeys(("start", "end", "revision"), _INSTANT) | {"n": pa.int64()}
    )
    columns = ("version", "role", "window", "start", "end", "revision", "segment", "coverage", *names, *figures)
    return pa.table({name: pa.array([row[name] for row in rows], kinds.get(name, pa.float64())) for name in columns})
