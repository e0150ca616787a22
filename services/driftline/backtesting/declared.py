"""What people would have declared to a deployment: the spec, and the baselines of its versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftline.backtesting.mapping import Columns, Mapped, map_reference
from driftline.backtesting.tables import Data
from driftline.backtesting.values import categories_of, coded, label_readings, numbers_of
from driftline.core.baseline import make_baseline
from driftline.core.columns import told_shares
from driftline.errors import DriftlineError
from driftline.events.admin import Deployment
from driftline.events.baselines import Baseline
from driftline.events.inputs import Label, Value, label_name
from driftline.platform.catalog import Catalog
from driftline.spec.model import MonitorSpec

FloatArray = NDArray[np.float64]

REVISION = 1


class Declared(Catalog):
    """A catalog of one spec, without topics: one source partition, one shard, the clock of events."""

    def __init__(self, spec: MonitorSpec, baselines: Iterable[Baseline]) -> None:  # a catalog of topics would connect
        self.deployment = Deployment(
            id="backtest",
            clock="events",
            slice=spec.pane,
            max_stall=timedelta(minutes=1),  # nobody is left out by the clock of events
            partitions=1,
            shards=1,
        )
        self.specs = {(spec.model, REVISION): spec}
        self.baselines = {baseline.id: baseline for baseline in baselines}
        self.placed = {}
        self.written = {}

    async def refresh(self) -> None:
        """Everything is known already."""

    def baseline_of(self, version: str) -> Baseline | None:
        """The baseline of a version, if there is a reference."""
        return next((each for each in self.baselines.values() if each.version == version), None)


def baselines_of(spec: MonitorSpec, reference: Data, asked: Columns, versions: Iterable[str]) -> list[Baseline]:
    """One baseline a version out of the same reference rows. Raises `DriftlineError` where a value is none."""
    mapped = map_reference(reference, spec, asked)
    batches = [batch.columns for batch in reference.read(list(dict.fromkeys(mapped.columns.values())))]
    if not batches or not sum(batch.num_rows for batch in batches):
        raise DriftlineError(f"{reference.name}: has no rows; a reference needs some")
    table = pa.Table.from_batches(batches).combine_chunks()
    columns: dict[str, list[Value]] = {}
    for name, feature in spec.features.items():
        column = table.column(mapped.columns[f"feature:{name}"]).combine_chunks()
        if feature.type == "category":
            codes, values = categories_of(column, textual=reference.textual, known=feature.allowed or ())
            columns[name] = np.array([*values, None], object)[codes].tolist()
        else:
            columns[name] = [None if value != value else value for value in _numbers(reference, name, column).tolist()]
    found = _answers(spec, reference, mapped, table)
    source = f"reference of {reference.name}"
    return [make_baseline(spec, columns, *found, version, source) for version in sorted(versions)]


def _answers(
    spec: MonitorSpec, reference: Data, mapped: Mapped, table: pa.Table
) -> tuple[FloatArray | None, FloatArray | list[Label] | None]:
    """What the model said of the rows, scores and predictions, as `make_baseline` takes them."""

    def numbers(what: str) -> FloatArray:
        return _numbers(reference, mapped.columns[what], table.column(mapped.columns[what]).combine_chunks())

    if spec.task != "multiclass":
        scores, predictions = (numbers(what) if what in mapped.columns else None for what in ("score", "prediction"))
        return scores, predictions
    columns = [f"score:{label}" for label in spec.labels]
    shares = [numbers(what) if what in mapped.columns else np.zeros(len(table)) for what in columns]
    told = told_shares(np.stack(shares, axis=1)) if {*columns} & {*mapped.columns} else None
    if "prediction" not in mapped.columns:
        return told, None
    codes, values = coded(table.column(mapped.columns["prediction"]).combine_chunks())
    return told, _labels(spec, reference, [[*values, None][code] for code in codes.tolist()])


def _labels(spec: MonitorSpec, reference: Data, answers: Sequence[object]) -> list[Label]:
    """Predictions as the spec spells its labels. Raises `DriftlineError` where one is none."""
    known: dict[object, Label] = {}
    for answer in set(answers):
        readings = label_readings(answer) if isinstance(answer, str) else [answer]
        names = [label_name(each) for each in readings if isinstance(each, str | int | float | bool)]
        if found := [name for name in names if name in spec.labels]:
            known[answer] = found[0]
    for row, answer in enumerate(answers):
        if answer not in known:
            there = ", ".join(spec.labels)
            raise DriftlineError(f"{reference.name}, row {row + 1}: prediction {answer!r} is none of {there}")
    return [known[answer] for answer in answers]


def _numbers(reference: Data, name: str, column: pa.Array) -> FloatArray:
    values, bad = numbers_of(column)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DriftlineError(
            f"{reference.name}, row {row + 1}, column {name}: {column[row].as_py()!r} is no finite number, "
            "which the spec says this column has"
        )
    return values
