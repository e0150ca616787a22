"""The pictures of the report: plain SVG that is stretched to its room, with texts beside it in HTML, never scaled."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from driftline.backtesting.figures import DriftTable, Line, Point
from driftline.backtesting.findings import Episode
from driftline.backtesting.page.scales import HEIGHT, WIDTH, Span, moment, time_ticks
from driftline.events.base import Millis
from driftline.events.reports import CalibrationBin
from driftline.spec.model import RuleSpec

MOST_DOTS, MOST_SHOWN = 400, 60
"""Windows in a line up to which each has a dot that says its figures, and up to which dots show untouched."""
MOST_COLUMNS = 120
"""Columns of the heat map; where there are more windows, several share one, which shows the highest."""
MOST_FEATURES = 40
LEVELS = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Bounds between the shades of drift: 0.1 and 0.2 are where practice begins to look and to act."""
COLOURS = 4


def plot(lines: Sequence[Line], rules: Sequence[RuleSpec], times: Span, label: str) -> str:
    """One metric over time, a line a version: interval as a band, baselines, and the thresholds of its rules."""
    usual = [point.figure for line in lines for point in line.usual]
    bounds = [b for f in usual for b in (f.value, f.low, f.high) if b is not None]
    limits = [limit for rule in rules for limit in (rule.above, rule.below) if limit is not None]
    baselines = [b for line in lines for b in line.baselines]
    values = Span.around([*bounds, *limits, *baselines])
    parts = [f'<path class="grid" d="M0 {values.y(tick)}H{WIDTH:g}"/>' for tick in values.ticks()]
    parts += [f'<path class="grid" d="M{times.x(at)} 0V{HEIGHT:g}"/>' for at, _ in time_ticks(times)]
    for i, line in enumerate(lines):
        parts.append(f'<path class="band c{i % COLOURS}" d="{_band(line.points, times, values)}"/>')
    parts += [
        f'<path class="baseline" d="{_baseline(line.points, times, values)}"/>' for line in lines if line.baselines
    ]
    parts += [f'<path class="limit" d="M0 {values.y(limit)}H{WIDTH:g}"/>' for limit in limits]
    for i, line in enumerate(lines):
        parts.append(f'<path class="line c{i % COLOURS}" d="{_path(line.points, times, values)}"/>')
        if len(line.points) <= MOST_DOTS:
            quiet = " quiet" if len(line.points) > MOST_SHOWN else ""
            parts += [_dot(point, f"c{i % COLOURS}{quiet}", times, values) for point in line.points]
    ticks = "".join(f'<span style="top:{values.y(tick) / HEIGHT:.2%}">{tick:.4g}</span>' for tick in values.ticks())
    return (
        f'<div class="plot"><div class="y" aria-hidden="true">{ticks}</div>{_svg(parts, HEIGHT, label)}'
        f"{time_axis(times)}</div>"
    )


def heat_map(table: DriftTable, times: Span) -> str:
    """Drift of each feature by window, one row a feature, the most drifted on top."""
    rows = []
    for name in table.ranked()[:MOST_FEATURES]:
        cells = _cells(table, name)
        end, peak = table.peak(name)
        label = f"{name}: {table.measure} at most {peak:.3f}, in the window up to {moment(end)}"
        row = "".join(_cell(begin, end, value, name, times) for begin, end, value in cells)
        rows.append(f'<div class="name" title="{escape(name)}">{escape(name)}</div>{_svg([row], 10, label, "heat")}')
    return f'<div class="rows">{"".join(rows)}<div></div>{time_axis(times)}</div>{_legend()}'


def timeline(episodes: Sequence[Episode], end: Millis, times: Span) -> str:
    """When alerts fired: one row a rule, a bar an episode."""
    by_rule: dict[tuple[str, str, str], list[Episode]] = {}
    for episode in episodes:
        by_rule.setdefault(episode.about, []).append(episode)
    versions = {version for _, version, _ in by_rule}
    rows = []
    for (rule, version, segment), ones in by_rule.items():
        name = rule + (f" · {segment}" if segment not in ("", "all") else "")
        name += f" · version {version}" if version and len(versions) > 1 else ""
        bars = "".join(_bar(episode, end, times) for episode in ones)
        grid = "".join(f'<path class="grid" d="M{times.x(at)} 0V10"/>' for at, _ in time_ticks(times))
        label = f"{name}: fired {len(ones)} time{'s' if len(ones) > 1 else ''}"
        rows.append(
            f'<div class="name" title="{escape(name)}">{escape(name)}</div>{_svg([grid, bars], 10, label, "bars")}'
        )
    return f'<div class="rows">{"".join(rows)}<div></div>{time_axis(times)}</div>'


def calibration(bins: Sequence[CalibrationBin]) -> str:
    """What scores meant: the share of positives against the mean score of each bin, and the line of equal ones."""
    shares = Span(0.0, 1.0)
    points = [(shares.x(b.score), shares.y(b.positives / b.n), b) for b in bins]
    parts = [f'<path class="grid" d="M0 {shares.y(t)}H{WIDTH:g}M{shares.x(t)} 0V{HEIGHT:g}"/>' for t in shares.ticks()]
    parts.append(f'<path class="limit" d="M0 {HEIGHT:g}L{WIDTH:g} 0"/>')
    parts.append(f'<path class="line c0" d="M{"L".join(f"{x} {y}" for x, y, _ in points)}"/>')
    for x, y, b in points:
        title = f"scores {b.low:.2f} to {b.high:.2f}: {b.positives / b.n:.1%} of {b.n:,} came true, {b.score:.1%} meant"
        parts.append(f'<path class="dot c0" d="M{x} {y}h0"><title>{escape(title)}</title></path>')
    up = "".join(f'<span style="top:{1 - tick:.0%}">{tick:g}</span>' for tick in shares.ticks())
    along = "".join(f'<span style="left:{tick:.0%}">{tick:g}</span>' for tick in shares.ticks() if 0 < tick < 1)
    label = f"calibration in {len(points)} bins of scores"
    return (
        f'<div class="plot"><div class="y" aria-hidden="true">{up}</div>{_svg(parts, HEIGHT, label)}'
        f'<div class="x" aria-hidden="true">{along}</div></div>'
    )


def time_axis(times: Span) -> str:
    """The names of instants, below a picture."""
    ticks = "".join(
        f'<span style="left:{times.share(at):.2%}">{escape(text)}</span>'
        for at, text in time_ticks(times)
        if 0.02 < times.share(at) < 0.98
    )
    return f'<div class="x" aria-hidden="true">{ticks}</div>'


def _svg(parts: Sequence[str], height: float, label: str, kind: str = "") -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {WIDTH:g} {height:g}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _path(points: Sequence[Point], times: Span, values: Span) -> str:
    return "M" + "L".join(f"{times.x(p.end)} {values.y(p.figure.value or 0.0)}" for p in points)


def _band(points: Sequence[Point], times: Span, values: Span) -> str:
    """The interval, one closed shape for each run of windows that have one."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if point.figure.low is None or point.figure.high is None:
            runs.append([])
        else:
            runs[-1].append(point)
    shapes = []
    for run in filter(None, runs):
        up = [f"{times.x(p.end)} {values.y(p.figure.high or 0.0)}" for p in run]
        down = [f"{times.x(p.end)} {values.y(p.figure.low or 0.0)}" for p in reversed(run)]
        shapes.append(f"M{'L'.join([*up, *down])}Z")
    return "".join(shapes)


def _baseline(points: Sequence[Point], times: Span, values: Span) -> str:
    """What each window was compared with, over its own time; where windows overlap, over what is new of it."""
    shapes, told = [], 0
    for point in points:
        if point.figure.baseline is not None:
            begin = max(times.x(max(point.start, told)), 0.0)
            shapes.append(f"M{begin} {values.y(point.figure.baseline)}H{times.x(point.end)}")
        told = point.end
    return "".join(shapes)


def _dot(point: Point, kind: str, times: Span, values: Span) -> str:
    figure = point.figure
    interval = "" if figure.low is None or figure.high is None else f", 95 % {figure.low:.4g} to {figure.high:.4g}"
    against = "" if figure.baseline is None else f", baseline {figure.baseline:.4g}"
    title = f"{moment(point.end)}: {figure.value:.4g}{interval}, n = {figure.n}{against}"
    place = f"M{times.x(point.end)} {values.y(figure.value or 0.0)}h0"
    return f'<path class="dot {kind}" d="{place}"><title>{escape(title)}</title></path>'


def _cells(table: DriftTable, name: str) -> list[tuple[Millis, Millis, float | None]]:
    """(begin, end, highest value) of each column."""
    share = -(-len(table.ends) // MOST_COLUMNS)
    found = []
    for i in range(0, len(table.ends), share):
        known = [value for value in table.values[name][i : i + share] if value is not None]
        end = table.ends[min(i + share, len(table.ends)) - 1]
        step = table.ends[1] - table.ends[0] if len(table.ends) > 1 else 86_400_000
        begin = table.ends[i - 1] if i else table.ends[i] - step
        found.append((begin, end, max(known, default=None)))
    return found


def _cell(begin: Millis, end: Millis, value: float | None, name: str, times: Span) -> str:
    if value is None:
        return ""
    level = sum(value >= bound for bound in LEVELS)
    left = max(0.0, times.x(begin))
    title = f"{name}, up to {moment(end)}: {value:.3f}"
    width = max(0.5, round(times.x(end) - left, 2))
    return f'<rect class="h{level}" x="{left}" width="{width}" height="10"><title>{escape(title)}</title></rect>'


def _legend() -> str:
    bounds = ("0", *(f"{bound:g}" for bound in LEVELS))
    items = "".join(
        f'<span><svg viewBox="0 0 1 1"><rect class="h{i}" width="1" height="1"/></svg>{b}</span>'
        for i, b in enumerate(bounds)
    )
    return f'<p class="legend">at least {items}</p>'


def _bar(episode: Episode, end: Millis, times: Span) -> str:
    alert, until = episode.fired, end if episode.resolved is None else episode.resolved.at
    left = times.x(alert.since)
    width = max(4.0, round(times.x(until) - left, 2))
    state = "still firing at the end" if episode.resolved is None else f"until {moment(until)}"
    title = f"{moment(alert.at)}, {state}: {alert.summary}"
    return (
        f'<rect class="{escape(alert.severity)}" x="{left}" y="1" width="{width}" height="8">'
        f"<title>{escape(title)}</title></rect>"
    )
