"""Which segments pull a figure down most."""

from __future__ import annotations

from driftline.core.rules import Reading, read
from driftline.events.alerts import SegmentEffect
from driftline.events.reports import Segment, WindowReport
from driftline.spec.model import RuleSpec

TOLD = 5
FEWEST = 30
"""Samples of a segment that is told, at least."""


def worst_segments(rule: RuleSpec, reading: Reading, report: WindowReport) -> tuple[SegmentEffect, ...]:
    """The segments with the greatest effect on `reading`, a figure of everybody, worst first; `TOLD` at most.

    The effect is how much worse a segment's figure is, times its share of the samples: for a mean that is what it adds
    to everybody's. Segments of fewer than `FEWEST` samples are left out, and there are none where nobody is
    worse.
    """
    if reading.value is None or not reading.n:
        return ()
    found = [
        effect
        for segment in report.segments
        if segment.cut
        for own in read(rule, segment)
        if own.name == reading.name and (effect := _effect(rule, own, reading, segment)) is not None
    ]
    return tuple(sorted(found, key=lambda effect: (-effect.effect, effect.segment))[:TOLD])


def _effect(rule: RuleSpec, own: Reading, everybody: Reading, segment: Segment) -> SegmentEffect | None:
    if own.value is None or everybody.value is None or own.n < FEWEST:
        return None
    sign = 1.0 if rule.above is not None else -1.0
    share, all_of_them = sign * own.n / everybody.n, everybody.value
    effect = (own.value - all_of_them) * share
    if effect <= 0:
        return None
    bounds = [None if bound is None else (bound - all_of_them) * share for bound in (own.low, own.high)]
    low, high = bounds if sign > 0 else bounds[::-1]
    return SegmentEffect(segment=segment.segment, value=own.value, n=own.n, effect=effect, low=low, high=high)
