"""A user's training function in its child process: what it returns, and every way in which it can fail."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.errors import DriftlineError
from driftline.events.base import encode
from driftline.platform.artifacts import load
from driftline.platform.settings import Settings
from driftline.spec.model import FeatureSpec, MonitorSpec, PromotionSpec
from driftline.spec.plain import to_plain
from driftline.trainer import child, process
from driftline.trainer.job import ABOUT, FEATURES, JOB, LOG, RESULT, Job
from driftline.trainer.process import Cancelled, Child

ROOT = Path(__file__).parents[2]
SPEC = MonitorSpec(
    model="m",
    task="binary",
    labels=("on-time", "late"),
    positive="late",
    features={"distance": FeatureSpec(type="number"), "carrier": FeatureSpec(type="category")},
    outputs={},
    horizon=timedelta(days=2),
    lateness=timedelta(0),
    pane=timedelta(minutes=1),
    max_ahead=timedelta(minutes=5),
    windows={},
    metrics=(),
    rules=(),
    retrain=None,
    promotion=PromotionSpec(metric="log_loss", min_effect=0.0),
    retain_raw=timedelta(days=9),
)


@pytest.fixture(scope="module", autouse=True)
def surroundings():
    """Those of a trainer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # the child finds a user's package from where the trainer was started
        patch.setenv("DRIFTLINE_BOOTSTRAP", "nowhere:1")
        patch.setenv("DRIFTLINE_REDIS_URL", "redis://nowhere")
        yield


def settings_in(path: Path) -> Settings:
    return Settings("nowhere:1", "redis://nowhere", "test.", path, path / "archive", path / "artifacts")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINING_NOTES", str(tmp_path / "notes"))
    return settings_in(tmp_path)


def job(settings: Settings, function: str) -> Path:
    chance = np.random.default_rng(0)
    n = 400
    distance = chance.random(n)
    late = chance.random(n) < distance
    directory = settings.state_dir / "training"
    directory.mkdir()
    features = {
        "distance": pa.array([None if i % 50 == 0 else float(d) for i, d in enumerate(distance)], pa.float64()),
        "carrier": pa.array([None if i % 60 == 0 else "AB"[i % 2] for i in range(n)], pa.string()),
    }
    about = {"outcome": ["late" if x else "on-time" for x in late], "time": list(range(n))}
    pq.write_table(pa.table(features), directory / FEATURES)
    pq.write_table(pa.table(about), directory / ABOUT)
    trainer = function if ":" in function else f"tests.functions_to_train:{function}"
    wanted = Job(
        trainer=trainer,
        spec=to_plain(SPEC),
        version="v1",
        source="test",
        artifact_dir=str(settings.artifact_dir),
        key_dir=str(settings.keys),
    )
    (directory / JOB).write_bytes(encode(wanted))
    return directory


def run_child(directory: Path, limit_s: float, cancel: threading.Event):
    with Child(directory) as process:
        return process.train(limit_s, cancel)


def train(settings: Settings, function: str, limit_s: float = 60.0):
    return run_child(job(settings, function), limit_s, threading.Event())


@pytest.fixture(scope="module")
def boosted(tmp_path_factory):
    """A training that went well: where it took place, and its result."""
    settings = settings_in(tmp_path_factory.mktemp("boosted"))
    return settings, train(settings, "boosted")


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


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("no_result", "returned DataFrame, not driftline.client.training.Trained"),
        ("holds_a_function", "not allowed: tests.functions_to_train.keep"),
        ("other_labels", "the labels are on-time, late"),
        ("no_such_function", "no training function 'tests.functions_to_train:no_such_function'"),
        ("no_such_module:train", "No module named 'no_such_module'"),
        ("neither:", "no training function"),
    ],
)
def test_what_cannot_be_a_candidate_says_why(settings, function, told):
    directory = job(settings, function)
    with pytest.raises(DriftlineError, match=told.replace(".", r"\.")):
        child.train(directory)
    assert not (directory / RESULT).exists()


def test_a_function_that_takes_its_process_down_takes_no_more(settings):
    with pytest.raises(DriftlineError, match="was ended by SIGABRT"):
        train(settings, "dies")


def test_an_error_ends_the_training_and_what_was_printed_stays_in_the_log(settings):
    with pytest.raises(DriftlineError, match=r"(?s)ended with code 1.*ZeroDivisionError: nothing to divide by"):
        train(settings, "raises")
    assert "about to divide" in (settings.state_dir / "training" / LOG).read_text()


def test_a_training_beyond_its_time_limit_ends_with_all_that_it_started(settings, monkeypatch):
    notes = settings.state_dir / "notes"

    def an_hour_later_once_it_has_started() -> float:
        return time.monotonic() + (3600 if notes.exists() and notes.read_text() else 0)

    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=an_hour_later_once_it_has_started))
    with pytest.raises(DriftlineError, match="longer than its time limit of 1800 s"):
        train(settings, "with_a_child_of_its_own", limit_s=1800.0)
    eventually(lambda: gone(int(notes.read_text())))


def test_a_cancelled_training_ends_at_once(settings):
    cancel, notes = threading.Event(), settings.state_dir / "notes"
    directory = job(settings, "slow")
    failed = []

    def run() -> None:
        try:
            run_child(directory, 60.0, cancel)
        except Cancelled as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    eventually(notes.exists)
    eventually(lambda: notes.read_text().endswith("\n"))
    cancel.set()
    thread.join(60)
    assert failed
    eventually(lambda: gone(int(notes.read_text())))


def test_a_training_gets_ready_and_waits_for_its_rows(settings, monkeypatch):
    (settings.state_dir / "slowly_imported.py").write_text(
        "from tests.functions_to_train import boosted\nprint('ready', flush=True)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(settings.state_dir))
    directory = job(settings, "slowly_imported:boosted")
    for name in (FEATURES, ABOUT):
        (directory / name).rename(settings.state_dir / name)
    with Child(directory) as child_process:
        eventually(lambda: "ready" in (directory / LOG).read_text())
        for name in (FEATURES, ABOUT):
            (settings.state_dir / name).rename(directory / name)
        assert child_process.train(60.0, threading.Event()).validation == {"rows": 400.0}


def test_a_training_ends_when_its_trainer_is_killed(settings):
    directory, notes = job(settings, "slow"), settings.state_dir / "notes"
    trainer = os.fork()
    if trainer == 0:
        run_child(directory, 60.0, threading.Event())
        os._exit(0)
    eventually(lambda: notes.exists() and notes.read_text().endswith("\n"))
    os.kill(trainer, 9)
    os.waitpid(trainer, 0)
    eventually(lambda: gone(int(notes.read_text())))
