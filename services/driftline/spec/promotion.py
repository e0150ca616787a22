"""Reading when a candidate replaces the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from driftline.spec.model import PromotionSpec, RetrainSpec, VetoSpec, WindowSpec
from driftline.spec.sizes import parse_size
from driftline.spec.yaml_nodes import Node, nearest, read_duration

DAY = timedelta(days=1)


def read_promotion(
    node: Node | None,
    known: tuple[str, ...],
    windows: Mapping[str, WindowSpec],
    segments: Sequence[str],
    retrain: RetrainSpec | None,
) -> PromotionSpec:
    """The section `promotion`, or what holds without one. Mistakes are noted."""
    default = "log_loss" if "log_loss" in known else "mae"
    if node is None:
        return PromotionSpec(metric=default, min_effect=0.0)
    fields = node.fields(
        optional=(
            *("policy", "metric", "min_effect", "confidence", "shadow", "probation"),
            *("block", "not_worse", "veto", "max_latency_ratio", "max_size"),
        ),
    )
    policy = fields["policy"].choice(("auto", "approve")) if "policy" in fields else "auto"
    longest = max((window.span for window in windows.values()), default=timedelta(0))
    spans = {word: read_duration(fields.get(word), timedelta(0)) for word in ("shadow", "probation")}
    for word, span in spans.items():
        if windows and span > longest:
            fields[word].mistake(f"`{word}` is not longer than the longest window: live figures are kept as long")
    metric = fields["metric"].choice(known) if "metric" in fields else default
    effect = fields["min_effect"].number() if "min_effect" in fields else 0.0
    confidence = fields["confidence"].number() if "confidence" in fields else 0.95
    if effect is not None and effect < 0:
        fields["min_effect"].mistake("a minimum effect is not negative")
    if confidence is not None and not 0.5 <= confidence < 1:
        fields["confidence"].mistake("a confidence lies between 0.5 and 1")
    block = read_duration(fields.get("block"), DAY)
    if "block" in fields and retrain is not None and 3 * block > retrain.holdout:
        fields["block"].mistake("a candidate is judged on three blocks at least: `data.holdout` is too short for it")
    ratio = fields["max_latency_ratio"].number() if "max_latency_ratio" in fields else None
    if ratio is not None and ratio <= 0:
        fields["max_latency_ratio"].mistake("a ratio of latencies is above 0; 2 allows twice the champion's")
    return PromotionSpec(
        metric=metric or default,
        min_effect=effect or 0.0,
        confidence=confidence or 0.95,
        block=block,
        not_worse=_not_worse(fields.get("not_worse"), known, metric or default),
        veto=_veto(fields.get("veto"), segments),
        max_latency_ratio=ratio,
        max_size=_size(fields.get("max_size")),
        policy="approve" if policy == "approve" else "auto",
        shadow=spans["shadow"],
        probation=spans["probation"],
    )


def _not_worse(node: Node | None, known: Sequence[str], metric: str) -> dict[str, float]:
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


def _veto(node: Node | None, segments: Sequence[str]) -> VetoSpec | None:
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


def _size(node: Node | None) -> int | None:
    """`200MB`, or a number of bytes. Mistakes are noted."""
    if node is None:
        return None
    text = node.text()
    size = int(text) if text is not None and text.isdecimal() else node.parsed(parse_size, None)
    if size == 0:
        node.mistake("no model is so small")
    return size
