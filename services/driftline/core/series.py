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
    """One line of the table: `version` None is the model's outcomes. `segment`: slices in a segment, never changed."""

    model: str
    version: str | None
    segment: int


class SeriesTable:
    """Codes by model and version, given in the order of first sight and never again; code 0 is nobody's."""

    def __init__(self, known: Iterable[Series] = ()) -> None:
        self.entries: list[Series] = []
        self._codes: dict[tuple[str, str | None], int] = {}
        self._versions: dict[int, list[int]] = {}
        self._arrays: tuple[I64, U32, U32, I64, I64] | None = None
        for entry in known:
            self._add(entry)

    def __len__(self) -> int:
        return len(self.entries)

    def outcomes_of(self, model: str, kept: int) -> int:
        """The code of a model's outcomes. `kept`: for how many slices it is remembered, at its first sight."""
        code = self._codes.get((model, None))
        return code if code is not None else self._add(Series(model, None, segment_length(kept)))

    def predictions_of(self, model: str, version: str, kept: int) -> int:
        """The code of a version's predictions."""
        code = self._codes.get((model, version))
        if code is None:
            self.outcomes_of(model, kept)
            code = self._add(Series(model, version, segment_length(kept)))
        return code

    def __getitem__(self, code: int) -> Series:
        return self.entries[code - 1]

    @property
    def segments(self) -> I64:
        """Slices in a segment, by code."""
        return self._tables()[0]

    @property
    def model_of(self) -> U32:
        """The code of the model's outcomes, by code."""
        return self._tables()[1]

    @property
    def versions(self) -> U32:
        """Row m: the codes of the versions of the model whose outcomes have code m, then zeros."""
        return self._tables()[2]

    @property
    def ranks(self) -> I64:
        """The place of each code in the order of (model, version)."""
        return self._tables()[3]

    @property
    def by_rank(self) -> I64:
        """The codes in that order."""
        return self._tables()[4]

    def _tables(self) -> tuple[I64, U32, U32, I64, I64]:
        if self._arrays is None:
            versions = np.zeros((len(self) + 1, max(map(len, self._versions.values()), default=0)), np.uint32)
            for model, codes in self._versions.items():
                versions[model, : len(codes)] = codes
            models = [0, *(self._codes[entry.model, None] for entry in self.entries)]
            segments = [1, *(entry.segment for entry in self.entries)]
            named = [("", "", 0), *((e.model, e.version or "", 1 + i) for i, e in enumerate(self.entries))]
            by_rank = np.array([code for _, _, code in sorted(named)], np.int64)
            self._arrays = (
                np.array(segments, np.int64),
                np.array(models, np.uint32),
                versions,
                np.argsort(by_rank),
                by_rank,
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
