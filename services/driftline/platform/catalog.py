"""A view of what people have declared: the deployment, spec revisions, baselines. Read whole, then on to the ends."""

from __future__ import annotations

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from driftline.errors import DeploymentError
from driftline.events.admin import Deployment, SpecRevision, decode_specs_record
from driftline.events.base import Millis
from driftline.events.baselines import Baseline, decode_baselines_record
from driftline.events.topics import Topic
from driftline.platform.settings import Settings
from driftline.spec.model import MonitorSpec
from driftline.spec.plain import from_plain


class Catalog:
    """Topics `specs` and `baselines` in memory. Both only grow, so what was found stays true.

    `specs` is by (model, revision), `baselines` by id. `placed`: by (model, revision), the offsets of its marks by
    partition of `predictions`. `written`: by id, when a baseline was written, a moment before its marks. `counts`:
    whether the counts of baselines are kept too; who only counts in their bins does without, and they are most of it.
    """

    deployment: Deployment

    def __init__(self, settings: Settings, *, counts: bool = True) -> None:
        self._counts = counts
        self.specs: dict[tuple[str, int], MonitorSpec] = {}
        self.baselines: dict[str, Baseline] = {}
        self.placed: dict[tuple[str, int], dict[int, int]] = {}
        self.written: dict[str, Millis] = {}
        self._settings = settings
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        self._specs = TopicPartition(settings.topic(Topic.SPECS), 0)
        self._baselines = TopicPartition(settings.topic(Topic.BASELINES), 0)

    async def start(self) -> None:
        """Read both topics to their ends. Raises `DeploymentError` where there is no deployment record."""
        await self._consumer.start()
        self._consumer.assign([self._specs, self._baselines])
        await self._consumer.seek_to_beginning()
        await self.refresh()
        if not hasattr(self, "deployment"):
            raise DeploymentError(f"{self._specs.topic} holds no deployment; run `driftline topics create`")

    async def refresh(self) -> None:
        """Read on to the present ends."""
        ends = await self._consumer.end_offsets([self._specs, self._baselines])
        while any([await self._consumer.position(p) < end for p, end in ends.items()]):
            for partition, records in (await self._consumer.getmany(timeout_ms=200)).items():
                for record in records:
                    if record.value:
                        self._take(partition, record.value, record.timestamp)

    async def stop(self) -> None:
        """Close the connection."""
        await self._consumer.stop()

    def _take(self, partition: TopicPartition, value: bytes, timestamp: Millis) -> None:
        if partition == self._baselines:
            baseline = decode_baselines_record(value)
            if isinstance(baseline, Baseline):
                self.baselines.setdefault(baseline.id, baseline if self._counts else without_counts(baseline))
                self.written.setdefault(baseline.id, timestamp)
            return
        event = decode_specs_record(value)
        if isinstance(event, Deployment):
            self.deployment = event
        elif isinstance(event, SpecRevision):
            self.specs.setdefault((event.model, event.revision), from_plain(event.spec))
        else:
            self.placed.setdefault((event.model, event.revision), event.offsets)


def without_counts(baseline: Baseline) -> Baseline:
    """Its bins alone."""
    return msgspec.structs.replace(baseline, counts={}, sums={}, segments={})
