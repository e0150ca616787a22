"""A model with many labels through real monitors and control, killed in between; its figures are those of the rows.

Its rule has a budget of false alarms in place of a threshold, which an operator then reads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn import metrics as sk

from driftline.cli.main import cli
from driftline.client.lockstep import KafkaCluster
from driftline.errors import DriftlineError
from driftline.events.base import decode
from driftline.events.partitioning import partition_of
from driftline.events.reports import WindowReport
from driftline.events.topics import Topic
from driftline.platform import topics
from driftline.platform.declare import apply_spec
from driftline.platform.kafka import read_all
from driftline.platform.records import Outgoing
from driftline.spec.reader import parse_spec

pytestmark = [pytest.mark.integration, pytest.mark.timeout(280)]

LABELS = ("ant", "bee", "cat", "dog")
SPEC = """
model: zoo
task: multiclass
labels: [ant, bee, cat, dog]
features: {x: {type: number}}
segments: [keeper]
horizon: 1d
lateness: 2h
pane: 15m
windows: {day: {span: 24h}, hours: {span: 6h}}
baseline: {first: 5d}
metrics: [accuracy, f1_macro, log_loss, auc_ovr, recall]
rules:
  - {name: worse, metric: accuracy, window: hours, false_alarms: 1 per 30d, min_samples: 20, min_coverage: 0.5}
"""
HOUR, DAY = 3_600_000, 86_400_000
START = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp() * 1000)
DAYS, EVERY = 8, 5 * 60_000
PARTITIONS = 2


def rows() -> Iterator[dict[str, object]]:
    """Predictions with what came true an hour later; in the last days the model guesses."""
    rng = np.random.default_rng(11)
    for i in range(DAYS * DAY // EVERY):
        truth = rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])
        logits = rng.normal(0, 1, 4)
        logits[truth] += 2.0 if i < 6 * DAY // EVERY else -1.0
        shares = np.exp(logits) / np.exp(logits).sum()
        yield {
            "id": f"z{i}",
            "time": START + i * EVERY,
            "x": float(rng.normal()),
            "keeper": ("Ann", "Bob")[i % 2],
            "prediction": LABELS[shares.argmax()],
            "scores": dict(zip(LABELS, shares.tolist(), strict=True)),
            "outcome": LABELS[truth],
        }


def records(row: dict) -> Iterator[Outgoing]:
    key, partition = row["id"].encode(), partition_of(row["id"], PARTITIONS)
    shown = {name: row[name] for name in ("id", "time", "prediction", "scores")}
    sent = shown | {
        "model": "zoo",
        "version": "1",
        "features": {"x": row["x"]},
        "attributes": {"keeper": row["keeper"]},
    }
    yield Outgoing(Topic.PREDICTIONS, key, msgspec.json.encode(sent), partition, timestamp=row["time"])
    known = row["time"] + HOUR
    came = {"id": row["id"], "model": "zoo", "time": known, "outcome": row["outcome"]}
    yield Outgoing(Topic.OUTCOMES, key, msgspec.json.encode(came), partition, timestamp=known)


class Worker:
    """A service in a process of its own."""

    def __init__(self, settings, service: str) -> None:
        self._log = settings.state_dir / f"{service}.log"
        environment = os.environ | {
            "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
            "DRIFTLINE_REDIS_URL": settings.redis_url,
            "DRIFTLINE_PREFIX": settings.prefix,
            "DRIFTLINE_STATE_DIR": str(settings.state_dir),
        }
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", f"driftline.{service}.main"]
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """With nothing put in order."""
        self.process.kill()
        self.process.wait()

    def check(self) -> None:
        """It runs."""
        assert self.process.poll() is None, self._log.read_text()[-2000:]


@pytest.fixture
def workers(fresh_settings):
    topics.create(
        fresh_settings,
        clock="events",
        partitions=PARTITIONS,
        slice_length=timedelta(minutes=15),
        retention=timedelta(days=9999),
    )
    apply_spec(fresh_settings, parse_spec(SPEC, "zoo.yaml"), "test")
    found = {service: Worker(fresh_settings, service) for service in ("monitor", "control")}
    yield found
    for worker in found.values():
        worker.kill()


def wait(condition: Callable[[], bool], workers: dict[str, Worker]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        for worker in workers.values():
            worker.check()


def replay(settings, workers: dict[str, Worker], sent: list[dict]) -> None:
    """Day by day; between two days both workers are killed with -9 and started again."""
    cluster = KafkaCluster(settings)
    stamped = sorted((record for row in sent for record in records(row)), key=lambda record: record.timestamp)
    for day in range(DAYS + 1):
        end = START + (day + 1) * DAY
        cluster.send(record for record in stamped if end - DAY <= record.timestamp < end)
        cluster.tick(end)
        if day in (2, 6):
            for service, worker in workers.items():
                worker.kill()
                workers[service] = Worker(settings, service)

        def decided(until: int = end) -> bool:
            cluster.listen(0.2)
            return bool(cluster.decided) and min(p.decision_time for p in cluster.decided.values()) >= until

        wait(decided, workers)
    cluster.close()


def last_reports(settings) -> dict[tuple[str, int], WindowReport]:
    """The last of each window."""
    found: dict[tuple[str, int], WindowReport] = {}
    for record in read_all(settings, Topic.METRICS):
        report = decode(record.value, WindowReport)
        found[report.window.name, report.window.end] = report
    return found


def figures(sent: list[dict]) -> dict[str, float]:
    """By scikit-learn."""
    truth, said = [row["outcome"] for row in sent], [row["prediction"] for row in sent]
    shares = np.array([[row["scores"][label] for label in LABELS] for row in sent])
    recalls = sk.recall_score(truth, said, labels=LABELS, average=None)
    return {
        "accuracy": sk.accuracy_score(truth, said),
        "f1_macro": sk.f1_score(truth, said, average="macro"),
        "log_loss": sk.log_loss(truth, shares, labels=LABELS),
        **{f"recall:{label}": recall for label, recall in zip(LABELS, recalls, strict=True)},
    }


def test_its_figures_are_those_of_the_rows_and_its_budget_becomes_a_threshold_that_is_shown(
    fresh_settings, workers, monkeypatch
):
    sent = list(rows())
    replay(fresh_settings, workers, sent)
    reports = last_reports(fresh_settings)
    days = [report for (name, _), report in reports.items() if name == "day"]
    assert len(days) == DAYS
    for report in days:
        inside = [row for row in sent if report.window.start <= row["time"] < report.window.end]
        for segment in report.segments:
            own = [row for row in inside if segment.segment in ("all", f"keeper={row['keeper']}")]
            assert (segment.n, segment.labelled) == (len(own), len(own))
            for name, value in figures(own).items():
                assert segment.metrics[name].value == pytest.approx(value, abs=1e-9), (name, segment.segment)
            auc, shares = segment.metrics["auc_ovr"], np.array([[*row["scores"].values()] for row in own])
            true = sk.roc_auc_score([row["outcome"] for row in own], shares, multi_class="ovr", labels=LABELS)
            assert abs(auc.value - true) <= auc.error_bound
    estimated = days[-1].segments[0].estimates["accuracy"].value
    assert estimated > days[-1].segments[0].metrics["accuracy"].value + 0.2
    ended = sorted((end, report) for (name, end), report in reports.items() if name == "hours")
    assert ended[-1][1].estimates_withdrawn  # the model guesses, and its scores do not know

    for name, value in (("BOOTSTRAP", "bootstrap"), ("REDIS_URL", "redis_url"), ("PREFIX", "prefix")):
        monkeypatch.setenv(f"DRIFTLINE_{name}", getattr(fresh_settings, value))
    shown = CliRunner().invoke(cli, ["spec", "show", "zoo"])
    (rule,) = json.loads(shown.stdout)["rules"]
    assert 0.3 < rule["calibrated"]["threshold"] < 0.75
    assert "about 1 a month at your traffic" in rule["calibrated"]["summary"]
    alerts = [json.loads(record.value) for record in read_all(fresh_settings, Topic.ALERTS)]
    fired = [alert for alert in alerts if alert["rule"] == "worse" and alert["state"] == "firing"]
    assert fired
    assert fired[0]["threshold"] == rule["calibrated"]["threshold"]
    assert fired[0]["at"] > START + 6 * DAY

    other = SPEC.replace("[ant, bee, cat, dog]", "[ant, bee, cat, dog, elk]")
    with pytest.raises(DriftlineError, match="`labels` of zoo cannot change"):
        apply_spec(fresh_settings, parse_spec(other, "zoo.yaml"), "test")
