"""Reading what may stand against a promotion."""

from __future__ import annotations

from collections.abc import Sequence

from driftline.spec.model import VetoSpec
from driftline.spec.sizes import parse_size
from driftline.spec.yaml_nodes import Node, nearest


def read_not_worse(node: Node | None, known: Sequence[str], metric: str) -> dict[str, float]:
    """`{auc: 0.01}`: metric -> how much worse it may get. Mistakes are noted."""
    found = {}
    for name, each in (node.mapping() if node else {}).items():
        margin = each.number()
        if name not in known:
            each.mistake(f"unknown metric `{name}`{nearest(name, known)}")
        elif name == metric:
            each.mistake(f"`{name}` is the metric that must get better")
        elif margin is not None and margin < 0:
            each.mistake("how much worse a metric may get is not negative")
        elif margin is not None:
            found[name] = margin
    return found


def read_veto(node: Node | None, segments: Sequence[str]) -> VetoSpec | None:
    """`{segments: [origin], worse_by: 0.02}`. Mistakes are noted."""
    if node is None:
        return None
    fields = node.fields(required=("segments", "worse_by"))
    worse_by = fields["worse_by"].number() if "worse_by" in fields else None
    if worse_by is not None and worse_by < 0:
        fields["worse_by"].mistake("how much worse a segment must be for a veto is not negative")
    ways: tuple[str, ...] = ()
    if not segments:
        node.mistake("a veto needs `segments` at the top: the ways to cut predictions into segments")
    elif "segments" in fields:
        named = fields["segments"]
        ways = tuple(segments) if named.is_text("all") else named.words(segments, "way to cut into segments")
    return VetoSpec(segments=ways, worse_by=worse_by or 0.0)


def read_size(node: Node | None) -> int | None:
    """`200MB`, or a number of bytes. Mistakes are noted."""
    if node is None:
        return None
    text = node.text()
    size = int(text) if text is not None and text.isdecimal() else node.parsed(parse_size, None)
    if size == 0:
        node.mistake("no model is so small")
    return size
