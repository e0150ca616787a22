"""Input events as the ledger takes them: checked, with labels as numbers and times as pane numbers."""

from __future__ import annotations

from typing import NamedTuple

from driftline.events.inputs import Value


class ArrivedPrediction(NamedTuple):
    """A valid prediction: `values` in the order of the spec's features."""

    slice: int
    id: str
    version: str
    role: str
    pane: int
    value: float
    score: float | None
    values: tuple[Value, ...]
    digest: int


class ArrivedOutcome(NamedTuple):
    """A valid outcome."""

    slice: int
    id: str
    offset: int
    time: int
    value: float
    digest: int
