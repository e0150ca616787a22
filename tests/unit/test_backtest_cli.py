"""`driftline backtest` and `driftline init` as a shell sees them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest
from click.testing import CliRunner
from tests.backtests import BINARY, REGRESSION, SPEC, rows_of, write_csv

from driftline.cli.main import cli
from driftline.errors import DriftlineError
from driftline.events.base import iso
from driftline.spec.reader import read_spec


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A spec, another with a higher threshold, predictions, outcomes and a reference, in a directory."""
    path = tmp_path_factory.mktemp("files")
    spec = SPEC.format(**BINARY)
    (path / "m.yaml").write_text(spec)
    (path / "other.yaml").write_text(spec.replace("below: 0.8", "below: 0.3"))
    predictions, outcomes = rows_of("binary", days=2)
    write_csv(path / "p.csv", predictions, iso)
    write_csv(path / "o.csv", outcomes, iso)
    write_csv(path / "r.csv", rows_of("binary", days=2, seed=1)[0], iso)
    return path


def called(files, *arguments):
    done = CliRunner().invoke(cli, ["backtest", str(files / "m.yaml"), *map(str, arguments)])
    if isinstance(done.exception, DriftlineError):
        raise done.exception
    return done


def of(files):
    return ("--predictions", files / "p.csv", "--outcomes", files / "o.csv", "--reference", files / "r.csv")


def test_the_summary_says_what_was_read_assumed_and_found(files, tmp_path):
    done = called(files, *of(files), "--html", tmp_path / "report.html")
    assert done.exit_code == 0
    out = done.output
    assert out.startswith("m, version 1\n")
    for text in (
        "predictions counted",
        "columns by their names: id = id, time = time",
        "Metrics by day",
        "Metrics by hour",
        "Drift by day (PSI, most drifted first)",
        "Alerts: ",
        "Retrains asked for: ",
        f"The report is in {tmp_path / 'report.html'}.",
    ):
        assert text in out
    assert "is 2" not in (tmp_path / "report.html").read_text().split("<title>")[0]


def test_the_summary_says_how_far_bins_can_put_a_figure_off_where_that_is_much(tmp_path):
    (tmp_path / "m.yaml").write_text(SPEC.format(**BINARY))
    predictions, outcomes = rows_of("binary", days=2)
    write_csv(tmp_path / "o.csv", outcomes, iso)
    shown = {}
    for scored in (True, False):
        rows = predictions if scored else [row | {"score": None} for row in predictions]
        write_csv(tmp_path / "p.csv", rows, iso)
        shown[scored] = called(tmp_path, "--predictions", tmp_path / "p.csv", "--outcomes", tmp_path / "o.csv").output
    auc, *_ = [line for line in shown[True].splitlines() if line.startswith("auc ")]
    accuracy, *_ = [line for line in shown[True].splitlines() if line.startswith("accuracy ")]
    assert ("off by" in shown[True], "<= 0.0" in auc, "<=" in accuracy) == (True, True, False)
    assert "off by" not in shown[False]


def test_json_is_one_event_a_line_with_its_topic(files):
    done = called(files, *of(files), "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"metrics", "alerts", "retrain-requests", "cases", "models"} <= {each["topic"] for each in events}
    assert all(set(each) == {"topic", "event"} for each in events)
    assert done.stderr == ""


def test_dead_letters_are_told_in_both_forms(files, tmp_path):
    text = (files / "p.csv").read_text().splitlines()[:100]
    text[3] = text[3].replace("p", "p", 1).replace(",1,", ",1,much", 1)
    path = tmp_path / "p.csv"
    path.write_text("\n".join([*text, "only,three,values"]) + "\n")
    arguments = ("--predictions", path, "--outcomes", files / "o.csv")
    out = called(files, *arguments).output
    assert "Rows that could not be used: 2" in out
    assert "(wrong-type)" in out
    events = [json.loads(line) for line in called(files, *arguments, "--json").stdout.splitlines()]
    letters = [each["event"] for each in events if each["topic"] == "dead-letters"]
    assert sorted(letter["row"] for letter in letters) == [3, len(text)]


def test_two_sets_of_rules_are_shown_side_by_side(files):
    out = called(files, *of(files), "--compare", files / "other.yaml").output
    assert "Alerts of m.yaml (here) and other.yaml (there): " in out
    assert "only here" in out


def test_what_cannot_be_asked_together_is_refused(files):
    assert called(files, *of(files), "--compare", files / "other.yaml", "--json").exit_code == 2
    with pytest.raises(DriftlineError, match="there is no directory"):
        called(files, *of(files), "--html", files / "none" / "report.html")
    with pytest.raises(DriftlineError, match="there is no such file"):
        called(files, "--predictions", files / "none.csv")


def test_no_server_is_needed_and_none_is_looked_for(files):
    """In a process of its own, where any connection would be an error."""
    code = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise AssertionError('a connection')\n"
        "socket.socket.connect = refuse\n"
        "from driftline.cli.main import main\n"
        "sys.argv[0] = 'driftline'\n"
        "main()\n"
    )
    arguments = ["backtest", str(files / "m.yaml"), *map(str, of(files))]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env={"PATH": ""}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Alerts: " in done.stdout


def test_a_key_press_ends_it_cleanly(files, monkeypatch):
    from driftline.cli import backtest_work

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(backtest_work, "run", interrupted)
    done = called(files, *of(files))
    assert done.exit_code == 1
    assert "Aborted!" in done.output  # `main` turns this into exit code 130


def test_help_has_examples():
    for command in ("backtest", "init"):
        assert f"driftline {command} " in CliRunner().invoke(cli, [command, "--help"]).output


@pytest.mark.parametrize("words", [BINARY, REGRESSION], ids=["binary", "regression"])
def test_a_first_spec_passes_and_can_be_backtested(tmp_path, words):
    predictions, outcomes = rows_of(words["task"], days=5)
    write_csv(tmp_path / "orders.csv", predictions, iso)
    write_csv(tmp_path / "o.csv", outcomes, iso)
    spec = tmp_path / "monitor.yaml"
    arguments = ["init", str(tmp_path / "orders.csv"), "--outcomes", str(tmp_path / "o.csv"), "--output", str(spec)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert f"--predictions {tmp_path / 'orders.csv'} --outcomes {tmp_path / 'o.csv'} --html" in done.output
    read = read_spec(spec)
    assert (read.model, read.task) == ("orders", words["task"])
    assert CliRunner().invoke(cli, ["spec", "check", str(spec)]).exit_code == 0
    told = ["backtest", str(spec), "--predictions", str(tmp_path / "orders.csv"), "--outcomes", str(tmp_path / "o.csv")]
    out = CliRunner().invoke(cli, told).output
    assert "could not be used" not in out
    assert "range:" not in out  # nothing in the file it was made from is out of range


def test_many_labels_pass_from_a_first_spec_to_a_backtest_and_no_row_is_lost_unsaid(tmp_path):
    predictions, outcomes = rows_of("multiclass", days=5)
    truth = {row["id"]: row["outcome"] for row in outcomes}
    rows = [
        {"id": str(i), "time": row["time"], "x": row["x"], "c": row["c"], "prediction": row["prediction"],
         "outcome": truth.get(row["id"], "")} for i, row in enumerate(predictions)
    ]  # fmt: skip
    for i in range(4):
        rows[i] |= {"prediction": "rare", "outcome": "rare"}
    rows[9]["x"] = "much"
    file = write_csv(tmp_path / "my rows.csv", rows, iso)
    spec = tmp_path / "my spec.yaml"
    done = CliRunner().invoke(cli, ["init", str(file), "--output", str(spec)], catch_exceptions=False)
    assert "Rows that could not be used: 1" in done.output
    assert read_spec(spec).labels == ("maybe", "no", "rare", "yes")
    assert CliRunner().invoke(cli, ["spec", "check", str(spec)]).exit_code == 0
    command = shlex.split(done.output.splitlines()[-1])
    assert command[:4] == ["driftline", "backtest", str(spec), "--predictions"]
    page = tmp_path / "report.html"
    out = CliRunner().invoke(cli, [*command[1:-1], str(page)], catch_exceptions=False).output
    assert "Rows that could not be used: 1" in out
    assert f"{len(rows) - 1:,} predictions counted" in out
    assert "f1_macro-low:" not in out
    assert "f1_macro" in page.read_text()


def test_without_outcomes_a_first_spec_says_that_a_backtest_needs_them(tmp_path):
    predictions, _ = rows_of("binary", days=1)
    file, spec = write_csv(tmp_path / "p.csv", predictions, iso), tmp_path / "m.yaml"
    out = CliRunner().invoke(cli, ["init", str(file), "--output", str(spec)]).output
    assert "Next, with what came true:" in out
    assert out.splitlines()[-1].endswith("--outcomes outcomes.csv --html report.html")


def test_where_a_first_spec_cannot_be_written_is_said(tmp_path):
    predictions, _ = rows_of("binary", days=1)
    write_csv(tmp_path / "p.csv", predictions, iso)
    arguments = ["init", str(tmp_path / "p.csv"), "--output", str(tmp_path / "none" / "x.yaml")]
    assert "there is no directory" in str(CliRunner().invoke(cli, arguments).exception)


def test_a_spec_that_is_there_is_not_overwritten_unless_asked(tmp_path):
    predictions, _ = rows_of("binary", days=2)
    write_csv(tmp_path / "p.csv", predictions, iso)
    spec = tmp_path / "monitor.yaml"
    spec.write_text("mine")
    arguments = ["init", str(tmp_path / "p.csv"), "--output", str(spec)]
    refused = CliRunner().invoke(cli, arguments)
    assert "--force overwrites it" in str(refused.exception)
    assert spec.read_text() == "mine"
    assert CliRunner().invoke(cli, [*arguments, "--force"]).exit_code == 0
    assert read_spec(spec).model == "p"
