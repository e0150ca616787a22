"""What arrives at the ledger and what becomes of it, in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Places = slice


class Fate(IntEnum):
    """What became of an arrival."""

    COUNTED = 0
    DUPLICATE = 1
    CONFLICT = 2
    CORRECTION = 3
    SUPERSEDED = 4  # an outcome older than the one already known


class Predicted(NamedTuple):
    """Predictions in the order of the log, a column a field.

    `low`, `high`: 128 bits of the id (uint64). `series`: the version's code (uint32). `slice` of the arrival;
    `expires`, the slice from which on it is not known (int64). `digest` of the content (uint64). `answer`: the score,
    or the predicted number (float64); `label`: the predicted label, 0 where answers are numbers (uint8). `tail`: bytes
    that stay with the prediction (uint8), a row each, as `core.rows.Rows.tails` returns them.
    """

    low: Column
    high: Column
    series: Column
    slice: Column
    expires: Column
    pane: Column
    shadow: Column
    answer: Column
    label: Column
    digest: Column
    tail: Column


class Observed(NamedTuple):
    """Outcomes in the order of the log, as `Predicted`. `series` is the code of the model's outcomes, `truth` a label
    (uint8) or a number (float64).
    """

    low: Column
    high: Column
    series: Column
    slice: Column
    expires: Column
    time: Column
    truth: Column


class Joined(NamedTuple):
    """Predictions and their outcomes, to be added to their panes in `slice` (`sign` 1) or taken back (-1).

    `time`: the outcome's; what is taken back has that of the old outcome.
    """

    slice: Column
    series: Column
    pane: Column
    shadow: Column
    answer: Column
    label: Column
    truth: Column
    time: Column
    sign: Column
    tail: Column

    def chosen(self, which: Bools | Places) -> Joined:
        """Some of them."""
        return Joined(*(column[which] for column in self))

    @classmethod
    def together(cls, parts: Sequence[Joined], width: int) -> Joined:
        """One after the other. `width`: of their tails, where there are none at all."""
        if not parts:
            nothing = cls(*[np.empty(0, np.int64)] * len(cls._fields))
            return nothing._replace(tail=np.empty((0, width), np.uint8))
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


@dataclass
class Applied:
    """What became of each arrival (`Fate`), and the joins that follow."""

    predicted: U8
    observed: U8
    joined: Joined


def rounds(predicted: Predicted, observed: Observed) -> Iterator[tuple[I64, I64]]:
    """Positions in both, each id at most once a round, in the order in which its arrivals came."""
    size = predicted.low.size
    low = np.concatenate([predicted.low, observed.low])
    ordered = np.sort(low)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    rank = np.zeros(low.size, np.int64)
    if repeated.size:
        several = np.flatnonzero(np.isin(low, repeated))
        slices = np.concatenate([predicted.slice, observed.slice])[several]
        several = several[np.lexsort((several, several >= size, slices, low[several]))]
        first = np.append(True, low[several][1:] != low[several][:-1])
        count = np.arange(several.size)
        rank[several] = count - np.maximum.accumulate(np.where(first, count, 0))
    by_rank = np.argsort(rank, kind="stable")
    for which in np.split(by_rank, np.flatnonzero(np.diff(rank[by_rank])) + 1):
        yield which[which < size], which[which >= size] - size
