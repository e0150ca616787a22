"""A partition that cannot simply go on: records gone from Kafka, steps that raise, nothing but bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping

import redis
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from tests.chaos.bookkeeping import Beginning, Raw
from tests.chaos.buffers import sabotaged
from tests.chaos.load import MODELS, baseline_of_beta, partition_of
from tests.chaos.machines import ROOT, Arena, wait_for
from tests.chaos.malformed import Odd
from tests.chaos.reading import read_deployment, read_topic
from tests.chaos.report import Result, conclude
from tests.chaos.saboteur import Fault
from tests.chaos.stage import INPUTS, PARTITIONS, SLICE_MS, Place, Stage
from tests.chaos.verifier import Rebuilt

FIRST_BAD = 10_000
"""So many bad records in a row stop a partition."""


def driftline(stage: Stage, *arguments: str) -> str:
    """Run the command line against a stage, as an operator does; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "driftline.cli.main", *arguments],
        env={**os.environ, **stage.environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"driftline {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def units(stage: Stage) -> dict[str, dict[str, object]]:
    """What `driftline partitions list` says of the monitor's units."""
    found = json.loads(driftline(stage, "partitions", "list", "--json"))
    return {unit["unit"]: unit for unit in found if unit["unit"].startswith("monitor:")}


def inputs_of(stage: Stage) -> dict[str, dict[int, list[Raw]]]:
    """Both input topics as they are now."""
    return {t.value: read_topic(stage.settings.bootstrap, stage.settings.prefix, t.value) for t in INPUTS}


def let_go(stage: Stage, until: Mapping[Place, int]) -> None:
    """Let Kafka forget all records below these offsets, as its retention does."""
    admin = KafkaAdminClient(bootstrap_servers=stage.settings.bootstrap)
    try:
        admin.delete_records(
            {TopicPartition(stage.settings.prefix + topic, n): offset for (topic, n), offset in until.items()}
        )
    finally:
        admin.close()


def gaps(notices: Iterable[Mapping[str, object]], kind: str) -> dict[Place, tuple[int, int]]:
    """What is said to be missing, by topic and partition: first and last offset."""
    found = {}
    for notice in notices:
        gap = notice["gap"]
        if notice["kind"] == kind and isinstance(gap, dict):
            number = notice["partition"]
            assert isinstance(number, int)
            found[gap["topic"], number] = (gap["first"], gap["last"])
    return found


def gone_before_it_was_read(arena: Arena, portion: int) -> Result:
    """A worker is away for so long that Kafka lets go of what it had not read: it stops, says so, and waits for a word.

    Then it goes on without what is gone, and everything else is exact.
    """
    with Stage(arena, "gone-before-it-was-read") as stage:
        stage.send(portion)
        monitor = stage.worker()
        stage.wait_all_applied(monitor)
        monitor.stop()
        stood = stage.standing()
        read = inputs_of(stage)
        for _ in range(2):
            stage.send(portion)
        lost = {place: end - (end - stood.offsets[place]) // 2 for place, end in stage.ends.items()}
        stage.send(portion)
        let_go(stage, lost)
        monitor.start()
        wait_for("all partitions stand still", lambda: all(unit["stop"] for unit in units(stage).values()), pause_s=0.5)
        assert stage.standing() == stood, "it has jumped"
        assert monitor.alive()
        for number in range(PARTITIONS):
            driftline(stage, "partitions", "accept-gap", "monitor", str(number), "--yes")
        recovery = stage.wait_all_applied(monitor)
        stage.send(portion)
        stage.finish_sending()
        stage.wait_all_applied(monitor)
        wanted = {place: (stood.offsets[place], offset - 1) for place, offset in lost.items()}
        counted = units(stage)
        before = {
            topic: {n: [r for r in records if r.offset < stood.offsets[topic, n]] for n, records in partitions.items()}
            for topic, partitions in read.items()
        }
        result = conclude(stage, PARTITIONS, [recovery], gone=before)
        assert gaps(result.verdict.notices.values(), "gap") == wanted
        assert gaps(result.verdict.notices.values(), "resumed") == wanted
        missing = sum(last - first + 1 for first, last in wanted.values())
        assert missing == sum(sum(unit["missing"].values()) for unit in counted.values())  # type: ignore[attr-defined]  # JSON
        result.notes.append(f"{missing} records were gone; all of them are named and counted")
        return result


def emptied_when_kafka_has_forgotten(arena: Arena, portion: int) -> Result:
    """FLUSHALL when Kafka no longer holds the beginning: what is missing is named; later everything is exact again.

    Between the two, what is published is what a reading from the earliest record kept gives.
    """
    with Stage(arena, "flushall-after-retention") as stage:
        for _ in range(2):
            stage.send(portion)
        monitor = stage.worker()
        stage.wait_all_applied(monitor)
        before = stage.now // SLICE_MS - 1
        whole = inputs_of(stage)
        lost = {place: end // 2 for place, end in stage.ends.items()}
        monitor.signal(signal.SIGSTOP)  # so that nothing is published between the two
        let_go(stage, lost)
        client = redis.Redis.from_url(arena.addresses.redis_url)
        client.flushall()
        client.close()
        for _ in range(2):
            stage.send(portion)
        waiting = stage.waiting()
        monitor.signal(signal.SIGCONT)
        recovery = stage.wait_all_applied(monitor)
        deployment = read_deployment(stage.settings.bootstrap, stage.settings.prefix)
        stage.pass_time(2 * max(spec.horizon for spec in deployment.specs.values()))
        exact_from = stage.now // SLICE_MS
        stage.send(portion)
        stage.finish_sending()
        stage.wait_all_applied(monitor)
        forgotten = {
            topic: {n: [r for r in records if r.offset < lost[topic, n]] for n, records in partitions.items()}
            for topic, partitions in whole.items()
        }
        held = Beginning(dict.fromkeys(MODELS, 1), {("beta", "1"): baseline_of_beta().id})
        rebuilt = Rebuilt(before, exact_from, held)
        result = conclude(stage, 1, [recovery], gone=forgotten, rebuilt=rebuilt)
        assert gaps(result.verdict.notices.values(), "gap") == {place: (0, n - 1) for place, n in lost.items()}
        result.notes.append(f"{sum(lost.values())} records were gone, and are named; {waiting} were waiting")
        return result


def step_raises(arena: Arena, portion: int) -> Result:
    """A bug in Driftline makes steps raise at two records: each becomes a dead letter, and none around them is skipped.

    The worker is killed on the way, just before it stores what it has found, and finds it again.
    """
    with Stage(arena, "step-raises-on-a-record") as stage:
        stage.send(portion)
        first = stage.worker()
        stage.wait_all_applied(first)
        first.stop()
        text = "made-to-raise"
        stage.send(portion)
        for topic in ("predictions", "outcomes"):
            stage.send_odd([_sound(topic, stage.now, f"{text}-{topic}")])
        stage.send(portion)
        waiting = stage.waiting()
        bug = Fault(call="step", do="raise", text=text)
        begun = stage.standing()
        victim, raised = sabotaged(stage, "victim", bug, Fault(call="write", nth=4))
        victim.wait_killed()
        assert raised.exists(), "no step has raised"
        assert stage.waiting(), "everything was done"
        worker, _ = sabotaged(stage, "worker", bug)
        recovery = stage.wait_moves(begun, worker)
        stage.wait_all_applied(worker)
        stage.finish_sending()
        stage.wait_all_applied(worker)
        result = conclude(stage, 2, [recovery], [f"records waiting: {waiting}"], broken=[text.encode()])
        reasons = Counter(result.verdict.letters.values())
        assert reasons["step-failed"] == 2
        return result


def _sound(topic: str, stamp: int, name: str) -> Odd:
    event: dict[str, object] = {"id": name, "model": "alpha", "time": stamp}
    event |= {"version": "1", "prediction": "yes"} if topic == "predictions" else {"outcome": "yes"}
    return Odd(topic, name.encode(), json.dumps(event).encode(), (), None)


def nothing_but_bad(arena: Arena, portion: int) -> Result:
    """A producer sends nothing but rubbish: the partition stops at the limit, drops nothing, and goes on when told."""
    with Stage(arena, "nothing-but-bad-records") as stage:
        stage.send(portion)
        monitor = stage.worker()
        stage.wait_all_applied(monitor)
        key = next(f"k{i}".encode() for i in range(100) if partition_of(f"k{i}".encode(), PARTITIONS) == 0)
        rubbish = [Odd("outcomes", key, b"rubbish %d" % i, (), "not-json") for i in range(FIRST_BAD + 500)]
        stage.send_odd(rubbish)
        stage.send(portion)
        wait_for("its partition stands still", lambda: units(stage)["monitor:0"]["stop"], pause_s=0.5)
        stopped = units(stage)["monitor:0"]["stop"]
        assert isinstance(stopped, dict)
        assert stopped["kind"] == "all-bad"
        assert monitor.alive()
        assert not any(unit["stop"] for name, unit in units(stage).items() if name != "monitor:0")
        driftline(stage, "partitions", "resume", "monitor", "0")
        recovery = stage.wait_all_applied(monitor)
        stage.finish_sending()
        stage.wait_all_applied(monitor)
        result = conclude(stage, 1, [recovery])
        kinds = Counter(notice["kind"] for notice in result.verdict.notices.values())
        assert kinds["all-bad"] == kinds["resumed"] == 1
        assert result.verdict.letters_found >= len(rubbish)
        return result
