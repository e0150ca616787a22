"""What the demo shows while it runs: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.flights.story import Story, day

BLOCKS = "▁▂▃▄▅▆▇█"


class View:
    """Shows the story as it grows. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._began = time.monotonic()
        self._told = 0
        self._note = ""
        self.events = 0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """One line that stays."""
        (self._live.console if self._live else self._console).print(text, highlight=False, soft_wrap=True)

    def held(self, note: str) -> None:
        """The replayed clock is held, because in life this takes minutes, not weeks."""
        if self._live:
            self._note = note
        elif note and note != self._note:
            self.say(f"  clock held: {note}")
            self._note = note

    def show(self, now: int, story: Story) -> None:
        """The state of things at the replayed instant `now`."""
        lines = story.timeline()
        for when, text in lines[self._told :]:
            self.say(f"{day(when)}  {text}")
        self._told = len(lines)
        self._note = ""
        if self._live:
            self._live.update(self._panel(now, story))
        elif now // 86_400_000 % 7 == 0:
            self.say(f"{day(now)}  {self.events:,} events, {self._rate():,.0f} a second")

    def _rate(self) -> float:
        return self.events / max(time.monotonic() - self._began, 1e-9)

    def _panel(self, now: int, story: Story) -> Panel:
        champion = story.models[-1].champion.version if story.models else "-"
        case = story.cases[-1] if story.cases else None
        table = Table.grid(padding=(0, 2))
        table.add_row("date", day(now))
        table.add_row("events", f"{self.events:,} ({self._rate():,.0f} a second)")
        table.add_row("champion", champion)
        table.add_row("AUC by week", sparkline([value for _, value in story.metric("week", champion, "auc")][-60:]))
        table.add_row("open alerts", ", ".join(alert.rule for alert in story.open_alerts()) or "none")
        table.add_row("case", f"{case.state}: {case.reason}" if case else "none")
        return Panel(Group(table, Text(self._note, style="yellow")), title="Driftline on flights", width=100)


def sparkline(values: list[float]) -> str:
    """The values as a line of blocks, with the last one in figures."""
    if not values:
        return "-"
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    blocks = "".join(BLOCKS[min(7, int((value - low) / span * 8))] for value in values)
    return f"{blocks} {values[-1]:.3f}"
