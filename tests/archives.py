"""Records written by hand into an archive, for tests that read it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from tests.specs import bare_spec

from driftline.archiver.writer import Writer
from driftline.events.admin import Deployment, SpecRevision
from driftline.events.base import encode
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.archive_files import prepare
from driftline.platform.records import Record, Source
from driftline.spec.model import FeatureSpec, MonitorSpec
from driftline.spec.plain import to_plain

SLICE_MS = 1000
HOUR, DAY = 3_600_000, 86_400_000
START = 15_765 * DAY
"""2013-03-01T00:00:00Z."""


def spec(**changes) -> MonitorSpec:
    return bare_spec(
        **{
            "features": {"x": FeatureSpec(type="number"), "c": FeatureSpec(type="category")},
            "horizon": timedelta(hours=1),
            "pane": timedelta(seconds=10),
            "metrics": ("accuracy",),
            "retain_raw": timedelta(days=10),
        }
        | changes
    )


class Archive:
    """An archive with one partition of everything; what is added stands in it after `flush`."""

    def __init__(self, directory: Path, *specs: MonitorSpec) -> None:
        self.directory = directory
        prepare(directory)
        self.writer = Writer(directory, "d.")
        self._offsets: dict[Source, int] = {}
        self._arrivals: dict[Source, int] = {}
        if specs:
            deployment = Deployment(
                id="d",
                clock="events",
                slice=timedelta(milliseconds=SLICE_MS),
                max_stall=timedelta(minutes=1),
                partitions=1,
                shards=1,
            )
            self.add(Topic.SPECS, 0, encode(deployment))
            for one in specs:
                revision = SpecRevision(
                    id=one.model, model=one.model, revision=1, author="a", written_at=0, spec=to_plain(one)
                )
                self.add(Topic.SPECS, 0, encode(revision))
            self.flush()

    def add(self, topic: Topic, time: int, value: bytes | None, key: bytes | None = b"k", headers=()) -> Record:
        source = Source(topic, 0)
        offset = self._offsets.get(source, 0)
        arrival = max(time, self._arrivals.get(source, -1))
        self._offsets[source], self._arrivals[source] = offset + 1, arrival
        record = Record(source, offset, time, arrival, key, value, tuple(headers))
        self.writer.add([record])
        return record

    def predict(self, time: int, name: str, *, arrival: int | None = None, **changes) -> Record:
        event = {"id": name, "model": "m", "version": "1", "time": time, "prediction": "yes", "score": 0.7} | changes
        return self.add(
            Topic.PREDICTIONS, time if arrival is None else arrival, json.dumps(event).encode(), name.encode()
        )

    def outcome(self, time: int, name: str, outcome="yes", *, arrival: int | None = None, model="m") -> Record:
        event = {"id": name, "model": model, "time": time, "outcome": outcome}
        return self.add(Topic.OUTCOMES, time if arrival is None else arrival, json.dumps(event).encode(), name.encode())

    def dead(self, record: Record, headers=()) -> Record:
        place = {"topic": record.source.topic, "partition": record.source.partition, "offset": record.offset, "row": 0}
        ours = tuple((f"driftline.{name}", str(text).encode()) for name, text in place.items())
        return self.add(Topic.DEAD_LETTERS, record.arrival, record.value, b"predictions-0", (*headers, *ours))

    def tick(self, time: int) -> None:
        for topic in (Topic.PREDICTIONS, Topic.OUTCOMES):
            self.add(topic, time, b"", None, ((MARK_HEADER, b"tick"),))
        self.flush()

    def flush(self):
        return self.writer.flush()
