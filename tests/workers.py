"""Services in processes of their own, as a supervisor would start them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

from driftline.platform.settings import Settings


def environment(settings: Settings) -> dict[str, str]:
    """What makes a process use a test's deployment."""
    return os.environ | {
        "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
        "DRIFTLINE_REDIS_URL": settings.redis_url,
        "DRIFTLINE_PREFIX": settings.prefix,
        "DRIFTLINE_STATE_DIR": str(settings.state_dir),
    }


class Worker:
    """One service; its log stands in the state directory."""

    def __init__(self, settings: Settings, service: str) -> None:
        self._log = settings.state_dir / f"{service}.log"
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", f"driftline.{service}.main"]
            self.process = subprocess.Popen(command, env=environment(settings), stdout=log, stderr=log)

    def kill(self) -> None:
        """With nothing put in order."""
        self.process.kill()
        self.process.wait()

    def check(self) -> None:
        """It runs."""
        assert self.process.poll() is None, self._log.read_text()[-2000:]


def wait(condition: Callable[[], bool], workers: Iterable[Worker], patience_s: float = 120) -> None:
    """Until it holds; the workers run meanwhile."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        for worker in workers:
            worker.check()
        time.sleep(0.05)
