"""Publishing with a fake producer: the time limit, the counts, what is refused before it leaves."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import pytest
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, NotLeaderForPartitionError
from kafka.future import Future

from driftline.client import Outcome, Outcomes, Prediction, PredictionBatch, Predictions
from driftline.errors import InvalidRecord, Unreachable
from driftline.events.columns import COLUMNS
from driftline.events.partitioning import partition_of
from driftline.platform import outlet
from driftline.platform.settings import Settings

SETTINGS = Settings("nowhere:1", "redis://nowhere", "test.", Path("/s"), Path("/a"), Path("/m"))


class Broker:
    """Takes records as kafka-python's producer does. `answer` decides about each: None, an error, or "later"."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes, bytes, int | None]] = []
        self.futures: list[Future] = []
        self.headers: list[tuple[int | None, list]] = []
        self.partitions: set[int] | None = {0, 1, 2, 3}
        self.answer = lambda key: None
        self.up = threading.Event()
        self.closed = threading.Event()
        self._sender = SimpleNamespace(force_close=self.abort)

    def connect(self, settings, **options):
        if not self.up.is_set():
            raise Unreachable("no Kafka answers")
        return self

    def partitions_for(self, topic):
        return self.partitions

    def send(self, topic, key, value, timestamp_ms, partition=None, headers=()):
        answer = self.answer(key)
        self.headers.append((partition, headers))
        if isinstance(answer, (KafkaTimeoutError, MessageSizeTooLargeError)):
            raise answer
        future = Future()
        self.records.append((topic, key, value, timestamp_ms))
        self.futures.append(future)
        if answer is None:
            future.success("metadata")
        elif isinstance(answer, Exception):
            future.failure(answer)
        return future

    def abort(self) -> None:
        for future in self.futures:
            if not future.is_done:
                future.failure(RuntimeError("closed forcefully"))

    def close(self, timeout) -> None:
        assert all(future.is_done for future in self.futures)
        self.closed.set()


@pytest.fixture
def broker(monkeypatch):
    broker = Broker()
    broker.up.set()
    monkeypatch.setattr(outlet, "producer", broker.connect)
    monkeypatch.setattr(outlet, "RETRY_S", 0.01)
    return broker


def prediction(n: int = 0, **changes) -> Prediction:
    fields = {"id": f"p{n}", "model": "m", "version": "1", "time": 1_000, "prediction": "late"}
    return Prediction(**fields | changes)


def test_an_event_goes_to_its_topic_under_its_id_and_stamp(broker):
    with Predictions(SETTINGS) as predictions, Outcomes(SETTINGS) as outcomes:
        assert predictions.send(prediction(score=0.5), timestamp=7)
        assert outcomes.send(Outcome(id="p0", model="m", time=2_000, outcome="on-time"))
    assert sorted(record[:2] + record[3:] for record in broker.records) == [
        ("test.outcomes", b"p0", None),
        ("test.predictions", b"p0", 7),
    ]
    sent = next(orjson.loads(value) for topic, _, value, _ in broker.records if topic == "test.predictions")
    assert sent == {
        "id": "p0",
        "model": "m",
        "version": "1",
        "time": 1_000,
        "prediction": "late",
        "role": "champion",
        "features": {},
        "attributes": {},
        "score": 0.5,
        "scores": None,
        "latency_ms": None,
    }


def test_numpy_scalars_and_missing_values_are_sent_as_json_has_them(broker):
    features = {"a": np.float64(1.5), "b": np.int32(3), "c": np.bool_(True), "d": float("nan"), "e": np.str_("x")}
    with Predictions(SETTINGS) as predictions:
        predictions.send(prediction(features=features, score=np.float32(0.25), time=datetime(2013, 1, 1, tzinfo=UTC)))
    sent = orjson.loads(broker.records[0][2])
    assert sent["features"] == {"a": 1.5, "b": 3, "c": True, "d": None, "e": "x"}
    assert (sent["score"], sent["time"]) == (0.25, "2013-01-01T00:00:00+00:00")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"id": ""}, r"\$\.id"),
        ({"id": 3}, r"\$\.id"),
        ({"model": None}, r"\$\.model"),
        ({"time": datetime(2013, 1, 1)}, r"timezone.*\$\.time"),
        ({"score": "high"}, r"\$\.score"),
        ({"role": "challenger"}, r"\$\.role"),
        ({"prediction": None}, r"\$\.prediction"),
        ({"features": {"x": 1, "y": [1]}}, r"features\['y'\]"),
        ({"features": {"x": object()}}, r"features\['x'\]"),
        ({"attributes": {"x": {}}}, r"attributes\['x'\]"),
    ],
)
def test_an_event_that_the_monitor_would_refuse_is_refused_at_once_and_names_its_field(broker, changes, named):
    with Predictions(SETTINGS) as predictions:
        with pytest.raises(InvalidRecord, match=named):
            predictions.send(prediction(**changes))
        assert predictions.delivery.sent == 0


def test_a_refused_event_passes_through_a_context_manager_as_itself(broker):
    @contextlib.contextmanager
    def context():
        yield

    with Predictions(SETTINGS) as predictions, pytest.raises(InvalidRecord), context():
        predictions.send(prediction(id=""))


def test_every_event_is_acknowledged_failed_waiting_or_unsent(broker):
    answers = {b"p1": NotLeaderForPartitionError(), b"p2": MessageSizeTooLargeError("big"), b"p3": "later"}
    broker.answer = answers.get
    predictions = Predictions(SETTINGS, timeout_s=0.01)
    for n in range(5):
        assert predictions.send(prediction(n))
    delivery = predictions.flush(timeout_s=0.2)
    assert (delivery.sent, delivery.acknowledged, delivery.failed, delivery.waiting) == (5, 2, 2, 1)
    assert delivery.reasons == {"MessageSizeTooLargeError": 1, "NotLeaderForPartitionError": 1}
    delivery = predictions.close(timeout_s=0.01)
    assert (delivery.acknowledged, delivery.failed, delivery.waiting) == (2, 3, 0)
    assert not delivery.complete
    assert broker.closed.is_set()
    assert not predictions.send(prediction(9))
    assert predictions.delivery.reasons["closed"] == 1


def test_a_full_buffer_is_waited_for_once_and_counted(broker):
    broker.answer = lambda key: "later"
    predictions = Predictions(SETTINGS, timeout_s=0.05, max_waiting=10)
    sent = [predictions.send(prediction(n)) for n in range(10)]
    began = time.monotonic()
    refused = [predictions.send(prediction(n)) for n in range(100)]
    took = time.monotonic() - began
    assert all(sent)
    assert not any(refused)
    assert 0.05 <= took < 5 * 0.05  # one wait, not a hundred
    assert predictions.delivery.reasons == {"buffer-full": 100}
    broker.futures[0].success("metadata")  # Kafka answers: there is room again
    assert predictions.send(prediction(10))
    predictions.close(timeout_s=0)


def test_an_event_waits_for_room_as_long_as_stated(broker):
    broker.answer = lambda key: "later"
    predictions = Predictions(SETTINGS, timeout_s=30, max_waiting=1)
    predictions.send(prediction(0))
    while not broker.futures:
        time.sleep(0.001)
    threading.Timer(0.02, broker.futures[0].success, ["metadata"]).start()
    assert predictions.send(prediction(1))
    predictions.close(timeout_s=0)


def test_what_is_sent_before_kafka_is_up_is_delivered_once_it_is(broker):
    broker.up.clear()
    predictions = Predictions(SETTINGS)
    assert all(predictions.send(prediction(n)) for n in range(3))
    assert predictions.flush(timeout_s=0.02).waiting == 3
    broker.up.set()
    assert predictions.close(timeout_s=10).complete
    assert [key for _, key, _, _ in broker.records] == [b"p0", b"p1", b"p2"]


def test_what_never_reached_kafka_is_counted_and_logged_at_close(broker, caplog):
    broker.up.clear()
    predictions = Predictions(SETTINGS)
    predictions.send(prediction())
    with caplog.at_level(logging.WARNING, "driftline.client"):
        delivery = predictions.close(timeout_s=0)
    assert (delivery.failed, delivery.reasons) == (1, {"no-connection": 1})
    assert "1 of 1 records are lost so far: 1 no-connection" in caplog.text


def test_a_record_is_tried_again_until_the_topic_is_known(broker):
    failures = [KafkaTimeoutError(), KafkaTimeoutError()]
    broker.answer = lambda key: failures.pop() if failures else None
    with Predictions(SETTINGS) as predictions:
        predictions.send(prediction())
        assert predictions.flush().complete
    assert len(broker.records) == 1


def batch(**changed):
    rows = 40
    fields = {
        "model": "m",
        "version": "1",
        "id": [f"id{i}" for i in range(rows)],
        "time": [datetime(2026, 1, 1, tzinfo=UTC)] * rows,
        "prediction": ["yes"] * rows,
        "score": [0.5, float("nan")] * (rows // 2),
        "features": {"x": list(np.arange(rows, dtype=float))},
    }
    return PredictionBatch(**(fields | changed))


def test_a_batch_becomes_one_message_a_partition_and_every_row_stands_where_its_id_belongs(broker):
    broker.up.set()
    with Predictions(SETTINGS) as predictions:
        assert predictions.send_batch(batch())
        delivery = predictions.flush()
    assert (delivery.sent, delivery.acknowledged, delivery.complete) == (4, 4, True)
    seen = {}
    for (partition, headers), (_, key, value, _) in zip(broker.headers, broker.records, strict=True):
        message = orjson.loads(value)
        assert (key, headers) == (None, [("content-type", COLUMNS.encode())])
        for event_id, x, score in zip(message["id"], message["features"]["x"], message["score"], strict=True):
            assert partition_of(event_id, 4) == partition
            seen[event_id] = (x, score)
    assert seen == {f"id{i}": (float(i), None if i % 2 else 0.5) for i in range(40)}


@pytest.mark.parametrize(
    ("changed", "why"), [({"time": [1]}, "time is not as long as id"), ({"prediction": [None] * 40}, "prediction")]
)
def test_a_batch_that_does_not_fit_together_is_refused_before_it_leaves(broker, changed, why):
    with Predictions(SETTINGS) as predictions, pytest.raises(InvalidRecord, match=why):
        predictions.send_batch(batch(**changed))
