"""Rows that cannot be used: each a dead letter with its place, its reason and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from driftline.events.topics import DeadLetterReason

KEPT = 5
"""Letters of each file and reason that are kept to be shown."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was left out. `row` counts from 1, the header not counted; `column` as the file calls it."""

    file: str
    row: int
    column: str
    reason: DeadLetterReason
    detail: str

    def __str__(self) -> str:
        where = f"{self.file}, row {self.row}" + (f", column {self.column}" if self.column else "")
        return f"{where}: {self.detail} ({self.reason})"


@dataclass
class Letters:
    """How many there were, by file and reason, and the first of each."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    first: list[DeadLetter] = field(default_factory=list)

    def take(self, letter: DeadLetter) -> None:
        """Count one."""
        about = letter.file, letter.reason.value
        self.counts[about] = self.counts.get(about, 0) + 1
        if self.counts[about] <= KEPT:
            self.first.append(letter)

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values())
