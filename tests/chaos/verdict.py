"""What the oracle found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SHOWN = 12


@dataclass
class Verdict:
    """What the oracle found. `lost` and `twice` are predictions and joined outcomes that are missing, or too many."""

    predictions: int = 0
    outcomes: int = 0
    lost: int = 0
    twice: int = 0
    letters_expected: int = 0
    letters_found: int = 0
    relayed_again: int = 0
    reports: int = 0
    differences: list[str] = field(default_factory=list)
    letters: dict[tuple[str, int, int, int], str] = field(default_factory=dict)
    """The reason of each dead letter, by topic, partition, offset and row."""
    notices: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What partitions said of themselves on `slices`, by id."""

    @property
    def exact(self) -> bool:
        """Whether everything is equal."""
        return not (self.differences or self.lost or self.twice) and self.letters_expected == self.letters_found

    def differ(self, what: str, expected: object, found: object) -> None:
        """Note a difference."""
        self.differences.append(f"{what}: expected {expected}, found {found}")

    def describe(self) -> str:
        """The differences, or that there are none."""
        if self.exact:
            return f"exact: {self.predictions} predictions, {self.outcomes} outcomes, {self.letters_found} dead letters"
        more = len(self.differences) - SHOWN
        return "\n".join(
            [
                f"lost {self.lost}, counted twice {self.twice}, dead letters {self.letters_found} of "
                f"{self.letters_expected}, {len(self.differences)} differences",
                *self.differences[:SHOWN],
                *([f"... and {more} more"] if more > 0 else []),
            ]
        )
