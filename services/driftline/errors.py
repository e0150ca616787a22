"""Everything that Driftline raises on purpose.

DriftlineError                a sentence that says what happened and what to do; the command line prints it and exits 1
├── SpecError                 a monitor spec has mistakes (all of them, each with its line)
├── DeploymentError           topics, settings or servers are not as a service needs them
├── Unreachable               Kafka or Redis does not answer
├── ArtifactError             an artifact is missing, damaged, or holds what must not be loaded
├── UnitStopped               a unit must not go on before an operator has looked at it
└── InvalidRecord             one record (or row) cannot be used: becomes a dead letter, never an outage
"""

from __future__ import annotations

from dataclasses import dataclass


class DriftlineError(Exception):
    """Base of all; its message is written for the person who reads it on a terminal."""


class SpecError(DriftlineError):
    """A monitor spec is wrong. `mistakes` holds one line a mistake, already with file and line number."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class DeploymentError(DriftlineError):
    """The surroundings are not as they must be; the message names the command that mends it."""


class Unreachable(DriftlineError):
    """A server does not answer."""


class ArtifactError(DriftlineError):
    """An artifact cannot be trusted or read."""


@dataclass(eq=False)
class UnitStopped(DriftlineError):
    """Raised by a step (or by the loop itself): the unit stands still, and nothing of it is lost meanwhile.

    `kind`: a value of `events.slices.NoticeKind` (`gap`, `all-bad`, `stopped`). `detail`: a sentence without its full
    stop, and without the command that lets the unit go on: the loop adds both.
    """

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


@dataclass(eq=False)  # not frozen: Python itself sets __traceback__ on an exception that passes a context manager
class InvalidRecord(DriftlineError):
    """Why one record or row cannot be used. `reason` is a fixed word, `detail` is for people."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
