"""Numbers for what arrives: a model has one for its outcomes, and each of its versions one for its predictions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]

SEGMENTS = 16
"""What is kept of a series falls into about this many segments by expiry, so that forgetting is dropping whole ones."""
LONGEST = 1 << 16
"""Slices in a segment at most: a place in one fits into two bytes."""


class Series(NamedTuple):
    """One line of the table: `version` None is the model's outcomes. `segment`: slices in a segment, never changed.

    `width`: how many bytes a prediction of it carries beside the columns of all rows (`core.rows`), never changed.
    """

    model: str
    version: str | None
    segment: int
    width: int


class _Tables(NamedTuple):
    segments: I64
    widths: I64
    models: U32
    versions: U32
    ranks: I64
    by_rank: I64


class SeriesTable:
    """Codes by model and version, given in the order of first sight and never again; code 0 is nobody's."""

    def __init__(self, known: Iterable[Series] = ()) -> None:
        self.entries: list[Series] = []
        self._codes: dict[tuple[str, str | None], int] = {}
        self._versions: dict[int, list[int]] = {}
        self._arrays: _Tables | None = None
        for entry in known:
            self._add(entry)

    def __len__(self) -> int:
        return len(self.entries)

    def outcomes_of(self, model: str, kept: int) -> int:
        """The code of a model's outcomes. `kept`: for how many slices it is remembered, at its first sight."""
        code = self._codes.get((model, None))
        return code if code is not None else self._add(Series(model, None, segment_length(kept), 0))

    def predictions_of(self, model: str, version: str, kept: int, width: int) -> int:
        """The code of a version's predictions. `width`: of its rows' tails, at its first sight."""
        code = self._codes.get((model, version))
        if code is None:
            self.outcomes_of(model, kept)
            code = self._add(Series(model, version, segment_length(kept), width))
        return code

    def __getitem__(self, code: int) -> Series:
        return self.entries[code - 1]

    @property
    def segments(self) -> I64:
        """Slices in a segment, by code."""
        return self._tables().segments

    @property
    def widths(self) -> I64:
        """Bytes of a row's tail, by code."""
        return self._tables().widths

    @property
    def widest(self) -> int:
        """Of all tails."""
        return int(self._tables().widths.max())

    @property
    def model_of(self) -> U32:
        """The code of the model's outcomes, by code."""
        return self._tables().models

    @property
    def versions(self) -> U32:
        """Row m: the codes of the versions of the model whose outcomes have code m, then zeros."""
        return self._tables().versions

    @property
    def ranks(self) -> I64:
        """The place of each code in the order of (model, version)."""
        return self._tables().ranks

    @property
    def by_rank(self) -> I64:
        """The codes in that order."""
        return self._tables().by_rank

    def _tables(self) -> _Tables:
        if self._arrays is None:
            versions = np.zeros((len(self) + 1, max(map(len, self._versions.values()), default=0)), np.uint32)
            for model, codes in self._versions.items():
                versions[model, : len(codes)] = codes
            named = [("", "", 0), *((e.model, e.version or "", 1 + i) for i, e in enumerate(self.entries))]
            by_rank = np.array([code for _, _, code in sorted(named)], np.int64)
            self._arrays = _Tables(
                segments=np.array([1, *(entry.segment for entry in self.entries)], np.int64),
                widths=np.array([0, *(entry.width for entry in self.entries)], np.int64),
                models=np.array([0, *(self._codes[entry.model, None] for entry in self.entries)], np.uint32),
                versions=versions,
                ranks=np.argsort(by_rank),
                by_rank=by_rank,
            )
        return self._arrays

    def _add(self, entry: Series) -> int:
        self.entries.append(entry)
        code = len(self.entries)
        self._codes[entry.model, entry.version] = code
        if entry.version is not None:
            self._versions.setdefault(self._codes[entry.model, None], []).append(code)
        self._arrays = None
        return code


def segment_length(kept: int) -> int:
    """How many slices make a segment of a series that is remembered for `kept` slices."""
    return min(LONGEST, max(1, kept // SEGMENTS))
