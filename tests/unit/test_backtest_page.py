"""The report in HTML: well formed, complete, and never fooled by what stands in the data."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pyarrow as pa
import pytest
from tests.backtests import BINARY, CUT, SPEC, rows_of

from driftline.backtesting.figures import drift_tables, everybody, lines, longest
from driftline.backtesting.findings import Findings
from driftline.backtesting.job import Inputs, run
from driftline.backtesting.mapping import Columns
from driftline.backtesting.page.page import page_of
from driftline.backtesting.page.scales import Span, moment, time_ticks
from driftline.spec.reader import parse_spec

EVIL = "<script>alert('a')</script>"
MODEL = '<script>&"<b>'  # a model's name has no slash
VOID = {"meta", "link", "br"}


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
