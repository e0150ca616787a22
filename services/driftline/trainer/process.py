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
from typing import Self

from driftline.errors import DriftlineError
from driftline.events.base import decode
from driftline.trainer.job import BEGIN, LOG, RESULT, Result

LOOK_S = 0.1
TAIL_LINES = 15
TAIL_CHARACTERS = 2000


class Cancelled(DriftlineError):
    """The training was ended because the worker stops or has lost its place."""


class Child:
    """The process of one training. It gets ready, the user's package is imported, while its rows are still looked for.

    It inherits the working directory and the environment, so that it finds the user's package; what it prints goes to
    the log in `directory`, where its job must stand. It and what it has started are gone after `end`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory, self._log = directory, directory / LOG
        (directory / RESULT).unlink(missing_ok=True)
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "driftline.trainer.child", str(directory)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, so that its own children end with it
                bufsize=0,
            )

    def train(self, time_limit_s: float, cancel: threading.Event) -> Result:
        """Let it begin, now that its rows stand in the directory too, and return its result.

        Raises `DriftlineError` with the end of its log where it fails or takes too long, and `Cancelled`.
        """
        assert self._process.stdin is not None, "it was opened as a pipe"
        with contextlib.suppress(BrokenPipeError):  # it has ended already; its log says why
            self._process.stdin.write(BEGIN)
        code = _wait(self._process, time_limit_s, cancel)
        if code is None:
            raise DriftlineError(f"the training took longer than its time limit of {time_limit_s:g} s and was ended")
        if code != 0 or not (self._directory / RESULT).exists():
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            raise DriftlineError(f"the training {how}: {_tail(self._log)} (all of it: {self._log})")
        return decode((self._directory / RESULT).read_bytes(), Result)

    def end(self) -> None:
        """End it and what it has started."""
        with contextlib.suppress(ProcessLookupError):  # nobody of the group is left
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None, "it was opened as a pipe"
        self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


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
