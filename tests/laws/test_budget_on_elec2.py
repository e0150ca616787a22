"""A year without drift: rows of elec2, shuffled and given new times, so that nothing changes but by chance."""

from __future__ import annotations

from collections import defaultdict

import msgspec
import numpy as np
import pytest
from tests.engine import Engine
from tests.streams import beside, rows
from tests.timeline.partitions import begun
from tests.timeline.shards import Shard, catalog

from driftline.core.binning import bins_from_reference, to_numbers
from driftline.core.pane import Layout
from driftline.events.alerts import AlertState
from driftline.events.baselines import Baseline, Calibration
from driftline.events.inputs import Outcome, Prediction
from driftline.events.topics import Topic
from driftline.spec.reader import parse_spec

HOUR, QUARTER = 3_600_000, 900_000
FIRST, DAYS = 28, 28 + 365

pytestmark = [pytest.mark.slow, beside]

SPEC = parse_spec(
    f"""
model: m
task: binary
labels: ["0", "1"]
positive: "1"
features:
  period: {{type: number}}
  nswdemand: {{type: number}}
  vicprice: {{type: number}}
  vicdemand: {{type: number}}
  transfer: {{type: number}}
horizon: 2h
lateness: 0s
pane: 1h
windows: {{day: {{span: 1d, every: 1d}}}}
metrics: [accuracy, log_loss]
baseline: {{first: {FIRST}d}}
false_alarms: 1 per 30d
rules:
  - {{name: accuracy-low, metric: accuracy, window: day, min_samples: 50}}
  - {{name: loss-high, metric: log_loss, window: day, min_samples: 50}}
  - {{name: inputs-moved, drift: psi, window: day, min_samples: 50}}
  - {{name: score-moved, drift: ks, features: [score], window: day, min_samples: 50}}
""",
    "elec2",
)


def year_without_drift(seed):
    """(bins, pane deltas by slice of an hour): every labelled row once, in an order and at times left to chance."""
    truth = {row["id"]: row["label"] for row in rows("elec2", "outcomes")}
    served = [row for row in rows("elec2", "predictions") if row["id"] in truth]
    columns = {name: [float(row[name]) for row in served] for name in SPEC.features}
    bins = bins_from_reference(SPEC, columns, to_numbers([float(row["proba_a"]) for row in served]), None)
    bins = msgspec.structs.replace(bins, score=tuple((np.arange(1, 64) / 64).tolist()))  # few bins: quicker
    chance = np.random.default_rng(seed)
    times = np.sort(chance.integers(0, DAYS * 24 * HOUR, len(served))).tolist()
    arrivals = []
    for time, place in zip(times, chance.permutation(len(served)).tolist(), strict=True):
        row = served[place]
        features = {name: columns[name][place] for name in columns}
        said = Prediction(
            id=row["id"],
            model="m",
            version="1",
            time=time,
            features=features,
            prediction=int(row["pred_a"]),
            score=float(row["proba_a"]),
        )
        arrivals += [
            (time, said),
            (time, Outcome(id=row["id"], model="m", time=time, outcome=int(float(truth[row["id"]])))),
        ]
    engine = Engine(SPEC, {"1": Layout(bins)}, HOUR)
    found = defaultdict(list)
    for batch in batches(arrivals):
        for number, deltas in engine.feed(batch).panes.items():
            found[number] += deltas
    return bins, found


def batches(arrivals):
    """Some days at a time."""
    parts = defaultdict(list)
    for at, event in arrivals:
        parts[at // (240 * HOUR)].append((at, event))
    return parts.values()


def played(seed):
    """(calibrations, alerts that fired) of a year."""
    bins, deltas = year_without_drift(seed)
    declared = catalog(SPEC)
    declared.baselines["bins"] = Baseline(id="bins", model="m", version="1", bins=bins, n=0, counts={}, source="t")
    log = begun()
    for number in sorted(deltas):
        if number:
            log.slice(0, 4 * number + 1, *deltas[number])
    shard = Shard(log.until(4 * 24 * DAYS), declared).run()
    alerts = Shard.alerts_in(shard.outbox)
    return shard.events(Topic.BASELINES, Calibration), [a for a in alerts if a.state is AlertState.FIRING]


def test_a_year_without_drift_raises_no_more_alarms_than_its_budget():
    armed, firing = played(1)
    assert [one.reason for one in armed] == [""] * len(SPEC.rules)
    assert sum(one.alarms for one in armed) == 1
    assert all(alert.evidence.false_alarms is not None for alert in firing)
    assert len(firing) <= 365 / 30
