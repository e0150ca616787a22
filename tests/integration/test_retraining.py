"""Trainer and gate on a real broker: a request becomes a candidate, a candidate a verdict, once."""

from __future__ import annotations

import functools
import shutil
import threading
import time
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.dummy import DummyClassifier
from sklearn.metrics import log_loss
from tests.specs import bare_spec

from driftline.archiver.writer import Writer
from driftline.cli.main import cli
from driftline.core.baseline import make_baseline
from driftline.events.admin import SpecRevision
from driftline.events.base import decode, encode
from driftline.events.baselines import Baseline
from driftline.events.inputs import Outcome, Prediction
from driftline.events.retraining import (
    Artifact,
    Candidate,
    Champion,
    ModelState,
    Recipe,
    RetrainRequest,
    Span,
    Trigger,
    Verdict,
)
from driftline.events.topics import MARK_HEADER, Topic
from driftline.gate import work as gate
from driftline.platform import artifacts, topics, worker
from driftline.platform import settings as settings_module
from driftline.platform.archive_files import prepare
from driftline.platform.kafka import consumer, read_all, send_all
from driftline.platform.kept_rows import ROWS, KeptRows, pack_rows
from driftline.platform.keys import Keyring
from driftline.platform.records import Outgoing, Record, Source
from driftline.platform.registering import manifest_of
from driftline.platform.settings import Settings
from driftline.platform.worker import Worker
from driftline.spec.model import (
    Cut,
    FeatureSpec,
    MonitorSpec,
    PromotionSpec,
    RetrainSpec,
    SegmentSpec,
    VetoSpec,
)
from driftline.spec.plain import to_plain
from driftline.trainer import work as trainer

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
HOUR, DAY = 3_600_000, 86_400_000
START = 15_765 * DAY
KNOWN_BY = START + 21 * DAY
RECIPE = Recipe(
    training=Span(start=START, end=START + 13 * DAY),
    holdout=Span(start=START + 13 * DAY, end=START + 20 * DAY),
    known_by=KNOWN_BY,
)


def spec(function: str = "boosted", time_limit_s: float = 60.0) -> MonitorSpec:
    return bare_spec(
        labels=("on-time", "late"),
        positive="late",
        features={"distance": FeatureSpec(type="number"), "carrier": FeatureSpec(type="category")},
        pane=timedelta(minutes=15),
        retrain=RetrainSpec(
            trainer=f"tests.functions_to_train:{function}",
            span=timedelta(days=13),
            holdout=timedelta(days=7),
            label_delay=timedelta(days=1),
            cooldown=timedelta(0),
            budget=9,
            budget_per=timedelta(days=30),
            improve_within=timedelta(days=14),
            deadline=timedelta(days=1),
            time_limit=timedelta(seconds=time_limit_s),
        ),
        promotion=PromotionSpec(
            metric="log_loss",
            min_effect=0.01,
            veto=VetoSpec(segments=("origin",), worse_by=0.05),
            max_latency_ratio=10_000.0,
        ),
        retain_raw=timedelta(days=90),
        segments=(SegmentSpec(cuts=(Cut(name="origin", source="attribute"),)),),
    )


def flights() -> list[tuple[Prediction, Outcome]]:
    """Forty a day for three weeks; how far they go says how often they are late, and the champion does not know it."""
    chance = np.random.default_rng(5)
    found = []
    for day in range(20):
        for n in range(40):
            time_ms = START + day * DAY + n * HOUR // 2
            distance = float(chance.random())
            late = "late" if chance.random() < 0.1 + 0.8 * (distance > 0.5) else "on-time"
            name = f"{day}/{n}"
            prediction = Prediction(
                id=name,
                model="m",
                version="1",
                time=time_ms,
                features={"distance": distance, "carrier": "AB"[n % 2]},
                attributes={"origin": ("EWR", "JFK")[n % 2]},
                prediction="on-time",
                score=0.45,
            )
            found.append((prediction, Outcome(id=name, model="m", time=time_ms + HOUR, outcome=late)))
    return found


@pytest.fixture
def stage(fresh_settings, monkeypatch) -> Settings:
    """A replay's deployment whose archive holds all flights, and whose trainer finds its functions."""
    settings = fresh_settings
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DRIFTLINE_BOOTSTRAP", settings.bootstrap)
    monkeypatch.setenv("DRIFTLINE_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("TRAINING_NOTES", str(settings.state_dir / "notes"))
    topics.create(settings, clock="events", slice_length=timedelta(minutes=15), partitions=1)
    prepare(settings.archive_dir)
    writer = Writer(settings.archive_dir, settings.prefix)
    pairs = flights()
    for topic, events in ((Topic.PREDICTIONS, [p for p, _ in pairs]), (Topic.OUTCOMES, [o for _, o in pairs])):
        source = Source(topic, 0)
        records = [Record(source, i, e.time, e.time, e.id.encode(), encode(e), ()) for i, e in enumerate(events)]
        tick = Record(source, len(events), KNOWN_BY, KNOWN_BY, None, b"", ((MARK_HEADER, b"tick"),))
        writer.add([*records, tick])
    writer.sources[Source(Topic.DEAD_LETTERS, 0)] = (9, -1)  # far enough for every test
    writer.flush()
    return settings


def begin(
    settings: Settings, what: MonitorSpec, artifact: Artifact | None = None, recipe: Recipe = RECIPE
) -> RetrainRequest:
    """Spec, champion and a request, as the command line and control would write them."""
    revision = SpecRevision(id="s", model="m", revision=1, author="t", written_at=0, spec=to_plain(what))
    champion = Champion(version="1", artifact=artifact, baseline=None, since=START)
    state = ModelState(id="c", model="m", champion=champion, previous=None, reason="registered", at=START)
    request = RetrainRequest(
        id="0123456789abcdef",
        case="case",
        model="m",
        champion="1",
        trigger=Trigger.COMMAND,
        attempt=1,
        requested_at=KNOWN_BY,
        deadline=KNOWN_BY + DAY,
        recipe=recipe,
        spec="m@1",
        reason="command",
    )
    send_all(
        settings,
        [
            Outgoing(Topic.SPECS, b"m@1", encode(revision), 0),
            Outgoing(Topic.MODELS, b"m", encode(state), 0),
            Outgoing(Topic.RETRAIN_REQUESTS, b"m", encode(request), 0),
        ],
    )
    return request


def events(settings: Settings, topic: Topic, kind):
    return [decode(record.value, kind) for record in read_all(settings, topic) if record.value]


def run_until(settings: Settings, service, topic: Topic, answers: Topic, kind, count: int = 1):
    """Run a worker until `count` answers stand in a topic; returns them."""
    name = service.__name__.split(".")[-2]
    running = Worker(settings, name, topic, service.make_work(settings))
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        deadline = time.monotonic() + 90
        while len(found := events(settings, answers, kind)) < count:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        running.stop()
        thread.join(20)
    assert not thread.is_alive()
    return found


def trained(settings: Settings) -> Candidate:
    return run_until(settings, trainer, Topic.RETRAIN_REQUESTS, Topic.CANDIDATES, Candidate)[0]


def judged(settings: Settings) -> Verdict:
    return run_until(settings, gate, Topic.CANDIDATES, Topic.VERDICTS, Verdict)[0]


def champion(settings: Settings, *, keeps_rows: bool = True) -> Artifact:
    """One that says fifty-fifty, with the rows and the baseline that come with one that is registered."""
    columns = {"distance": [0.0, 1.0], "carrier": ["A", "B"]}
    estimator = DummyClassifier(strategy="prior").fit(pd.DataFrame(columns), ["late", "on-time"])
    none, told = [None, None], ["late", "late"]
    baseline = make_baseline(spec(), columns, np.array([0.5, 0.5]), told, "1", "test", none)
    rows = {ROWS: pack_rows(spec(), KeptRows(none, none, none, columns))} if keeps_rows else {}
    return artifacts.store(settings, manifest_of(spec(), "1"), estimator, baseline, rows)


def test_a_request_becomes_a_candidate_and_a_better_one_a_promotion(stage):
    request = begin(stage, spec(), champion(stage))
    candidate = trained(stage)
    assert (candidate.error, candidate.request, candidate.version) == (None, request.id, "v20130322-012345")
    assert candidate.trained_on.n == 13 * 40
    assert candidate.validation == {"rows": 520.0}
    (baseline,) = events(stage, Topic.BASELINES, Baseline)
    assert (baseline.id, baseline.version, baseline.n) == (candidate.baseline, candidate.version, 520)

    verdict = judged(stage)
    assert (verdict.decision, verdict.reason, verdict.method) == ("promote", "better", "jackknife-t")
    assert verdict.artifact_sha256 == candidate.artifact.sha256
    assert (verdict.rows.n, verdict.rows.blocks) == (7 * 40, 7)
    pairs = [(p, o) for p, o in flights() if RECIPE.holdout.start <= p.time < RECIPE.holdout.end]
    answers = artifacts.load(stage, candidate.artifact).answers([p.features for p, _ in pairs])
    truth = [o.outcome == "late" for _, o in pairs]
    found = {metric.name: metric for metric in verdict.metrics}
    assert found["log_loss"].candidate == pytest.approx(log_loss(truth, [score for _, score in answers]), abs=1e-9)
    assert found["log_loss"].champion == pytest.approx(log_loss(truth, [0.5] * len(truth)), abs=1e-9)
    assert found["log_loss"].low > 0
    assert [(segment.segment, segment.n) for segment in verdict.segments] == [("origin=EWR", 140), ("origin=JFK", 140)]
    told = {(proof.of, proof.kind): proof.holds for proof in verdict.proofs}
    assert told == {
        ("candidate", "unseen"): True,
        ("candidate", "rows"): True,
        ("candidate", "validation"): None,  # a number of rows, which is none of the gate's metrics
        ("candidate", "figure"): True,
        ("champion", "baseline"): True,
    }
    assert all(proof.found == pytest.approx(proof.told, abs=1e-9) for proof in verdict.proofs if proof.kind == "figure")
    record = next(r for r in read_all(stage, Topic.VERDICTS) if r.value)
    assert record.timestamp == 0  # a replay places it by what comes before it
    assert record.header("ce_type") == "dev.driftline.verdict.v1"


def test_a_training_that_reports_figures_which_its_model_does_not_have_is_refused(stage):
    begin(stage, spec("boasts"))
    candidate = trained(stage)
    assert (candidate.error, candidate.validation) == (None, {"auc": 1.0, "log_loss": 0.0})
    verdict = judged(stage)
    assert (verdict.decision, verdict.reason, verdict.metrics) == ("refuse", "retrain-not-reproduced", ())
    assert [(each.kind, each.name) for each in verdict.proofs if each.holds is False] == [
        ("validation", "auc"),
        ("validation", "log_loss"),
    ]


def test_what_a_training_truly_reports_of_a_trial_is_found_again(stage):
    begin(stage, spec("tried"))
    assert trained(stage).error is None
    verdict = judged(stage)
    assert (verdict.decision, verdict.reason) == ("promote", "better")
    (proof,) = [each for each in verdict.proofs if each.kind == "validation"]
    assert (proof.name, proof.holds) == ("auc", True)


def test_a_champion_that_keeps_no_rows_holds_a_better_candidate(stage):
    begin(stage, spec(), champion(stage, keeps_rows=False))
    trained(stage)
    verdict = judged(stage)
    assert (verdict.decision, verdict.reason) == ("hold", "baseline-not-proven")


def test_a_champion_without_an_artifact_is_judged_by_what_it_said(stage):
    begin(stage, spec())
    trained(stage)
    verdict = judged(stage)
    assert verdict.method == "jackknife-t, champion by its logged predictions"
    assert (verdict.decision, verdict.reason) == ("promote", "better")
    truth = [o.outcome == "late" for p, o in flights() if RECIPE.holdout.start <= p.time < RECIPE.holdout.end]
    found = {metric.name: metric for metric in verdict.metrics}
    assert found["log_loss"].champion == pytest.approx(log_loss(truth, [0.45] * len(truth)), abs=1e-9)


def test_a_verdict_is_explained_and_comes_out_the_same_from_what_was_kept(stage, monkeypatch):
    begin(stage, spec())
    trained(stage)
    verdict = judged(stage)
    monkeypatch.setattr(settings_module, "load", lambda: stage)
    (stage.archive_dir / "predictions").rename(stage.archive_dir / "gone")  # whatever the archive still holds
    result = CliRunner().invoke(cli, ["gate", "explain", verdict.id[:10], "--rerun"])
    assert result.exit_code == 0, result.output
    assert f"m version {verdict.version} was promoted (better)" in result.output
    assert "every number is the same" in result.output


def test_a_candidate_with_too_few_held_out_rows_is_held(stage):
    begin(stage, spec(), recipe=msgspec.structs.replace(RECIPE, exclude=(Span(start=START + 15 * DAY, end=KNOWN_BY),)))
    trained(stage)
    verdict = judged(stage)
    assert (verdict.decision, verdict.reason, verdict.rows.n) == ("hold", "too-few-rows", 2 * 40)


def test_a_training_that_fails_is_a_failed_candidate_that_the_gate_passes_over(stage):
    begin(stage, spec("raises"))
    candidate = trained(stage)
    assert candidate.artifact is None
    assert "ZeroDivisionError: nothing to divide by" in candidate.error
    other = msgspec.structs.replace(candidate, id="another", error=None, request="unknown")
    send_all(stage, [Outgoing(Topic.CANDIDATES, b"m", encode(other), 0)])
    verdict = judged(stage)  # the first and only one is about the other candidate, which cannot be compared either
    assert (verdict.candidate, verdict.decision) == ("another", "refuse")
    assert verdict.reason.startswith("not-compared: request unknown")


def test_what_is_no_request_is_a_dead_letter_and_the_next_request_is_answered(stage):
    send_all(stage, [Outgoing(Topic.RETRAIN_REQUESTS, b"m", b"{}", 0)])
    begin(stage, spec())
    assert trained(stage).error is None
    (record,) = [r for r in read_all(stage, Topic.DEAD_LETTERS) if r.value]
    assert (record.value, record.header("driftline.reason")) == (b"{}", "not-an-event")
    assert record.header("driftline.topic") == "retrain-requests"


def test_a_changed_artifact_is_refused_by_name(stage):
    begin(stage, spec())
    candidate = trained(stage)
    path = stage.artifact_dir / candidate.artifact.uri / artifacts.MODEL
    path.write_bytes(path.read_bytes() + b" ")
    verdict = judged(stage)
    assert verdict.decision == "refuse"
    assert verdict.reason.startswith("candidate-unusable: ")
    assert "does not match the checksum" in verdict.reason


def test_a_candidate_that_is_not_what_was_signed_is_refused_with_the_name_of_what_is_wrong(stage, tmp_path):
    begin(stage, spec())
    candidate = trained(stage)
    assert candidate.artifact.signature.startswith(Keyring(stage.keys).signer())
    stranger = Keyring(tmp_path / "stranger")
    manifest = (stage.artifact_dir / candidate.artifact.uri / artifacts.MANIFEST).read_bytes()
    by_stranger = stranger.sign(manifest)
    damages = {
        "unsigned": (None, lambda place: (place / artifacts.SIGNATURE).unlink()),
        "extra-file": (candidate.artifact.signature, lambda place: (place / "more.pkl").write_bytes(b"")),
        "unknown-signer": (by_stranger, lambda place: (place / artifacts.SIGNATURE).write_text(by_stranger)),
    }
    places = stage.artifact_dir / "m"
    for fault, (signature, damage) in damages.items():
        shutil.copytree(stage.artifact_dir / candidate.artifact.uri, places / fault)
        damage(places / fault)
        artifact = msgspec.structs.replace(candidate.artifact, uri=f"m/{fault}", signature=signature)
        other = msgspec.structs.replace(candidate, id=fault, artifact=artifact)
        send_all(stage, [Outgoing(Topic.CANDIDATES, b"m", encode(other), 0)])
    verdicts = run_until(stage, gate, Topic.CANDIDATES, Topic.VERDICTS, Verdict, count=1 + len(damages))
    told = {verdict.candidate: (verdict.decision, verdict.reason.split(": ")[:2]) for verdict in verdicts}
    assert told.pop(candidate.id) == ("promote", ["better"])
    assert told == {fault: ("refuse", ["candidate-unusable", fault]) for fault in damages}


def test_a_training_longer_than_the_poll_interval_runs_once_and_keeps_its_place(stage, monkeypatch):
    monkeypatch.setattr(worker, "consumer", functools.partial(consumer, max_poll_interval_ms=3000))
    monkeypatch.setenv("TRAINING_SECONDS", "9")
    begin(stage, spec("slow"))
    trained(stage)
    assert len((stage.state_dir / "notes").read_text().split()) == 1
    (first,) = events(stage, Topic.RETRAIN_REQUESTS, RetrainRequest)
    second = msgspec.structs.replace(first, id="2nd")  # behind a repeat of the first, which is answered already
    send_all(stage, [Outgoing(Topic.RETRAIN_REQUESTS, b"m", encode(request), 0) for request in (first, second)])
    monkeypatch.setenv("TRAINING_SECONDS", "0")
    found = run_until(stage, trainer, Topic.RETRAIN_REQUESTS, Topic.CANDIDATES, Candidate, count=2)
    assert [candidate.request for candidate in found] == ["0123456789abcdef", "2nd"]


def test_a_trainer_that_stops_leaves_its_request_to_the_next(stage, monkeypatch):
    begin(stage, spec("slow"))
    running = Worker(stage, "trainer", Topic.RETRAIN_REQUESTS, trainer.make_work(stage))
    thread = threading.Thread(target=running.run)
    thread.start()
    notes, deadline = stage.state_dir / "notes", time.monotonic() + 60
    while not notes.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    running.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert events(stage, Topic.CANDIDATES, Candidate) == []
    monkeypatch.setenv("TRAINING_SECONDS", "0")
    assert trained(stage).error is None
    assert len(notes.read_text().split()) == 2
