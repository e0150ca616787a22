"""`docs/performance.md` says what the kept results say, and nothing by hand."""

from __future__ import annotations

import re

from benchmarks.page import PAGE, read_history, render
from benchmarks.registry import ALL
from benchmarks.results import Column, Result, load
from benchmarks.targets import KEY_FIGURES, TARGETS, table


def test_the_page_is_as_the_results_have_it():
    assert render(PAGE.read_text(), load(), read_history()) == PAGE.read_text()


def test_the_page_has_a_place_for_every_benchmark():
    places = re.findall(r"<!-- figures: (\w+) -->", PAGE.read_text())
    assert sorted(places) == sorted([*(each.name for each in ALL), "targets", "history"])


def test_what_has_not_been_measured_is_said():
    page = "<!-- figures: engine -->\nold\n<!-- end -->\n"
    assert "Not measured yet: `python -m benchmarks engine --save`." in render(page, {}, [])
    assert "not measured" in table({})


def test_every_figure_that_a_target_reads_is_one_that_its_benchmark_finds():
    results = load()
    read = [figure for target in TARGETS for figure in (*target.judged, *target.beside)]
    read += [figure for _, figure in KEY_FIGURES]
    for figure in read:
        if figure.result in results:
            assert figure.name in results[figure.result].figures


def test_a_target_is_met_or_not_by_all_of_its_figures():
    target = next(target for target in TARGETS if target.judged[0].result == "breach")

    def found(p50, p99):
        figures = {"p50 ms": p50, "p99 ms": p99, "events/s": 20_000.0}
        return {"breach": Result(name="breach", title="", columns=[Column("x")], rows=[], figures=figures)}

    assert target.met(found(200.0, 900.0)) == "yes"
    assert target.met(found(200.0, 1100.0)) == "no"
    assert target.met({}) == ""
    assert "200 ms p50, 900 ms p99, 20,000 events/s" in target.row(found(200.0, 900.0))
