"""The archiver against a real Kafka: killed with work in hand, and counting like the monitor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import orjson
import pytest
from tests.archives import spec

from driftline.core.binning import default_bins
from driftline.core.pane import Layout
from driftline.events.partitioning import partition_of
from driftline.events.slices import Slice
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.archive import dead_letters_end, query, wait_until_reached
from driftline.platform.archive_files import ARCHIVED, read_positions
from driftline.platform.bulk import BulkSender
from driftline.platform.declare import apply_spec
from driftline.platform.kafka import read_all, read_deployment
from driftline.platform.records import Outgoing, Source
from driftline.platform.settings import Settings

pytestmark = pytest.mark.integration

IDS = 6_000


class Process:
    """One service of the deployment."""

    def __init__(self, settings: Settings, service: str) -> None:
        environment = {
            "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
            "DRIFTLINE_REDIS_URL": settings.redis_url,
            "DRIFTLINE_PREFIX": settings.prefix,
            "DRIFTLINE_STATE_DIR": str(settings.state_dir),
            "PYTHONPATH": str(Path(__file__).parents[2] / "services"),
        }
        self.output = settings.state_dir / f"{service}.log"
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"driftline.{service}.main"],
                env=os.environ | environment,
                stdout=output,
                stderr=output,
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def end(self, number: int) -> int:
        """Send a signal and wait for the end."""
        self._process.send_signal(number)
        return self._process.wait(60)


def until(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


def send(settings: Settings) -> None:
    """Predictions of two versions, some twice, some contradicted, some unusable; outcomes, some of them corrected."""
    partitions = read_deployment(settings).partitions
    sender = BulkSender(settings)
    now = int(time.time() * 1000)

    def add(topic: Topic, name: str, event: dict) -> None:
        value = orjson.dumps({"id": name, "model": "m", "time": now} | event)
        sender.add(Outgoing(topic, name.encode(), value, partition_of(name, partitions)))

    for n in range(IDS):
        name = f"id-{n}"
        if n % 9 == 0:
            add(Topic.OUTCOMES, name, {"outcome": "yes"})
        for version in ("1", "2") if n % 3 == 0 else ("1",):
            event = {"version": version, "prediction": "yes", "score": 0.7, "features": {"x": n, "c": "a"}}
            add(Topic.PREDICTIONS, name, event)
            if n % 10 == 0:
                add(Topic.PREDICTIONS, name, event)
            if n % 11 == 0:
                add(Topic.PREDICTIONS, name, event | {"score": 0.2})
        if n % 100 == 0:
            add(Topic.PREDICTIONS, name, {"version": "3", "prediction": "never declared"})
        if n % 4 != 0:
            add(Topic.OUTCOMES, name, {"outcome": "no"})
        if n % 8 == 1:
            add(Topic.OUTCOMES, name, {"outcome": "yes", "time": now + 1})
    sender.close()


def ends_of(settings: Settings) -> dict[Source, int]:
    """Where the input topics end at this moment."""
    ends: dict[Source, int] = {}
    for topic in (Topic.PREDICTIONS, Topic.OUTCOMES):
        for record in read_all(settings, topic):
            ends[record.source] = record.next_offset
    return ends


def archived_to(settings: Settings, ends: dict[Source, int]) -> bool:
    """Whether the archive says that it holds everything before `ends`."""
    positions = read_positions(settings.archive_dir)
    found = positions.sources if positions else {}
    return all(found.get(s.topic, {}).get(s.partition, (0, 0))[0] >= end for s, end in ends.items())


def test_kills_in_the_middle_lose_no_row_and_double_none(deployment):
    killed_with_work_in_hand = 0
    send(deployment)
    for flushes in (1, 3):
        with Process(deployment, "archiver") as archiver:
            before = read_positions(deployment.archive_dir)
            seen = before.flush if before else 0

            def moved(seen: int = seen) -> bool:
                found = read_positions(deployment.archive_dir)
                return found is not None and found.flush > seen

            until(moved, "a flush")
            send(deployment)
            time.sleep(0.3 * flushes)  # a different moment of its two seconds each time
            archiver.end(signal.SIGKILL)
        killed_with_work_in_hand += not archived_to(deployment, ends_of(deployment))
    assert killed_with_work_in_hand
    with Process(deployment, "archiver") as archiver:
        ends = ends_of(deployment)
        until(lambda: archived_to(deployment, ends), "the archive read to the end")
        assert archiver.end(signal.SIGTERM) == 0
    for topic in ARCHIVED:
        expected = Counter(
            (r.source.partition, r.offset, r.arrival, r.value.decode())
            for r in read_all(deployment, topic)
            if r.header(MARK_HEADER) is None
        )
        sql = 'SELECT "partition", "offset", arrival, value FROM records WHERE topic = ?'
        found = query(deployment.archive_dir, sql, (topic.value,)).to_pylist()
        assert Counter(tuple(row.values()) for row in found) == expected


def test_sql_over_the_archive_counts_what_the_monitor_counted(deployment):
    of_model = spec()
    apply_spec(deployment, of_model, "test")
    with Process(deployment, "monitor"), Process(deployment, "archiver") as archiver:
        send(deployment)
        now = int(time.time() * 1000) + 1000
        partitions = read_deployment(deployment).partitions
        wait_until_reached(deployment.archive_dir, partitions, now, 30)
        until(lambda: finished(deployment, partitions) >= now, "the monitor's slices")
        wait_until_reached(deployment.archive_dir, partitions, now, 30, dead_letters_end(deployment))
        assert archiver.end(signal.SIGTERM) == 0
    layout = Layout(default_bins(of_model))
    counts: Counter = Counter()
    told: Counter = Counter()
    for record in read_all(deployment, Topic.SLICES):
        if record.header("driftline-kind") != "slice":
            continue
        found = msgspec.json.decode(record.value, type=Slice)
        for delta in found.panes:
            for cell, n in zip(delta.cells, delta.counts, strict=True):
                for name in ("n", "labelled", "confusion"):
                    where = layout.cells[name]
                    if where.start <= cell < where.stop:
                        counts[delta.version, name, cell - where.start] += n
        told.update(found.counters.get("m", {}))
        told.update(found.counters.get("", {}))
    labels = {name: number for number, name in enumerate(of_model.labels)}
    archived: Counter = Counter()
    sql = "SELECT version, count(*) AS n FROM predictions GROUP BY ALL"
    for row in query(deployment.archive_dir, sql).to_pylist():
        archived[row["version"], "n", 0] = row["n"]
    for row in query(deployment.archive_dir, "SELECT version, value, outcome_value FROM labelled").to_pylist():
        archived[row["version"], "labelled", 0] += 1
        predicted, actual = orjson.loads(row["value"])["prediction"], orjson.loads(row["outcome_value"])["outcome"]
        archived[row["version"], "confusion", labels[actual] * 2 + labels[predicted]] += 1
    assert archived == +counts
    assert archived["1", "n", 0] == IDS
    repeats = query(deployment.archive_dir, "FROM repeats").to_pylist()
    assert sum(row["duplicates"] for row in repeats) == told["duplicates"]
    assert sum(row["conflicts"] for row in repeats) == told["conflicts"]
    assert told["dead_letters"] == IDS // 100
    dead = query(deployment.archive_dir, "FROM records WHERE topic = 'dead-letters'").to_pylist()
    assert len(dead) == IDS // 100


def finished(settings: Settings, partitions: int) -> int:
    """Up to which arrival the monitor has published its slices on all partitions."""
    slice_ms = read_deployment(settings).slice.total_seconds() * 1000
    found = {}
    for record in read_all(settings, Topic.SLICES):
        if record.header("driftline-kind") == "upto":
            found[record.source.partition] = (orjson.loads(record.value)["slice"] + 1) * slice_ms
    return int(min(found.values())) if len(found) == partitions else -1


def test_a_second_archiver_ends_with_a_sentence(deployment):
    with Process(deployment, "archiver"):
        until(lambda: read_positions(deployment.archive_dir) is not None, "the first one at work")
        with Process(deployment, "archiver") as second:
            assert second.end(signal.SIGCONT) == 1
            assert "another archiver writes to" in second.output.read_text()


def test_topics_that_were_made_anew_under_an_archive_are_noticed(deployment):
    with Process(deployment, "archiver") as archiver:
        until(lambda: read_positions(deployment.archive_dir) is not None, "a flush")
        assert archiver.end(signal.SIGTERM) == 0
    path = deployment.archive_dir / "_positions.json"
    state = orjson.loads(path.read_bytes())
    state["sources"]["specs"]["0"][0] = 1000
    path.write_bytes(orjson.dumps(state))
    with Process(deployment, "archiver") as archiver:
        assert archiver.end(signal.SIGCONT) == 1
        assert "has been made anew" in archiver.output.read_text()
