"""What the reports of a backtest come to: a line a metric, a table of drift. Read by the summary and the page alike.

Names are taken from the reports, so what they gain shows without a change here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from driftline.backtesting.findings import Findings
from driftline.core.worst import effects
from driftline.events.alerts import SegmentEffect
from driftline.events.base import Millis
from driftline.events.reports import ALL, Drift, MetricValue, Segment, WindowReport
from driftline.events.retraining import RetrainRequest
from driftline.spec.metrics import higher_is_better
from driftline.spec.model import MonitorSpec

SHARES = ("n", "missing", "out_of_range", "unseen")
"""Of a feature's drift, what is no distance."""
MEASURES = tuple(name for name in Drift.__struct_fields__ if name not in (*SHARES, "error_bounds"))


@dataclass(frozen=True)
class Point:
    """A metric in the window from `start` to `end`."""

    start: Millis
    end: Millis
    figure: MetricValue


@dataclass(frozen=True)
class Line:
    """One metric of one version over all windows of one name; `points` have a value."""

    metric: str
    window: str
    version: str
    role: str
    points: tuple[Point, ...]

    @property
    def usual(self) -> tuple[Point, ...]:
        """Those with at least half the usual number of samples: the others say little."""
        enough = median(point.figure.n for point in self.points) / 2
        return tuple(point for point in self.points if point.figure.n >= enough)

    @property
    def worst(self) -> Point:
        """The worst of the usual ones, the first of equals."""
        sign = -1 if higher_is_better(self.metric) is False else 1
        return min(self.usual, key=lambda point: sign * (point.figure.value or 0.0))

    @property
    def hidden(self) -> float:
        """How far bins can make any of the usual ones differ from the figure of the rows."""
        return max(point.figure.error_bound for point in self.usual)

    @property
    def baselines(self) -> tuple[float, ...]:
        """The figures of the baselines that windows were compared with, each once, the least first."""
        return tuple(sorted({p.figure.baseline for p in self.points if p.figure.baseline is not None}))


class Worst(NamedTuple):
    """What a segment of a version did to everybody's figure in the window that ends at `end`."""

    version: str
    role: str
    end: Millis
    effect: SegmentEffect


@dataclass(frozen=True)
class DriftTable:
    """One measure of each feature by window: `values[feature][i]` belongs to `ends[i]`; None: not defined there."""

    measure: str
    window: str
    version: str
    role: str
    ends: tuple[Millis, ...]
    values: dict[str, tuple[float | None, ...]]

    def ranked(self) -> list[str]:
        """Features that have a value, those that drifted most at their worst first."""
        peaks = {name: max((v for v in row if v is not None), default=None) for name, row in self.values.items()}
        known = [(name, peak) for name, peak in peaks.items() if peak is not None]
        return [name for name, _ in sorted(known, key=lambda each: (-each[1], each[0]))]

    def peak(self, feature: str) -> tuple[Millis, float]:
        """Where a feature that has a value drifted most."""
        found = [(v, end) for v, end in zip(self.values[feature], self.ends, strict=True) if v is not None]
        value, end = max(found, key=lambda pair: (pair[0], -pair[1]))
        return end, value

    def last(self, feature: str) -> float | None:
        """Its value in the last window."""
        return self.values[feature][-1]


def everybody(report: WindowReport) -> Segment:
    """The figures of all rows."""
    return next(segment for segment in report.segments if segment.segment == ALL)


def longest(spec: MonitorSpec) -> str:
    """The window with the longest span: its figures are the steadiest."""
    return max(spec.windows, key=lambda name: spec.windows[name].span)


def lines(found: Findings, window: str) -> list[Line]:
    """A line for each version and metric that has a value."""
    made = []
    for version, role in found.series():
        reports = found.windows(version, role, window)
        names = dict.fromkeys(name for report in reports for name in everybody(report).metrics)
        for name in names:
            figures = ((r.window, everybody(r).metrics.get(name)) for r in reports)
            points = tuple(Point(w.start, w.end, f) for w, f in figures if f is not None and f.value is not None)
            if points:
                made.append(Line(name, window, version, role, points))
    return made


def drift_tables(found: Findings, window: str, measure: str = MEASURES[0]) -> list[DriftTable]:
    """A table for each version in which anything is defined."""
    made = []
    for version, role in found.series():
        reports = found.windows(version, role, window)
        names = dict.fromkeys(name for report in reports for name in everybody(report).drift)
        values = {name: tuple(_distance(report, name, measure) for report in reports) for name in names}
        if any(value is not None for row in values.values() for value in row):
            ends = tuple(report.window.end for report in reports)
            made.append(DriftTable(measure, window, version, role, ends, values))
    return made


def worst_segments(found: Findings, window: str, metric: str) -> list[Worst]:
    """Where reports have segments: each in the usual window in which it had its greatest effect, the greatest first."""
    better = higher_is_better(metric)
    worst: dict[tuple[str, str, str], Worst] = {}
    for line in (line for line in lines(found, window) if line.metric == metric and better is not None):
        usual = {point.end for point in line.usual}
        for report in found.windows(line.version, line.role, window):
            if report.window.end not in usual:
                continue
            parts = ((s.segment, s.metrics[metric]) for s in report.segments if s.cut and metric in s.metrics)
            everyone = everybody(report).metrics[metric]
            for effect in effects(parts, everyone, greater_is_worse=better is False):
                key = line.version, line.role, effect.segment
                if key not in worst or effect.effect > worst[key].effect.effect:
                    worst[key] = Worst(line.version, line.role, report.window.end, effect)
    return sorted(worst.values(), key=lambda each: (-each.effect.effect, each.effect.segment))


def asked_by(request: RetrainRequest) -> str:
    """Why a retrain was asked for: the schedule, or the rule's name."""
    return request.reason if request.reason == request.trigger else f"{request.trigger}: {request.reason}"


def coverage_of(found: Findings) -> float:
    """The share of predictions that have an outcome."""
    return found.joined / found.predictions if found.predictions else 0.0


def named(version: str, role: str, of: Sequence[tuple[str, str]]) -> str:
    """How a series is called; nothing where there is only one."""
    if len(of) <= 1:
        return ""
    return f"version {version}" + (" (shadow)" if role == "shadow" else "")


def _distance(report: WindowReport, name: str, measure: str) -> float | None:
    drift = everybody(report).drift.get(name)
    value: float | None = None if drift is None else getattr(drift, measure, None)
    return value
