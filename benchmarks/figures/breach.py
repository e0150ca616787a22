"""From a prediction that leaves its range, appended to Kafka, to its alert in a reader's hand, under load."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.live import Event, Load, Sender, declare_models, events_of, probe
from benchmarks.loading import PARTITIONS
from benchmarks.measure import Progress
from benchmarks.reading import Reader
from benchmarks.results import Column, Result
from benchmarks.servers import START_S, log_of, new_settings, wait_for, worker
from benchmarks.watching import Decided, Watch
from benchmarks.workload import PREDICTIONS_A_SECOND, START_MS, Workload, generate, location
from driftline.platform.settings import LocalServers, Settings

AFTER_S = 60.0
"""How long alerts may still come when the load has ended."""


@dataclass(frozen=True)
class Scale:
    """Predictions a second, how long, how much of it before the first probe, and probes."""

    rate: int
    seconds: int
    warm_seconds: int
    probes: int


FULL = Scale(10_000, 40, 8, 300)
QUICK = Scale(250, 3, 1, 5)


def measure(scale: Scale, progress: Progress, addresses: LocalServers, state: Path) -> Result:
    """A monitor and a control; each probe is a model of its own, so that each has its own first alert."""
    progress.expect(4)
    progress("making the workload")
    workload = generate(scale.rate * scale.seconds)
    settings = new_settings(addresses, state)
    models = tuple(f"probe{number}" for number in range(scale.probes))
    progress(f"declaring {1 + len(models)} models")
    declare_models(settings, ["m0", *models])
    events, probes = _with_probes(scale, workload, models)
    with ExitStack() as stack:
        progress("starting monitor and control")
        _start(stack, settings)
        reader = stack.enter_context(Reader(settings, models))
        progress(f"{2 * scale.rate:,} events/s for {scale.seconds} s")
        load = asyncio.run(Sender(settings, probes).run(events, scale.rate))
        seen = reader.seen(AFTER_S)
    return _result(scale, load, seen)


def _start(stack: ExitStack, settings: Settings) -> None:
    """Both services at work: the monitor has told of every partition, and control lives."""
    watch = Watch(settings, 1000)
    stack.callback(watch.close)
    monitor = stack.enter_context(worker(settings, "monitor"))
    control = stack.enter_context(worker(settings, "control"))
    log = log_of(settings, "monitor")
    wait_for(lambda: len(watch.heard()) == PARTITIONS, START_S, lambda: monitor.poll() is None, log)
    decided = Decided(settings)
    stack.callback(decided.close)
    wait_for(decided.anything, START_S, lambda: control.poll() is None, log_of(settings, "control"))


def _with_probes(scale: Scale, workload: Workload, models: tuple[str, ...]) -> tuple[list[Event], dict[bytes, str]]:
    """The load, and the probes at random instants after the first seconds."""
    rng = np.random.default_rng(len(models))
    span = scale.seconds * scale.rate // PREDICTIONS_A_SECOND * 1000
    warm = span * scale.warm_seconds // scale.seconds
    dues = np.sort(rng.integers(warm, span, len(models))).tolist()
    template = workload.predictions[0]
    probes = [probe(model, template, START_MS + due) for model, due in zip(models, dues, strict=True)]
    last = START_MS + span
    events = [event for event in events_of(workload) if event.due < last] + probes
    return sorted(events, key=lambda event: event.due), {
        each.key: model for each, model in zip(probes, models, strict=True)
    }


def _result(scale: Scale, load: Load, seen: dict[str, int]) -> Result:
    took = np.array([seen[model] - load.appended[model] for model in seen], dtype=np.float64)
    reached = load.events / load.seconds
    missing = scale.probes - len(seen)
    if took.size == 0:
        raise AssertionError(f"no alert came within {AFTER_S:g} s after the load")
    p50, p90, p99, most = (float(np.percentile(took, q)) for q in (50, 90, 99, 100))
    figures = {"p50 ms": p50, "p90 ms": p90, "p99 ms": p99, "events/s": reached, "missing": float(missing)}
    return Result(
        name="breach",
        title="A value out of its range: from its append to its alert in a reader's hand",
        columns=[
            Column("load, events/s", "rate"),
            Column("probes", "count"),
            Column("p50", "ms"),
            Column("p90", "ms"),
            Column("p99", "ms"),
            Column("longest", "ms"),
            Column("no alert in time", "count"),
        ],
        rows=[[reached, float(scale.probes), p50, p90, p99, most, float(missing)]],
        figures=figures,
        notes=[
            f"Live clock, slices of 1 s, {PARTITIONS} partitions, one monitor and one control; {2 * scale.rate:,} "
            f"events/s asked for during {scale.seconds} s, predictions of 12 features and outcomes; load, broker, "
            "Redis, workers and reader share the machine.",
            "From the instant at which the broker appended the probe's batch (its own clock) to the instant at which a "
            "consumer of `alerts` had the first alert of that model; probes at random instants.",
        ],
        rounds={"ms": took.tolist()},
        workload=location()[1],
    )
