"""What arrived, in columns: valid predictions and outcomes of any models, one entry a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from driftline.events.inputs import Score, Value
from driftline.spec.model import MOST_LABELS, MonitorSpec

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

# odd constants of splitmix64 (Steele, Lea, Flood, OOPSLA 2014), whose finalizer mixes the bits of each value
_STEP, _M1, _M2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)


@dataclass(frozen=True)
class PredictionColumns:
    """Predictions in the order of the log. `plan` says how each row's values are counted (see `core.plans`).

    `numbers` holds the numeric features of all rows, one row after the other, in the order of its spec, NaN where
    missing; `categories` likewise, None where missing. `answer` is the score (NaN: none), or the predicted number of a
    regression; `label` the predicted label's number (0 in a regression). `latency` in ms, NaN where it was not told.
    `last`: the offset of the last row's record, -1 where there is none. `attributes`: of each row, or none at all.
    `shares`: the probability of each label in the rows of multiclass models, one row after the other, NaN where they
    were not told; their `answer` is the one of their label.
    """

    ids: Sequence[str]
    low: U64
    high: U64
    series: U32
    plan: I64
    slice: I64
    pane: I64
    shadow: Bools
    answer: F64
    label: NDArray[np.uint8]
    latency: F64
    digest: U64
    numbers: F64
    categories: Sequence[str | None]
    last: int
    attributes: Sequence[Mapping[str, Value]] = ()
    shares: F64 = field(default_factory=lambda: np.empty(0))

    @property
    def size(self) -> int:
        """Rows."""
        return int(self.low.size)

    def chosen(
        self, rows: I64, numbers_per_plan: I64, categories_per_plan: I64, shares_per_plan: I64
    ) -> PredictionColumns:
        """Some of the rows, in order. The counts say how many values a row of each plan has."""
        if rows.size == self.size:
            return self
        kept = np.zeros(self.size, np.bool_)
        kept[rows] = True
        categories = np.repeat(kept, categories_per_plan[self.plan])
        return PredictionColumns(
            ids=[self.ids[row] for row in rows.tolist()],
            numbers=self.numbers[np.repeat(kept, numbers_per_plan[self.plan])],
            categories=list(compress(self.categories, categories.tolist())),
            last=self.last,
            shares=self.shares[np.repeat(kept, shares_per_plan[self.plan])],
            attributes=[self.attributes[row] for row in rows.tolist()] if self.attributes else (),
            **{name: getattr(self, name)[rows] for name in _BY_ROW},
        )


_BY_ROW = ("low", "high", "series", "plan", "slice", "pane", "shadow", "answer", "label", "latency", "digest")


@dataclass(frozen=True)
class OutcomeColumns:
    """Outcomes in the order of the log. `series` is the code of the model's outcomes; `truth` a label's number, or the
    number that came true; `last` as in `PredictionColumns`.
    """

    ids: Sequence[str]
    low: U64
    high: U64
    series: U32
    slice: I64
    time: I64
    truth: F64
    last: int

    @property
    def size(self) -> int:
        """Rows."""
        return int(self.low.size)


def told_shares(shares: F64) -> F64:
    """Probabilities of all labels, (rows, labels), as those of the labels that are told: the rest is added up."""
    if shares.shape[1] <= MOST_LABELS:
        return shares
    return np.column_stack([shares[:, :MOST_LABELS], shares[:, MOST_LABELS:].sum(axis=1)])


def scores_of(spec: MonitorSpec, scores: Sequence[Score]) -> F64 | None:
    """What a model says of its answers: (rows,), multiclass (rows, labels as they are told); NaN where it says nothing.

    None for a regression.
    """
    if spec.task == "regression":
        return None
    if spec.task == "binary":
        return np.array([np.nan if not isinstance(score, float | int) else score for score in scores], np.float64)
    rows = [[score.get(label, 0.0) if isinstance(score, dict) else np.nan for label in spec.labels] for score in scores]
    return told_shares(np.array(rows, np.float64).reshape(-1, len(spec.labels)))


def hashed(ids: Sequence[bytes]) -> tuple[U64, U64]:
    """128 bits of each id (two ids in 10^11 collide with a chance below 10^-16)."""
    both = np.frombuffer(b"".join(map(xxhash.xxh3_128_digest, ids)), np.uint64).reshape(-1, 2)
    return both[:, 0].copy(), both[:, 1].copy()


def hashes_of(attributes: Sequence[Mapping[str, Value]]) -> U64:
    """64 bits of each row's attributes, whatever their order; 0 where there are none."""
    if not any(attributes):
        return np.zeros(len(attributes), np.uint64)
    texts = [msgspec.json.encode(each, order="sorted") if each else b"" for each in attributes]
    return np.array([xxhash.xxh3_64_intdigest(text) if text else 0 for text in texts], np.uint64)


def hash_of_name(name: str | None) -> int:
    """64 bits of a category; 0 where it is missing."""
    return 0 if name is None else xxhash.xxh3_64_intdigest(name.encode())


def contents(
    time: I64,
    shadow: Bools,
    answer: F64,
    label: NDArray[np.uint8],
    attributes: Sequence[Mapping[str, Value]],
    *lists: tuple[F64 | U64, I64],
) -> U64:
    """What each prediction says, as 64 bits: an exact repeat has the same ones. `lists`: see `digests`."""
    return digests([time, shadow, answer, label, hashes_of(attributes)], *lists)


def digests(parts: Sequence[NDArray[Any]], *lists: tuple[F64 | U64, I64]) -> U64:
    """64 bits of each row's content: equal rows have equal ones, whatever stands beside them, others as good as never.

    `parts`: columns of 8-byte values or booleans. `lists`: values (or their hashes) of all rows, one row after the
    other, and how many of them each has.
    """
    total = np.zeros(parts[0].size, np.uint64)
    for place, part in enumerate(parts):
        total += _mixed(_bits(part), np.full(1, place + 1, np.uint64))
    for values, counts in lists:
        some = np.flatnonzero(counts)
        if some.size:
            starts = np.cumsum(counts) - counts
            places = np.arange(values.size) - np.repeat(starts, counts) + len(parts) + 1
            mixed = _mixed(_bits(values), places.astype(np.uint64))
            total[some] = _mixed(total[some] + np.add.reduceat(mixed, starts[some]), np.full(1, len(parts), np.uint64))
    return total


def _bits(values: NDArray[Any]) -> U64:
    if values.dtype == np.float64:
        return (values + 0.0).view(np.uint64)  # -0.0 and 0.0 are the same number
    return values.astype(np.uint64)


def _mixed(values: U64, place: U64) -> U64:
    x = values + place * _STEP
    x = (x ^ (x >> _S30)) * _M1
    x = (x ^ (x >> _S27)) * _M2
    mixed: U64 = x ^ (x >> _S31)
    return mixed
