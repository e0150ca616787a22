"""Predictions and outcomes as files have them, for tests of the backtest."""

from __future__ import annotations

import csv
import random
from datetime import UTC, datetime

from driftline.events.inputs import Outcome, Prediction

HOUR, DAY = 3_600_000, 86_400_000
START = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp() * 1000)

SPEC = """
model: m
task: {task}
{labels}
features:
  x: {{type: number, range: [-3, 3]}}
  y: {{type: number, missing: allowed}}
  c: {{type: category, allowed: [a, b, "1"]}}
  d: {{type: category, missing: allowed}}
horizon: 30h
lateness: 1h
pane: 15m
windows:
  day: {{span: 24h, every: 6h}}
  hour: {{span: 1h}}
rules:
  - {{name: worse, metric: {metric}, window: day, {side}: {limit}, min_samples: 30, min_coverage: 0.5, retrain: true}}
  - {{name: drift, drift: psi, features: all, window: day, above: 0.1, min_samples: 30}}
retrain:
  trainer: a.b:c
  schedule: "0 4 * * *"
  data: {{span: 2d, holdout: 1d}}
  cooldown: 6h
  budget: 20 per 30d
  improve_within: 1d
  deadline: 8h
"""
WORDS = {"horizon:": "segments: [[c, d]]\nhorizon:", "features: all,": 'features: all, segments: ["c, d"],'}
CUT = SPEC.replace("horizon:", WORDS["horizon:"]).replace("features: all,", WORDS["features: all,"])
"""The same with segments."""
BINARY = {"task": "binary", "labels": 'labels: ["no", "yes"]\npositive: "yes"', "metric": "accuracy"}
BINARY |= {"side": "below", "limit": 0.8}
REGRESSION = {"task": "regression", "labels": "", "metric": "mae", "side": "above", "limit": 1.2}


def rows_of(task: str, versions=("1",), days=3, seed=7):
    """Predictions and outcomes as a user's files have them, in the order of time; repeats and corrections too."""
    rng = random.Random(seed)
    predictions, outcomes = [], []
    time = START + 7 * 60_000
    while time < START + days * DAY:
        time += rng.randrange(1, 600_000)
        shift = 1.5 if time > START + days * DAY / 2 else 0.0
        x, truth = rng.gauss(shift, 1), rng.gauss(0, 1)
        name = f"p{len(predictions)}"
        yes = x + truth > shift / 2
        for version in versions:
            guess = x > rng.gauss(0, 0.5)
            predictions.append(
                {
                    "id": name,
                    "time": time,
                    "version": version,
                    "x": x,
                    "y": None if rng.random() < 0.2 else rng.uniform(0, 10),
                    "c": rng.choice(["a", "b", "1", "z"] if rng.random() < 0.01 else ["a", "b", "1"]),
                    "d": rng.choice([None, "p", "q"]),
                    "prediction": ("yes" if guess else "no") if task == "binary" else x + rng.gauss(0, 0.2),
                    "score": min(1.0, max(0.0, 0.5 + x / 4)) if task == "binary" else None,
                }
            )
        label = ("yes" if yes else "no") if task == "binary" else x + truth
        if rng.random() < 0.95:
            outcomes.append({"id": name, "time": time + rng.randrange(-60_000, 40 * HOUR), "outcome": label})
        if rng.random() < 0.05:
            again = ("no" if yes else "yes") if task == "binary" else x
            outcomes.append({"id": name, "time": outcomes[-1]["time"] + HOUR, "outcome": again})
        if rng.random() < 0.03:
            predictions.append(dict(predictions[-1]))
        if rng.random() < 0.03:
            predictions.append(predictions[-1] | {"x": 0.5})
    return predictions, outcomes


def events_of(predictions, outcomes, spec):
    """The same as applications publish it, by arrival."""
    found = []
    for row in predictions:
        features = {name: row[name] for name in spec.features}
        head = {name: row[name] for name in ("id", "version", "time", "prediction", "score", "role") if name in row}
        found.append((row["time"], Prediction(model="m", features=features, **head)))
    found += [(row["time"], Outcome(model="m", **row)) for row in sorted(outcomes, key=lambda row: row["time"])]
    return sorted(found, key=lambda pair: pair[0])


def write_csv(path, rows, time=lambda t: t):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"time": time(row["time"])} for row in rows)
    return path
