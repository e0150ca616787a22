"""Where processor time goes: a sampling profiler that names stages instead of functions."""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType

EVERY_S = 0.001
COLLECTING = "garbage collection"
OTHER = "the rest"


@dataclass(frozen=True)
class Stage:
    """A stage of the work: frames of a file that ends in `file` and, where named, one of its `functions`."""

    name: str
    file: str
    functions: tuple[str, ...] = ()

    def holds(self, file: str, function: str) -> bool:
        """Whether a frame belongs to it."""
        return self.file in file and (not self.functions or function in self.functions)


@dataclass
class Profile:
    """Seconds of processor time by stage, and by function (file:name) for whoever wants to know more."""

    stages: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    functions: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.stages.values())


class Sampler:
    """Interrupts the main thread every millisecond of its processor time and looks where it is.

    A sample weighs the time since the one before, because an interrupt waits for a long call into C to return. The
    innermost frame that some stage claims decides; the first stage in the list that does.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages
        self._known: dict[CodeType, tuple[str | None, str]] = {}
        self._last = 0.0
        self.profile = Profile()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sample while the block runs. Only in the main thread."""
        before = signal.signal(signal.SIGPROF, self._take)
        gc.callbacks.append(self._collecting)
        self._last = time.thread_time()
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            gc.callbacks.remove(self._collecting)
            signal.signal(signal.SIGPROF, before)

    def _take(self, _number: int, frame: FrameType | None) -> None:
        passed = self._passed()
        while frame is not None and frame.f_code.co_filename == __file__:  # its own work is its caller's
            frame = frame.f_back
        while frame is not None:
            stage, place = self._look_at(frame.f_code)
            if stage is not None:
                self.profile.stages[stage] += passed
                self.profile.functions[place] += passed
                return
            frame = frame.f_back
        self.profile.stages[OTHER] += passed

    def _collecting(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "stop":
            self.profile.stages[COLLECTING] += self._passed()
        else:
            self._take(0, sys._getframe(1))

    def _passed(self) -> float:
        now = time.thread_time()
        passed, self._last = now - self._last, now
        return passed

    def _look_at(self, code: CodeType) -> tuple[str | None, str]:
        """The stage that claims a frame's code, and what the code is called."""
        if code not in self._known:
            function, file = _function(code), code.co_filename
            stage = next((stage.name for stage in self._stages if stage.holds(file, function)), None)
            self._known[code] = stage, f"{'/'.join(Path(file).parts[-2:])}:{function}"
        return self._known[code]


def _function(code: CodeType) -> str:
    """The function's name; what is written inside one (comprehensions, lambdas) goes by the name around it."""
    parts = code.co_qualname.split(".")
    while parts[-1].startswith("<") and len(parts) > 1:
        parts.pop()
    return parts[-1]
