"""What came of a scenario, and the table of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.stage import Stage
from tests.chaos.verdict import Verdict
from tests.chaos.verifier import verify


@dataclass
class Result:
    """One scenario. `faults`: how often it was struck with work in hand. `notes`: what else was seen.

    `recoveries`: seconds, by fault, from when what was struck was started again, or went on, until the stored position
    moved.
    """

    name: str
    verdict: Verdict
    faults: int
    recoveries: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def row(self) -> list[str]:
        """As a line of the table."""
        v = self.verdict
        half = f"{statistics.median(self.recoveries):.1f}" if self.recoveries else "-"
        most = f"{max(self.recoveries):.1f}" if self.recoveries else "-"
        return [
            self.name,
            str(self.faults),
            f"{v.predictions:,}",
            f"{v.outcomes:,}",
            str(v.lost),
            str(v.twice),
            f"{v.letters_found:,} of {v.letters_expected:,}",
            str(v.relayed_again),
            str(v.reports),
            half,
            most,
            f"{self.seconds:.0f}",
        ]


HEADINGS = (
    "scenario",
    "faults",
    "predictions",
    "outcomes",
    "lost",
    "twice",
    "dead letters",
    "relayed again",
    "reports",
    "recovery p50 s",
    "max s",
    "took s",
)


def conclude(
    stage: Stage, faults: int, recoveries: Sequence[float] = (), notes: Sequence[str] = (), **options: Any
) -> Result:
    """Stop the workers of a stage on which everything has been applied, and let the oracle look.

    `options` are those of `verifier.verify`.
    """
    for machine in stage.machines:
        machine.stop()
    verdict = verify(stage.settings.bootstrap, stage.settings.prefix, **options)
    assert verdict.predictions, "nothing was counted"
    ended = [f"workers that ended by themselves: {stage.ended_by_themselves}"] if stage.ended_by_themselves else []
    return Result(stage.name, verdict, faults, list(recoveries), [*notes, *ended])


def table(results: Sequence[Result]) -> str:
    """The results as a Markdown table, with the notes below."""
    rows = [list(HEADINGS), *(result.row() for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    notes = [f"- {result.name}: {note}" for result in results for note in result.notes]
    return "\n".join([*lines, "", *notes])


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        """So many by now."""
        return time.monotonic() - self._begin
