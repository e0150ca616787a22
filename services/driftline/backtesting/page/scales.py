"""From values and instants to places on a picture, and the round numbers beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from driftline.events.base import Millis

WIDTH, HEIGHT = 1000.0, 100.0
"""Units of a picture, which is stretched to the room that there is."""
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Span:
    """Values from `low` to `high`, which differ."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float]) -> Span:
        """A little more than `values` take."""
        low, high = min(values), max(values)
        room = (high - low) * 0.06 or max(abs(high) * 0.05, 1e-6)
        return cls(low - room, high + room)

    def share(self, value: float) -> float:
        """Where a value stands: 0 at the low end, 1 at the high one."""
        return (value - self.low) / (self.high - self.low)

    def x(self, value: float) -> float:
        """From the left."""
        return round(self.share(value) * WIDTH, 2)

    def y(self, value: float) -> float:
        """From the top."""
        return round((1 - self.share(value)) * HEIGHT, 2)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round numbers within."""
        step = _round_step((self.high - self.low) / wanted)
        first = math.ceil(self.low / step)
        last = math.floor(self.high / step)
        return [round(i * step, 12) for i in range(first, last + 1)]


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)


def time_ticks(span: Span, wanted: int = 5) -> list[tuple[Millis, str]]:
    """Beginnings of months, days or hours within, each with its name."""
    begin = datetime.fromtimestamp(span.low / 1000, UTC)
    days = (span.high - span.low) / DAY_MS
    if days > 45 * 1.5:
        step = max(1, math.ceil(days / 30.4 / (wanted + 3)))  # their names are short
        months = range(begin.year * 12, begin.year * 12 + begin.month + math.ceil(days / 28) + 1)
        found = [datetime(m // 12, m % 12 + 1, 1, tzinfo=UTC) for m in months if m % step == 0]
        form = "%b %Y" if begin.year != datetime.fromtimestamp(span.high / 1000, UTC).year else "%b"
    else:
        hours = days * 24 / wanted
        lengths = (1, 3, 6, 12, 24, 48, 96, 168, 336)
        length = next((each for each in lengths if each >= hours), lengths[-1])
        first = begin.replace(hour=0, minute=0, second=0, microsecond=0)
        count = int(days * 24 / length) + 26
        found = [first + timedelta(hours=length * i) for i in range(count)]
        form = "%d %b" if length >= 24 else "%d %b %H:%M"
    ticks = [(int(each.timestamp() * 1000), each.strftime(form)) for each in found]
    return [(at, text) for at, text in ticks if span.low <= at <= span.high]


def moment(time: Millis) -> str:
    """An instant for people."""
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M")
