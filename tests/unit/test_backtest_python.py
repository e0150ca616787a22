"""`driftline.backtest`: what a notebook calls."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser

import pandas as pd
import pytest
from tests.backtests import BINARY, SPEC, rows_of

import driftline
from driftline.errors import DriftlineError
from driftline.events.alerts import Alert
from driftline.events.reports import WindowReport


@pytest.fixture(scope="module")
def frames():
    predictions, outcomes = rows_of("binary", days=2)
    return pd.DataFrame(predictions).rename(columns={"prediction": "answer"}), pd.DataFrame(outcomes)


@pytest.fixture(scope="module")
def done(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "m.yaml"
    path.write_text(SPEC.format(**BINARY))
    return driftline.backtest(path, *frames, frames[0].head(200), prediction="answer")


def test_it_gives_events_and_tables(done):
    assert all(isinstance(report, WindowReport) for report in done.reports)
    assert all(isinstance(alert, Alert) for alert in done.alerts)
    assert done.requests
    metrics = done.metrics().to_pandas()
    assert set(metrics["metric"]) == {"accuracy", "auc", "log_loss", "f1"}
    last = done.reports[-1]
    row = metrics[(metrics["window"] == last.window.name) & (metrics["metric"] == "accuracy")].iloc[-1]
    assert row["value"] == last.segments[0].metrics["accuracy"].value
    assert row["end"].timestamp() * 1000 == last.window.end
    drift = done.drift().to_pandas()
    assert set(drift["feature"]) == {"x", "y", "c", "d", "score", "prediction"}
    assert drift["psi"].notna().any()


def test_a_notebook_shows_the_whole_report_in_a_frame_of_its_own(done):
    shown = done._repr_html_()
    found = []

    class Frame(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, dict(attrs)))

    Frame().feed(shown)
    ((tag, attributes),) = found
    assert tag == "iframe"
    assert attributes["srcdoc"] == done.html()


def test_it_describes_itself_in_a_line(done):
    assert repr(done).startswith("<Backtest of m: ")
    assert f"{done.predictions:,} predictions" in repr(done)


def test_two_of_them_are_compared(done, frames, tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(SPEC.format(**BINARY | {"limit": 0.2}))
    other = driftline.backtest(path, *frames, frames[0].head(200), prediction="answer")
    wheres = {(pair.where, (pair.here or pair.there).fired.rule) for pair in done.compare(other)}
    assert ("only here", "worse") in wheres
    assert ("both", "drift") in wheres


def test_a_column_that_there_is_not_is_refused(frames):
    with pytest.raises(DriftlineError, match="no column predicted to name"):
        driftline.backtest("m.yaml", *frames, predicted="answer")


def test_the_public_names_are_these_and_cost_nothing_until_they_are_used():
    assert driftline.__all__ == ["backtest"]
    assert driftline.backtest.__doc__
    with pytest.raises(AttributeError, match="has no attribute 'backtests'"):
        driftline.backtests  # noqa: B018  # asking is the test
    code = "import driftline, sys; print([m for m in ('numpy', 'pyarrow', 'driftline.control') if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_the_function_is_not_hidden_by_a_module_of_its_name():
    import driftline.backtesting.job  # imported for its effect

    assert callable(driftline.backtest)
