"""From a promotion, appended to Kafka, to an application that answers with the promoted version."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.measure import Progress
from benchmarks.results import Column, Result
from benchmarks.servers import Failed, new_settings
from driftline.client import Champion
from driftline.events.base import encode
from driftline.events.retraining import Champion as Served
from driftline.events.retraining import ModelState
from driftline.events.topics import Topic
from driftline.platform import topics
from driftline.platform.artifacts import Manifest, store
from driftline.platform.bulk import BulkSender
from driftline.platform.records import Outgoing
from driftline.platform.settings import LocalServers, Settings

MODEL, FEATURES = "m0", 12
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Scale:
    """Promotions."""

    swaps: int


FULL, QUICK = Scale(200), Scale(3)


def measure(scale: Scale, progress: Progress, addresses: LocalServers, state: Path) -> Result:
    """An application follows its champion while versions are promoted in turn, at random instants."""
    progress.expect(2)
    settings = new_settings(addresses, state)
    topics.create(settings)
    progress("storing two signed models")
    versions = [_stored(settings, version) for version in ("1", "2")]
    rng = np.random.default_rng(1)
    took = []
    with closing(BulkSender(settings)) as sender, ExitStack() as stack:
        _promote(sender, versions[0], 0)
        champion = stack.enter_context(Champion(MODEL, settings, follow=True))
        progress(f"{scale.swaps} promotions")
        for number in range(1, scale.swaps + 1):
            time.sleep(float(rng.uniform(0, 0.6)))
            wanted = versions[number % 2]
            sent = time.perf_counter()
            _promote(sender, wanted, number)
            while champion.version != wanted.version:
                if time.perf_counter() - sent > PATIENCE_S:
                    raise Failed(f"version {wanted.version} does not serve after {PATIENCE_S:g} s: {champion.problem}")
                time.sleep(0.0005)
            took.append(1000 * (time.perf_counter() - sent))
    return _result(took)


def _stored(settings: Settings, version: str) -> Served:
    rng = np.random.default_rng(int(version))
    names = [f"f{i}" for i in range(FEATURES)]
    model = LogisticRegression().fit(rng.normal(size=(500, FEATURES)), rng.integers(0, 2, 500).astype(str))
    manifest = Manifest(
        model=MODEL,
        version=version,
        task="binary",
        labels=("0", "1"),
        positive="1",
        features=dict.fromkeys(names, "number"),
    )
    return Served(version=version, artifact=store(settings, manifest, model), baseline=None, since=0)


def _promote(sender: BulkSender, version: Served, number: int) -> None:
    """Returns once the broker has it."""
    told = ModelState(id=str(number), model=MODEL, champion=version, previous=None, reason="better", at=number)
    sender.add(Outgoing(Topic.MODELS, MODEL.encode(), encode(told), 0))
    sender.acknowledged()


def _result(took: list[float]) -> Result:
    p50, p99, most = (float(np.percentile(took, q)) for q in (50, 99, 100))
    return Result(
        name="swap",
        title="A promotion: from its append to an application that answers with the version",
        columns=[Column("promotions", "count"), Column("p50", "ms"), Column("p99", "ms"), Column("longest", "ms")],
        rows=[[float(len(took)), p50, p99, most]],
        figures={"p50 ms": p50, "p99 ms": p99},
        notes=[
            f"Two logistic regressions of {FEATURES} features, stored as skops and signed; each swap reads the "
            "artifact, verifies it and loads it. From handing the record of `models` to an open producer to the first "
            "moment at which `Champion(follow=True)` answers with the version; promotions at random instants.",
        ],
        rounds={"ms": took},
        workload="",
    )
