"""A whole backtest: look at the files, declare, merge by arrival, drive the engine, find."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pyarrow as pa

from driftline.backtesting.columns import ONE_VERSION
from driftline.backtesting.declared import Declared, baselines_of
from driftline.backtesting.engine import Engine
from driftline.backtesting.findings import Findings, Tell
from driftline.backtesting.mapping import Columns, Mapped, map_outcomes, map_predictions
from driftline.backtesting.streams import Look, Stream, cuts
from driftline.backtesting.tables import Data, open_data
from driftline.core.validation import kept_slices
from driftline.errors import DriftlineError
from driftline.events.base import Millis
from driftline.events.baselines import Baseline
from driftline.spec.model import MonitorSpec, millis


class Progress(Protocol):
    """Shown while a backtest runs."""

    def begin(self, what: str, rows: int | None) -> None:
        """A pass over so many rows begins; None: nobody knows how many there are."""

    def advance(self, rows: int) -> None:
        """So many rows more are done."""


class Silent:
    """Shows nothing."""

    def begin(self, what: str, rows: int | None) -> None:
        """See `Progress`."""

    def advance(self, rows: int) -> None:
        """See `Progress`."""


@dataclass(frozen=True)
class Inputs:
    """What a backtest reads: paths, pyarrow tables or data frames. `outcomes` None: they stand in the predictions.

    `baselines`: of versions that have been declared, in place of `reference`.
    """

    predictions: Any
    outcomes: Any = None
    reference: Any = None
    columns: Columns = field(default_factory=Columns)
    baselines: Sequence[Baseline] = ()


@dataclass(frozen=True)
class _Opened:
    predictions: Stream
    outcomes: Stream
    reference: Data | None


def run(spec: MonitorSpec, inputs: Inputs, tell: Tell | None = None, progress: Progress | None = None) -> Findings:
    """What Driftline would have said about these rows under `spec`; `tell` gets each event as it is decided.

    Raises `DriftlineError` where a file cannot be read or lacks a column; a bad row is a dead letter and no error.
    """
    shown = progress or Silent()
    found = Findings(spec, tell)
    opened, predictions, outcomes = _look(_open(spec, inputs), spec, shown)
    _say(found, spec, opened, {"predictions": predictions, "outcomes": outcomes}, bool(inputs.baselines))
    found.versions = tuple(sorted(predictions.versions)) or (ONE_VERSION,)
    reference = opened.reference
    baselines = list(inputs.baselines)
    if reference is not None:
        baselines = baselines_of(spec, reference, inputs.columns, found.versions)
    firsts = [look.first for look in (predictions, outcomes) if look.first is not None]
    first = max(1, min(firsts) // millis(spec.pane))
    champion = _champion(spec, predictions, found)
    engine = Engine(Declared(spec, baselines), first, champion, found.refuse, found.take)
    shown.begin("deciding", predictions.rows + outcomes.rows)
    arriving = (
        _counted(opened.predictions.arrivals(predictions, found.refuse), shown),
        _counted(opened.outcomes.arrivals(outcomes, found.refuse), shown),
    )
    for cut in cuts(*arriving, engine.slice_ms):
        engine.feed(cut, opened.predictions.mapped, opened.outcomes.mapped)
    found.first, found.last = predictions.first or 0, predictions.last or 0
    found.decided = _end(spec, found.last, outcomes.last or 0)
    engine.pass_time(found.decided // engine.slice_ms - 1)
    found.predictions, found.joined = engine.tally.predictions, engine.tally.joined
    found.counters = engine.counters()
    return found


def _look(opened: _Opened, spec: MonitorSpec, shown: Progress) -> tuple[_Opened, Look, Look]:
    """The first pass over both files. Outcomes that could meet no prediction are passed over from here on."""
    shown.begin("looking at predictions", None)
    predictions = opened.predictions.look(shown.advance)
    if predictions.first is None or predictions.last is None:
        raise DriftlineError(f"{opened.predictions.name}: has no rows")
    known = kept_slices(spec, millis(spec.pane)) * millis(spec.pane)
    outcomes = replace(opened.outcomes, within=(predictions.first - known, predictions.last + known))
    shown.begin("looking at outcomes", None)
    return replace(opened, outcomes=outcomes), predictions, outcomes.look(shown.advance)


def _open(spec: MonitorSpec, inputs: Inputs) -> _Opened:
    predictions = open_data(inputs.predictions, "predictions")
    together = inputs.outcomes is None
    mapped = map_predictions(predictions, spec, inputs.columns, outcomes_too=together)
    reference = None if inputs.reference is None else open_data(inputs.reference, "reference")
    if not together:
        outcomes = map_outcomes(open_data(inputs.outcomes, "outcomes"), spec, inputs.columns)
        return _Opened(Stream(mapped, "time"), Stream(outcomes, "outcome_time"), reference)
    time = "outcome_time" if "outcome_time" in mapped.columns else "time"
    both = ("id", "model", "time", "")
    beside = Stream(replace(_only(mapped, (*both, "outcome", time)), told=both), time, only="outcome")
    return _Opened(Stream(_of_predictions(mapped), "time"), beside, reference)


def _of_predictions(mapped: Mapped) -> Mapped:
    """The columns of a file that has outcomes too, without these."""
    return _only(mapped, [what for what in mapped.columns if what not in ("outcome", "outcome_time")])


def _only(mapped: Mapped, wanted: Collection[str]) -> Mapped:
    """Some columns of a file."""
    kept = {what: name for what, name in mapped.columns.items() if what in wanted}
    return Mapped(mapped.data, kept, mapped.guessed)


def _say(found: Findings, spec: MonitorSpec, opened: _Opened, looks: dict[str, Look], declared: bool) -> None:
    """What was assumed, aloud."""
    together = opened.predictions.mapped.data is opened.outcomes.mapped.data
    streams = {"predictions": opened.predictions, "outcomes": opened.outcomes}
    found.rows = {name: look.rows for name, look in looks.items()}
    for mapped in [opened.predictions.mapped] if together else [s.mapped for s in streams.values()]:
        if said := mapped.said():
            found.said.append(said)
    if together and opened.outcomes.time == "time":
        found.said.append("outcomes are taken as known at once, with their predictions: there is no --outcome-time")
    if "id" not in opened.predictions.mapped.columns:
        found.said.append(f"{opened.predictions.name}: without a column of ids, rows are known by their number")
    for what, look in looks.items():
        if look.naive:
            found.said.append(f"{streams[what].name}: times without an offset are taken as UTC")
        if not look.is_sorted:
            found.said.append(
                f"{streams[what].name}: {what} are not in the order of their time, so they are sorted first"
            )
    if outside := looks["outcomes"].outside:
        found.said.append(f"{outside:,} outcomes lie further than the horizon from every prediction and are left out")
    columns = opened.predictions.mapped.columns
    if spec.task != "regression" and not any(what.partition(":")[0] == "score" for what in columns):
        found.said.append("no column of scores: metrics that need them (AUC, log loss) are not defined")
    if spec.baseline.kind == "training" and opened.reference is None and not declared:
        found.said.append("no --reference: there is no baseline, so drift is not measured")


def _champion(spec: MonitorSpec, look: Look, found: Findings) -> str | None:
    """Who is registered at the beginning: the only version, where the spec asks for retrains, which need a champion."""
    champions = look.champions or ({ONE_VERSION} if not look.versions else set())
    if spec.retrain is None or len(champions) != 1:
        if spec.retrain is not None:
            names = ", ".join(sorted(champions))
            found.said.append(f"versions {names}: rules look at each, and none is a champion that could be retrained")
        return None
    found.said.append("nothing answers a retrain request here: its attempt fails when its deadline has passed")
    return next(iter(champions))


def _counted(tables: Iterator[pa.Table], shown: Progress) -> Iterator[pa.Table]:
    for table in tables:
        yield table
        shown.advance(table.num_rows)


def _end(spec: MonitorSpec, last_prediction: Millis, last_outcome: Millis) -> Millis:
    """How far time goes: to the last arrival, and until the last windows that hold a prediction have been told.

    Always the end of a slice.
    """
    slice_ms = millis(spec.pane)
    ends = [(last_prediction // millis(w.every) + 1) * millis(w.every) for w in spec.windows.values()]
    told = max(ends) + millis(spec.lateness)
    return -(-max(told, last_prediction + 1, last_outcome + 1) // slice_ms) * slice_ms
