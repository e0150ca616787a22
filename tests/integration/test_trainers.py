"""Trainers on a real broker and a real Redis: killed, two at a time, forgotten by Redis: one candidate in the end."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import redis
from click.testing import CliRunner
from tests.integration import test_retraining as retraining
from tests.integration.test_retraining import RECIPE, begin, events, run_until, trained

from driftline.cli.local import status
from driftline.core.case_book import CaseBook
from driftline.core.cases import take_candidate
from driftline.events.base import encode
from driftline.events.retraining import Attempt, AttemptState, Candidate, Case, CaseState, Trigger, Verdict
from driftline.events.topics import Topic
from driftline.gate import work as gate
from driftline.platform import artifacts
from driftline.platform.kafka import send_all
from driftline.platform.kept_rows import ROWS, unpack_rows
from driftline.platform.leases import FOR_S, Lease
from driftline.platform.records import Outgoing
from driftline.platform.worker import Worker
from driftline.spec.model import MonitorSpec
from driftline.trainer import work as trainer

pytestmark = pytest.mark.integration

PLUGINS = ("function", "command")
LEASE = "lease:case:1"
stage = retraining.stage


def spec(plugin: str, what: str) -> MonitorSpec:
    asked = retraining.spec(what)
    if plugin == "command":
        command = (sys.executable, "-m", "tests.command_to_train", what)
        asked = msgspec.structs.replace(
            asked, retrain=msgspec.structs.replace(asked.retrain, trainer=None, command=command)
        )
    return asked


@contextmanager
def running(settings, group: str):
    """A trainer in a group of its own, so that it is given every request whatever others are given."""
    worker = Worker(settings, group, Topic.RETRAIN_REQUESTS, trainer.make_work(settings))
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(20)
    assert not thread.is_alive()


@contextmanager
def process(settings):
    """A trainer as it is started in production."""
    names = {"BOOTSTRAP": settings.bootstrap, "REDIS_URL": settings.redis_url, "PREFIX": settings.prefix}
    names |= {"STATE_DIR": str(settings.state_dir)}
    found = {f"DRIFTLINE_{name}": value for name, value in names.items()}
    worker = subprocess.Popen([sys.executable, "-m", "driftline.trainer.main"], env=os.environ | found)
    try:
        yield worker
    finally:
        worker.terminate()
        worker.wait(30)


def eventually(check, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def trainings(settings) -> list[str]:
    """The processes that have begun to train so far."""
    notes = settings.state_dir / "notes"
    return notes.read_text().split("\n")[:-1] if notes.exists() else []


def candidates(settings) -> list[Candidate]:
    return events(settings, Topic.CANDIDATES, Candidate)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_candidate_says_what_it_scores_on_its_rows_which_are_kept_with_it(stage, plugin):
    begin(stage, spec(plugin, "boosted"))
    candidate = trained(stage)
    assert (candidate.error, candidate.validation) == (None, {"rows": 520.0})
    stored = artifacts.load(stage, candidate.artifact)
    rows = unpack_rows(stored.extra(ROWS))
    pairs = [(p, o) for p, o in retraining.flights() if p.time < RECIPE.training.end]
    assert list(zip(rows.ids, rows.times, rows.outcomes, strict=True)) == [(p.id, p.time, o.outcome) for p, o in pairs]
    found = {figure.name: figure for figure in candidate.checks}
    assert found.keys() == {"accuracy", "f1", "auc", "log_loss"}
    labels = [label for label, _ in stored.answers([p.features for p, _ in pairs])]
    right = sum(label == o.outcome for label, (_, o) in zip(labels, pairs, strict=True))
    assert found["accuracy"].value == pytest.approx(right / 520)
    assert found["accuracy"].low < right / 520 < found["accuracy"].high


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_trainer_killed_in_the_middle_and_started_again_gives_one_candidate(stage, monkeypatch, plugin):
    begin(stage, spec(plugin, "slow"))
    with process(stage) as first:
        eventually(lambda: len(trainings(stage)) == 1)
        first.send_signal(signal.SIGKILL)
        first.wait()
    monkeypatch.setenv("TRAINING_SECONDS", "0")
    with process(stage):
        eventually(lambda: candidates(stage) != [])
    assert len(trainings(stage)) == 2
    (candidate,) = candidates(stage)
    assert candidate.error is None
    assert gone(trainings(stage)[0])
    artifacts.load(stage, candidate.artifact)
    assert len(list((stage.artifact_dir / "m" / candidate.version).iterdir())) == 1


def gone(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_two_trainers_with_the_same_request_train_once_however_long_it_takes(stage, monkeypatch):
    monkeypatch.setattr(trainer, "Lease", functools.partial(Lease, for_s=1.0))
    monkeypatch.setenv("TRAINING_SECONDS", "4")  # several times as long as a lease that nobody renews
    begin(stage, spec("function", "slow"))
    with running(stage, "trainer"), running(stage, "trainer-b") as second:
        eventually(lambda: candidates(stage) != [])
        eventually(lambda: second._events == 1)
    assert len(candidates(stage)) == len(trainings(stage)) == 1
    client = redis.Redis.from_url(stage.redis_url)
    assert client.get(stage.prefix + LEASE) is None


def test_where_redis_forgets_the_lease_the_worst_is_a_second_candidate_that_nobody_takes(stage, monkeypatch, tmp_path):
    monkeypatch.setattr(trainer, "Lease", functools.partial(Lease, for_s=600.0))  # renewed too late to notice
    monkeypatch.setenv("TRAINING_SECONDS", "8")
    begin(stage, spec("function", "slow"))
    client = redis.Redis.from_url(stage.redis_url)
    with running(stage, "trainer"), running(replace(stage, state_dir=tmp_path / "b", key_dir=stage.keys), "trainer-b"):
        eventually(lambda: len(trainings(stage)) == 1)
        client.delete(stage.prefix + LEASE)
        eventually(lambda: len(candidates(stage)) == 2)
    first, second = candidates(stage)
    assert (first.id, first.version, first.baseline) == (second.id, second.version, second.baseline)
    book = CaseBook(open=asked_for(first))
    assert take_candidate(book, first, 0, 5).attempts[0].state is AttemptState.COMPARING
    assert take_candidate(book, second, 0, 6) is None
    third = msgspec.structs.replace(first, id="third")
    send_all(stage, [Outgoing(Topic.CANDIDATES, b"m", encode(third), 0)])
    verdicts = run_until(stage, gate, Topic.CANDIDATES, Topic.VERDICTS, Verdict, count=2)
    assert [verdict.candidate for verdict in verdicts] == [first.id, "third"]
    assert verdicts[0].artifact_sha256 == first.artifact.sha256


def asked_for(candidate: Candidate) -> Case:
    attempt = Attempt(
        n=1,
        state=AttemptState.REQUESTED,
        request=candidate.request,
        requested_at=1,
        deadline=9,
        trigger=Trigger.COMMAND,
    )
    return Case(
        id="c",
        case="case",
        model="m",
        state=CaseState.OPEN,
        trigger=Trigger.COMMAND,
        rule=None,
        attempts=(attempt,),
        opened_at=1,
        at=1,
        deadline=None,
        reason="",
    )


def test_a_training_whose_lease_is_another_s_ends_and_its_request_is_not_forgotten(stage, monkeypatch):
    monkeypatch.setattr(trainer, "Lease", functools.partial(Lease, for_s=0.6))
    begin(stage, spec("function", "slow"))
    client = redis.Redis.from_url(stage.redis_url)
    with running(stage, "trainer"):
        eventually(lambda: len(trainings(stage)) == 1)
        client.set(stage.prefix + LEASE, "another", px=int(FOR_S * 1000))
        eventually(lambda: gone(trainings(stage)[0]))
        assert candidates(stage) == []
        monkeypatch.setenv("TRAINING_SECONDS", "0")
        client.delete(stage.prefix + LEASE)
        eventually(lambda: candidates(stage) != [])
    assert len(trainings(stage)) == 2
    assert candidates(stage)[0].error is None


@pytest.mark.parametrize("plugin", PLUGINS)
def test_status_shows_how_far_a_training_is(stage, monkeypatch, plugin):
    for name in ("BOOTSTRAP", "REDIS_URL", "PREFIX"):
        monkeypatch.setenv(f"DRIFTLINE_{name}", getattr(stage, name.lower()))
    monkeypatch.setenv("DRIFTLINE_STATE_DIR", str(stage.state_dir))

    def doing(*options: str) -> str:
        found = CliRunner().invoke(status, options)
        assert found.exit_code == 0, found.output
        return found.output

    begin(stage, spec(plugin, "tells"))
    with running(stage, "trainer"):
        eventually(lambda: "training, 40 %: fitting slowly" in doing("--json"))
        workers = {worker["service"]: worker for worker in msgspec.json.decode(doing("--json"))["workers"]}
        assert workers["trainer"]["note"] == "m v20130322-012345: training, 40 %: fitting slowly"
        assert workers["trainer"]["progress"] == "ok"
        assert "v20130322-012345: training, 40 %: fitting slowly" in doing()
        (stage.state_dir / "notes").touch()
        eventually(lambda: candidates(stage) != [])
    assert candidates(stage)[0].error is None
