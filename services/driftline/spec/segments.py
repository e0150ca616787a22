"""Reading the segments of a monitor spec."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from driftline.spec.model import Cut, FeatureSpec, SegmentSpec
from driftline.spec.yaml_nodes import Node

MOST = 20
"""Ways to cut a model's predictions: each costs a byte a kept prediction, and counting it once more."""


def read_segments(node: Node | None, features: Mapping[str, FeatureSpec]) -> tuple[SegmentSpec, ...]:
    """`[origin, {amount: [0, 100]}, [origin, carrier]]`: by a value, by buckets, by a pair. Mistakes are noted."""
    found: list[SegmentSpec] = []
    for item in node.items() if node else []:
        parts = item.items() if item.is_list() else [item]
        if len(parts) not in (1, 2):
            item.mistake("a segment is cut by one thing or by a pair of them")
            continue
        cuts = [cut for part in parts if (cut := _cut(part, features)) is not None]
        if len(cuts) != len(parts):
            continue
        segment = SegmentSpec(cuts=tuple(cuts))
        if len({cut.name for cut in cuts}) < len(cuts) or any(segment.name == other.name for other in found):
            item.mistake(f"`{segment.name}` cuts by the same thing twice")
            continue
        found.append(segment)
    if node is not None and len(found) > MOST:
        node.mistake(f"at most {MOST} ways to cut into segments; here are {len(found)}")
    return tuple(found)


def _cut(node: Node, features: Mapping[str, FeatureSpec]) -> Cut | None:
    if node.is_mapping():
        named = list(node.mapping().items())
        if len(named) != 1:
            node.mistake("one thing and where to cut it, as in `amount: [0, 100]`")
            return None
        name, edges = named[0][0], _edges(named[0][1])
    else:
        name, edges = node.text() or "", ()
        if name in features and features[name].type == "number":
            node.mistake(f"`{name}` is a number: say at which values to cut, as in `{name}: [0, 100]`")
            return None
    if not name or edges is None:
        return None
    feature = features.get(name)
    if feature is not None and feature.type == "category" and edges:
        node.mistake(f"`{name}` is a category: each of its values is a segment, there is nothing to cut")
        return None
    return Cut(name=name, source="attribute" if feature is None else "feature", edges=edges)


def _edges(node: Node) -> tuple[float, ...] | None:
    numbers = [number for item in node.items() if (number := item.number()) is not None]
    if not numbers or any(a >= b for a, b in pairwise(numbers)):
        node.mistake("buckets are cut at increasing numbers, as in `[0, 100, 1000]`")
        return None
    return tuple(numbers)
