"""What a window is compared with: reference data, or panes of the same version from another time."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from driftline.core.pane import Totals
from driftline.events.base import Millis, iso
from driftline.events.baselines import Baseline
from driftline.events.reports import Window
from driftline.spec.model import BaselineSpec, MonitorSpec, millis

WEEK_MS = 7 * 86_400_000

Span = tuple[Millis, Millis]


def reference_unit(spec: MonitorSpec, name: str) -> Millis | None:
    """How long the panes are that the baseline of a window is added up from; None where it needs none."""
    of = spec.baseline
    if of.kind == "training":
        return None
    window = spec.windows[of.window if of.kind == "previous" else name]
    common = gcd(millis(window.span), millis(window.every))
    if of.kind == "first":
        return gcd(common, millis(of.span))
    return gcd(common, WEEK_MS) if of.kind == "hour_of_week" else common


def reference_spans(spec: MonitorSpec, window: Window, began: Millis) -> list[Span]:
    """The spans of event time whose panes are the baseline of a window; none where they are not complete.

    `began`: the start of the version's first pane.
    """
    of = spec.baseline
    if of.kind == "previous":
        span, every = millis(spec.windows[of.window].span), millis(spec.windows[of.window].every)
        end = window.start // every * every
        spans = [(end - span, end)]
    elif of.kind == "hour_of_week":
        spans = [(window.start - i * WEEK_MS, window.end - i * WEEK_MS) for i in range(of.weeks, 0, -1)]
    else:
        spans = [first_span(spec, window.name, began)]
        if spans[0][1] > window.start:
            return []
    return [span for span in spans if span[1] > began]


def first_span(spec: MonitorSpec, name: str, began: Millis) -> Span:
    """The first panes of a version that is compared with its own beginning."""
    unit = reference_unit(spec, name) or 1
    start = began // unit * unit
    return start, start + millis(spec.baseline.span)


def reaches_back(of: BaselineSpec, spec: MonitorSpec) -> Millis:
    """How long before a window begins its baseline can begin; that of a version's first panes is kept apart."""
    if of.kind == "previous":
        return millis(spec.windows[of.window].span) + millis(spec.windows[of.window].every)
    return of.weeks * WEEK_MS


def baseline_of(model: str, version: str, of: BaselineSpec, spans: Sequence[Span], totals: Totals) -> Baseline:
    """A sum of panes as a baseline. Its id says which panes: anybody can add them up again."""
    counts = {name: tuple(totals.histogram(name).tolist()) for name in totals.layout.cells}
    return Baseline(
        id=reference_id(model, version, of, spans),
        model=model,
        version=version,
        bins=totals.layout.bins,
        n=totals.n,
        counts=counts,
        sums=totals.sums,
        source=f"panes of the model itself, {_when(spans)}",
    )


def reference_id(model: str, version: str, of: BaselineSpec, spans: Sequence[Span]) -> str:
    """The id of a sum of a version's own panes as a baseline."""
    return f"{of.kind} {model}/{version} {_when(spans)}"


def _when(spans: Sequence[Span]) -> str:
    return ", ".join(f"{iso(start)}/{iso(end)}" for start, end in spans)
