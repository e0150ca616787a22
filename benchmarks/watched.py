"""The monitor specs of the workload's models, their baselines, and a catalog of them in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import NormalDist

import msgspec
import numpy as np

from benchmarks import generator
from benchmarks.workload import CATEGORIES, FEATURES, NUMBERS, Workload
from driftline.core.baseline import make_baseline
from driftline.events.admin import Deployment, SpecRevision
from driftline.events.base import Millis, decode, digest_id, encode
from driftline.events.baselines import Baseline
from driftline.platform.catalog import Catalog, without_counts
from driftline.spec.durations import show_duration
from driftline.spec.model import MonitorSpec
from driftline.spec.plain import from_plain, to_plain
from driftline.spec.reader import parse_spec

RANGES: dict[str, tuple[float, float]] = dict.fromkeys(NUMBERS, (-2000.0, 2000.0)) | {"f5": (-100.0, 100.0)}
SCORE_RANGE = (0.0, 1.0)
METRICS = ("accuracy", "f1", "auc", "log_loss")
PANES_A_SLICE = 10


@dataclass(frozen=True)
class Timing:
    """How the workload's clock is cut. A live deployment has slices of 1 s, panes of 10 s.

    The workload's clock runs at 100 predictions a second; here a slice is as long as it takes to hold what a real
    second would hold at the rate in question, and the other durations grow with it.
    """

    slice: timedelta
    horizon: timedelta

    @property
    def pane(self) -> timedelta:
        """Ten slices."""
        return PANES_A_SLICE * self.slice

    @property
    def slice_ms(self) -> Millis:
        """The slice in milliseconds."""
        return self.slice // timedelta(milliseconds=1)


def deployment(timing: Timing, partitions: int = 1) -> Deployment:
    """A deployment whose clock is the workload's."""
    return Deployment(
        id="benchmark",
        clock="events",
        slice=timing.slice,
        max_stall=timedelta(minutes=1),
        partitions=partitions,
        shards=1,
    )


def spec_text(
    model: str,
    pane: timedelta,
    horizon: timedelta,
    windows: Mapping[str, timedelta],
    every: timedelta | None = None,
    segments: int = 0,
    metrics: Sequence[str] = METRICS,
) -> str:
    """The monitor spec of one model, as a user would write it. `segments`: equal shares by its first number."""
    numbers = [f"  {name}: {{type: number, range: [{low:g}, {high:g}]}}" for name, (low, high) in RANGES.items()]
    categories = [f"  {name}: {{type: category}}" for name in CATEGORIES]
    step = "" if every is None else f", every: {show_duration(every)}"
    spans = [f"  {name}: {{span: {show_duration(span)}{step}}}" for name, span in windows.items()]
    usual = NormalDist(generator.CENTRES[0], generator.WIDTHS[0])
    cuts = ", ".join(f"{usual.inv_cdf(i / segments):.4f}" for i in range(1, segments))
    lines = [
        f"model: {model}",
        "task: binary",
        'labels: ["0", "1"]',
        'positive: "1"',
        "features:",
        *numbers,
        *categories,
        *([f"segments: [{{{NUMBERS[0]}: [{cuts}]}}]"] if segments else []),
        f"outputs: {{score: {{range: [{SCORE_RANGE[0]:g}, {SCORE_RANGE[1]:g}]}}}}",
        f"horizon: {show_duration(horizon)}",
        "lateness: 0s",
        f"pane: {show_duration(pane)}",
        "windows:",
        *spans,
        f"metrics: [{', '.join(metrics)}]",
        "retention: {raw: 1000d}",
    ]
    return "\n".join(lines) + "\n"


def watch(model: str, timing: Timing) -> MonitorSpec:
    """The spec of one model under `timing`, with one window of ten panes."""
    text = spec_text(model, timing.pane, timing.horizon, {"w": 10 * timing.pane})
    return parse_spec(text, "benchmark.yaml")


def reference_baseline(spec: MonitorSpec, workload: Workload, *, outcomes: bool = False) -> Baseline:
    """The baseline of version 1 out of the workload's undrifted rows, with their outcomes or without."""
    columns = {name: workload.reference[name] for name in FEATURES}
    scores = np.array(workload.reference["score"], dtype=np.float64)
    source = "the benchmark's reference rows"
    if not outcomes:
        return make_baseline(spec, columns, scores, None, "1", source)
    said, came = ([str(each) for each in workload.reference[name]] for name in ("prediction", "outcome"))
    return make_baseline(spec, columns, scores, said, "1", source, came)


class MemoryCatalog(Catalog):
    """What the topics `specs` and `baselines` would hold, without topics."""

    def __init__(self, deployment: Deployment, *, counts: bool = True) -> None:  # a catalog of topics would connect
        self.counts = counts
        self.deployment = deployment
        self.specs: dict[tuple[str, int], MonitorSpec] = {}
        self.baselines: dict[str, Baseline] = {}
        self.placed: dict[tuple[str, int], dict[int, int]] = {}
        self.written: dict[str, int] = {}

    async def refresh(self) -> None:
        """Everything is known already."""

    def take(self, revision: bytes, baseline: bytes) -> list[str]:
        """Take in one model's declarations as bytes, as they would come from the topics; returns its marks."""
        spec = decode(revision, SpecRevision)
        bins = decode(baseline, Baseline)
        self.specs[spec.model, spec.revision] = from_plain(spec.spec)
        self.baselines[bins.id] = bins if self.counts else without_counts(bins)
        return [f"spec {spec.model}@{spec.revision}", f"baseline {bins.id}"]


def declarations(spec: MonitorSpec, baseline: Baseline, model: str) -> tuple[bytes, bytes]:
    """The bytes that declare `model` as `spec` and `baseline` have it."""
    renamed = msgspec.structs.replace(spec, model=model)
    revision = SpecRevision(
        id=digest_id("spec", model, 1),
        model=model,
        revision=1,
        author="benchmark",
        written_at=0,
        spec=to_plain(renamed),
    )
    own = msgspec.structs.replace(baseline, id=digest_id("baseline", model), model=model)
    return encode(revision), encode(own)


def catalog_of(workload: Workload, timing: Timing) -> tuple[MemoryCatalog, list[str]]:
    """A catalog of all models of the workload, and the marks that bring them into force."""
    spec = watch("m0", timing)
    baseline = reference_baseline(spec, workload)
    catalog = MemoryCatalog(deployment(timing))
    marks = []
    for number in range(workload.models):
        marks += catalog.take(*declarations(spec, baseline, f"m{number}"))
    return catalog, marks
