"""A shard of control without Kafka: its inputs are written by hand, its outputs collected."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from types import SimpleNamespace

import msgspec

from driftline.control import published
from driftline.control.out import OUTPUTS
from driftline.control.published import Published
from driftline.control.work import ControlWork
from driftline.core.binning import default_bins
from driftline.core.pane import Layout
from driftline.events.admin import Command, Deployment
from driftline.events.alerts import Alert
from driftline.events.base import Event, digest_id, encode
from driftline.events.retraining import Artifact, Candidate, Recipe, Span, Verdict
from driftline.events.slices import (
    Breach,
    Notice,
    PaneDelta,
    ReadUpTo,
    Slice,
    notice_headers,
    read_up_to_headers,
    slice_headers,
)
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.records import Outgoing, Record, Source
from driftline.platform.store import Stored
from driftline.spec.model import (
    FeatureSpec,
    MonitorSpec,
    OutputSpec,
    PromotionSpec,
    RetrainSpec,
    RuleSpec,
    WindowSpec,
)

QUARTER, HOUR = 900_000, 3_600_000
PARTITIONS = 2
INPUTS = (Topic.COMMANDS, Topic.CANDIDATES, Topic.VERDICTS)
SOURCES = (*(Source(Topic.SLICES, i) for i in range(PARTITIONS)), *(Source(topic, 0) for topic in INPUTS))
LOW_ACCURACY = RuleSpec(
    name="accuracy-low",
    kind="metric",
    target="accuracy",
    window="hour",
    below=0.7,
    clear_above=0.8,
    min_samples=40,
    retrain=True,
)


def spec(**changes) -> MonitorSpec:
    """Slices and panes of a quarter of an hour, windows of an hour, outcomes for two hours."""
    retrain = RetrainSpec(
        trainer="a:b",
        span=timedelta(hours=8),
        holdout=timedelta(hours=2),
        label_delay=timedelta(hours=1),
        cooldown=timedelta(hours=2),
        budget=5,
        budget_per=timedelta(days=1),
        improve_within=timedelta(hours=6),
        deadline=timedelta(hours=2),
        time_limit=timedelta(minutes=5),
    )
    fields = {
        "model": "m",
        "task": "binary",
        "labels": ("no", "yes"),
        "positive": "yes",
        "features": {"x": FeatureSpec(type="number", range=(0, 10))},
        "outputs": {"score": OutputSpec(range=(0, 1))},
        "horizon": timedelta(hours=2),
        "lateness": timedelta(0),
        "pane": timedelta(minutes=15),
        "max_ahead": timedelta(minutes=5),
        "windows": {"hour": WindowSpec(span=timedelta(hours=1), every=timedelta(hours=1))},
        "metrics": ("accuracy",),
        "rules": (LOW_ACCURACY,),
        "retrain": retrain,
        "promotion": PromotionSpec(metric="accuracy", min_effect=0),
        "retain_raw": timedelta(days=1),
    }
    return MonitorSpec(**(fields | changes))


class FakeCatalog(SimpleNamespace):
    """What people have declared; `coming` is found only by looking again."""

    async def refresh(self) -> None:
        """Look again."""
        self.specs |= self.coming


def catalog(*specs: MonitorSpec, clock="live", shards=1) -> FakeCatalog:
    """A deployment with the given specs as revisions 1, 2, ..."""
    deployment = Deployment(
        id="d",
        clock=clock,
        slice=timedelta(minutes=15),
        max_stall=timedelta(minutes=1),
        partitions=PARTITIONS,
        shards=shards,
    )
    revisions = {("m", i + 1): found for i, found in enumerate(specs or (spec(),))}
    return FakeCatalog(deployment=deployment, specs=revisions, coming={}, baselines={}, placed={}, written={})


@cache
def _layout() -> Layout:
    return Layout(default_bins(spec()))


def delta(pane, *, right=0, wrong=0, open_=0, labels_only=False, version="1", role="champion", bins="default:m@1"):
    """A pane delta: `right` and `wrong` labelled predictions and `open_` ones; `labels_only`: outcomes come late."""
    start = {name: cells.start for name, cells in _layout().cells.items()}
    found = {start["labelled"]: right + wrong, start["confusion"]: right, start["confusion"] + 1: wrong}
    if not labels_only:
        n = right + wrong + open_
        found |= {start["n"]: n, start["feature:x"] + 3: n, start["score"] + 9: n}
    found = {cell: count for cell, count in sorted(found.items()) if count}
    return PaneDelta(
        model="m",
        version=version,
        role=role,
        pane=pane,
        bins=bins,
        cells=tuple(found),
        counts=tuple(found.values()),
        sums={},
    )


def breach(worst=12.0, version="1", name="x", n=1):
    """Values of a feature outside its range."""
    return Breach(model="m", version=version, name=name, n=n, low=0, high=10, worst=worst, samples=("p",))


def register(version="1", **fields) -> Command:
    """The command that brings in a first champion."""
    return command("register", **({"id": f"register-{version}", "version": version} | fields))


def command(action: str, **fields) -> Command:
    """A command of a person."""
    about = {"id": f"{action}-command", "model": "m", "action": action, "author": "a", "written_at": 0}
    return Command(**(about | fields))


def request_id(case: int, attempt: int) -> str:
    """The id that control gives to an attempt's request."""
    return digest_id("request", digest_id("case", "m", case), attempt)


def candidate(case=1, attempt=1, version="2", **fields) -> Candidate:
    """A trainer's answer."""
    request = request_id(case, attempt)
    about = {
        "id": digest_id("candidate", request),
        "case": digest_id("case", "m", case),
        "request": request,
        "model": "m",
        "attempt": attempt,
        "version": version,
        "artifact": Artifact(uri=version, sha256=f"sum-{version}", format="skops"),
        "baseline": None,
        "trained_on": None,
        "validation": {},
        "recipe": Recipe(training=Span(start=0, end=0), holdout=Span(start=0, end=0), known_by=0),
    }
    return Candidate(**(about | fields))


def verdict(answer: Candidate, decision="promote", **fields) -> Verdict:
    """A gate's judgement of a candidate."""
    about = {
        "id": digest_id("verdict", answer.id),
        "case": answer.case,
        "candidate": answer.id,
        "model": "m",
        "version": answer.version,
        "champion": "1",
        "artifact_sha256": f"sum-{answer.version}",
        "decision": decision,
        "reason": "certain-gain" if decision == "promote" else "no-certain-gain",
        "rows": None,
        "metrics": (),
        "method": "t",
    }
    return Verdict(**(about | fields))


class ShardLog:
    """What stands in the shard's input topics. Times are in quarters of an hour, the number of the slice."""

    def __init__(self) -> None:
        self.records: dict[Source, list[Record]] = {source: [] for source in SOURCES}
        self.previous: dict[int, int] = {}

    def slice(self, partition: int, number: int, *panes, breaches=(), marks=(), counters=None, shard=0) -> ShardLog:
        """A slice in which something happened."""
        value = Slice(
            partition=partition,
            slice=number,
            previous=self.previous.get(partition),
            shard=shard,
            panes=panes,
            breaches=tuple(breaches),
            marks=tuple(marks),
            counters=counters or {},
        )
        self.previous[partition] = number
        return self._add(SOURCES[partition], number * QUARTER, encode(value), slice_headers(value))

    def notice(self, told: Notice, shard=0) -> ShardLog:
        """What a partition says at once."""
        return self._add(SOURCES[told.partition], told.at, encode(told), notice_headers(told, shard))

    def say(self, quarter: float, event: Event) -> ShardLog:
        """A command, candidate or verdict that arrives in the slice of `quarter`."""
        topic = {Command: Topic.COMMANDS, Candidate: Topic.CANDIDATES, Verdict: Topic.VERDICTS}[type(event)]
        return self._add(Source(topic, 0), int(quarter * QUARTER), encode(event))

    def junk(self, quarter: float, topic: Topic, value: bytes) -> ShardLog:
        """A record that is no event."""
        return self._add(Source(topic, 0), int(quarter * QUARTER), value)

    def until(self, number: int, partitions: Iterable[int] = range(PARTITIONS)) -> ShardLog:
        """All `partitions` have finished slice `number`, and the other inputs are read past its end."""
        for partition in partitions:
            note = ReadUpTo(partition=partition, slice=number)
            self._add(SOURCES[partition], number * QUARTER, encode(note), read_up_to_headers(note))
        return self.tick(number)

    def tick(self, number: int) -> ShardLog:
        """The other inputs are read past the end of slice `number`."""
        for topic in INPUTS:
            self._add(Source(topic, 0), (number + 1) * QUARTER, b"", ((MARK_HEADER, b"tick"),))
        return self

    def _add(self, source: Source, time: int, value: bytes, headers=()) -> ShardLog:
        records = self.records[source]
        arrival = max([time, *(r.arrival for r in records[-1:])])
        records.append(Record(source, len(records), time, arrival, b"", value, headers))
        return self


class Shard:
    """Control at work on a log: reads as told, may be killed and restarted between any two steps."""

    def __init__(self, log: ShardLog, declared: FakeCatalog, published: Iterable[Outgoing] = ()) -> None:
        self.log = log
        self.declared = declared
        self.published = read_published(published)
        self.stored: dict[str, dict[bytes, bytes]] = {}
        self.outbox: list[Outgoing] = []
        self.at_once: list[Outgoing] = []
        self.progress: list = []
        self.read = dict.fromkeys(SOURCES, 0)
        self.waiting = {source: deque() for source in SOURCES}
        self.reached = dict.fromkeys(SOURCES, -1)
        self.restart()

    def restart(self) -> None:
        """Throw the memory away and take over what is stored."""

        async def tell(progress) -> None:
            self.progress.append(progress)

        self.work = ControlWork(self.declared, 0, lambda *_: None, tell, lambda *_: self.published)
        # a store keeps no order of fields
        shuffled = {name: dict(sorted(fields.items(), reverse=True)) for name, fields in self.stored.items()}
        asyncio.run(self.work.start(Stored(b"1" if self.stored else None, shuffled)))
        for source in SOURCES:  # what was not taken is read again
            self.read[source] -= len(self.waiting[source])
            self.waiting[source].clear()
            taken = self.log.records[source][: self.read[source]]
            self.reached[source] = taken[-1].arrival if taken else -1

    def fetch(self, source: Source, count: int) -> None:
        """Read up to `count` more records of a source."""
        more = self.log.records[source][self.read[source] : self.read[source] + count]
        self.read[source] += len(more)
        self.waiting[source].extend(more)
        self.reached[source] = max([self.reached[source], *(r.arrival for r in more)])
        self.at_once += self.work.at_once(more)
        self.work.read_to_end({s for s in SOURCES if self.read[s] == len(self.log.records[s])})

    def go_on(self) -> None:
        """Apply what is complete."""
        while (counts := self.work.cut(self.waiting, self.reached)) is not None:
            taken = {s: [self.waiting[s].popleft() for _ in range(n)] for s, n in counts.items()}
            asyncio.run(self.work.prepare(taken))
            step = self.work.step(taken, dict(self.reached))
            for name, fields in step.changes.drop.items():
                for field in fields:
                    self.stored.get(name, {}).pop(field, None)
            for name, fields in step.changes.put.items():
                self.stored.setdefault(name, {}).update(fields)
            self.outbox += step.outbox
            asyncio.run(self.work.stored_and_relayed())

    def run(self) -> Shard:
        """Read everything that is left, and apply it."""
        for source in SOURCES:
            self.fetch(source, 10**9)
        self.go_on()
        return self

    @staticmethod
    def alerts_in(outbox: Iterable[Outgoing]) -> list[Alert]:
        """The alerts among records."""
        return [msgspec.json.decode(o.value, type=Alert) for o in outbox if o.topic is Topic.ALERTS]

    def events(self, topic: Topic, kind: type | None = None) -> list:
        """What was written to a topic, decoded."""
        found = [record.value for record in self.outbox if record.topic is topic and record.value]
        return [
            msgspec.json.decode(value) if kind is None else msgspec.json.decode(value, type=kind) for value in found
        ]


def read_published(outbox: Iterable[Outgoing]) -> Published:
    """What a start without state finds of what was written."""
    return published.read(
        (
            Record(Source(o.topic, 0), i, 0, 0, o.key, o.value, o.headers)
            for i, o in enumerate(outbox)
            if o.topic in OUTPUTS
        ),
        0,
    )


def play(log: ShardLog, declared: FakeCatalog | None = None) -> Shard:
    """The log read at one go."""
    return Shard(log, declared or catalog()).run()
