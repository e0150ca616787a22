"""Everything that Driftline raises on purpose.

DriftlineError                a sentence that says what happened and what to do; the command line prints it and exits 1
├── SpecError                 a monitor spec has mistakes (all of them, each with its line)
├── DeploymentError           topics, settings or servers are not as a service needs them
├── Unreachable               Kafka or Redis does not answer
├── ArtifactError             an artifact is missing, damaged, not signed by a trusted key, or must not be loaded
├── UnitStopped               a unit must not go on before an operator has looked at it
└── InvalidRecord             one record (or row) cannot be used: becomes a dead letter, never an outage
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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


class ArtifactFault(StrEnum):
    """Why an artifact is refused."""

    MISSING = "missing"  # it, or a file that its manifest names, cannot be read
    OUTSIDE_STORE = "outside-store"  # its uri leads out of the artifact store
    OTHER_MANIFEST = "other-manifest"  # its manifest is not the one that the event is about
    UNSIGNED = "unsigned"  # it has no signature
    UNKNOWN_SIGNER = "unknown-signer"  # whoever signed it is not trusted here
    BAD_SIGNATURE = "bad-signature"  # the signature is not that key's over this manifest
    EXTRA_FILE = "extra-file"  # something stands in its directory for which nobody has signed
    LINK = "link"  # something in its directory is no plain file
    CHANGED_FILE = "changed-file"  # a file is not the one that was signed for
    UNKNOWN_FORMAT = "unknown-format"  # no loader for it
    FORBIDDEN_TYPE = "forbidden-type"  # the model holds a type that is not on the fixed list
    UNLOADABLE = "unloadable"  # signed for, and no model, manifest or baseline all the same


class ArtifactError(DriftlineError):
    """An artifact cannot be trusted or read. `fault` names why; the message begins with it."""

    def __init__(self, detail: str, fault: ArtifactFault | None = None) -> None:
        super().__init__(f"{fault}: {detail}" if fault else detail)
        self.fault = fault


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
