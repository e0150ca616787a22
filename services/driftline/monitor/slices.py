"""From what a step changed to the records of its slices: one a slice in which something happened and shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from driftline.core.step import Changed
from driftline.events.slices import Breach, PaneDelta, Slice
from driftline.monitor.marks import Mark


@dataclass
class _Part:
    """What a slice has for one shard."""

    panes: list[PaneDelta] = field(default_factory=list)
    breaches: list[Breach] = field(default_factory=list)
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    marks: list[str] = field(default_factory=list)


def slices(
    partition: int,
    changed: Changed,
    marks: Mapping[int, list[str]],
    dead: Mapping[int, int],
    previous: int | None,
    shard_of: Callable[[str], int],
) -> Iterator[Slice]:
    """The records in order. `marks` and `dead` (how many dead letters) are by slice; `previous`: the slice before."""
    numbers = changed.panes.keys() | changed.breaches.keys() | changed.counters.keys() | marks.keys() | dead.keys()
    for number in sorted(numbers):
        parts: dict[int, _Part] = {}
        for delta in changed.panes.get(number, ()):
            parts.setdefault(shard_of(delta.model), _Part()).panes.append(delta)
        for breach in changed.breaches.get(number, ()):
            parts.setdefault(shard_of(breach.model), _Part()).breaches.append(breach)
        for model, counters in sorted(changed.counters.get(number, {}).items()):
            parts.setdefault(shard_of(model), _Part()).counters[model] = dict(sorted(counters.items()))
        for text in marks.get(number, ()):
            parts.setdefault(shard_of(Mark.read(text).model), _Part()).marks.append(text)
        if number in dead:
            parts.setdefault(0, _Part()).counters[""] = {"dead_letters": dead[number]}
        for shard, part in sorted(parts.items()):
            yield Slice(
                partition=partition,
                slice=number,
                previous=previous,
                shard=shard,
                panes=tuple(part.panes),
                breaches=tuple(part.breaches),
                counters=part.counters,
                marks=tuple(part.marks),
            )
        previous = number
