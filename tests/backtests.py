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
WORDS = {"horizon:": "segments: [[c, d], site]\nhorizon:", "features: all,": 'features: all, segments: ["c, d"],'}
CUT = SPEC.replace("horizon:", WORDS["horizon:"]).replace("features: all,", WORDS["features: all,"])
"""The same with segments."""
BINARY = {"task": "binary", "labels": 'labels: ["no", "yes"]\npositive: "yes"', "metric": "accuracy"}
BINARY |= {"side": "below", "limit": 0.8}
MULTICLASS = {"task": "multiclass", "labels": 'labels: ["no", "maybe", "yes"]', "metric": "f1_macro"}
MULTICLASS |= {"side": "below", "limit": 0.7}
REGRESSION = {"task": "regression", "labels": "", "metric": "mae", "side": "above", "limit": 1.2}


def answer_of(task: str, value: float) -> str | float:
    """A number as an answer: of many labels the one in the middle is for numbers around 0."""
    if task == "regression":
        return value
    return "maybe" if task == "multiclass" and abs(value) < 0.3 else "yes" if value > 0 else "no"


def scores_of(task: str, x: float) -> dict[str, float | None]:
    """The columns of scores."""
    score = min(1.0, max(0.0, 0.5 + x / 4))
    if task == "multiclass":
        return {"score_no": 0.75 - 0.75 * score, "score_maybe": 0.25, "score_yes": 0.75 * score}
    return {"score": score if task == "binary" else None}


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
        for version in versions:
            guess = x - rng.gauss(0, 0.5) if task != "regression" else x + rng.gauss(0, 0.2)
            predictions.append(
                {
                    "id": name,
                    "time": time,
                    "version": version,
                    "x": x,
                    "y": None if rng.random() < 0.2 else rng.uniform(0, 10),
                    "c": rng.choice(["a", "b", "1", "z"] if rng.random() < 0.01 else ["a", "b", "1"]),
                    "d": rng.choice([None, "p", "q"]),
                    "prediction": answer_of(task, guess),
                    **scores_of(task, x),
                    "site": f"s{len(predictions) % 3}",
                    "latency_ms": 1.0 + len(predictions) % 7,
                }
            )
        came = x + truth - (shift / 2 if task != "regression" else 0.0)
        if rng.random() < 0.95:
            outcomes.append(
                {"id": name, "time": time + rng.randrange(-60_000, 40 * HOUR), "outcome": answer_of(task, came)}
            )
        if rng.random() < 0.05:
            again = answer_of(task, -came if task != "regression" else x)
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
        named = ("id", "version", "time", "prediction", "score", "role", "latency_ms")
        head = {name: row[name] for name in named if name in row}
        if spec.task == "multiclass":
            head["scores"] = {label: row[f"score_{label}"] for label in spec.labels}
        attributes = {"site": row["site"]}
        found.append((row["time"], Prediction(model="m", features=features, attributes=attributes, **head)))
    found += [(row["time"], Outcome(model="m", **row)) for row in sorted(outcomes, key=lambda row: row["time"])]
    return sorted(found, key=lambda pair: pair[0])


def write_csv(path, rows, time=lambda t: t):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"time": time(row["time"])} for row in rows)
    return path
