"""What a backtest found, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from driftline.backtesting.comparing import Pair
from driftline.backtesting.figures import (
    Line,
    Point,
    asked_by,
    coverage_of,
    drift_tables,
    lines,
    longest,
    named,
    worst_segments,
)
from driftline.backtesting.findings import Episode, Findings
from driftline.events.alerts import AlertKind, Severity
from driftline.events.base import Millis

MOST_ALERTS = 20
MOST_FEATURES = 8
MOST_SEGMENTS = 3
MOST_LETTERS = 5
HIDDEN = 0.0005
"""What bins may hide of a figure without a word."""
_STYLE = {Severity.CRITICAL: "bold red", Severity.WARNING: "yellow"}


def show(found: Findings, console: Console) -> None:
    """Everything, from the model to the last dead letter."""
    _show_head(found, console)
    for name in found.spec.windows:
        _show_metrics(lines(found, name), found, console)
    _show_drift(found, console)
    _show_segments(found, console)
    show_budgets(found, console)
    _show_alerts(found, console)
    _show_retrains(found, console)
    show_letters(found, console)


def show_budgets(found: Findings, console: Console) -> None:
    """What the budgets of false alarms came to, a sentence each."""
    if found.calibrations:
        _heading(console, "Budgets of false alarms")
    for calibration in found.calibrations:
        console.print(Text(calibration.summary), soft_wrap=True)


def show_letters(found: Findings, console: Console) -> None:
    """The rows that could not be used: how many, why, and the first of them."""
    if not found.letters.total:
        return
    _heading(console, f"Rows that could not be used: {found.letters.total:,}")
    for (file, reason), count in found.letters.counts.items():
        console.print(Text(f"{count:,} in {file}: {reason}"))
    for letter in found.letters.first[:MOST_LETTERS]:
        console.print(Text(f"  {letter}", style="dim"), soft_wrap=True)


def show_comparison(pairs: Sequence[Pair], here: str, there: str, versions: int, console: Console) -> None:
    """Alerts side by side. `versions`: how many there are in the rows."""
    table = _table("fired", "where", "severity", "rule", "here until", "there until")
    for pair in pairs:
        known = pair.here or pair.there
        assert known is not None, "a pair has a side"
        alert = known.fired
        table.add_row(
            when(pair.at),
            pair.where,
            Text(alert.severity, style=_STYLE[alert.severity]),
            Text(_rule(known, versions)),
            _until(pair.here),
            _until(pair.there),
        )
    counts = {word: sum(pair.where == word for pair in pairs) for word in ("both", "only here", "only there")}
    told = ", ".join(f"{n} {word}" for word, n in counts.items())
    _heading(console, f"Alerts of {here} (here) and {there} (there): {told}")
    if pairs:
        console.print(table)


def when(time: Millis) -> str:
    """An instant, in UTC, to the minute."""
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _show_head(found: Findings, console: Console) -> None:
    versions = f"version{'s' if len(found.versions) > 1 else ''} {', '.join(found.versions)}"
    console.print(Text(f"{found.spec.model}, {versions}", style="bold"))
    console.print(
        f"{when(found.first)} to {when(found.last)} UTC, decided up to {when(found.decided)}", highlight=False
    )
    rows = ", ".join(f"{n:,} rows of {what}" for what, n in found.rows.items())
    share = f"{coverage_of(found):.1%}"
    console.print(
        f"{rows}: {found.predictions:,} predictions counted, {found.joined:,} with their outcome ({share})",
        highlight=False,
        soft_wrap=True,
    )
    for text in _besides(found):
        console.print(text, highlight=False)
    for said in found.said:
        console.print(Text(f"note: {said}", style="dim"), soft_wrap=True)


def _besides(found: Findings) -> list[str]:
    """What was counted beside predictions and outcomes."""
    skipped = {w.removeprefix("skipped:"): n for w, n in found.counters.items() if w.startswith("skipped:")}
    others = {what.replace("_", " "): n for what, n in found.counters.items() if not what.startswith("skipped:")}
    told = [("besides", others), ("retrains not asked for", {f"for {w}": n for w, n in skipped.items()})]
    return [f"{what}: {', '.join(f'{n:,} {which}' for which, n in each.items())}" for what, each in told if each]


def _show_metrics(found: Sequence[Line], of: Findings, console: Console) -> None:
    if not found:
        return
    baseline = any(line.baselines for line in found)
    name = found[0].window
    span = f"{max(len(line.points) for line in found):,} windows"
    _heading(console, f"Metrics by {name} ({span}; 95 % intervals)")
    hidden = any(line.hidden > HIDDEN for line in found)
    more = [*(["baseline"] if baseline else []), *(["off by"] if hidden else [])]
    table = _table("metric", "first", "worst", "on", "last", *more)
    for line in found:
        who = named(line.version, line.role, of.series())
        first, worst, last = line.points[0], line.worst, line.points[-1]
        cells = [f"{first.figure.value:.4g}", _figure(worst), when(worst.end)[:10], _figure(last)]
        if baseline:
            ends = dict.fromkeys((line.baselines[0], line.baselines[-1])) if line.baselines else ()
            cells.append(" to ".join(f"{end:.4g}" for end in ends))
        if hidden:
            cells.append(f"<= {line.hidden:.2g}" if line.hidden > HIDDEN else "")
        table.add_row(Text(f"{line.metric} {who}".strip()), *cells)
    console.print(table)


def _show_drift(found: Findings, console: Console) -> None:
    name = longest(found.spec)
    for table in drift_tables(found, name):
        who = named(table.version, table.role, found.series())
        title = f"Drift by {name} ({table.measure.upper()}, most drifted first)"
        _heading(console, f"{title} {who}".strip())
        shown = _table("feature", "most", "up to", "last")
        for feature in table.ranked()[:MOST_FEATURES]:
            end, value = table.peak(feature)
            last = table.last(feature)
            shown.add_row(Text(feature), f"{value:.3f}", when(end), "" if last is None else f"{last:.3f}")
        console.print(shown)


def _show_segments(found: Findings, console: Console) -> None:
    """The segments that pull down the metrics of the spec, where there are any."""
    name = longest(found.spec)
    told = [
        (metric, each) for metric in found.spec.metrics for each in worst_segments(found, name, metric)[:MOST_SEGMENTS]
    ]
    if not told:
        return
    _heading(console, f"Worst segments by {name} (effect: how much worse than everybody, times their share)")
    table = _table("metric", "segment", "effect", "95 % interval", "there", "n", "up to")
    for metric, (version, role, end, effect) in told:
        who = f"{effect.segment} {named(version, role, found.series())}".strip()
        interval = "" if effect.low is None or effect.high is None else f"{effect.low:.3g} to {effect.high:.3g}"
        figures = (f"{effect.effect:.3g}", interval, f"{effect.value:.4g}", f"{effect.n:,}", when(end))
        table.add_row(Text(metric), Text(who), *figures)
    console.print(table)


def _show_alerts(found: Findings, console: Console) -> None:
    episodes, versions = found.episodes(), len(found.versions)
    open_ = sum(episode.resolved is None for episode in episodes)
    more = f", {open_} still firing at the end" if open_ else ""
    _heading(console, f"Alerts: {len(episodes)} fired{more}")
    for episode in episodes[:MOST_ALERTS]:
        alert = episode.fired
        line = Text(f"{when(alert.at)}  ")
        line.append(f"{alert.severity:8}", style=_STYLE[alert.severity])
        line.append(f"  {_rule(episode, versions)}: {alert.summary} ")
        line.append(f"[until {_until(episode)}]", style="dim")
        console.print(line, soft_wrap=True)
    if len(episodes) > MOST_ALERTS:
        console.print(f"... and {len(episodes) - MOST_ALERTS} more; --json and --html have all", style="dim")


def _show_retrains(found: Findings, console: Console) -> None:
    if found.requests:
        _heading(console, f"Retrains asked for: {len(found.requests)}")
        for request in found.requests[:MOST_ALERTS]:
            why = f"attempt {request.attempt} ({asked_by(request)})"
            console.print(Text(f"{when(request.requested_at)}  {why}"))
    escalated = sum(e.fired.kind is AlertKind.MANUAL_INTERVENTION for e in found.episodes())
    if escalated:
        console.print(Text(f"{escalated} case(s) escalated: no trainer answers in a backtest", style="dim"))


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _figure(point: Point) -> str:
    figure = point.figure
    text = f"{figure.value:.4g}"
    return text if figure.low is None or figure.high is None else f"{text} ({figure.low:.3g} to {figure.high:.3g})"


def _rule(episode: Episode, versions: int) -> str:
    """The rule, and of what, where that is not plain."""
    _, version, segment = episode.about
    name = episode.fired.rule + (f" ({segment})" if segment not in ("", "all") else "")
    return f"{name} of version {version}" if version and versions > 1 else name


def _until(episode: Episode | None) -> str:
    if episode is None:
        return "-"
    return "the end" if episode.resolved is None else when(episode.resolved.at)
