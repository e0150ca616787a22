"""`driftline apply --dry-run`: old rules beside new ones over what the archive holds, and the history of a spec."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace

import msgspec
import orjson
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from tests.archives import DAY, HOUR, SLICE_MS, START, Archive

from driftline.cli import dry_run as work
from driftline.cli import spec as spec_commands
from driftline.cli.main import cli
from driftline.errors import DriftlineError
from driftline.events.admin import SpecRevision
from driftline.events.retraining import Span
from driftline.events.topics import Topic
from driftline.platform.archive_tables import ID, MARK, export
from driftline.spec.plain import to_plain
from driftline.spec.reader import parse_spec

TEXT = """
model: m
task: binary
labels: ["no", "yes"]
positive: "yes"
features: {{x: {{type: number}}, c: {{type: category}}}}
segments: [site]
horizon: 6h
lateness: 0s
pane: 15m
windows: {{hours: {{span: 6h}}}}
metrics: [accuracy]
rules:
  - {{name: low, metric: accuracy, window: hours, below: {below}, min_samples: 10}}
"""
OLD, STRICT = (parse_spec(TEXT.format(below=below), "m.yaml") for below in (0.5, 0.9))


@pytest.fixture
def archive(tmp_path):
    """Three days: right two times in three, on the second day never."""
    archive = Archive(tmp_path / "archive", OLD)
    for i in range(3 * 24 * 4):
        time = START + i * HOUR // 4
        wrong = DAY <= time - START < 2 * DAY or i % 3 == 0
        event = {"id": f"p{i}", "model": "m", "version": "1", "time": time, "prediction": "yes", "score": 0.7}
        event |= {"features": {"x": i, "c": "a"}, "attributes": {"site": f"s{i % 2}"}, "latency_ms": 2.5}
        archive.add(Topic.PREDICTIONS, time, orjson.dumps(event))
        if i % 50 == 0:
            archive.add(Topic.PREDICTIONS, time, orjson.dumps(event))
        came = {"id": f"p{i}", "model": "m", "time": time + HOUR, "outcome": "no" if wrong else "yes"}
        archive.add(Topic.OUTCOMES, time + HOUR, orjson.dumps(came))
    archive.flush()
    return archive


@pytest.fixture
def settings(archive, monkeypatch):
    deployment = SimpleNamespace(slice=timedelta(milliseconds=SLICE_MS))
    monkeypatch.setattr(work, "read_deployment", lambda _: deployment)
    monkeypatch.setattr(work, "latest_spec", lambda *_: (3, OLD))
    monkeypatch.setattr(work, "declared_baselines", lambda *_: [])
    found = SimpleNamespace(archive_dir=archive.directory)
    monkeypatch.setattr(spec_commands.settings_module, "load", lambda: found)
    return found


def dry_run(tmp_path, text, *options):
    file = tmp_path / "new.yaml"
    file.write_text(text)
    return CliRunner().invoke(cli, ["apply", str(file), "--dry-run", *options])


def test_what_the_archive_holds_becomes_a_row_a_prediction_that_counts_and_a_row_an_outcome(archive, tmp_path):
    part = Span(start=START + DAY, end=START + 2 * DAY)
    files = export(archive.directory, SLICE_MS, [OLD], part, tmp_path)
    assert files.rows == (96, 96 + 4 + 96)
    said = pq.read_table(files.predictions).to_pylist()
    assert said[0] == {
        **{f"{MARK}{name}": value for name, value in (("id", "p96"), ("prediction", "yes"), ("version", "1"))},
        f"{MARK}time": said[0][f"{MARK}time"],
        f"{MARK}score": 0.7,
        "role": "champion",
        "latency_ms": 2.5,
        "site": "s0",
        "x": 96.0,
        "c": "a",
    }
    assert len({row[ID] for row in said}) == 96


def test_stricter_rules_are_shown_beside_those_in_force(settings, tmp_path):
    result = dry_run(tmp_path, TEXT.format(below=0.9))
    assert result.exit_code == 0, result.output
    assert "288 predictions and 288 outcomes from" in result.output.replace("\n", " ")
    assert "Alerts of m@3 (here) and new.yaml (there): 1 both, 0 only here, 0 only there" in result.output


def test_machines_get_every_alert_of_both(settings, tmp_path):
    found = json.loads(dry_run(tmp_path, TEXT.format(below=0.9), "--json").stdout)
    assert (found["old"], found["new"], found["predictions"], found["outcomes"]) == ("m@3", "new.yaml", 288, 288)
    fired = [(pair["where"], (pair["old"] or pair["new"])["fired"]["rule"]) for pair in found["alerts"]]
    assert fired == [("both", "low")]
    (pair,) = found["alerts"]
    assert pair["new"]["fired"]["at"] < pair["old"]["fired"]["at"]
    assert (
        pair["old"]["fired"]["at"] == START + DAY + 6 * HOUR + HOUR // 2
    )  # once most outcomes of the window are known
    assert (pair["old"]["until"], pair["new"]["until"]) == (START + 2 * DAY + 6 * HOUR + HOUR // 2, None)


def test_budgets_are_played_and_said(settings, tmp_path):
    text = TEXT.format(below=0.5).replace("pane: 15m", "pane: 15m\nbaseline: {first: 1d}")
    text = text.replace("hours: {span: 6h}", "hours: {span: 1h}").replace("below: 0.5", "false_alarms: 1 per 1d")
    text = text.replace("min_samples: 10", "min_samples: 2")
    (told,) = json.loads(dry_run(tmp_path, text, "--json").stdout)["calibrations"]
    assert (told["rule"], told["windows"]) == ("low", 24)
    assert told["summary"] in dry_run(tmp_path, text).output.replace("\n", " ")


def test_only_the_last_time_is_looked_at(settings, tmp_path):
    found = json.loads(dry_run(tmp_path, TEXT.format(below=0.5), "--json", "--over", "12h").stdout)
    assert (found["predictions"], found["alerts"]) == (48, [])


def test_without_a_spec_in_force_only_the_new_one_is_played(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "latest_spec", lambda *_: None)
    found = json.loads(dry_run(tmp_path, TEXT.format(below=0.5), "--json").stdout)
    assert (found["old"], [pair["where"] for pair in found["alerts"]]) == ("none", ["only there"])


def test_what_cannot_change_is_refused_before_anything_is_played(settings, tmp_path):
    result = dry_run(tmp_path, TEXT.format(below=0.5).replace("pane: 15m", "pane: 30m"))
    assert isinstance(result.exception, DriftlineError)
    assert "`pane` of m cannot change" in str(result.exception)


def test_a_model_without_rows_and_a_wrong_time_are_said(settings, tmp_path):
    result = dry_run(tmp_path, TEXT.format(below=0.5).replace("model: m", "model: n"))
    assert "holds no prediction of n" in str(result.exception)
    wrong = dry_run(tmp_path, TEXT.format(below=0.5), "--over", "a month")
    assert str(wrong.exception).startswith("--over: 'a month' is no duration")


@pytest.fixture
def revisions(monkeypatch):
    specs = [OLD, STRICT, msgspec.structs.replace(STRICT, segments=())]
    found = [
        SpecRevision(id=str(i), model="m", revision=i, author="ann", written_at=START + i * DAY, spec=to_plain(each))
        for i, each in enumerate(specs, start=1)
    ]
    monkeypatch.setattr(spec_commands.settings_module, "load", lambda: None)
    monkeypatch.setattr(spec_commands, "spec_revisions", lambda _, model: found if model == "m" else [])
    return found


def run(*arguments):
    return CliRunner().invoke(cli, ["spec", *arguments])


def test_the_history_of_a_spec_says_what_each_revision_changed(revisions):
    lines = run("history", "m").output.splitlines()
    assert [line.split()[-1] for line in lines] == ["changed", "first", "rules", "segments"]
    assert [each["revision"] for each in json.loads(run("history", "m", "--json").stdout)] == [1, 2, 3]
    assert "no spec of n has been applied" in str(run("history", "n").exception)


def test_two_revisions_or_a_revision_and_a_file_are_compared_line_by_line(revisions, tmp_path):
    assert '-      "below": 0.5,' in run("diff", "m", "1", "2").output
    assert '-  "segments": [' in run("diff", "m").output
    file = tmp_path / "m.yaml"
    file.write_text(TEXT.format(below=0.5))
    assert run("diff", "m", "1", str(file)).output == "no difference\n"
    assert "9 is neither a file nor a revision of m; there are 1, 2, 3" in str(run("diff", "m", "1", "9").exception)
