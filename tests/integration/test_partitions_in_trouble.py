"""Source partitions that stay away, speak up or have holes, with real workers on a real Kafka."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta

import msgspec
import pytest

from driftline.events.alerts import Alert, SliceSpan
from driftline.events.base import decode, encode
from driftline.events.inputs import Outcome, Prediction
from driftline.events.partitioning import partition_of
from driftline.events.reports import WindowReport
from driftline.events.slices import (
    NoticeKind,
    ReadUpTo,
    Slice,
    notice,
    notice_headers,
    read_up_to_headers,
    slice_headers,
)
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform import topics
from driftline.platform.bulk import BulkSender
from driftline.platform.declare import accept_missing, apply_spec
from driftline.platform.following import Tail
from driftline.platform.kafka import read_all, send_all
from driftline.platform.records import Outgoing
from driftline.spec.reader import parse_spec

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

PATIENCE_S = 150
SLICE_MS = 500
STALL_S = 2
"""Short beside the session of a worker (ten seconds), after which another one would take over the partition."""
WINDOW_MS = 2_000
SPEC = """
model: m
task: binary
labels: ["no", "yes"]
positive: "yes"
features: {x: {type: number, range: [0, 1]}}
horizon: 40s
lateness: 1s
pane: 1s
windows: {short: {span: 2s}}
metrics: [accuracy]
"""


@pytest.fixture
def settings(fresh_settings):
    """Two source partitions, slices of half a second."""
    topics.create(
        fresh_settings,
        slice_length=timedelta(milliseconds=SLICE_MS),
        max_stall=timedelta(seconds=STALL_S),
        partitions=2,
    )
    return fresh_settings


@pytest.fixture
def start(settings):
    """Starts workers, which end with the test: `start(service, slot)` returns the process and its log."""
    started = []

    def starting(service, slot="0"):
        environment = {
            "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
            "DRIFTLINE_REDIS_URL": settings.redis_url,
            "DRIFTLINE_PREFIX": settings.prefix,
            "DRIFTLINE_STATE_DIR": str(settings.state_dir),
            "DRIFTLINE_SLOT": slot,
        }
        path = settings.state_dir / f"{service}-{slot}.log"
        with path.open("ab") as log:
            command = [sys.executable, "-m", f"driftline.{service}.main"]
            process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
        started.append(process)
        return process, path

    yield starting
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.terminate()
    for process in started:
        process.wait(30)


class World:
    """Goes on predicting while it waits for something to come of it."""

    def __init__(self, settings):
        self._sender = BulkSender(settings)
        self._tail = Tail(settings, Topic.METRICS, Topic.ALERTS)
        self._numbers = itertools.count()
        self.reports: list[WindowReport] = []
        self.alerts: list[Alert] = []
        self.silent = False

    def until(self, what, said):
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            assert time.monotonic() < deadline, f"waited in vain: {said}"
            if not self.silent:
                self._predict(int(time.time() * 1000))
            for record in self._tail.poll(0.1):
                if record.source.topic is Topic.METRICS:
                    self.reports.append(decode(record.value, WindowReport))
                elif record.value:
                    self.alerts.append(decode(record.value, Alert))

    def _predict(self, now):
        for number in itertools.islice(self._numbers, 6):
            name, right = f"p{number}", number % 3 != 0
            prediction = Prediction(id=name, model="m", version="1", time=now, features={"x": 0.5}, prediction="yes")
            outcome = Outcome(id=name, model="m", time=now, outcome="yes" if right else "no")
            for topic, event in ((Topic.PREDICTIONS, prediction), (Topic.OUTCOMES, outcome)):
                self._sender.add(Outgoing(topic, name.encode(), msgspec.json.encode(event), partition_of(name, 2)))
        self._sender.acknowledged()

    def left_out(self):
        return [a for a in self.alerts if a.rule == "left-out"]

    def newest(self):
        return {report.window.end: report for report in self.reports}

    def close(self):
        self._sender.close()
        self._tail.close()


def units(path):
    """The partitions that a worker says it works on."""
    told = re.findall(r"works on (\[.*?\]|nothing)", path.read_text())
    return told[-1] if told else None


def counted_by_hand(settings):
    """(predictions, right ones) by the end of their window, from the raw topics."""
    truth = {}
    for record in read_all(settings, Topic.OUTCOMES):
        if record.value and not record.header(MARK_HEADER):
            event = msgspec.json.decode(record.value)
            truth[event["id"]] = event["outcome"]
    n, right, seen = Counter(), Counter(), set()
    for record in read_all(settings, Topic.PREDICTIONS):
        if not record.value or record.header(MARK_HEADER):
            continue
        event = msgspec.json.decode(record.value)
        assert event["id"] not in seen
        seen.add(event["id"])
        end = event["time"] // WINDOW_MS * WINDOW_MS + WINDOW_MS
        n[end] += 1
        right[end] += truth[event["id"]] == event["prediction"]
    return {end: (n[end], right[end]) for end in n}


def test_a_monitor_that_is_paused_is_left_out_and_in_the_end_every_count_is_exact(settings, start):
    control, _ = start("control")
    first, first_log = start("monitor", "0")
    second, second_log = start("monitor", "1")
    apply_spec(settings, parse_spec(SPEC, "m"), "test")
    world = World(settings)
    try:
        world.until(lambda: {units(first_log), units(second_log)} == {"[0]", "[1]"}, "each monitor has a partition")
        world.until(lambda: any(r.segments[0].n for r in world.reports), "windows are told")
        victim, partition = (first, 0) if units(first_log) == "[0]" else (second, 0)
        victim.send_signal(signal.SIGSTOP)
        stopped_at, stopped_ms = time.monotonic(), time.time() * 1000

        def of_victim():
            return [a for a in world.left_out() if a.evidence.slices.partition == partition]

        world.until(of_victim, "it is left out")
        assert time.monotonic() - stopped_at > STALL_S * 0.9
        assert of_victim()[-1].state == "firing"

        def told_without_it():
            return [r.window.end for r in world.reports if r.completeness == 0.5 and r.window.start > stopped_ms]

        world.until(told_without_it, "a window that began later is told without it")
        victim.send_signal(signal.SIGCONT)
        world.until(lambda: of_victim()[-1].state == "resolved", "it is back")
        span = of_victim()[-1].evidence.slices
        assert span.last > span.first
        begun = max(world.newest())
        world.until(lambda: max(world.newest()) >= begun + 10_000, "time passes")
        world.silent = True
        expected = counted_by_hand(settings)

        def all_told():
            newest = world.newest()
            return all(end in newest and newest[end].completeness == 1.0 for end in expected) and all(
                newest[end].segments[0].labelled == n for end, (n, _) in expected.items()
            )

        world.until(all_told, "every window is told complete")
        newest = world.newest()
        for end, (n, right) in expected.items():
            everybody = newest[end].segments[0]
            assert (everybody.n, everybody.labelled) == (n, n)
            assert everybody.metrics["accuracy"].value == pytest.approx(right / n, abs=1e-9)
        first_told = {r.window.end: r for r in reversed(world.reports)}
        assert all(newest[end].segments[0].n > first_told[end].segments[0].n for end in told_without_it())
        ids = Counter(event.id for event in (*world.reports, *world.alerts))
        assert [name for name, count in ids.items() if count > 1] == []
        assert control.poll() is None
    finally:
        world.close()


class ByHand:
    """Writes partition 0 of `slices` in the place of a monitor; partition 1 is always finished."""

    def __init__(self, settings):
        self._settings = settings
        self._tail = Tail(settings, Topic.ALERTS)
        self.alerts: list[Alert] = []

    def slice(self, number, previous):
        value = Slice(partition=0, slice=number, previous=previous, shard=0)
        self._send(0, encode(value), slice_headers(value))

    def finished(self, number):
        for partition in (0, 1):
            note = ReadUpTo(partition=partition, slice=number)
            self._send(partition, encode(note), read_up_to_headers(note))

    def notice(self, told):
        self._send(told.partition, encode(told), notice_headers(told, 0))

    def _send(self, partition, value, headers):
        send_all(self._settings, [Outgoing(Topic.SLICES, None, value, partition, headers)])

    def expect(self, rule, state):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for alert in self.alerts:
                if (alert.rule, alert.state) == (rule, state):
                    return alert
            assert time.monotonic() < deadline, f"no alert {rule} {state}"
            self.alerts += [decode(r.value, Alert) for r in self._tail.poll(0.2) if r.value]

    def close(self):
        self._tail.close()


def test_a_partition_in_trouble_is_told_of_though_no_slice_of_it_is_finished(settings, start):
    start("control")
    by_hand = ByHand(settings)
    now = int(time.time() * 1000)
    try:
        by_hand.notice(notice(NoticeKind.STOPPED, 0, now // SLICE_MS, now, detail="Run `driftline x`."))
        told = by_hand.expect("stopped", "firing")
        assert (told.segment, told.at, told.kind) == ("partition:0", now, "data")
        by_hand.notice(notice(NoticeKind.RESUMED, 0, now // SLICE_MS, now + 1))
        assert by_hand.expect("stopped", "resolved").episode == told.episode
    finally:
        by_hand.close()


def test_a_hole_stops_control_until_a_human_accepts_it(settings, start):
    _, log = start("control")
    by_hand = ByHand(settings)
    now = int(time.time() * 1000) // SLICE_MS
    try:
        by_hand.slice(now - 9, None)
        by_hand.slice(now - 5, now - 7)
        by_hand.finished(now + 2000)
        told = by_hand.expect("hole-in-slices", "firing")
        missing = SliceSpan(partition=0, first=now - 8, last=now - 7)
        assert told.evidence.slices == missing
        (result,) = accept_missing(settings, missing, "test", PATIENCE_S)
        assert result.accepted
        assert by_hand.expect("hole-in-slices", "resolved").reason == "accepted-by-a-human"
        assert f"driftline slices accept 0 {now - 8} {now - 7}" in log.read_text()
    finally:
        by_hand.close()
