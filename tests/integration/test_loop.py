"""The whole loop on real flights: real Kafka, real Redis, all workers under the supervisor; monitor, control,
Redis and Kafka are killed on the way.

Everything that Driftline says is computed again from the raw topics, with scikit-learn.
"""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner
from examples.flights.serving import MODEL
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from driftline.cli.main import cli
from driftline.events.alerts import Alert
from driftline.events.reports import WindowReport
from driftline.events.retraining import Candidate, Case, ModelState, RetrainRequest, Verdict
from driftline.events.topics import Topic
from driftline.platform.archive import query
from driftline.platform.kafka import read_all

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]


def test_workers_and_servers_were_killed_with_work_in_hand(loop, own_servers):
    # each at a moment at which the replay was waiting for the workers' decisions, see `drive`
    expected = ["redis", "monitor", "kafka", "control"] if own_servers else ["monitor", "control"]
    assert [name for name, _ in loop.killed] == [*expected, "state"]
    assert dict(loop.killed)["state"] > 0
    if own_servers:
        assert all(own_servers.pid(name) != pid for name, pid in loop.killed if name in ("redis", "kafka"))


def test_every_count_and_metric_of_every_window_is_what_scikit_learn_finds_in_the_raw_topics(loop, raw):
    predictions, outcomes = raw
    reports = loop.events(Topic.METRICS, WindowReport)
    assert len(reports) > 40
    for report in reports:
        mine = [
            event
            for (model, _, version), (arrival, event) in predictions.items()
            if (model, version) == (report.model, report.version)
            and event["role"] == report.role
            and arrival < report.revision
            and report.window.start <= event["time"] < report.window.end
        ]
        truth = {}
        for event in mine:
            came = [o for o in outcomes[report.model, event["id"]] if o[0] < report.revision]
            if came:
                truth[event["id"]] = max(came, key=lambda o: (o[1], o[2]))[3]
        everybody, *parts = report.segments
        check(everybody, report, mine, truth)
        assert {segment.segment for segment in parts} == {part for e in mine if (part := part_of(e))}
        for segment in parts:
            check(segment, report, [e for e in mine if part_of(e) == segment.segment], truth)


def part_of(event):
    """The segment that a prediction belongs to, by what its model is cut by."""
    if event["model"] == MODEL:
        return f"origin={event['features']['origin']}"
    return f"side={event['attributes']['side']}" if event["attributes"] else None


def check(segment, report, mine, truth):
    """The figures of a segment, by somebody else's formulas from its predictions."""
    labelled = [event for event in mine if event["id"] in truth]
    assert (segment.n, segment.labelled) == (len(mine), len(labelled))
    actual = np.array([truth[event["id"]] for event in labelled])
    predicted = np.array([event["prediction"] for event in labelled])
    positive = "late" if report.model == MODEL else "yes"
    late, scores = actual == positive, np.array([event["score"] for event in labelled])
    found = segment.metrics
    if not labelled:
        assert found["accuracy"].value is None
        return
    assert found["accuracy"].value == pytest.approx(accuracy_score(actual, predicted), abs=1e-9)
    assert found["f1"].value == pytest.approx(f1_score(late, predicted == positive, zero_division=0), abs=1e-9)
    assert found["log_loss"].value == pytest.approx(log_loss(late, scores, labels=[False, True]), abs=1e-9)
    if 0 < late.sum() < late.size:
        error = abs(found["auc"].value - roc_auc_score(late, scores))
        assert error <= found["auc"].error_bound + 1e-12
        assert error < 0.001 or len(labelled) < 200


def test_no_event_was_published_twice(loop):
    kinds = {
        Topic.METRICS: WindowReport,
        Topic.ALERTS: Alert,
        Topic.RETRAIN_REQUESTS: RetrainRequest,
        Topic.CANDIDATES: Candidate,
        Topic.VERDICTS: Verdict,
        Topic.CASES: Case,
        Topic.MODELS: ModelState,
    }
    ids = Counter(event.id for topic, kind in kinds.items() for event in loop.events(topic, kind))
    assert [name for name, n in ids.items() if n > 1] == []


def test_malformed_events_are_dead_letters_with_their_place_and_reason(loop):
    every = [dict(r.headers) for r in read_all(loop.settings, Topic.DEAD_LETTERS)]
    # a monitor that has lost all that was stored reads everything again, and says again what cannot be used
    places = ("driftline.topic", "driftline.partition", "driftline.offset")
    letters = list({tuple(letter[name] for name in places): letter for letter in every}.values())
    assert len(every) <= 2 * len(letters)
    reasons = Counter(letter["driftline.reason"] for letter in letters)
    assert reasons == {b"not-json": 2, b"not-an-event": 1, b"unknown-model": 1}
    for letter in letters:
        assert letter["driftline.topic"] in (b"predictions", b"outcomes")
        assert letter["driftline.offset"].isdigit()


def test_every_retrain_request_was_answered_once_by_the_trainer_and_every_candidate_by_the_gate(loop):
    requests = loop.events(Topic.RETRAIN_REQUESTS, RetrainRequest)
    candidates = loop.events(Topic.CANDIDATES, Candidate)
    verdicts = loop.events(Topic.VERDICTS, Verdict)
    assert {r.trigger for r in requests} == {"rule", "schedule"}
    assert sorted(c.request for c in candidates) == sorted(r.id for r in requests)
    assert [c.error for c in candidates if c.error] == []
    assert sorted(v.candidate for v in verdicts) == sorted(c.id for c in candidates)
    assert all(v.rows is not None and v.rows.n > 100 for v in verdicts)


def test_what_trainer_and_training_say_of_every_candidate_is_found_again(loop):
    verdicts = loop.events(Topic.VERDICTS, Verdict)
    assert [proof for v in verdicts for proof in v.proofs if not proof.holds] == []
    reported = {(v.model, proof.name) for v in verdicts for proof in v.proofs if proof.kind == "validation"}
    assert reported == {(MODEL, "auc"), (MODEL, "log_loss")}


def test_control_promotes_if_and_only_if_the_gate_says_so(loop):
    promoted = {v.version for v in loop.events(Topic.VERDICTS, Verdict) if v.decision == "promote"}
    states = loop.events(Topic.MODELS, ModelState)
    named = {(m.model, m.champion.version) for m in states if m.previous and m.state != "rolled-back"}
    assert {version for _, version in named} == promoted


def test_a_trainer_that_always_delivers_something_worse_ends_in_a_call_for_a_human(loop):
    verdicts = [v for v in loop.events(Topic.VERDICTS, Verdict) if v.model == "stubborn"]
    assert verdicts
    assert {(v.decision, v.reason) for v in verdicts} == {("refuse", "gain-too-small")}
    cases = [c for c in loop.events(Topic.CASES, Case) if c.model == "stubborn"]
    assert "escalated" in {c.state for c in cases}
    called = [a for a in loop.events(Topic.ALERTS, Alert) if a.kind == "manual-intervention"]
    assert called
    assert called[0].severity == "critical"
    assert called[0].evidence.tried


def verdicts_of(loop, model):
    return [verdict for verdict in loop.events(Topic.VERDICTS, Verdict) if verdict.model == model]


def versions_of(loop, model):
    states = [state for state in loop.events(Topic.MODELS, ModelState) if state.model == model]
    return [(state.champion.version, state.state) for state in states]


def test_a_candidate_that_is_better_overall_and_worse_in_one_segment_is_vetoed(loop):
    found = verdicts_of(loop, "lopsided")
    assert found
    for verdict in found:
        assert (verdict.decision, verdict.reason) == ("refuse", "segment-worse")
        (gain, *_) = verdict.metrics
        assert gain.name == "log_loss"
        assert gain.difference > 0.01
        assert gain.low > 0
        assert [segment.segment for segment in verdict.segments if segment.vetoes] == ["side=right"]
    assert versions_of(loop, "lopsided") == [("1", "stable")]


def test_a_promoted_version_that_turns_bad_is_rolled_back_and_its_case_says_so(loop):
    (promoting,) = [verdict for verdict in verdicts_of(loop, "backfiring") if verdict.decision == "promote"]
    assert promoting.reason == "better"
    first, second, third = versions_of(loop, "backfiring")[:3]
    assert (first, second) == (("1", "stable"), (promoting.version, "probation"))
    assert third == ("1", "rolled-back")
    cases = [case for case in loop.events(Topic.CASES, Case) if case.model == "backfiring"]
    assert any("worse-than-the-version-before" in case.reason for case in cases)


def test_every_decision_is_linked_to_the_one_before_it_through_all_that_was_killed(loop, monkeypatch):
    settings = loop.settings
    for name in ("bootstrap", "redis_url", "prefix", "state_dir"):
        monkeypatch.setenv(f"DRIFTLINE_{name.upper()}", str(getattr(settings, name)))
    told = CliRunner().invoke(cli, ["trace", "verify", "--json"])
    assert told.exit_code == 0, told.output
    chains = {chain["model"]: chain for chain in json.loads(told.stdout)["chains"]}
    assert chains.keys() == {MODEL, "stubborn", "lopsided", "backfiring"}
    assert all(chain["faults"] == [] for chain in chains.values())


def test_the_archive_counts_what_the_monitor_counts(loop, raw):
    predictions, _ = raw
    archived = query(
        loop.settings.archive_dir, "SELECT model, version, count(*) AS n FROM predictions GROUP BY ALL"
    ).to_pylist()
    expected = Counter((model, version) for model, _, version in predictions)
    assert {(row["model"], row["version"]): row["n"] for row in archived} == expected
