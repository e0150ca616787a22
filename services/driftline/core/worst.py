"""Which segments pull a figure down most."""

from __future__ import annotations

from collections.abc import Iterable

from driftline.core.rules import Reading, read
from driftline.events.alerts import SegmentEffect
from driftline.events.reports import MetricValue, WindowReport
from driftline.spec.model import RuleSpec

Figure = Reading | MetricValue
TOLD = 5
FEWEST = 30
"""Samples of a segment that is told, at least."""


def worst_segments(rule: RuleSpec, reading: Reading, report: WindowReport) -> tuple[SegmentEffect, ...]:
    """The segments with the greatest effect on `reading`, a figure of everybody, worst first; `TOLD` at most."""
    parts = ((s.segment, own) for s in report.segments if s.cut for own in read(rule, s) if own.name == reading.name)
    return tuple(effects(parts, reading, greater_is_worse=rule.above is not None)[:TOLD])


def effects(parts: Iterable[tuple[str, Figure]], everybody: Figure, *, greater_is_worse: bool) -> list[SegmentEffect]:
    """What segments do to a figure of everybody, given the same figure of each, worst first.

    The effect is how much worse a segment's figure is, times its share of the samples: for a mean that is what it adds
    to everybody's. Segments of fewer than `FEWEST` samples are left out, and there are none where nobody is
    worse.
    """
    sign = 1.0 if greater_is_worse else -1.0
    found = [effect for name, own in parts if (effect := _effect(name, own, everybody, sign)) is not None]
    return sorted(found, key=lambda effect: (-effect.effect, effect.segment))


def _effect(name: str, own: Figure, everybody: Figure, sign: float) -> SegmentEffect | None:
    if own.value is None or everybody.value is None or not everybody.n or own.n < FEWEST:
        return None
    share, all_of_them = sign * own.n / everybody.n, everybody.value
    effect = (own.value - all_of_them) * share
    if effect <= 0:
        return None
    bounds = [None if bound is None else (bound - all_of_them) * share for bound in (own.low, own.high)]
    low, high = bounds if sign > 0 else bounds[::-1]
    return SegmentEffect(segment=name, value=own.value, n=own.n, effect=effect, low=low, high=high)
