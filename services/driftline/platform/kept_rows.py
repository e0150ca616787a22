"""The rows that a model was made from, kept with its artifact, so that its figures can be found again from them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from driftline.core.binning import category_name, to_numbers
from driftline.errors import ArtifactError
from driftline.events.base import Millis
from driftline.events.inputs import Label, Value, label_name
from driftline.spec.model import MonitorSpec

ROWS = "rows.parquet"
"""The file's name. Columns: id, time (epoch ms), outcome, then the spec's features in their order. They are told apart
by their place, since a feature may be named `time` too."""
ABOUT = ("id", "time", "outcome")
VALIDATED, TRIAL = "validated.json", "trial.skops"
"""What the figures that a training reports are of, where it is not all rows and the model itself: the positions of rows
in `rows.parquet`, and the model that was tried on them.
"""


@dataclass(frozen=True)
class KeptRows:
    """Row i is the i-th of each; None where it is not known, or a feature missing."""

    ids: Sequence[str | None]
    times: Sequence[Millis | None]
    outcomes: Sequence[Label | None]
    features: Mapping[str, Sequence[Value]]

    def at(self, places: Sequence[int]) -> KeptRows:
        """Those at some positions, counted from 0."""
        features = {name: [values[place] for place in places] for name, values in self.features.items()}
        return KeptRows(
            [self.ids[place] for place in places],
            [self.times[place] for place in places],
            [self.outcomes[place] for place in places],
            features,
        )


def pack_rows(spec: MonitorSpec, rows: KeptRows) -> bytes:
    """The rows as the content of `rows.parquet`."""
    numeric = spec.task == "regression"
    outcomes: list[Any] = [None if v is None else float(v) if numeric else label_name(v) for v in rows.outcomes]
    columns = [
        pa.array(rows.ids, pa.string()),
        pa.array(rows.times, pa.int64()),
        pa.array(outcomes, pa.float64() if numeric else pa.string()),
    ]
    for name, feature in spec.features.items():
        values = rows.features[name]
        if feature.type == "category":
            columns.append(pa.array([category_name(value) for value in values], pa.string()))
        else:
            columns.append(pa.array(to_numbers(values), pa.float64(), from_pandas=True))
    to = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, names=[*ABOUT, *spec.features]), to)
    return to.getvalue()


def unpack_rows(data: bytes) -> KeptRows:
    """The rows that `pack_rows` has packed. Raises `ArtifactError` where these are none."""
    try:
        table = pq.ParquetFile(io.BytesIO(data)).read()
        names, columns = table.column_names, [column.to_pylist() for column in table.columns]
    except (pa.ArrowException, OSError, ValueError) as error:  # what it says depends on which byte is wrong
        raise ArtifactError(f"{ROWS} cannot be read: {error}") from error
    if tuple(names[: len(ABOUT)]) != ABOUT:
        raise ArtifactError(f"{ROWS} does not begin with the columns {', '.join(ABOUT)}")
    ids, times, outcomes, *features = columns
    return KeptRows(ids, times, outcomes, dict(zip(names[len(ABOUT) :], features, strict=True)))
