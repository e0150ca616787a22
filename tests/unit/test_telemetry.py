"""What a worker measures of itself, as Prometheus reads it and as `driftline status` shows it."""

from __future__ import annotations

import logging
import mmap
import socket
import urllib.request
from socketserver import BaseServer

import pytest
from prometheus_client.parser import text_string_to_metric_families

from driftline.events.topics import Topic
from driftline.platform import telemetry
from driftline.platform.records import Outgoing, Source
from driftline.platform.telemetry import METRICS, UnitWatch, WorkerWatch, resident_bytes

P0 = Source(Topic.PREDICTIONS, 0)


@pytest.fixture
def watch(monkeypatch):
    """A worker that runs units 0 and 2, and has run 1."""
    monkeypatch.delenv("DRIFTLINE_METRICS_PORT", raising=False)
    monkeypatch.setattr(BaseServer.serve_forever, "__defaults__", (0.01,))  # how soon it sees that it is to end
    made = WorkerWatch("monitor", lambda: {0, 2}, live=True)
    yield made
    made.close()


def scraped(watch: WorkerWatch) -> dict[tuple[str, ...], float]:
    """Every sample, by name and the values of its labels."""
    with urllib.request.urlopen(f"http://{watch.address}/metrics") as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {(s.name, *[v for _, v in sorted(s.labels.items())]): s.value for f in families for s in f.samples}


def letter(reason: str) -> Outgoing:
    return Outgoing(Topic.DEAD_LETTERS, None, b"", 0, (("driftline.reason", reason.encode()),))


def busy(watch: WorkerWatch) -> UnitWatch:
    unit = watch.unit(0)
    unit.note(7, telemetry.time.time_ns() // 1_000_000 - 45_000)
    unit.stored({P0: [1, 2, 3], Source(Topic.OUTCOMES, 0): [4]}, [letter("not-json"), letter("not-json"), letter("x")])
    unit.lag = {P0: 12, Source(Topic.PREDICTIONS, 1): 3}
    unit.gauges = {"kept_predictions": 41.0, "anything": 2.5}
    unit.missing = {"predictions/0": 20}
    unit.refused, unit.outbox = 1, 5
    unit.timings.step.observe(0.02)
    watch.unit(1).note(1000, 5)
    watch.unit(2).stopped = "gap: something; `a command`"
    return unit


def test_everything_that_is_promised_is_there_to_be_scraped(watch):
    busy(watch)
    watch.serve()
    found = scraped(watch)
    names = {name.removesuffix("_count") for name, *_ in found}
    assert set(METRICS) <= names
    assert {"process_resident_memory_bytes", "driftline_anything"} <= names
    assert found["driftline_records_taken_total", "predictions", "monitor:0"] == 3
    assert found["driftline_lag_records", "predictions", "monitor:0"] == 15
    assert 45 <= found["driftline_decision_behind_seconds", "monitor:0"] < 60
    assert found["driftline_dead_letters_total", "not-json", "monitor:0"] == 2
    assert found["driftline_kept_predictions", "monitor:0"] == 41
    assert found["driftline_missing_records_total", "predictions/0", "monitor:0"] == 20
    assert found["driftline_outbox_records", "monitor:0"] == 5
    assert (found["driftline_unit_stopped", "monitor:0"], found["driftline_unit_stopped", "monitor:2"]) == (0, 1)
    assert found["driftline_step_seconds_bucket", "0.03"] == 1
    assert found["driftline_step_seconds_bucket", "0.01"] == 0


def test_a_unit_that_another_worker_has_by_now_is_not_shown(watch):
    busy(watch)
    watch.serve()
    assert not [labels for labels in scraped(watch) if "monitor:1" in labels]


def test_metrics_are_answered_on_loopback_only(watch):
    watch.serve()
    assert watch.address.startswith("127.0.0.1:")


def test_the_port_can_be_fixed(watch, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("DRIFTLINE_METRICS_PORT", str(port))
    watch.serve()
    assert watch.address == f"127.0.0.1:{port}"


def test_a_port_that_is_taken_is_told_and_does_not_hold_up_the_work(watch, monkeypatch, caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("DRIFTLINE_METRICS_PORT", str(port))
        with caplog.at_level(logging.ERROR):
            watch.serve()
    assert watch.address != f"127.0.0.1:{port}"
    assert scraped(watch)
    assert f"port {port} (DRIFTLINE_METRICS_PORT) cannot be used" in caplog.text


@pytest.mark.parametrize("port", ["http", "-1", "70000", "80.5"])
def test_a_port_that_is_none_is_told_and_a_free_one_used(watch, monkeypatch, caplog, port):
    monkeypatch.setenv("DRIFTLINE_METRICS_PORT", port)
    with caplog.at_level(logging.ERROR):
        watch.serve()
    assert scraped(watch)
    assert f"{port} (DRIFTLINE_METRICS_PORT)" in caplog.text


def test_a_heartbeat_carries_the_worker_s_figures_in_one(watch):
    busy(watch)
    watch.serve()
    vitals = watch.vitals()
    assert (vitals.lag, vitals.kept, vitals.dead_letters, vitals.refused, vitals.missing) == (15, 41, 3, 1, 20)
    assert 45 <= vitals.behind_s < 60
    assert vitals.stopped == {"monitor:2": "gap: something; `a command`"}
    assert vitals.metrics == watch.address


def test_a_worker_of_a_replay_tells_no_distance_from_the_clock():
    watch = WorkerWatch("control", lambda: {0}, live=False)
    watch.unit(0).note(1, 5)
    assert (watch.vitals().behind_s, watch.vitals().kept) == (None, None)


def test_memory_is_what_the_kernel_counts():
    before = resident_bytes()
    with mmap.mmap(-1, 50_000_000) as held:  # of the kernel itself: an allocator may take more, or have it already
        for page in range(0, len(held), 4096):
            held[page] = 1
        assert 40_000_000 < resident_bytes() - before < 80_000_000
