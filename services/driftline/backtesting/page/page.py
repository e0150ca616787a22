"""The report of a backtest as one HTML file: no script, no font, nothing from anywhere else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from driftline.backtesting.figures import (
    Line,
    Worst,
    asked_by,
    coverage_of,
    drift_tables,
    everybody,
    lines,
    longest,
    named,
    worst_segments,
)
from driftline.backtesting.findings import Episode, Findings
from driftline.backtesting.page.pictures import COLOURS, calibration, heat_map, plot, timeline
from driftline.backtesting.page.scales import Span, moment
from driftline.core.calibration import resolved
from driftline.core.worst import FEWEST
from driftline.events.reports import WindowReport
from driftline.spec.model import RuleSpec

MOST_ROWS = 500
"""Windows in a table of figures; the last ones, where there are more."""
MOST_SEGMENTS = 15
MOST_ALERTS = 8
"""Alerts told in words before the reader asks for more."""


def page_of(found: Findings) -> str:
    """The whole page. Everything that comes from data is escaped."""
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    name = escape(found.spec.model)
    times = Span(found.first, max(found.decided, found.first + 1))
    body = "".join(
        (
            _head(found),
            _metrics(found, times),
            _drift(found, times),
            _alerts(found, times),
            _segments(found),
            _calibration(found),
            _retrains(found),
            _letters(found),
            _tables(found),
        )
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{name}: backtest</title><style>{style}</style></head><body><main>{body}</main>"
        "<footer>Times are UTC. A window is placed at its end; its figures are of the last revision. Driftline</footer>"
        "</body></html>\n"
    )


def _head(found: Findings) -> str:
    versions = f"version{'s' if len(found.versions) > 1 else ''} {', '.join(found.versions)}"
    tiles = {
        "predictions": f"{found.predictions:,}",
        "with their outcome": f"{coverage_of(found):.1%}",
        "alerts fired": f"{len(found.episodes()):,}",
        "retrains asked for": f"{len(found.requests):,}",
        "rows left out": f"{found.letters.total:,}",
    }
    items = "".join(f"<div><dt>{what}</dt><dd>{value}</dd></div>" for what, value in tiles.items())
    said = "".join(f"<li>{escape(text)}</li>" for text in found.said)
    notes = f'<ul class="notes">{said}</ul>' if said else ""
    period = f"{moment(found.first)} to {moment(found.last)}"
    return (
        f'<h1>{escape(found.spec.model)}</h1><p class="soft">{escape(versions)}, {period}</p>'
        f'<dl class="tiles">{items}</dl>{notes}'
    )


def _metrics(found: Findings, times: Span) -> str:
    parts = []
    for window in sorted(found.spec.windows, key=lambda name: -found.spec.windows[name].span):
        by_metric: dict[str, list[Line]] = {}
        for line in lines(found, window):
            by_metric.setdefault(line.metric, []).append(line)
        if by_metric:
            figures = "".join(_metric(found, metric, ones, times) for metric, ones in by_metric.items())
            parts.append(f'<h3>by {escape(window)}</h3><div class="grid-of">{figures}</div>')
    return f"<section><h2>Metrics</h2>{_key(found)}{''.join(parts)}</section>" if parts else ""


def _metric(found: Findings, metric: str, ones: Sequence[Line], times: Span) -> str:
    rules = _rules(found, metric, ones[0].window)
    last, worst = ones[0].points[-1].figure.value, ones[0].worst
    about = f"worst {worst.figure.value:.4g} on {moment(worst.end)[:10]}, last {last:.4g}"
    label = f"{metric} by {ones[0].window}: {about}"
    caption = f"<figcaption>{escape(metric)}<span>{about}</span></figcaption>"
    return f"<figure>{caption}{plot(ones, rules, times, label)}</figure>"


def _rules(found: Findings, metric: str, window: str) -> list[RuleSpec]:
    """Those of which the threshold is a figure, or came to be one."""
    about = [r for r in found.spec.rules if r.kind == "metric" and (r.target, r.window) == (metric, window)]
    budgets = [resolved(rule, each) for rule in about for each in found.calibrations if each.rule == rule.name]
    return [rule for rule in about if not rule.relative] + budgets


def _key(found: Findings) -> str:
    series = found.series()
    names = [f"version {v}" + (" (shadow)" if role == "shadow" else "") for v, role in series]
    keys = [f'<span class="key"><i class="c{i % COLOURS}"></i>{escape(n)}</span>' for i, n in enumerate(names)]
    keys.append('<span class="key"><i class="dashed"></i>threshold of a rule</span>')
    if any(line.baselines for name in found.spec.windows for line in lines(found, name)):
        keys.append('<span class="key"><i class="dotted"></i>baseline</span>')
    return f'<p class="soft">Band: 95 % interval.{"".join(keys)}</p>'


def _drift(found: Findings, times: Span) -> str:
    window, parts = longest(found.spec), []
    for table in drift_tables(found, window):
        who = escape(named(table.version, table.role, found.series()))
        about = (
            f"<figcaption>{table.measure.upper()} by {escape(window)} {who}<span>most drifted first</span></figcaption>"
        )
        parts.append(f"<figure>{about}{heat_map(table, times)}</figure>")
    if parts:
        return f'<section><h2>Drift of features from the baseline</h2><div class="one">{"".join(parts)}</div></section>'
    return ""


def _alerts(found: Findings, times: Span) -> str:
    episodes = found.episodes()
    told = "".join(f"<li>{escape(each.summary)}</li>" for each in found.calibrations)
    budgets = f'<ul class="notes">{told}</ul>' if told else ""
    if not episodes:
        return f"<section><h2>Alerts</h2>{budgets}<p>None fired.</p></section>"
    items = [_alert(episode) for episode in episodes]
    first = f'<ol class="alerts">{"".join(items[:MOST_ALERTS])}</ol>'
    if rest := items[MOST_ALERTS:]:
        more = f'<ol class="alerts">{"".join(rest)}</ol>'
        first += f"<details><summary>{len(rest):,} more</summary>{more}</details>"
    return (
        f"<section><h2>Alerts</h2>{budgets}<figure>{timeline(episodes, found.decided, times)}</figure>{first}</section>"
    )


def _alert(episode: Episode) -> str:
    alert = episode.fired
    until = "still firing at the end" if episode.resolved is None else f"until {moment(episode.resolved.at)}"
    ranked = ", ".join(f"{effect.feature} {effect.psi:.2f}" for effect in alert.evidence.features[:3])
    more = f"; drifted: {ranked}" if ranked else ""
    return (
        f'<li class="{escape(alert.severity)}"><b>{escape(alert.rule)}</b> {escape(alert.summary)}'
        f'<span class="soft">{moment(alert.at)}, {until}; {escape(alert.severity)}{escape(more)}</span></li>'
    )


def _segments(found: Findings) -> str:
    """Only where reports have more segments than everybody."""
    parts = []
    window = longest(found.spec)
    for metric in found.spec.metrics:
        rows = [_worst(each, found) for each in worst_segments(found, window, metric)[:MOST_SEGMENTS]]
        if rows:
            head = ("segment", "effect", "95 % interval", f"{metric} there", "n", f"{window} up to")
            parts.append(f"<h3>{escape(metric)}</h3>{_table(head, rows)}")
    if not parts:
        return ""
    note = (
        "Effect: how much worse than everybody a segment did in that window, times its share of the samples. "
        f"Segments of fewer than {FEWEST} samples are left out."
    )
    return f'<section><h2>Worst segments</h2><p class="soft">{note}</p>{"".join(parts)}</section>'


def _worst(each: Worst, found: Findings) -> tuple[str, ...]:
    effect, who = each.effect, named(each.version, each.role, found.series())
    interval = "" if effect.low is None or effect.high is None else f"{effect.low:.3g} to {effect.high:.3g}"
    figures = (f"{effect.effect:.3g}", interval, f"{effect.value:.4g}", f"{effect.n:,}", moment(each.end))
    return (f"{effect.segment} {who}".strip(), *figures)


def _calibration(found: Findings) -> str:
    """What scores meant in the last of the longest windows that has enough outcomes to say."""
    window, parts = longest(found.spec), []
    for version, role in found.series():
        told = [r for r in found.windows(version, role, window) if everybody(r).calibration]
        most = max((everybody(r).labelled for r in told), default=0)
        last = next((r for r in reversed(told) if 2 * everybody(r).labelled >= most), None)
        if last is not None:
            who = escape(named(version, role, found.series()))
            about = f"<span>{escape(window)} up to {moment(last.window.end)}, n = {everybody(last).labelled:,}</span>"
            figure = calibration(everybody(last).calibration)
            parts.append(
                f"<figure><figcaption>share that came true, by score {who}{about}</figcaption>{figure}</figure>"
            )
    if not parts:
        return ""
    note = '<p class="soft">On the dashed line scores are probabilities; below it they promise too much.</p>'
    return f'<section><h2>Calibration</h2>{note}<div class="grid-of">{"".join(parts)}</div></section>'


def _retrains(found: Findings) -> str:
    if not found.requests:
        return ""
    rows = [(moment(r.requested_at), asked_by(r), str(r.attempt), r.champion) for r in found.requests]
    table = _table(("asked for", "why", "attempt", "champion"), rows)
    return f"<section><h2>Retrains</h2><p>Nothing answers a request in a backtest.</p>{table}</section>"


def _letters(found: Findings) -> str:
    if not found.letters.total:
        return ""
    rows = [
        (letter.file, f"{letter.row:,}", letter.column, letter.reason, letter.detail) for letter in found.letters.first
    ]
    counts = ", ".join(f"{n:,} {reason} in {file}" for (file, reason), n in found.letters.counts.items())
    table = _table(("file", "row", "column", "reason", "detail"), rows)
    return f"<section><h2>Rows left out</h2><p>{escape(counts)}. The first of each:</p>{table}</section>"


def _tables(found: Findings) -> str:
    parts = []
    for window in found.spec.windows:
        reports = [r for version, role in found.series() for r in found.windows(version, role, window)]
        if not reports:
            continue
        metrics = list(dict.fromkeys(name for r in reports for name in everybody(r).metrics))
        shown = reports[-MOST_ROWS:]
        rows = [_row(report, metrics) for report in shown]
        head = ("window up to", "version", "n", "coverage", *metrics)
        less = f", the last {MOST_ROWS}" if len(shown) < len(reports) else ""
        title = f"<summary>{escape(window)}: {len(reports):,} windows{less}</summary>"
        parts.append(f"<details>{title}{_table(head, rows)}</details>")
    return f"<section><h2>All figures</h2>{''.join(parts)}</section>" if parts else ""


def _row(report: WindowReport, metrics: Sequence[str]) -> tuple[str, ...]:
    segment = everybody(report)
    values = (segment.metrics.get(name) for name in metrics)
    told = ("" if f is None or f.value is None else f"{f.value:.4f}" for f in values)
    return (moment(report.window.end), report.version, f"{segment.n:,}", f"{segment.coverage:.1%}", *told)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of nothing but numbers are set to the right."""
    kinds = [' class="n"' if all(_NUMBER.fullmatch(row[i]) for row in rows) else "" for i in range(len(head))]
    first = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for kind, name in zip(kinds, head, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{escape(cell)}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table></div>'


_NUMBER = re.compile(r"[-0-9.,]*%?")
