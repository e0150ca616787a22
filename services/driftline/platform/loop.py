"""The checkpointed loop: the one way in which a service that holds state reads, decides, stores and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from driftline.events.base import Millis
from driftline.platform.records import Outgoing, Record, Source

Hashes = Mapping[str, Mapping[bytes, bytes]]
"""Stored state: named hashes of field -> value."""


@dataclass
class Changes:
    """What a step changes in the stored state, applied in this order: `forget` whole hashes, `drop` fields, `put` fields."""

    forget: list[str] = field(default_factory=list)
    drop: dict[str, list[bytes]] = field(default_factory=dict)
    put: dict[str, dict[bytes, bytes]] = field(default_factory=dict)


@dataclass
class Step:
    """What came of a step: the state's changes and the records to write, in order.

    The relay waits for the acknowledgement of everything before a record whose topic differs from the one before it, so a
    baseline, its marks and the `models` event that names it become readable in that order.
    """

    changes: Changes = field(default_factory=Changes)
    outbox: list[Outgoing] = field(default_factory=list)


class Work(Protocol):
    """One unit of a service: a source partition of monitor, a shard of control. No I/O but in `start` and `prepare`."""

    name: str
    """Names the unit's stored state, e.g. `monitor:3`."""
    sources: tuple[Source, ...]
    """What it reads."""

    async def start(self, stored: Hashes, fresh: bool) -> None:
        """Take over the stored state; `fresh`: there is none, reading begins at the earliest record kept."""

    def cut(self, waiting: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]) -> dict[Source, int] | None:
        """How many of the waiting records of each source the next step takes; None: wait for more.

        `reached` is the highest arrival seen of each source, waiting records included (-1: none yet).
        """

    async def prepare(self, taken: Mapping[Source, Sequence[Record]]) -> None:
        """Look up what the step will need (specs, baselines)."""

    def step(self, taken: Mapping[Source, Sequence[Record]], reached: Mapping[Source, Millis]) -> Step:
        """The pure step. It may change this object's memory: on any failure the loop throws the object away."""

    async def stored_and_relayed(self) -> None:
        """Called when the step's state is stored and its outbox acknowledged (control publishes `progress` here)."""
