"""From events to the tree of what led to one of them, and what it led to.

An event names what caused it. Beside that a request and every change of a case belong to their case, which is known by
its name and stands where its first change is; a version stands for its candidate, or for the change that made it
champion. Behind a decision stands the spec in force, unless it stands behind one that led to it. Where something caused
an event and also caused another of its causes, only the nearer one is followed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import msgspec

from driftline.core.telling import tell
from driftline.events.admin import Command, SpecRevision
from driftline.events.base import Decision, Event, Millis
from driftline.events.inputs import Prediction
from driftline.events.retraining import Candidate, Case, ModelState, RetrainRequest, Verdict

SHORTEST = 6
"""So many characters of an id must be told at least."""
CLOCKS_DIFFER_MS = 3_600_000
DEEPEST = 200
"""Nothing is followed further: a log that somebody has tampered with may hold anything."""


class Node(msgspec.Struct, kw_only=True):
    """One event in the tree. `branches`: those behind it, in the direction that is being followed.

    `seen`: it stands elsewhere in the tree, where its branches are. `missing`: nothing is known of it but its id.
    """

    id: str
    kind: str
    at: Millis | None
    sentence: str
    event: Any = None
    seen: bool = False
    missing: bool = False
    branches: list[Node] = []


class Tree(msgspec.Struct, kw_only=True):
    """`root`, what led to it, and what it led to."""

    root: Node
    causes: list[Node]
    effects: list[Node]

    def nodes(self) -> Iterator[Node]:
        """All of them."""
        left = [self.root, *self.causes, *self.effects]
        while left:
            node = left.pop()
            left += node.branches
            yield node

    def begins(self) -> Millis | None:
        """The earliest instant in it, and a little more, for clocks differ: what it misses was not written before."""
        earliest = min((node.at for node in self.nodes() if node.at is not None), default=None)
        return None if earliest is None else max(0, earliest - CLOCKS_DIFFER_MS)

    def missing(self) -> set[str]:
        """The ids of which nothing is known."""
        return {node.id for node in self.nodes() if node.missing}


class Graph:
    """Events by id, and who names whom. A repeat changes nothing.

    `live`: whether clocks of processes agree with decision time; where they do not (a replay), an answer is told at the
    time of what it answers, and a command without one. `slice_ms`: how long slices are.
    """

    def __init__(self, slice_ms: int, *, live: bool = True) -> None:
        self._slice_ms, self._live = slice_ms, live
        self._events: dict[str, Event | Prediction] = {}
        self._names: dict[str, str] = {}
        self._causes: dict[str, tuple[str, ...]] = {}
        self._effects: dict[str, list[str]] = defaultdict(list)
        self._ancestors = cache(self._find_ancestors)

    def add(self, events: Iterable[Event | Prediction]) -> None:
        """Take events in, those of one topic in their order."""
        for event in events:
            if event.id in self._events:
                continue
            self._events[event.id] = event
            match event:
                case Case():
                    self._names.setdefault(event.case, event.id)
                case Candidate() if event.error is None:
                    self._names[f"{event.model}/{event.version}"] = event.id
                case SpecRevision():
                    self._names[f"{event.model}@{event.revision}"] = event.id
                case ModelState():
                    self._names.setdefault(f"{event.model}/{event.champion.version}", event.id)
        self._link()

    def find(self, name: str) -> list[str]:
        """The ids that `name` may mean: an id, a case, `model/version`, `model@revision`, the beginning of one."""
        if name in self._events:
            return [name]
        if name in self._names:
            return [self._names[name]]
        if len(name) < SHORTEST:
            return []
        begins = {known for known in self._events if known.startswith(name)}
        return sorted(begins | {known for case, known in self._names.items() if case.startswith(name)})

    def names(self, name: str) -> bool:
        """Whether something says that `name` caused it."""
        return name in self._effects

    def tree(self, root: str) -> Tree:
        """The tree around an event."""
        seen = {root}
        causes = self._follow(root, self._causes, seen, DEEPEST)
        effects = self._follow(root, self._effects, seen, DEEPEST)
        return Tree(root=self._node(root), causes=causes, effects=effects)

    def _link(self) -> None:
        self._ancestors.cache_clear()
        self._causes.clear()
        self._effects.clear()
        for name, event in self._events.items():
            if isinstance(event, Event):
                causes = [self._names.get(cause, cause) for cause in event.caused_by]
                if isinstance(event, RetrainRequest | Case):
                    causes.append(self._names.get(event.case, event.case))
                if isinstance(event, Decision) and event.spec in self._names and not self._spec_known(event, causes):
                    causes.append(self._names[event.spec])
                self._causes[name] = tuple(dict.fromkeys(cause for cause in causes if cause != name))
        for name, named in list(self._causes.items()):
            further = set().union(*(self._ancestors(cause) for cause in named)) if len(named) > 1 else set()
            # in a cycle everything is further away than itself: then all are kept
            near = [cause for cause in named if cause not in further] or list(named)
            for cause in near:
                self._effects[cause].append(name)
        near_causes: dict[str, list[str]] = defaultdict(list)
        for cause, effects in self._effects.items():
            for effect in effects:
                near_causes[effect].append(cause)
        self._causes = {name: tuple(causes) for name, causes in near_causes.items()}

    def _spec_known(self, event: Decision, causes: Iterable[str]) -> bool:
        behind = (self._events.get(cause) for cause in causes if cause != event.id)
        return any(isinstance(cause, Decision) and cause.spec == event.spec for cause in behind)

    def _find_ancestors(self, name: str) -> frozenset[str]:
        found: set[str] = set()
        left = list(self._causes.get(name, ()))
        while left:
            cause = left.pop()
            if cause not in found:
                found.add(cause)
                left += self._causes.get(cause, ())
        return frozenset(found)

    def _follow(self, name: str, onward: Any, seen: set[str], further: int) -> list[Node]:
        nodes = []
        for next_name in sorted(onward.get(name, ()), key=self._when):
            node = self._node(next_name)
            nodes.append(node)
            if next_name in seen:
                node.seen = True
            elif further:
                seen.add(next_name)
                node.branches = self._follow(next_name, onward, seen, further - 1)
        return nodes

    def _when(self, name: str) -> tuple[Millis, str]:
        return self._node(name).at or 0, name

    def _node(self, name: str) -> Node:
        event = self._events.get(name)
        if event is None:
            return self._unknown(name)
        line = tell(event)
        at = line.at
        if not self._live and isinstance(event, Command):
            at = None
        elif not self._live and isinstance(event, Candidate | Verdict):
            answered = self._events.get(event.candidate) if isinstance(event, Verdict) else event
            at = answered.recipe.known_by if isinstance(answered, Candidate) else None
        return Node(id=name, kind=line.kind, at=at, sentence=line.sentence, event=event)

    def _unknown(self, name: str) -> Node:
        kind, _, rest = name.partition("/")
        partition, _, number = rest.partition("/")
        if kind == "slice" and partition.isdecimal() and number.isdecimal():
            at = int(number) * self._slice_ms
            sentence = f"what arrived in slice {number} of partition {partition}"
            return Node(id=name, kind="slice", at=at, sentence=sentence)
        sentence = "stands neither in the topics nor in the archive"
        return Node(id=name, kind="?", at=None, sentence=sentence, missing=True)
