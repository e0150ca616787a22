"""Both plug-ins in the child process, a function and a command: what they return, and every way in which they fail."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score
from tests.specs import bare_spec

from driftline.core.checks import figures_of, side_of, truth_of
from driftline.core.comparison import DAY_MS, days_of
from driftline.errors import DriftlineError
from driftline.events.base import decode, encode
from driftline.platform import artifacts
from driftline.platform.artifacts import load
from driftline.platform.formats import SKOPS
from driftline.platform.kept_rows import ROWS, TRIAL, VALIDATED, unpack_rows
from driftline.platform.settings import Settings
from driftline.spec.model import FeatureSpec, RetrainSpec
from driftline.spec.plain import from_plain, to_plain
from driftline.trainer import child, process
from driftline.trainer.job import ABOUT, FEATURES, JOB, LOG, RESULT, Job, Result
from driftline.trainer.process import Cancelled, Child

ROOT = Path(__file__).parents[2]
PLUGINS = ("function", "command")
DAY = timedelta(days=1)
START = 40 * DAY_MS
SPEC = bare_spec(
    labels=("on-time", "late"),
    positive="late",
    features={"distance": FeatureSpec(type="number"), "carrier": FeatureSpec(type="category")},
)


@pytest.fixture(scope="module", autouse=True)
def surroundings():
    """Those of a trainer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # the child finds a user's package from where the trainer was started
        patch.setenv("DRIFTLINE_BOOTSTRAP", "nowhere:1")
        patch.setenv("DRIFTLINE_REDIS_URL", "redis://nowhere")
        yield


def retraining(plugin: str, what: str, **limits) -> RetrainSpec:
    """By one of `tests.functions_to_train`, called or run by a command; a colon or a blank: taken as it is."""
    who = {"trainer": what if ":" in what else f"tests.functions_to_train:{what}"}
    if plugin == "command":
        words = what.split() if " " in what else [sys.executable, "-m", "tests.command_to_train", what]
        who = {"command": tuple(words)}
    names = ("span", "holdout", "label_delay", "cooldown", "budget_per", "improve_within", "deadline")
    spans = dict.fromkeys(names, DAY)
    return RetrainSpec(**who | spans | {"budget": 1, "time_limit": timedelta(minutes=1)} | limits)


def settings_in(path: Path) -> Settings:
    return Settings("nowhere:1", "redis://nowhere", "test.", path, path / "archive", path / "artifacts")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINING_NOTES", str(tmp_path / "notes"))
    return settings_in(tmp_path)


def job(settings: Settings, plugin: str, what: str, **limits) -> Path:
    chance = np.random.default_rng(0)
    n = 400
    distance = chance.random(n)
    late = chance.random(n) < distance
    directory = settings.state_dir / "training"
    directory.mkdir(exist_ok=True)
    features = {
        "distance": pa.array([None if i % 50 == 0 else float(d) for i, d in enumerate(distance)], pa.float64()),
        "carrier": pa.array([None if i % 60 == 0 else "AB"[i % 2] for i in range(n)], pa.string()),
    }
    about = {
        "id": [f"id{i}" for i in range(n)],
        "outcome": ["late" if x else "on-time" for x in late],
        "time": [START + i * DAY_MS // 20 for i in range(n)],
    }
    pq.write_table(pa.table(features), directory / FEATURES)
    pq.write_table(pa.table(about), directory / ABOUT)
    spec = msgspec.structs.replace(SPEC, retrain=retraining(plugin, what, **limits))
    wanted = Job(
        spec=to_plain(spec),
        version="v1",
        candidate="c1",
        source="test",
        start=START,
        artifact_dir=str(settings.artifact_dir),
        key_dir=str(settings.keys),
    )
    (directory / JOB).write_bytes(encode(wanted))
    return directory


def run_child(directory: Path, cancelled=lambda: False, tell=lambda said: None) -> Result:
    retrain = from_plain(decode((directory / JOB).read_bytes(), Job).spec).retrain
    with Child(directory) as process:
        return process.train(retrain, cancelled, tell)


def train(settings: Settings, plugin: str, what: str, **limits) -> Result:
    return run_child(job(settings, plugin, what, **limits))


@pytest.fixture(scope="module", params=PLUGINS)
def boosted(request, tmp_path_factory):
    """A training that went well: where it took place, and its result."""
    settings = settings_in(tmp_path_factory.mktemp("boosted"))
    return settings, train(settings, request.param, "boosted")


def eventually(check, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # dead; whoever inherited it has not fetched its exit code yet


def test_a_trained_model_comes_back_with_its_baseline_and_the_functions_own_figures(boosted):
    settings, result = boosted
    assert result.validation == {"rows": 400.0}
    stored = load(settings, result.artifact)
    assert stored.manifest.version == "v1"
    assert stored.baseline is not None
    assert stored.baseline.id == result.baseline
    counts = stored.baseline.counts
    assert stored.baseline.n == 400
    assert sum(counts["feature:distance"]) == sum(counts["feature:carrier"]) == sum(counts["score"]) == 400
    assert (counts["feature:distance"][-1], counts["feature:carrier"][-1]) == (8, 7)  # missing ones
    answers = stored.answers([{"distance": 0.9, "carrier": "A"}, {"distance": 0.1, "carrier": None}])
    assert [label for label, _ in answers] == ["late", "on-time"]


def test_the_baseline_lists_quantile_bins_of_the_training_rows(boosted):
    settings, result = boosted
    baseline = load(settings, result.artifact).baseline
    assert baseline is not None
    frame = pd.read_parquet(settings.state_dir / "training" / FEATURES)
    edges = (-np.inf, *baseline.bins.features["distance"].edges, np.inf)
    counted = np.histogram(frame["distance"].dropna(), edges)[0]
    assert baseline.counts["feature:distance"][: counted.size] == tuple(counted)


def test_the_training_rows_stay_with_the_artifact_and_give_its_figures_again(boosted):
    settings, result = boosted
    stored = load(settings, result.artifact)
    rows = unpack_rows(stored.extra("rows.parquet"))
    assert (rows.ids[3], rows.times[3], rows.features["carrier"][:2]) == ("id3", START + 3 * DAY_MS // 20, [None, "B"])
    answers = stored.answers_to(artifacts.frame_of(stored.manifest, rows.features))
    days = days_of(rows.times, START)
    again = figures_of(SPEC, truth_of(SPEC, rows.outcomes), side_of(SPEC, answers), days, "c1")
    assert again == result.checks
    assert {figure.name for figure in again} == {"accuracy", "f1", "auc", "log_loss"}
    assert all(figure.low < figure.value < figure.high and figure.n == 400 for figure in again)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_what_a_training_reports_stays_with_what_it_is_of(settings, plugin):
    directory = job(settings, plugin, "tried")
    child.train(directory)
    result = decode((directory / RESULT).read_bytes(), Result)
    stored = load(settings, result.artifact)
    assert json.loads(stored.extra(VALIDATED)) == [*range(320, 400)]
    trial = replace(stored, estimator=SKOPS.load(stored.extra(TRIAL), Path(TRIAL)))
    rows = unpack_rows(stored.extra(ROWS)).at(range(320, 400))
    answers = trial.answers_to(artifacts.frame_of(stored.manifest, rows.features))
    auc = roc_auc_score([outcome == "late" for outcome in rows.outcomes], [score for _, score in answers])
    value, low, high = result.validation["auc"]
    assert (value, low, high) == pytest.approx((auc, auc - 1e-6, auc + 1e-6), abs=1e-12)


@pytest.mark.parametrize(
    ("plugin", "what", "told"),
    [
        ("function", "of_no_rows", "validated_on is 2 positions, not each of another one of the 400 rows"),
        ("function", "of_a_row_twice", "validated_on is 3 positions, not each of another one of the 400 rows"),
        ("function", "of_another_trial", "trial.skops holds types that are not allowed"),
        ("function", "not_a_number", "validation figure auc is nan: neither a number nor (value, low, high) around it"),
        ("function", "outside_its_interval", "validation figure auc is (0.7, 0.71, 0.72): neither a number nor"),
        ("command", "of_no_rows", "validated_on is 2 positions"),
        ("command", "of_another_trial", "trial.skops holds types that are not allowed"),
        ("function", "no_result", "returned DataFrame, not driftline.client.training.Trained"),
        ("function", "holds_a_function", "not allowed: tests.functions_to_train.keep"),
        ("function", "other_labels", "the labels are on-time, late"),
        ("function", "no_such_function", "no training function 'tests.functions_to_train:no_such_function'"),
        ("function", "no_such_module:train", "No module named 'no_such_module'"),
        ("function", "neither:", "no training function"),
        ("command", "holds_a_function", "not allowed: tests.functions_to_train.keep"),
        ("command", "other_labels", "the labels are on-time, late"),
        ("command", "./nowhere.sh --fast", "./nowhere.sh --fast cannot be started in"),
        ("command", "then_nothing", "the command ended well, but trained.json cannot be read: No such file"),
        ("command", "then_torn", "model.skops cannot be loaded: BadZipFile"),
        ("command", "then_pickle", "trained.json is not as it should be: Invalid enum value 'pickle'"),
        ("command", "then_half", "tests.command_to_train then_half was ended by SIGKILL"),
    ],
)
def test_what_cannot_be_a_candidate_says_why(settings, plugin, what, told):
    directory = job(settings, plugin, what)
    with pytest.raises(DriftlineError, match=re.escape(told)):
        child.train(directory)
    assert not (directory / RESULT).exists()


def test_a_function_that_takes_its_process_down_takes_no_more(settings):
    with pytest.raises(DriftlineError, match="was ended by SIGABRT"):
        train(settings, "function", "dies")


@pytest.mark.parametrize("plugin", PLUGINS)
def test_an_error_ends_the_training_and_what_was_printed_stays_in_the_log(settings, plugin):
    with pytest.raises(DriftlineError, match=r"(?s)ended with code 1.*ZeroDivisionError: nothing to divide by"):
        train(settings, plugin, "raises")
    assert "about to divide" in (settings.state_dir / "training" / LOG).read_text()


def test_a_training_tried_again_keeps_the_logs_before_and_hears_and_tells_only_its_own(settings):
    script, told = settings.state_dir / "train.sh", []
    script.write_text("printf 'driftline-progress: 0.9 old\\nMemoryError, long ago'; exit 3")
    with pytest.raises(DriftlineError, match="given no more memory"):
        train(settings, "command", f"sh {script}")
    script.write_text("echo second; exit 4")
    with pytest.raises(DriftlineError, match=r"(?s)ended with code 1: second\n.*ended with code 4") as caught:
        run_child(job(settings, "command", f"sh {script}"), tell=told.append)
    assert "emory" not in str(caught.value)
    assert told == []
    printed = (settings.state_dir / "training" / LOG).read_text()
    assert len(re.findall(r"^driftline: begun \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", printed, re.MULTILINE)) == 2
    assert printed.index("MemoryError, long ago") < printed.index("second")


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_training_that_takes_more_memory_than_it_may_fails_and_says_so(settings, plugin):
    with pytest.raises(DriftlineError, match=r"given no more memory \(memory_limit: 1GB a process\)"):
        train(settings, plugin, "hungry", memory_limit=1_000_000_000)


def test_a_program_that_is_no_python_is_limited_too(settings):
    with pytest.raises(DriftlineError, match=r"(?s)given no more memory.*head.* memory exhausted"):
        train(settings, "command", "head --lines=-1 /dev/zero", memory_limit=500_000_000)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_training_beyond_its_time_limit_ends_with_all_that_it_started(settings, monkeypatch, plugin):
    notes = settings.state_dir / "notes"

    def an_hour_later_once_it_has_started() -> float:
        return time.monotonic() + (3600 if notes.exists() and notes.read_text() else 0)

    faster = SimpleNamespace(monotonic=an_hour_later_once_it_has_started, sleep=time.sleep, time=time.time)
    monkeypatch.setattr(process, "time", faster)
    with pytest.raises(DriftlineError, match="longer than its time limit of 1800 s"):
        train(settings, plugin, "with_a_child_of_its_own", time_limit=timedelta(minutes=30))
    eventually(lambda: gone(int(notes.read_text())))


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_cancelled_training_ends_at_once(settings, plugin):
    notes = settings.state_dir / "notes"
    with pytest.raises(Cancelled):
        run_child(job(settings, plugin, "slow"), lambda: notes.exists() and notes.read_text().endswith("\n"))
    eventually(lambda: gone(int(notes.read_text())))


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_training_whose_process_is_killed_fails_and_nothing_of_it_runs_on(settings, plugin):
    directory, notes = job(settings, plugin, "slow"), settings.state_dir / "notes"
    retrain = from_plain(decode((directory / JOB).read_bytes(), Job).spec).retrain

    def kill_once_it_has_begun() -> bool:
        if notes.exists() and notes.read_text().endswith("\n"):
            os.kill(running._process.pid, 9)
        return False

    with Child(directory) as running, pytest.raises(DriftlineError, match="was ended by SIGKILL"):
        running.train(retrain, kill_once_it_has_begun, lambda said: None)
    eventually(lambda: gone(int(notes.read_text())))
    assert not settings.artifact_dir.exists()


@pytest.mark.parametrize("plugin", PLUGINS)
def test_what_a_training_says_of_its_progress_is_told_while_it_runs(settings, plugin):
    told = []

    def hear(said: str) -> None:
        told.append(said)
        (settings.state_dir / "notes").touch()

    assert run_child(job(settings, plugin, "tells"), tell=hear).validation == {"rows": 400.0}
    assert told[0] == "40 %: fitting slowly"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_training_killed_while_it_stores_leaves_no_artifact_and_the_next_one_is_whole(settings, plugin):
    directory = job(settings, plugin, "boosted")
    trainer = os.fork()
    if trainer == 0:
        real, written = artifacts._write, []

        def killed_in_the_middle(path: Path, data: bytes) -> None:
            if written:
                path.write_bytes(data[: len(data) // 2])
                os.kill(os.getpid(), 9)
            written.append(path)
            real(path, data)

        artifacts._write = killed_in_the_middle
        child.train(directory)
        os._exit(0)
    assert os.waitpid(trainer, 0)[1] == 9
    assert not (directory / RESULT).exists()
    assert [path.name.startswith(".writing-") for path in settings.artifact_dir.iterdir()] == [True]
    result = run_child(directory)
    load(settings, result.artifact)
    assert len(list((settings.artifact_dir / "m" / "v1").iterdir())) == 1


def test_a_training_gets_ready_and_waits_for_its_rows(settings, monkeypatch):
    (settings.state_dir / "slowly_imported.py").write_text(
        "from tests.functions_to_train import boosted\nprint('ready', flush=True)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(settings.state_dir) + os.pathsep + os.environ.get("PYTHONPATH", ""))
    directory = job(settings, "function", "slowly_imported:boosted")
    for name in (FEATURES, ABOUT):
        (directory / name).rename(settings.state_dir / name)
    with Child(directory) as running:
        eventually(lambda: "ready" in (directory / LOG).read_text())
        for name in (FEATURES, ABOUT):
            (settings.state_dir / name).rename(directory / name)
        result = running.train(retraining("function", "boosted"), lambda: False, lambda said: None)
    assert result.validation == {"rows": 400.0}


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_training_ends_when_its_trainer_is_killed(settings, plugin):
    directory, notes = job(settings, plugin, "slow"), settings.state_dir / "notes"
    trainer = os.fork()
    if trainer == 0:
        run_child(directory)
        os._exit(0)
    eventually(lambda: notes.exists() and notes.read_text().endswith("\n"))
    os.kill(trainer, 9)
    os.waitpid(trainer, 0)
    eventually(lambda: gone(int(notes.read_text())))
