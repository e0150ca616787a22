"""Marks: records of Driftline's own in the input topics, read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from driftline.events.baselines import Baseline
from driftline.platform.catalog import Catalog
from driftline.platform.records import Record

Kind = Literal["tick", "spec", "baseline"]


class NotAMark(Exception):
    """A record says that it is a mark, but not of what."""


@dataclass(frozen=True)
class Mark:
    """`tick`; `spec model@revision`; `baseline id`."""

    kind: Kind
    name: str = ""

    @classmethod
    def read(cls, text: str) -> Mark:
        """Raises `NotAMark`."""
        kind, _, name = text.partition(" ")
        if kind == "tick" and not name:
            return cls("tick")
        if kind == "baseline" and name:
            return cls("baseline", name)
        if kind == "spec" and name.rpartition("@")[2].isdecimal():
            return cls("spec", name)
        raise NotAMark(f"mark {text!r} names nothing known")

    @property
    def model(self) -> str:
        """Of a spec, its model."""
        return self.name.rpartition("@")[0]

    @property
    def revision(self) -> int:
        """Of a spec, its revision."""
        return int(self.name.rpartition("@")[2])

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.kind} {self.name}".strip()

    def known(self, catalog: Catalog) -> bool:
        """Whether what it names has been declared."""
        if self.kind == "spec":
            return (self.model, self.revision) in catalog.specs
        return self.kind == "tick" or self.name in catalog.baselines


@dataclass(frozen=True)
class Before:
    """What holds where reading begins: the newest revision of each model, and baselines in the order of writing."""

    specs: dict[str, int]
    baselines: list[Baseline]


def stood_before(catalog: Catalog, partition: int, first: Record) -> Before:
    """What marks of `partition` said that stood before `first`, a record of its predictions.

    Where the marks of a spec were placed is written down. A baseline is written just before its marks; with the clock
    of events, which is not that of writing, only an operator makes records go, and all that are known are meant.
    """
    if not first.offset:
        return Before({}, [])
    placed = sorted(catalog.placed.items())
    specs = {model: n for (model, n), offsets in placed if offsets.get(partition, first.offset) < first.offset}
    live = catalog.deployment.clock == "live"
    known = [each for name, each in catalog.baselines.items() if not live or catalog.written[name] <= first.arrival]
    return Before(specs, known)
