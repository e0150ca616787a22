"""Running the child process: with a time limit, a log, and an end whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from driftline.errors import DriftlineError
from driftline.events.base import decode
from driftline.trainer.job import LOG, RESULT, Result

LOOK_S = 0.1
TAIL_LINES = 15
TAIL_CHARACTERS = 2000


class Cancelled(DriftlineError):
    """The training was ended because the worker stops or has lost its place."""


def run_child(directory: Path, time_limit_s: float, cancel: threading.Event) -> Result:
    """Train in a process of its own and return its result.

    It inherits the working directory and the environment, so that it finds the user's package; what it prints goes to
    the log in `directory`. Raises `DriftlineError` with the end of that log where it fails or takes too long, and
    `Cancelled`. It and what it has started are gone when this returns.
    """
    (directory / RESULT).unlink(missing_ok=True)
    log = directory / LOG
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "driftline.trainer.child", str(directory)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, so that its own children end with it
        )
        try:
            code = _wait(child, time_limit_s, cancel)
        finally:
            with contextlib.suppress(ProcessLookupError):  # nobody of the group is left
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            assert child.stdin is not None, "it was opened as a pipe"
            child.stdin.close()
    if code is None:
        raise DriftlineError(f"the training took longer than its time limit of {time_limit_s:g} s and was ended")
    if code != 0 or not (directory / RESULT).exists():
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        raise DriftlineError(f"the training {how}: {_tail(log)} (all of it: {log})")
    return decode((directory / RESULT).read_bytes(), Result)


def _wait(child: subprocess.Popen[bytes], time_limit_s: float, cancel: threading.Event) -> int | None:
    """The exit code; None: the time limit has passed."""
    deadline = time.monotonic() + time_limit_s
    while time.monotonic() < deadline:
        code = child.poll()
        if code is not None:
            return code
        if cancel.wait(LOOK_S):
            raise Cancelled("the training was ended with its worker")
    return None


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return "\n".join(lines[-TAIL_LINES:])[-TAIL_CHARACTERS:] or "it printed nothing"
