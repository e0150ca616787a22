"""The report in HTML: well formed, complete, and never fooled by what stands in the data."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from io import StringIO

import msgspec
import pyarrow as pa
import pytest
from rich.console import Console
from tests.backtests import BINARY, CUT, DAY, SPEC, START, rows_of

from driftline.backtesting.figures import drift_tables, everybody, lines, longest, worst_segments
from driftline.backtesting.findings import Findings
from driftline.backtesting.job import Inputs, run
from driftline.backtesting.mapping import Columns
from driftline.backtesting.page.page import page_of
from driftline.backtesting.page.scales import Span, moment, time_ticks
from driftline.cli.backtest_summary import show
from driftline.spec.reader import parse_spec

EVIL = "<script>alert('a')</script>"
MODEL = '<script>&"<b>'  # a model's name has no slash
VOID = {"meta", "link", "br"}
SEGMENTS = """
model: m
task: binary
labels: ["no", "yes"]
positive: "yes"
features: {x: {type: number}}
segments: [site]
horizon: 1d
lateness: 0s
pane: 1h
baseline: {previous: day}
windows: {day: {span: 1d}}
metrics: [accuracy]
rules: [{name: fell, metric: accuracy, window: day, below_baseline: 20%}]
"""


class Checker(HTMLParser):
    """Every element is closed in order; collects texts, tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def found() -> Findings:
    """A model, a feature, a rule and a category that are all called by a script."""
    text = CUT.format(**BINARY).replace("model: m", f"model: '{MODEL}'")
    text = text.replace("name: worse", f'name: "{EVIL}"').replace("  x:", f'  "{EVIL}":')
    spec = parse_spec(text, "m.yaml")
    predictions, outcomes = rows_of("binary", days=2)
    table = pa.Table.from_pylist([{(EVIL if k == "x" else k): v for k, v in row.items()} for row in predictions])
    reference = table.slice(0, 200)
    rows = table.num_rows
    bad = table.set_column(
        table.column_names.index("prediction"),
        "prediction",
        pa.array([EVIL, *table.column("prediction").to_pylist()[1:]]),
    )
    assert bad.num_rows == rows
    return run(spec, Inputs(bad, pa.Table.from_pylist(outcomes), reference, Columns(outcome_time="time")))


def test_the_page_is_well_formed_and_needs_nothing_else(found):
    page = checked(page_of(found))
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in ("src", "href") or name.startswith("on")]
    assert "url(" not in page_of(found)
    assert "@import" not in page_of(found)


def test_what_comes_from_data_is_text_and_nothing_else(found):
    page = page_of(found)
    assert "<script" not in page
    assert sum(EVIL in text for text in checked(page).texts) >= 4  # model, rule, feature, dead letter


def test_it_holds_the_figures_of_the_reports(found):
    page = page_of(found)
    for report in found.reports.values():
        segment = everybody(report)
        assert f"<td>{moment(report.window.end)}</td>" in page
        for figure in segment.metrics.values():
            if figure.value is not None:
                assert f">{figure.value:.4f}</td>" in page
    (table,) = drift_tables(found, longest(found.spec))
    assert all(f"{table.peak(name)[1]:.3f}" in page for name in table.ranked())


def test_every_alert_is_told_with_its_sentence_and_drawn(found):
    page = checked(page_of(found))
    assert found.episodes()
    text = " ".join(page.texts)
    for episode in found.episodes():
        assert episode.fired.summary in text


def test_pictures_have_names_for_those_who_do_not_see_them(found):
    page = page_of(found)
    assert len(re.findall("<svg [^>]*role=.img. aria-label=", page)) >= len(lines(found, "day")) + 2


def test_both_colour_schemes_are_there(found):
    assert "prefers-color-scheme: dark" in page_of(found)


def test_a_model_without_reports_still_has_a_page():
    spec = parse_spec(SPEC.format(**BINARY), "m.yaml")
    page = checked(page_of(Findings(spec, versions=("1",), first=1, last=2, decided=3)))
    assert "None fired." in page.texts


def test_the_worst_segments_and_what_scores_meant_are_shown(found):
    page = page_of(found)
    assert "<h2>Worst segments</h2>" in page
    assert "<td>c=a, d=" in page or "<td>c=a</td>" in page
    assert "<h2>Calibration</h2>" in page
    last = [r for r in found.windows("1", "champion", "day") if r.segments[0].calibration][-1]
    assert sum(each.n for each in last.segments[0].calibration) == last.segments[0].labelled


@pytest.fixture(scope="module")
def cut() -> Findings:
    """One segment of few rows is always wrong, one of half the rows often; each day is compared with the one before."""
    spec = parse_spec(SEGMENTS, "m.yaml")
    rows = []
    for i in range(5 * 400):
        site = "few" if i % 40 == 0 else "half" if i % 2 == 0 else "others"
        wrong = {"few": True, "half": i % 8 == 2, "others": i % 50 == 1}[site] or i % 400 < 20 * (i // 400)
        time = START + i * DAY // 400
        answer = {"prediction": "yes", "outcome": "no" if wrong else "yes"}
        rows.append({"id": str(i), "time": time, "x": i % 7, "site": site, **answer})
    return run(spec, Inputs(pa.Table.from_pylist(rows)))


def test_the_worst_segments_are_those_with_the_greatest_effect_on_everybody_with_their_interval(cut):
    (worst,) = worst_segments(cut, "day", "accuracy")
    effect = worst.effect
    assert effect.segment == "site=half"  # not site=few, which is never right but has ten rows a day
    report = next(r for r in cut.windows("1", "champion", "day") if r.window.end == worst.end)
    half = next(s.metrics["accuracy"] for s in report.segments if s.segment == "site=half")
    share, everyone = half.n / 400, everybody(report).metrics["accuracy"].value
    assert effect.effect == pytest.approx(share * (everyone - half.value))
    assert (effect.low, effect.high) == pytest.approx((share * (everyone - half.high), share * (everyone - half.low)))
    told = [text for text in checked(page_of(cut)).texts if text.strip()]
    row = told[told.index("site=half") :][:6]
    low, high = f"{effect.low:.3g}", f"{effect.high:.3g}"
    assert row == [
        "site=half",
        f"{effect.effect:.3g}",
        f"{low} to {high}",
        f"{half.value:.4g}",
        "190",
        moment(worst.end),
    ]
    console = Console(width=200, file=StringIO())
    show(cut, console)
    (line,) = (line for line in console.file.getvalue().splitlines() if "site=half" in line)
    assert line.split()[:4] == ["accuracy", "site=half", f"{effect.effect:.3g}", low]


def test_a_figure_that_is_neither_good_nor_bad_has_no_worst_segments(cut):
    assert worst_segments(cut, "day", "predicted_positive_rate") == []


def test_each_window_is_drawn_beside_its_own_baseline(cut):
    (line,) = lines(cut, "day")
    known = [point for point in line.points if point.figure.baseline is not None]
    assert [p.figure.baseline for p in known] == [p.figure.value for p in line.points[:-1]]
    assert len(line.baselines) == 4
    (drawn,) = re.findall('class="baseline" d="([^"]*)"', page_of(cut))
    steps = re.findall(r"M([\d.]+) ([\d.]+)H([\d.]+)", drawn)
    assert len(steps) == len(known)
    assert len({height for _, height, _ in steps}) == 4
    assert all(float(begin) < float(end) for begin, _, end in steps)
    assert [end for _, _, end in steps[:-1]] == [begin for begin, _, _ in steps[1:]]


def test_a_share_of_the_baseline_is_not_drawn_as_a_figure(cut):
    assert "below_baseline" in SEGMENTS
    assert 'class="limit"' not in page_of(cut)


def test_a_model_without_segments_has_no_table_of_them(found):
    plain = Findings(found.spec, versions=found.versions, first=found.first, last=found.last, decided=found.decided)
    for key, report in found.reports.items():
        plain.reports[key] = msgspec.structs.replace(report, segments=report.segments[:1])
    assert "Worst segments" not in page_of(plain)


@pytest.mark.parametrize("values", [(0.1, 0.9), (5.0, 5.0), (0.0, 0.0), (-1e9, 1e9), (1e-9, 2e-9)])
def test_a_scale_has_a_few_round_numbers_within(values):
    span = Span.around(values)
    assert span.low < min(values) <= max(values) < span.high
    assert 2 <= len(span.ticks()) <= 8
    assert all(span.low <= tick <= span.high for tick in span.ticks())


@pytest.mark.parametrize("days", [0.01, 0.5, 3, 20, 60, 200, 900, 5000])
def test_a_time_axis_has_a_few_names(days):
    begin = 1_709_294_400_000
    span = Span(begin, begin + days * 86_400_000)
    ticks = time_ticks(span)
    assert len(ticks) <= 12
    assert [at for at, _ in ticks] == sorted(at for at, _ in ticks)
    if days >= 0.5:
        assert ticks
