"""Starts the gate: `python -m driftline.gate.main`."""

from __future__ import annotations

from driftline.events.topics import Topic
from driftline.gate.work import make_work
from driftline.platform.worker import run_worker

if __name__ == "__main__":
    run_worker("gate", Topic.CANDIDATES, make_work)
