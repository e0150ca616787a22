"""Running the child process: with limits, a log, and an end whatever happens."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from driftline.errors import DriftlineError
from driftline.events.base import decode, iso
from driftline.spec.model import RetrainSpec
from driftline.spec.sizes import show_size
from driftline.trainer.job import BEGIN, LOG, RESULT, Result
from driftline.trainer.progress import MARK, Progress

LOOK_S = 0.1
TAIL_LINES = 15
TAIL_CHARACTERS = 2000
_NO_MEMORY = re.compile(r"MemoryError|bad_alloc|[Oo]ut of memory|[Cc]annot allocate memory|memory exhausted")
"""What Python, C++, the shell and others say when they are given no more memory."""


class Cancelled(DriftlineError):
    """The training was ended because the worker stops or has lost its place."""


class Child:
    """The process of one training. It gets ready, the user's package is imported, while its rows are still looked for.

    It inherits the working directory and the environment, so that it finds the user's package or command; what is
    printed goes to the log in `directory`, where its job must stand, behind what earlier ones have printed there. It
    and what it has started are gone after `end`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory, self._log = directory, directory / LOG
        (directory / RESULT).unlink(missing_ok=True)
        with self._log.open("ab") as output:
            heading = f"driftline: begun {iso(int(time.time() * 1000))}\n"
            output.write(heading.encode() if output.tell() == 0 else b"\n" + heading.encode())
            self._begin = output.tell()
            output.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "driftline.trainer.child", str(directory)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, so that its own children end with it
                bufsize=0,
            )

    def train(self, limits: RetrainSpec, cancelled: Callable[[], bool], tell: Callable[[str], None]) -> Result:
        """Let it begin, now that its rows stand in the directory too, and return its result.

        `tell` is called with what it says of its progress. Raises `DriftlineError` with the end of its log where it
        fails or takes too long, and `Cancelled`.
        """
        assert self._process.stdin is not None, "it was opened as a pipe"
        with contextlib.suppress(BrokenPipeError):  # it has ended already; its log says why
            self._process.stdin.write(BEGIN)
        limit_s = limits.time_limit.total_seconds()
        code = self._wait(limit_s, cancelled, tell)
        if code is None:
            raise DriftlineError(f"the training took longer than its time limit of {limit_s:g} s and was ended")
        if code != 0 or not (self._directory / RESULT).exists():
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            tail = _tail(self._log, self._begin)
            if _NO_MEMORY.search(tail):
                how = f"was given no more memory (memory_limit: {show_size(limits.memory_limit)} a process) and {how}"
            raise DriftlineError(f"the training {how}: {tail} (all of it: {self._log})")
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

    def _wait(self, limit_s: float, cancelled: Callable[[], bool], tell: Callable[[str], None]) -> int | None:
        """The exit code; None: the time limit has passed."""
        deadline, progress = time.monotonic() + limit_s, Progress(self._log, self._begin)
        while time.monotonic() < deadline:
            code = self._process.poll()
            if code is not None:
                return code
            if cancelled():
                raise Cancelled("the training was ended: its worker stops, or another one has taken it over")
            said = progress.newest()
            if said is not None:
                tell(said)
            time.sleep(LOOK_S)
        return None


def _tail(log: Path, begin: int) -> str:
    text = log.read_bytes()[begin:].decode(errors="replace")
    lines = [line for line in text.strip().splitlines() if not line.startswith(MARK)]
    return "\n".join(lines[-TAIL_LINES:])[-TAIL_CHARACTERS:] or "it printed nothing"
