"""Reading what may stand against a promotion."""

from __future__ import annotations

import re
from collections.abc import Sequence

from driftline.spec.model import VetoSpec
from driftline.spec.yaml_nodes import Node, nearest

_UNITS = {"": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMG]?B|)")


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


def parse_size(text: str) -> int:
    """`200MB` in bytes, MB being a million. Raises `ValueError` with what is expected."""
    match = _SIZE.fullmatch(text.strip().replace("_", ""))
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if not size:
        raise ValueError(f"{text!r} is no size; write a number of bytes, or with a unit as in 200MB")
    return size
