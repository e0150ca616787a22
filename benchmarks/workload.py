"""The workload of all benchmarks: W1 where a copy of it lies beside the project, else one of the same shape."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import generator
from driftline.events.base import Millis
from driftline.events.topics import Topic
from driftline.platform.records import Record, Source

ROOT = Path(__file__).parents[1]
BESIDE = ROOT.parent / "shared" / "bench" / "workload.py"
VARIABLE = "DRIFTLINE_WORKLOAD"
NUMBERS = generator.NUMBERS
CATEGORIES = tuple(generator.LEVELS)
FEATURES = (*NUMBERS, *CATEGORIES)
START_MS: Millis = generator.START_MS
PREDICTIONS_A_SECOND = 1000 // generator.EVERY_MS
"""Of the workload's own clock, which all its event times follow."""


class _Head(msgspec.Struct):
    id: str
    time: Millis


@dataclass(frozen=True)
class Workload:
    """What there is to count. `reference`: columns of undrifted rows, with score, prediction and outcome.

    `name` says which workload it is and `digest` (SHA-256, shortened) which bytes exactly.
    """

    predictions: list[bytes]
    outcomes: list[bytes]
    reference: dict[str, list[Any]]
    models: int
    name: str

    @property
    def digest(self) -> str:
        """16 hex digits that follow from every byte."""
        found = hashlib.sha256()
        for value in (*self.predictions, *self.outcomes):
            found.update(value)
        return found.hexdigest()[:16]

    @property
    def events(self) -> int:
        """Predictions and outcomes."""
        return len(self.predictions) + len(self.outcomes)

    def records(self, partition: int = 0) -> tuple[list[Record], list[Record]]:
        """Both topics as records of one partition; each arrives at its own event time."""
        return (
            _records(Source(Topic.PREDICTIONS, partition), self.predictions),
            _records(Source(Topic.OUTCOMES, partition), self.outcomes),
        )


def location() -> tuple[Path | None, str]:
    """Where W1 is, if it is anywhere, and a sentence about it."""
    named = os.environ.get(VARIABLE)
    path = Path(named) if named else BESIDE
    if path.is_file():
        return path, "W1"
    where = f"{VARIABLE}={named}" if named else "../shared/bench/workload.py beside the project"
    return None, f"built-in workload of W1's shape: W1 itself is missing ({where} is no file)"


def generate(n: int, models: int = 1) -> Workload:
    """`n` predictions and as many outcomes of `models` models, interleaved at random."""
    path, name = location()
    made = generator.generate(n, models) if path is None else _load(path).generate(n, models)
    return Workload(made.predictions, made.outcomes, made.reference, models, name)


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("driftline_workload", path)
    assert spec is not None, "the path names a Python file"
    assert spec.loader is not None, "a Python file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def _records(source: Source, values: list[bytes]) -> list[Record]:
    head = msgspec.json.Decoder(_Head).decode
    found = []
    for offset, value in enumerate(values):
        event = head(value)
        found.append(Record(source, offset, event.time, event.time, event.id.encode(), value, ()))
    return found
