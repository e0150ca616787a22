"""Starts the monitor: `python -m driftline.monitor.main`."""

from __future__ import annotations

from driftline.events.topics import Topic
from driftline.monitor.work import MonitorWork
from driftline.platform.hosting import Context, run_service


def _work(context: Context, number: int) -> MonitorWork:
    return MonitorWork(context.catalog, number, context.note)


if __name__ == "__main__":
    run_service("monitor", (Topic.PREDICTIONS, Topic.OUTCOMES), _work, counts=False)
