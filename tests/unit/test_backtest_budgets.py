"""Budgets of false alarms through every way to a backtest: the thresholds are told, and alerts come of them."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from tests.backtests import events_of, rows_of, write_csv
from tests.services_in_memory import published

import driftline
from driftline.backtesting.job import Inputs, run
from driftline.backtesting.mapping import Columns
from driftline.cli.main import cli
from driftline.events.base import iso
from driftline.events.baselines import Calibration
from driftline.events.topics import Topic, decode_record
from driftline.spec.reader import read_spec

DAYS = 12
SPEC = """
model: m
task: binary
labels: ["no", "yes"]
positive: "yes"
features: {x: {type: number}}
horizon: 2d
lateness: 0s
pane: 1h
baseline: {first: 6d}
windows: {quarter: {span: 6h}}
rules:
  - {name: worse, metric: accuracy, window: quarter, false_alarms: 1 per 5d, min_samples: 20}
  - {name: rare, drift: psi, features: all, window: quarter, false_alarms: 1 per 365d, min_samples: 20}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model whose inputs move in the middle of the time."""
    path = tmp_path_factory.mktemp("budgets")
    (path / "m.yaml").write_text(SPEC)
    predictions, outcomes = rows_of("binary", days=DAYS)
    write_csv(path / "p.csv", predictions, iso)
    write_csv(path / "o.csv", outcomes, iso)
    return path


@pytest.fixture(scope="module")
def done(files):
    return driftline.backtest(files / "m.yaml", files / "p.csv", files / "o.csv")


def called(files, *options):
    paths = [str(files / "m.yaml"), "--predictions", str(files / "p.csv"), "--outcomes", str(files / "o.csv")]
    return CliRunner().invoke(cli, ["backtest", *paths, *options], catch_exceptions=False)


def test_a_budget_becomes_a_threshold_and_alerts_carry_it(done):
    found = {each.rule: each for each in done.calibrations}
    assert set(found) == {"worse", "rare"}
    assert found["worse"].threshold is not None
    (episode,) = done.episodes()
    budget = episode.fired.evidence.false_alarms
    assert (episode.fired.rule, budget.calibration) == ("rare", found["rare"].id)


def test_the_summary_and_the_page_say_what_every_budget_came_to(files, done):
    out = called(files).output
    assert "Budgets of false alarms" in out
    for each in done.calibrations:
        assert each.summary in out
        assert each.summary in done.html()


def test_json_has_calibrations_among_the_very_events(files, done):
    events = [json.loads(line) for line in called(files, "--json").stdout.splitlines()]
    told = [each["event"] for each in events if each["topic"] == "baselines"]
    assert [decode_record(Topic.BASELINES, json.dumps(each).encode()) for each in told] == done.calibrations
    assert all(isinstance(each, Calibration) for each in done.calibrations)


def test_the_services_publish_the_same(files):
    spec = read_spec(files / "m.yaml")
    predictions, outcomes = rows_of("binary", days=DAYS)
    told = []
    tables = pa.Table.from_pylist(predictions), pa.Table.from_pylist(outcomes)
    given = Inputs(*tables, columns=Columns(outcome_time="time"))
    found = run(spec, given, lambda *each: told.append(each))
    assert found.calibrations
    assert told == published(spec, events_of(predictions, outcomes, spec), found.decided)


def test_data_frames_come_to_the_same(files, done):
    again = driftline.backtest(files / "m.yaml", pd.read_csv(files / "p.csv"), pd.read_csv(files / "o.csv"))
    assert again.calibrations == done.calibrations
    assert [each.fired.id for each in again.episodes()] == [each.fired.id for each in done.episodes()]
