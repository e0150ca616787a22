"""The client against a real Kafka: publishing, alerts, the replay's cluster, and the guide's own code."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sklearn.dummy import DummyClassifier

from driftline.client import (
    Alerts,
    AlertState,
    Answer,
    Champion,
    Outcome,
    Outcomes,
    Prediction,
    Predictions,
    Replay,
    Wait,
    WaitReason,
)
from driftline.client.lockstep import KafkaCluster
from driftline.errors import ArtifactFault, DeploymentError, DriftlineError
from driftline.events import retraining
from driftline.events.admin import Progress
from driftline.events.alerts import Alert, AlertKind, Severity
from driftline.events.base import decode, encode
from driftline.events.columns import COLUMNS, PredictionBatch
from driftline.events.partitioning import partition_of
from driftline.events.retraining import Candidate, ModelState, Recipe, Span, Verdict
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform import artifacts, topics
from driftline.platform.kafka import read_all, read_deployment, send_all
from driftline.platform.records import Outgoing, Record
from driftline.platform.settings import Settings

pytestmark = pytest.mark.integration

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "client.md"
DAY = 86_400_000
START = 15_765 * DAY


@pytest.fixture
def replayed(deployment: Settings, request: pytest.FixtureRequest) -> Settings:
    """A deployment beside the live one, whose clock is that of its events. Each test has its own."""
    settings = replace(deployment, prefix=f"{deployment.prefix}{request.node.name[-40:]}.")
    topics.create(settings, clock="events", slice_length=timedelta(minutes=15), partitions=2)
    return settings


def data(settings: Settings, topic: Topic) -> list[Record]:
    return [record for record in read_all(settings, topic) if record.header(MARK_HEADER) is None]


def alert(n: int, model: str = "m", state: AlertState = AlertState.FIRING) -> Alert:
    return Alert(
        id=f"alert-{n}",
        fingerprint="f",
        episode=1,
        model=model,
        version="1",
        segment="",
        rule="auc-low",
        kind=AlertKind.METRIC,
        severity=Severity.WARNING,
        state=state,
        reason="breach-certain",
        since=0,
        at=n,
        summary="the AUC is low",
    )


def publish(settings: Settings, *alerts: Alert) -> None:
    send_all(settings, [Outgoing(Topic.ALERTS, a.fingerprint.encode(), encode(a)) for a in alerts])


def test_a_prediction_and_its_outcome_meet_in_the_partition_of_their_id(deployment):
    with Predictions(deployment) as predictions, Outcomes(deployment) as outcomes:
        for n in range(50):
            event = Prediction(id=f"meet-{n}", model="m", version="1", time=START, prediction="late", score=0.5)
            assert predictions.send(event)
            assert outcomes.send(Outcome(id=f"meet-{n}", model="m", time=START, outcome="late"))
        assert predictions.flush().complete
        assert outcomes.flush().complete
    partitions = read_deployment(deployment).partitions
    for topic in (Topic.PREDICTIONS, Topic.OUTCOMES):
        found = {r.key.decode(): r.source.partition for r in data(deployment, topic) if r.key.startswith(b"meet-")}
        assert found == {f"meet-{n}": partition_of(f"meet-{n}", partitions) for n in range(50)}


def test_alerts_are_read_from_now_on_or_from_the_beginning_and_by_model_and_state(deployment):
    publish(deployment, alert(1, "a1"), alert(2, "a1", AlertState.RESOLVED))
    with Alerts(deployment, model="a1") as now, Alerts(deployment, model="a1", from_beginning=True) as everything:
        publish(deployment, alert(3, "a1"), alert(4, "another"))
        assert [a.at for a in now.until(quiet_s=1)] == [3]
        assert [a.at for a in everything.until(quiet_s=1)] == [1, 2, 3]
    with Alerts(deployment, model="a1", states=[AlertState.RESOLVED], from_beginning=True) as resolved:
        assert [a.at for a in resolved.until(quiet_s=1)] == [2]


def test_a_group_goes_on_where_it_stopped(deployment):
    publish(deployment, alert(1, "g"), alert(2, "g"))
    options = {"model": "g", "from_beginning": True, "group": f"{deployment.prefix}readers"}
    with Alerts(deployment, **options) as first:
        assert [a.at for a in first.until(quiet_s=4)] == [1, 2]
    publish(deployment, alert(3, "g"))
    with Alerts(deployment, **options) as second:
        assert [a.at for a in second.until(quiet_s=4)] == [3]


def test_closing_from_another_thread_ends_the_iteration(deployment):
    alerts = Alerts(deployment)
    threading.Timer(0.3, alerts.close).start()
    assert list(alerts) == []


def test_a_record_that_is_no_alert_is_skipped_and_logged(deployment, caplog):
    with Alerts(deployment, model="after-poison") as alerts:
        send_all(deployment, [Outgoing(Topic.ALERTS, b"f", b"{")])
        publish(deployment, alert(1, "after-poison"))
        assert [a.at for a in alerts.until(quiet_s=1)] == [1]
    assert "is no alert" in caplog.text


def test_a_replay_is_refused_where_the_broker_keeps_the_clock(deployment):
    with pytest.raises(DeploymentError, match="--clock events"):
        Replay(deployment)


def test_a_replayed_stretch_stands_in_kafka_stamped_and_ordered_with_ticks_behind_it(replayed):
    events = [
        (START + n, Prediction(id=f"p{n % 500}", model="m", version=str(n // 500), time=START + n, prediction="late"))
        for n in range(2_000)
    ]

    def decide(wait: Wait) -> None:
        """What control would say: no workers run here."""
        send_all(replayed, [progress(wait.at)])

    with Replay(replayed, on_wait=decide) as replay:
        assert replay.stretch(START + DAY, reversed(events)).events == 2_000
    found = data(replayed, Topic.PREDICTIONS)
    assert sorted((r.timestamp, r.value) for r in found) == [(stamp, encode(event)) for stamp, event in events]
    for partition in (0, 1):
        stamps = [r.timestamp for r in found if r.source.partition == partition]
        assert stamps == sorted(stamps)
    for topic in (Topic.PREDICTIONS, Topic.OUTCOMES, Topic.COMMANDS, Topic.CANDIDATES, Topic.VERDICTS):
        last = {r.source.partition: r for r in read_all(replayed, topic)}
        assert last
        assert all((r.header(MARK_HEADER), r.timestamp) == ("tick", START + DAY) for r in last.values())


def test_a_verdict_or_a_failed_candidate_answers_a_request_in_whichever_order_they_are_read(replayed):
    records = [
        Outgoing(Topic.VERDICTS, b"m", encode(verdict("c1")), timestamp=0),
        Outgoing(Topic.CANDIDATES, b"m", encode(candidate("c1", "r1")), timestamp=0),
        Outgoing(Topic.CANDIDATES, b"m", encode(candidate("c2", "r2", error="out of memory")), timestamp=0),
        Outgoing(Topic.CANDIDATES, b"m", encode(candidate("c3", "r3")), timestamp=0),
        progress(START, "r1", "r2", "r3"),
    ]
    send_all(replayed, records)
    cluster = KafkaCluster(replayed)
    assert cluster.answered == {"r1", "r2"}
    assert cluster.decided[0].open_attempts == ("r1", "r2", "r3")
    send_all(replayed, [Outgoing(Topic.VERDICTS, b"m", encode(verdict("c3")), timestamp=0)])
    while "r3" not in cluster.answered:
        cluster.listen(1)
    cluster.close()


def test_a_replay_without_workers_says_where_to_look(replayed):
    waits = []
    with (
        Replay(replayed, patience_s=0.2, on_wait=waits.append) as replay,
        pytest.raises(DriftlineError, match="driftline status"),
    ):
        replay.stretch(START, [])
    assert {wait.reason for wait in waits} == {WaitReason.WORKERS}


def test_the_guide_s_batch_becomes_messages_of_columns(deployment, monkeypatch):
    monkeypatch.setattr("driftline.platform.settings.load", lambda: deployment)
    exec(compile(blocks()[1], str(GUIDE), "exec"), {})
    sent = [r for r in data(deployment, Topic.PREDICTIONS) if r.header("content-type") == COLUMNS]
    ids = [event_id for r in sent for event_id in decode(r.value, PredictionBatch).id]
    assert sorted(ids) == ["order-1043", "order-1044"]


def test_the_first_code_block_of_the_guide_runs_as_it_stands(deployment, monkeypatch, capsys):
    monkeypatch.setattr("driftline.platform.settings.load", lambda: deployment)
    exec(compile(blocks()[0], str(GUIDE), "exec"), {})
    assert "acknowledged=1, failed=0, waiting=0, unsent=0" in capsys.readouterr().out
    assert any(r.key == b"order-1042" for r in data(deployment, Topic.PREDICTIONS))
    assert any(r.key == b"order-1042" for r in data(deployment, Topic.OUTCOMES))


def test_the_guide_s_alerts_block_runs_as_it_stands(deployment, monkeypatch, capsys):
    monkeypatch.setattr("driftline.platform.settings.load", lambda: deployment)
    publish(deployment, alert(1, "flight-delay"))
    exec(compile(blocks()[2], str(GUIDE), "exec"), {})
    assert "firing warning the AUC is low" in capsys.readouterr().out


def test_the_champion_is_followed_and_one_that_is_not_what_was_signed_never_serves(deployment, monkeypatch, capsys):
    promote(deployment, "1", late=0.9)
    monkeypatch.setattr("driftline.platform.settings.load", lambda: deployment)
    exec(compile(blocks()[3], str(GUIDE), "exec"), {})
    assert capsys.readouterr().out == "1 late 0.9\n"
    with Champion("flight-delay", deployment, follow=True) as champion:
        promote(deployment, "2", late=0.1)
        wait_until(lambda: champion.version == "2")
        assert champion.predict([{}]) == [Answer("2", "on-time", 0.1)]
        for version, (fault, damage) in enumerate(DAMAGES.items(), start=3):
            promote(deployment, str(version), late=0.5, damage=damage)
            told = f"version {version} of model 'flight-delay' cannot be served: {fault}: "
            wait_until(lambda told=told: (champion.problem or "").startswith(told))
            assert champion.predict([{}]) == [Answer("2", "on-time", 0.1)]


def test_the_guide_s_replay_block_runs_as_it_stands(replayed, monkeypatch, capsys):
    ticking = KafkaCluster.tick

    def tick_and_decide(cluster: KafkaCluster, time: int) -> None:
        ticking(cluster, time)
        send_all(replayed, [progress(time)])

    monkeypatch.setattr(KafkaCluster, "tick", tick_and_decide)
    monkeypatch.setattr("driftline.platform.settings.load", lambda: replayed)
    exec(compile(blocks()[4], str(GUIDE), "exec"), {})
    assert capsys.readouterr().out == "2 ()\n" * 7
    assert len(data(replayed, Topic.OUTCOMES)) == 7


DAMAGES: dict[ArtifactFault, Callable[[Path], object]] = {
    ArtifactFault.CHANGED_FILE: lambda place: (place / artifacts.MODEL).write_bytes(b"half a file"),
    ArtifactFault.UNSIGNED: lambda place: (place / artifacts.SIGNATURE).unlink(),
    ArtifactFault.EXTRA_FILE: lambda place: (place / "more.pkl").write_bytes(b""),
}


def promote(
    settings: Settings, version: str, late: float, damage: Callable[[Path], object] = lambda place: None
) -> None:
    """Name a version of flight-delay champion that gives every flight the probability `late`."""
    n = round(late * 10)
    estimator = DummyClassifier().fit([[0]] * 10, ["late"] * n + ["on-time"] * (10 - n))
    manifest = artifacts.Manifest(
        model="flight-delay",
        version=version,
        task="binary",
        labels=("on-time", "late"),
        positive="late",
        features={"distance": "number"},
    )
    artifact = artifacts.store(settings, manifest, estimator)
    damage(settings.artifact_dir / artifact.uri)
    serves = retraining.Champion(version=version, artifact=artifact, baseline=None, since=0)
    state = ModelState(id=version, model="flight-delay", champion=serves, previous=None, reason="promoted", at=0)
    send_all(settings, [Outgoing(Topic.MODELS, b"flight-delay", encode(state))])


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        time.sleep(0.02)


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def progress(time: int, *attempts: str) -> Outgoing:
    return Outgoing(Topic.PROGRESS, None, encode(Progress(shard=0, decision_time=time, open_attempts=attempts)), 0)


def candidate(id: str, request: str, error: str | None = None) -> Candidate:
    span = Span(start=0, end=1)
    return Candidate(
        id=id,
        case="c",
        request=request,
        model="m",
        attempt=1,
        version=id,
        artifact=None,
        baseline=None,
        trained_on=None,
        validation={},
        recipe=Recipe(training=span, holdout=span, known_by=1),
        error=error,
    )


def verdict(candidate: str) -> Verdict:
    return Verdict(
        id=f"v-{candidate}",
        case="c",
        candidate=candidate,
        model="m",
        version=candidate,
        champion="1",
        artifact_sha256="",
        decision="refuse",
        reason="gain-too-small",
        rows=None,
        metrics=(),
        method="t",
    )
