"""Predictions in columns: many rows of one model version in one message. Topic `predictions`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from driftline.events.base import encode
from driftline.events.inputs import Label, Text, Time, Value
from driftline.events.partitioning import partition_of

COLUMNS = "application/vnd.driftline.columns+json"
"""The content type that says so (header `content-type`)."""


class PredictionBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one model version: the fields of `Prediction`, those that differ by row as arrays of one length.

    All rows stand in the partition of their ids. A bad row is one dead letter that names its row; the others count.
    """

    model: Text
    version: Text
    id: list[Text]
    time: list[Time]
    prediction: list[Label]
    role: Literal["champion", "shadow"] = "champion"
    features: dict[str, list[Value]] = {}
    attributes: dict[str, list[Value]] = {}
    score: list[float | None] | None = None
    scores: dict[str, list[float | None]] | None = None
    latency_ms: list[float | None] | None = None

    def uneven(self) -> str | None:
        """The name of a column that is not as long as `id`."""
        return next((n for n, c in _columns(self).items() if c is not None and len(c) != len(self.id)), None)

    def split(self, partitions: int) -> list[tuple[int, bytes]]:
        """Its rows by the partition of their ids, as messages (partition, value); its columns must be even."""
        rows: dict[int, list[int]] = {}
        for i, event_id in enumerate(self.id):
            rows.setdefault(partition_of(event_id, partitions), []).append(i)
        return [(partition, encode(self._chosen(which))) for partition, which in sorted(rows.items())]

    def _chosen(self, rows: list[int]) -> PredictionBatch:
        def some(column: list[Any] | None) -> Any:
            return None if column is None else [column[i] for i in rows]

        return msgspec.structs.replace(
            self,
            id=some(self.id),
            time=some(self.time),
            prediction=some(self.prediction),
            features={name: some(column) for name, column in self.features.items()},
            attributes={name: some(column) for name, column in self.attributes.items()},
            score=some(self.score),
            scores=None if self.scores is None else {name: some(column) for name, column in self.scores.items()},
            latency_ms=some(self.latency_ms),
        )


class _Rows(msgspec.Struct):
    """The same, of which nothing is known but that it has rows: to find out what is wrong with which."""

    model: Text
    version: Text
    id: list[msgspec.Raw]
    time: list[msgspec.Raw]
    prediction: list[msgspec.Raw]
    role: Annotated[str, msgspec.Meta(max_length=16)] = "champion"
    features: dict[str, list[msgspec.Raw]] = {}
    attributes: dict[str, list[msgspec.Raw]] = {}
    score: list[msgspec.Raw] | None = None
    scores: dict[str, list[msgspec.Raw]] | None = None
    latency_ms: list[msgspec.Raw] | None = None


_read = msgspec.json.Decoder(_Rows).decode
_read_id = msgspec.json.Decoder(str).decode


def single_rows(data: bytes) -> list[tuple[bytes, bytes]]:
    """Each row as (key, message of its own). The key of an id that is no text is empty.

    Raises `msgspec.ValidationError` where the message does not fit together, and what decoding raises.
    """
    rows = _read(data)
    uneven = [name for name, column in _columns(rows).items() if column is not None and len(column) != len(rows.id)]
    if uneven:
        raise msgspec.ValidationError(f"column {uneven[0]} is not as long as id")
    return [(_key(rows.id[i]), _row(rows, i)) for i in range(len(rows.id))]


def _columns(rows: PredictionBatch | _Rows) -> dict[str, Sequence[Any] | None]:
    """All columns but `id`, by the path at which they stand."""
    return {
        "time": rows.time,
        "prediction": rows.prediction,
        "score": rows.score,
        "latency_ms": rows.latency_ms,
        **{f"features.{name}": column for name, column in rows.features.items()},
        **{f"attributes.{name}": column for name, column in rows.attributes.items()},
        **{f"scores.{name}": column for name, column in (rows.scores or {}).items()},
    }


def _key(raw: msgspec.Raw) -> bytes:
    try:
        return _read_id(raw).encode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return b""


def _row(rows: _Rows, i: int) -> bytes:
    single: dict[str, Any] = {"id": rows.id[i], "model": rows.model, "version": rows.version, "role": rows.role}
    single |= {"time": rows.time[i], "prediction": rows.prediction[i]}
    single["features"] = {name: column[i] for name, column in rows.features.items()}
    if rows.attributes:
        single["attributes"] = {name: column[i] for name, column in rows.attributes.items()}
    if rows.scores is not None:
        told = {name: column[i] for name, column in rows.scores.items() if bytes(column[i]) != b"null"}
        single["scores"] = told or None
    for name, column in (("score", rows.score), ("latency_ms", rows.latency_ms)):
        if column is not None:
            single[name] = column[i]
    return msgspec.json.encode(single)
