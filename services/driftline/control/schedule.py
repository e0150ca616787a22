"""When the schedule of a spec asks for an attempt, in decision time."""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim

from driftline.events.base import Millis
from driftline.spec.model import MonitorSpec


class Schedule:
    """Remembers the next instant, which is asked for at every slice."""

    def __init__(self) -> None:
        self._known: tuple[str, Millis, Millis] | None = None

    def next(self, spec: MonitorSpec | None, settled: Millis | None) -> Millis | None:
        """The next instant after `settled`, the last one that is done with; None: nothing is scheduled."""
        if spec is None or spec.retrain is None or spec.retrain.schedule is None or settled is None:
            return None
        cron = spec.retrain.schedule
        if self._known is None or self._known[:2] != (cron, settled):
            following = next(CronSim(cron, datetime.fromtimestamp(settled / 1000, UTC)))
            self._known = (cron, settled, int(following.timestamp() * 1000))
        return self._known[2]
