"""What arrived, in columns: valid predictions and outcomes of any models, one entry a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from driftline.events.inputs import Value

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

    @property
    def size(self) -> int:
        """Rows."""
        return int(self.low.size)

    def chosen(self, rows: I64, numbers_per_plan: I64, categories_per_plan: I64) -> PredictionColumns:
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


def digests(parts: Sequence[NDArray[Any]], numbers: F64, per_row: I64, categories: U64, categories_per_row: I64) -> U64:
    """64 bits of each row's content: equal rows have equal ones, others as good as never.

    `parts`: columns of 8-byte values or booleans. `numbers` and `categories` (as hashes): those of all rows, `per_row`
    of them in each.
    """
    total = np.zeros(per_row.size, np.uint64)
    for place, part in enumerate(parts):
        total += _mixed(_bits(part), np.full(1, place + 1, np.uint64))
    for values, counts in ((_bits(numbers), per_row), (categories, categories_per_row)):
        if values.size:
            starts = np.cumsum(counts) - counts
            places = np.arange(values.size) - np.repeat(starts, counts) + len(parts) + 1
            mixed = _mixed(values, places.astype(np.uint64))
            some = counts > 0
            total[some] += np.add.reduceat(mixed, starts[some])
            total = _mixed(total, np.full(1, len(parts), np.uint64))
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
