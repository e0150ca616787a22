"""Which source partitions are left out."""

from __future__ import annotations

from driftline.events.alerts import Alert
from driftline.events.base import Millis


class Attendance:
    """`away`: the partitions that are left out, with the instant up to which each is in the books; `alerts` of them."""

    def __init__(self, partitions: int) -> None:
        self.away: dict[int, Millis] = {}
        self.alerts: list[Alert] = []
        self._partitions = partitions

    def completeness(self, instant: Millis) -> float:
        """The share of partitions that are in the books up to `instant`, if those that are not left out are."""
        missing = sum(read_up_to < instant for read_up_to in self.away.values())
        return 1.0 - missing / self._partitions

    def since(self) -> Millis | None:
        """The instant up to which every partition is in the books; None where none is left out."""
        return min(self.away.values(), default=None)
