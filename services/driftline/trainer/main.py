"""Starts the trainer: `python -m driftline.trainer.main`."""

from __future__ import annotations

from driftline.events.topics import Topic
from driftline.platform.worker import run_worker
from driftline.trainer.work import make_work

if __name__ == "__main__":
    run_worker("trainer", Topic.RETRAIN_REQUESTS, make_work)
