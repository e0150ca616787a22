"""Why something happened, asked of a deployment at work: its topics, its archive, and what control remembers."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from datetime import timedelta

import msgspec
import pytest
import redis
from click.testing import CliRunner
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from tests.archives import spec as plain_spec
from tests.integration.test_archiver import Process, until

from driftline.cli.main import cli
from driftline.events.admin import Command
from driftline.events.alerts import Alert, AlertState
from driftline.events.base import decode, encode
from driftline.events.columns import COLUMNS, PredictionBatch
from driftline.events.inputs import Outcome, Prediction
from driftline.events.partitioning import partition_of
from driftline.events.retraining import ModelState
from driftline.events.topics import Topic
from driftline.platform.declare import apply_spec, send_command, wait_for_result
from driftline.platform.kafka import read_all, read_deployment, send_all
from driftline.platform.records import Outgoing
from driftline.platform.stored import archived_until
from driftline.spec.model import FeatureSpec, WindowSpec

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

ID, ROW = "2013-04-02T09:15/EWR/UA1545", "in a batch"
SPEC = plain_spec(
    features={"x": FeatureSpec(type="number", range=(0, 10)), "c": FeatureSpec(type="category")},
    windows={"short": WindowSpec(span=timedelta(seconds=10), every=timedelta(seconds=10))},
    pane=timedelta(seconds=1),
)


def say(settings, topic, event, key, headers=()):
    partition = partition_of(key, read_deployment(settings).partitions)
    send_all(settings, [Outgoing(topic, key.encode(), encode(event), partition, headers)])


def predict(settings, now):
    """One outside its range, twice and once contradicted, with an outcome that is corrected; and one in columns."""
    event = Prediction(
        id=ID, model="m", version="1", time=now, features={"x": 14.0, "c": "UA"}, prediction="yes", score=0.71
    )
    for each in (event, event, msgspec.structs.replace(event, score=0.2)):
        say(settings, Topic.PREDICTIONS, each, ID)
    batch = PredictionBatch(
        model="m", version="1", id=[ROW], time=[now], features={"x": [3.0], "c": ["B6"]}, prediction=["no"], score=[0.1]
    )
    say(settings, Topic.PREDICTIONS, batch, ROW, (("content-type", COLUMNS.encode()),))
    for answer, at in (("no", now + 1), ("yes", now + 2)):
        say(settings, Topic.OUTCOMES, Outcome(id=ID, model="m", time=at, outcome=answer), ID)


def told(settings, topic, kind):
    return [decode(record.value, kind) for record in read_all(settings, topic) if record.value]


def confirmed(settings):
    return [a for a in told(settings, Topic.ALERTS, Alert) if a.state is AlertState.FIRING and not a.provisional]


def run(settings, *words, **environment):
    """A command as somebody runs it who looks at this deployment."""
    environment |= {
        "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
        "DRIFTLINE_REDIS_URL": settings.redis_url,
        "DRIFTLINE_PREFIX": settings.prefix,
        "DRIFTLINE_STATE_DIR": str(settings.state_dir),
    }
    return CliRunner().invoke(cli, words, env=environment)


def ask(settings, *words, code=0, **environment):
    """What it answers as JSON; it has something for people, too."""
    plain, answer = run(settings, *words, **environment), run(settings, *words, "--json", **environment)
    assert (plain.exit_code, answer.exit_code) == (code, code), plain.output
    assert plain.output
    return json.loads(answer.stdout)


def refused(settings, *words):
    """The first words of what it says where it has no answer."""
    return str(run(settings, *words).exception).split(",")[0].split(";")[0]


def register(settings, version):
    command = Command(
        id=f"register-{version}", model="m", action="register", author="ada", written_at=0, version=version
    )
    send_command(settings, read_deployment(settings), command)
    return wait_for_result(settings, command.id, 30)


def test_a_prediction_is_explained_traced_and_its_chain_verified_through_kills_and_the_loss_of_state(deployment):
    settings = deployment
    apply_spec(settings, SPEC, "ada")
    with Process(settings, "monitor"), Process(settings, "archiver"):
        with Process(settings, "control") as control:
            predict(settings, int(time.time() * 1000))
            until(lambda: confirmed(settings), "the breach is an alert")
            assert ask(settings, "trace", "verify")["chains"][0]["decisions"] == 1
            asks_of_a_living_deployment(settings)
            control.end(signal.SIGKILL)
        forget_control(settings)
        with Process(settings, "control"):
            assert register(settings, "1").accepted
            chains = ask(settings, "trace", "verify", "m")["chains"]
            assert [(c["model"], c["decisions"], c["faults"]) for c in chains] == [("m", 2, [])]
            causes = ask(settings, "trace", "m/1")["causes"]
            assert [(node["kind"], node["event"]["author"]) for node in causes] == [("spec", "ada"), ("command", "ada")]
            until(lambda: archived(settings), "decisions are archived")
            assert not ask(settings, "trace", "verify")["notes"]
            what_kafka_has_no_more_is_told_from_the_archive(settings)
            what_is_spoilt_is_found(settings)
            what_a_decision_rests_on_is_looked_at_too(settings)


def asks_of_a_living_deployment(settings):
    (alert,) = confirmed(settings)
    explained = ask(settings, "explain", ID)[0]
    assert [came["fate"] for came in explained["predictions"]] == ["counts", "duplicate", "conflict"]
    assert [came["fate"] for came in explained["outcomes"]] == ["corrected", "counts"]
    assert explained["spec"] == "m@1"
    assert [(c["name"], c["value"], c["wrong"]) for c in explained["checks"]] == [
        ("x", 14.0, "out-of-range"),
        ("c", "UA", None),
    ]
    until(lambda: ask(settings, "explain", ID)[0]["windows"][0]["counted"], "its window is reported")
    (window,) = ask(settings, "explain", ID)[0]["windows"]
    assert (window["window"], window["n"]) == ("short", 2)
    assert window["labelled"] >= window["counted"]
    (row,) = ask(settings, "explain", ROW, "--model", "m")
    assert (row["predictions"][0]["row"], row["predictions"][0]["event"]["features"]) == (0, {"x": 3.0, "c": "B6"})
    assert refused(settings, "explain", "nobody") == "no prediction has the id nobody"

    effects = ask(settings, "trace", ID)["effects"]
    assert alert.id in {node["id"] for node in effects}
    tree = ask(settings, "trace", alert.id[:10])
    assert {(node["kind"], node["missing"]) for node in tree["causes"]} == {
        ("slice", False),
        ("prediction", False),
        ("spec", False),
    }
    assert alert.id in {node["id"] for node in ask(settings, "trace", "m@1")["effects"]}
    assert tree["root"]["event"]["spec"] == "m@1"
    assert [each["id"] for each in ask(settings, "alerts", "list", "--model", "m")] == [alert.id]
    history = ask(settings, "alerts", "list", "--history")
    assert history[-1]["id"] == alert.id, "what was told before its slice comes first, if it was"
    assert ask(settings, "alerts", "list", "--state", "resolved") == []
    assert ask(settings, "cases", "list") == []
    assert refused(settings, "cases", "show", "nothing") == "nothing: there is no such case"
    assert refused(settings, "verdicts", "show", "m/9") == "m/9: there is no such verdict"


def forget_control(settings):
    client = redis.Redis.from_url(settings.redis_url)
    keys = list(client.scan_iter(f"{settings.prefix}{{control:0}}*"))
    assert keys
    client.delete(*keys)


def archived(settings):
    topics = (Topic.ALERTS, Topic.MODELS, Topic.PREDICTIONS, Topic.OUTCOMES, Topic.COMMANDS)
    places = {
        (topic, record.source.partition): record.offset
        for topic in topics
        for record in read_all(settings, topic)
        if record.value
    }
    return all(archived_until(settings, topic).get(at, 0) > offset for (topic, at), offset in places.items())


def what_kafka_has_no_more_is_told_from_the_archive(settings):
    before = ask(settings, "explain", ID)[0], ask(settings, "trace", ID)["root"]
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap)
    try:
        for topic in (Topic.PREDICTIONS, Topic.OUTCOMES):
            places = [TopicPartition(settings.topic(topic), p) for p in range(read_deployment(settings).partitions)]
            admin.delete_records(dict.fromkeys(places, -1))
            assert not [record for record in read_all(settings, topic) if record.key == ID.encode()]
    finally:
        admin.close()
    after = ask(settings, "explain", ID)[0], ask(settings, "trace", ID)["root"]
    assert (after[0]["predictions"], after[0]["outcomes"]) == (before[0]["predictions"], before[0]["outcomes"])
    assert after[1] == before[1]


def what_is_spoilt_is_found(settings):
    (state,) = told(settings, Topic.MODELS, ModelState)
    forged = msgspec.structs.replace(state, reason="forged")
    send_all(settings, [Outgoing(Topic.MODELS, b"m", encode(forged), 0)])
    (chain,) = ask(settings, "trace", "verify", "m", code=1)["chains"]
    (fault,) = chain["faults"]
    assert (fault["flaw"], fault["number"]) == ("changed", 2)
    assert fault["place"] == ["models", 0, 1]
    assert fault["detail"] == "decision 2 is the one that stands at models-0 at 0"


def what_a_decision_rests_on_is_looked_at_too(settings):
    (command,) = [record for record in read_all(settings, Topic.COMMANDS) if record.value]
    asked = decode(command.value, Command)
    state = told(settings, Topic.MODELS, ModelState)[0]
    assert state.link.inputs == {asked.id: hashlib.sha256(command.value).hexdigest()}
    place = ["commands", command.source.partition, command.offset]
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap)
    try:
        admin.delete_records({TopicPartition(settings.topic(Topic.COMMANDS), place[1]): command.next_offset})
    finally:
        admin.close()
    assert faults(settings) == [("missing", place)]
    alone = {"DRIFTLINE_ARCHIVE_DIR": str(settings.state_dir / "none")}
    assert faults(settings, **alone) == [("missing", ["models", 0, 0])]
    forged = msgspec.structs.replace(asked, author="eve")
    ((partition, offset),) = send_all(settings, [Outgoing(Topic.COMMANDS, b"m", encode(forged), place[1])])
    assert faults(settings, **alone) == [("changed", ["commands", partition, offset])]
    assert ("missing", place) in faults(settings)


def faults(settings, **environment):
    """What is wrong beside the forged change of champion."""
    (chain,) = ask(settings, "trace", "verify", "m", code=1, **environment)["chains"]
    return [(each["flaw"], each["place"]) for each in chain["faults"] if each["place"] != ["models", 0, 1]]
