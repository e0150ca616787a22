"""Two backtests of the same rows under different rules: which alerts fired here, which there."""

from __future__ import annotations

from dataclasses import dataclass

from driftline.backtesting.findings import Episode, Findings
from driftline.events.base import Millis


@dataclass(frozen=True)
class Pair:
    """An alert as each side has it; None: it did not fire there."""

    here: Episode | None
    there: Episode | None

    @property
    def where(self) -> str:
        """In plain words."""
        if self.there is None:
            return "only here"
        return "only there" if self.here is None else "both"

    @property
    def at(self) -> Millis:
        """When it fired first."""
        return min(episode.fired.at for episode in (self.here, self.there) if episode is not None)


def compare(here: Findings, there: Findings) -> list[Pair]:
    """Alerts side by side, as they fired. Two are the same if rule, version and segment are, and they overlap."""
    left = there.episodes()
    pairs = []
    for episode in here.episodes():
        match = next((other for other in left if other.about == episode.about and _overlap(episode, other)), None)
        if match is not None:
            left.remove(match)
        pairs.append(Pair(episode, match))
    return sorted([*pairs, *(Pair(None, other) for other in left)], key=lambda pair: pair.at)


def _overlap(one: Episode, other: Episode) -> bool:
    return _begins_before_end(one, other) and _begins_before_end(other, one)


def _begins_before_end(one: Episode, other: Episode) -> bool:
    return other.resolved is None or one.fired.at <= other.resolved.at
