"""The monitor and control over records in memory, as the services would run them: what they would have published."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

import msgspec
from tests.timeline.shards import FakeCatalog

from driftline.control.out import OUTPUTS
from driftline.control.published import Published
from driftline.control.work import ControlWork
from driftline.events.admin import Command, Deployment
from driftline.events.base import encode
from driftline.events.baselines import Baseline
from driftline.events.inputs import Outcome, Prediction
from driftline.events.topics import MARK_HEADER, Topic
from driftline.monitor.work import MonitorWork
from driftline.platform.records import Outgoing, Record, Source
from driftline.spec.model import MonitorSpec, millis

INPUTS = (Topic.COMMANDS, Topic.CANDIDATES, Topic.VERDICTS)
Arrival = tuple[int, Prediction | Outcome]


def published(
    spec: MonitorSpec,
    arrivals: Sequence[Arrival],
    until: int,
    baselines: Sequence[Baseline] = (),
    commands: Sequence[Command] = (),
    stretch_ms: int = 86_400_000,
    partitions: int = 1,
    place: Callable[[str], int] = lambda _: 0,
) -> list[tuple[Topic, bytes]]:
    """What control publishes of `arrivals` (in order), read in stretches up to the instant `until`.

    Marks and commands stand in the slice before the first arrival; slices are as long as panes. `place`: the partition
    in which everything about an id is.
    """
    deployment = Deployment(
        id="d", clock="events", slice=spec.pane, max_stall=timedelta(minutes=1), partitions=partitions, shards=1
    )
    catalog = FakeCatalog(
        deployment=deployment,
        specs={(spec.model, 1): spec},
        coming={},
        baselines={each.id: each for each in baselines},
        placed={},
        written={},
    )
    slice_ms = millis(spec.pane)
    before = (arrivals[0][0] // slice_ms - 1) * slice_ms
    marks = [f"baseline {each.id}" for each in baselines] + [f"spec {spec.model}@1"]
    sources = [Source(topic, i) for i in range(partitions) for topic in (Topic.PREDICTIONS, Topic.OUTCOMES)]
    logs: dict[Source, list[Record]] = {source: [] for source in sources}
    for source in sources[::2]:
        for text in marks:
            _add(logs[source], source, before, None, b"", ((MARK_HEADER, text.encode()),))
    for arrival, event in arrivals:
        topic = Topic.PREDICTIONS if isinstance(event, Prediction) else Topic.OUTCOMES
        source = Source(topic, place(event.id))
        _add(logs[source], source, arrival, event.id.encode(), msgspec.json.encode(event), ())
    monitors = [_Monitor(catalog, i) for i in range(partitions)]
    control = _Control(catalog, before, commands)
    end = before
    while end < until:
        end = min(until, end + stretch_ms)
        control.read([record for monitor in monitors for record in monitor.read(logs, end)], end)
    return [(r.topic, r.value or b"") for r in control.out if r.topic in OUTPUTS]


def _add(log, source, time, key, value, headers) -> None:
    arrival = max([time, *(record.arrival for record in log[-1:])])
    log.append(Record(source, len(log), time, arrival, key, value, headers))


class _Monitor:
    def __init__(self, catalog: FakeCatalog, number: int) -> None:
        self._work = MonitorWork(catalog, number, lambda *_: None)
        self._taken = dict.fromkeys(self._work.sources, 0)

    def read(self, logs: dict[Source, list[Record]], end: int) -> list[Outgoing]:
        """One step over everything that arrived before `end`."""
        taken = {}
        for source in self._work.sources:
            log = logs[source]
            rest = log[self._taken[source] :]
            taken[source] = [record for record in rest if record.arrival < end]
            self._taken[source] += len(taken[source])
        self._work.cut(taken, dict.fromkeys(taken, end))
        asyncio.run(self._work.prepare(taken))
        return self._work.step(taken, dict.fromkeys(taken, end)).outbox


class _Control:
    def __init__(self, catalog: FakeCatalog, before: int, commands: Sequence[Command]) -> None:
        async def tell(_) -> None: ...

        self._work = ControlWork(catalog, 0, lambda *_: None, tell, lambda *_: Published())
        self._logs: dict[Source, list[Record]] = {source: [] for source in self._work.sources}
        self._read = dict.fromkeys(self._logs, 0)
        self.out: list[Outgoing] = []
        source = Source(Topic.COMMANDS, 0)
        for command in commands:
            _add(self._logs[source], source, before, b"", encode(command), ())

    def read(self, records: Sequence[Outgoing], end: int) -> None:
        """Everything up to `end`, in as many turns as control takes."""
        for record in records:
            if record.topic is Topic.SLICES:
                source = Source(Topic.SLICES, record.partition or 0)
                _add(self._logs[source], source, end, b"", record.value, record.headers)
        for topic in INPUTS:
            _add(self._logs[Source(topic, 0)], Source(topic, 0), end, b"", b"", ((MARK_HEADER, b"tick"),))
        reached = {s: log[-1].arrival if log else -1 for s, log in self._logs.items()}
        while True:
            waiting = {s: self._logs[s][self._read[s] :] for s in self._logs}
            counts = self._work.cut(waiting, reached)
            if counts is None:
                return
            taken = {s: waiting[s][:n] for s, n in counts.items()}
            for s, n in counts.items():
                self._read[s] += n
            asyncio.run(self._work.prepare(taken))
            self.out += self._work.step(taken, reached).outbox
