"""What control decides follows from its recorded inputs alone, to the byte, also when it is killed on the way."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from examples.flights.serving import DAY_MS
from tests.flights_loop import BEGIN, END, PARTITIONS

from driftline.control.out import OUTPUTS
from driftline.events.admin import Progress
from driftline.events.base import decode, iso
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform import topics
from driftline.platform.bulk import BulkSender
from driftline.platform.following import Tail
from driftline.platform.kafka import read_all
from driftline.platform.records import Outgoing

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

BEFORE = (Topic.SPECS, Topic.BASELINES)
INPUTS = (Topic.SLICES, Topic.COMMANDS, Topic.CANDIDATES, Topic.VERDICTS)
SLICE_MS = 15 * 60_000
DAYS = range(BEGIN + DAY_MS, END + 1, DAY_MS)
KILL_AFTER_S = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1)
"""How long after its input has come control is killed, in turn: at each step of its loop some time or other."""
PATIENCE_S = 120
EVER = 2**62


class Inputs:
    """The recorded inputs of control, given bit by bit to a deployment of the same shape."""

    def __init__(self, recorded, prefix):
        self.settings = replace(recorded, prefix=prefix)
        topics.create(self.settings, clock="events", slice_length=timedelta(minutes=15), partitions=PARTITIONS)
        self._sender = BulkSender(self.settings)
        for topic in BEFORE:
            for record in read_all(recorded, topic):
                if topic is not Topic.SPECS or record.offset:  # the first is the deployment's record, which is there
                    self._send(record)
        self._waiting = [(arrived(record), record) for topic in INPUTS for record in read_all(recorded, topic)]

    def give(self, until):
        """All that had come before an instant."""
        for instant, record in self._waiting:
            if instant <= until:
                self._send(record)
        self._waiting = [(instant, record) for instant, record in self._waiting if instant > until]
        self._sender.acknowledged()

    def close(self):
        self._sender.close()

    def _send(self, record):
        source = record.source
        self._sender.add(
            Outgoing(source.topic, record.key, record.value, source.partition, record.headers, record.timestamp)
        )


def arrived(record):
    """The decision time to which a record belongs: a slice is known at its end."""
    if record.source.topic is Topic.SLICES:
        return (int(record.header("driftline-slice")) + 1) * SLICE_MS
    return record.arrival


class Control:
    """The control service over a deployment of one shard, and how far it has told that it has decided."""

    def __init__(self, settings):
        self._settings = settings
        self._tail = Tail(settings, Topic.PROGRESS)
        self._log = (settings.state_dir / f"control-{settings.prefix}log").open("ab")
        self.decided = 0
        self.start()

    def start(self):
        environment = {
            "DRIFTLINE_BOOTSTRAP": self._settings.bootstrap,
            "DRIFTLINE_REDIS_URL": self._settings.redis_url,
            "DRIFTLINE_PREFIX": self._settings.prefix,
            "DRIFTLINE_STATE_DIR": str(self._settings.state_dir),
        }
        command = [sys.executable, "-m", "driftline.control.main"]
        self._process = subprocess.Popen(command, env=os.environ | environment, stdout=self._log, stderr=self._log)

    def reach(self, instant):
        """Wait until it has decided up to `instant`."""
        deadline = time.monotonic() + PATIENCE_S
        while self.decided < instant:
            assert time.monotonic() < deadline, f"control stands at {iso(self.decided)}"
            assert self._process.poll() is None, "control has ended"
            self._listen(self._tail.poll(0.05))

    def kill(self):
        """End it at once; returns how far it had told to have decided."""
        self._process.send_signal(signal.SIGKILL)
        assert self._process.wait() == -signal.SIGKILL
        self._listen(self._tail.catch_up())
        return self.decided

    def _listen(self, records):
        for record in records:
            self.decided = decode(record.value, Progress).decision_time

    def close(self):
        self._process.terminate()
        self._process.wait(30)
        self._tail.close()
        self._log.close()


def decided_until(settings):
    """The last decision time that control has told of."""
    told = [decode(r.value, Progress) for r in read_all(settings, Topic.PROGRESS) if r.value]
    return max(progress.decision_time for progress in told)


def decisions(settings):
    """What control has published, by topic and partition, in order; a record relayed again after a crash once."""
    found = {}
    for topic in OUTPUTS:
        for record in read_all(settings, topic):
            if record.value and record.header(MARK_HEADER) is None:
                place = found.setdefault((topic, record.source.partition), {})
                place.setdefault((record.key, record.value), None)
    return {place: list(records) for place, records in found.items()}


def decide_at_once(recorded):
    """Everything is there when control starts."""
    inputs = Inputs(recorded, f"once-{recorded.prefix}")
    inputs.give(EVER)
    control = Control(inputs.settings)
    control.reach(decided_until(recorded))
    control.close()
    inputs.close()
    return inputs.settings


def decide_killed(recorded):
    """Control gets a day at a time and is killed each time; also how often it had work in hand then."""
    inputs = Inputs(recorded, f"killed-{recorded.prefix}")
    control = Control(inputs.settings)
    hits = 0
    for day, wait_s in zip(DAYS, itertools.cycle(KILL_AFTER_S)):
        inputs.give(day)
        time.sleep(wait_s)  # not a wait for anything: when the fault comes
        hits += control.kill() < day
        control.start()
        control.reach(day)
    inputs.give(EVER)
    control.reach(decided_until(recorded))
    control.close()
    inputs.close()
    return inputs.settings, hits


def test_decisions_are_the_same_bytes_live_at_once_and_killed_on_the_way(loop):
    expected = decisions(loop.settings)
    assert {topic for topic, _ in expected} >= {Topic.METRICS, Topic.ALERTS, Topic.RETRAIN_REQUESTS, Topic.CASES}
    assert decisions(decide_at_once(loop.settings)) == expected
    killed, hits = decide_killed(loop.settings)
    assert len(DAYS) >= 20
    assert hits > len(DAYS) // 2, "it was killed with work in hand"
    assert decisions(killed) == expected
