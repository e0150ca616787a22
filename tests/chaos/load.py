"""Predictions and outcomes as unkind as life: from a seed, out of order, repeated, corrected, contradicted, late."""

from __future__ import annotations

import heapq
import itertools
import json
import math
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from driftline.core.pane import histogram_size
from driftline.events.base import digest_id
from driftline.events.baselines import Baseline, Bins, CategoryBins, NumberBins
from driftline.events.partitioning import murmur2
from driftline.spec.model import MonitorSpec
from driftline.spec.reader import parse_spec

HOUR_MS = 3_600_000
COLUMN_ROWS = 8
MODELS = ("alpha", "beta")
"""`alpha` has a champion and a shadow, the bins of its declared ranges, and a horizon longer than any test; `beta` a
baseline with bins of its own, and a horizon of seconds, so that much of it is forgotten on the way."""

SPEC = """
model: {model}
task: binary
labels: ["no", "yes"]
positive: "yes"
features:
  x: {{type: number, range: [-10, 10]}}
  y: {{type: number, missing: allowed}}
  z: {{type: number, range: [0, 1], missing: allowed}}
  kind: {{type: category, allowed: [red, green, blue]}}
  place: {{type: category, missing: allowed}}
segments: [kind, origin, {{x: [-1, 1]}}, [kind, place]]
horizon: {horizon}
limits: {{max_ahead: {ahead}}}
lateness: 2s
pane: 1s
windows: {{short: {{span: 10s}}}}
"""


class Item(NamedTuple):
    """One record to send at `stamp`: an event, or several predictions in columns."""

    stamp: int
    topic: str
    partition: int
    key: bytes
    value: bytes
    columns: bool = False


Like = tuple[int, str, str, bool]
"""Partition, model, version, and whether there are attributes: such predictions can stand in one message of columns."""


class _Event(NamedTuple):
    stamp: int
    order: int
    topic: str
    event: dict[str, Any]


def partition_of(key: bytes, partitions: int) -> int:
    """Where Java and kafka-python put a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def spec_of(model: str) -> MonitorSpec:
    """The spec of one of the models."""
    horizon, ahead = ("1h", "5m") if model == "alpha" else ("15s", "5s")
    return parse_spec(SPEC.format(model=model, horizon=horizon, ahead=ahead), model)


def baseline_of_beta() -> Baseline:
    """Uneven bins, as quantiles give them. The counts are those of a reference of six rows."""
    features: dict[str, NumberBins | CategoryBins] = {
        "x": NumberBins(edges=(-3.5, -1.0, 0.0, 0.25, 4.0), low=-10, high=10),
        "y": NumberBins(edges=(-1.0, 0.0, 1e-300, 1.0)),
        "z": NumberBins(edges=(0.125, 0.5), low=0, high=1),
        "kind": CategoryBins(values=("blue", "red")),
        "place": CategoryBins(values=("north", "south", ""), others=("7", "east")),
    }
    score = tuple(k / 64 for k in range(1, 64))
    bins = Bins(features=features, labels=("no", "yes"), positive="yes", score=score)
    sizes = {f"feature:{n}": histogram_size(b) for n, b in features.items()}
    sizes["score"] = len(score) + 2
    counts = {name: (6, *[0] * (size - 1)) for name, size in sizes.items()}
    name = digest_id("baseline of chaos", "beta")
    return Baseline(id=name, model="beta", version="1", bins=bins, n=6, counts=counts, source="chaos")


class Load:
    """Makes records in order of their stamps: ask for what comes until an instant, again and again.

    Of a hundred predictions about six are repeated, two contradicted, two too old or too far ahead, four shadowed by
    another version only; of their outcomes three never come, eight come first, four are corrected, two corrected by an
    older one (which changes nothing), six repeated; and for two there is no prediction at all.
    """

    def __init__(self, seed: int, partitions: int, copies: int = 1) -> None:
        self._random = random.Random(seed)
        self._seed = seed
        self._partitions = partitions
        self._copies = copies
        self._numbers = itertools.count()
        self._orders = itertools.count()
        self._waiting: list[_Event] = []
        self._columns: dict[Like, list[dict[str, Any]]] = defaultdict(list)

    def until(self, first: int, last: int, predictions: int) -> Iterator[Item]:
        """The records with `stamp < last`, among them `predictions` new ids between `first` and `last`."""
        for k in range(predictions):
            self._make(first + (last - first) * k // predictions)
        while self._waiting and self._waiting[0].stamp < last:
            yield from self._sent(heapq.heappop(self._waiting))
        yield from self._flushed(last - 1)

    def rest(self) -> Iterator[Item]:
        """What has not come yet, in order."""
        stamp = 0
        while self._waiting:
            stamp = self._waiting[0].stamp
            yield from self._sent(heapq.heappop(self._waiting))
        yield from self._flushed(stamp)

    def _sent(self, due: _Event) -> Iterator[Item]:
        """An event by itself, or, for one prediction in five, in columns together with those of its like."""
        event, key = due.event, due.event["id"].encode()
        partition = partition_of(key, self._partitions)
        if due.topic == "predictions" and self._chance(20):
            like = (partition, event["model"], event["version"], "attributes" in event)
            self._columns[like].append(event)
            if len(self._columns[like]) == COLUMN_ROWS:
                yield from self._flushed(due.stamp, like)
            return
        # a repeat is one however it is written down
        shuffled = dict(self._random.sample(sorted(event.items()), len(event)))
        value = json.dumps(shuffled, separators=self._random.choice([(",", ":"), (", ", ": ")])).encode()
        yield Item(due.stamp, due.topic, partition, key, value)

    def _flushed(self, stamp: int, *like: Like) -> Iterator[Item]:
        """The rows that were held back, of one kind or of all."""
        for name in like or tuple(self._columns):
            rows = self._columns.pop(name)
            message: dict[str, Any] = {"model": name[1], "version": name[2], "role": rows[0].get("role", "champion")}
            message |= {field: [row[field] for row in rows] for field in ("id", "time", "prediction", "score")}
            message["latency_ms"] = [row.get("latency_ms") for row in rows]
            message["features"] = {field: [row["features"][field] for row in rows] for field in rows[0]["features"]}
            if name[3]:
                message["attributes"] = {"origin": [row["attributes"]["origin"] for row in rows]}
            yield Item(stamp, "predictions", name[0], b"", json.dumps(message).encode(), columns=True)

    def _send(self, stamp: float, topic: str, event: dict[str, Any]) -> None:
        for _ in range(self._copies):
            at = int(stamp) if self._copies == 1 else int(stamp + self._random.expovariate(1 / 1500))
            heapq.heappush(self._waiting, _Event(at, next(self._orders), topic, event))

    def _chance(self, per_hundred: float) -> bool:
        return self._random.random() * 100 < per_hundred

    def _make(self, stamp: int) -> None:
        number, rng = next(self._numbers), self._random
        model = MODELS[rng.random() < 0.4]
        name = f"{model}-{self._seed}-{number}"
        x, y = rng.gauss(0, 2.5), rng.lognormvariate(0, 3) * rng.choice([-1, 1])
        chance = 1 / (1 + math.exp(-x))
        features = {
            "x": rng.choice([x] * 60 + [99.5, -0.0, 10**29, None]),
            "y": rng.choice([y] * 30 + [0, None, 1e308]),
            "z": rng.choice([rng.random()] * 30 + [None, -0.25]),
            "kind": rng.choice(["red", "green", "blue"] * 20 + ["violet", None]),
            "place": rng.choice(["north", "south", "\u05e6\u05e4\u05d5\u05df \U0001f427", "", 7, True, None]),
        }
        event = {"id": name, "model": model, "version": "1", "time": stamp - rng.randrange(900), "features": features}
        scores = {"1": min(max(rng.gauss(chance, 0.1), 0), 1), "2": round(rng.random(), 2)}
        both = model == "alpha" and self._chance(50)
        for version in ("1", "2") if both else ("2",) if model == "alpha" and self._chance(8) else ("1",):
            self._predict(stamp, event | {"version": version}, scores[version])
        if self._chance(1):
            self._predict(stamp, event | {"id": f"{name}-old", "time": stamp - 2 * HOUR_MS}, 0.5)
        if self._chance(1):
            self._predict(stamp, event | {"id": f"{name}-early", "time": stamp + HOUR_MS}, 0.5)
        if not self._chance(3):
            self._tell(stamp, name, model, "yes" if rng.random() < chance else "no")
        if self._chance(2):
            self._tell(stamp, f"{name}-orphan", model, "yes")

    def _predict(self, stamp: int, event: dict[str, Any], score: float) -> None:
        rng = self._random
        told = rng.choice([score] * 60 + [None, 1.5])
        event |= {"prediction": "yes" if score > 0.5 else "no", "score": told}
        event |= {"role": "shadow"} if event["version"] == "2" else {}
        event |= {"latency_ms": 1.5, "attributes": {"origin": "EWR"}, "later": [None, {}]} if self._chance(10) else {}
        self._send(stamp, "predictions", event)
        for _ in range(rng.choice([1, 1, 3])) if self._chance(6) else ():
            self._send(stamp + rng.randrange(4000), "predictions", event)
        if self._chance(2):
            self._send(stamp + rng.randrange(4000), "predictions", event | {"score": 0.25, "prediction": "no"})

    def _tell(self, stamp: int, name: str, model: str, outcome: str) -> None:
        rng = self._random
        delay = rng.randrange(-800, 0) if self._chance(8) else rng.expovariate(1 / 1500)
        known = int(stamp + max(delay, -800))
        event = {"id": name, "model": model, "time": known, "outcome": outcome}
        other = "no" if outcome == "yes" else "yes"
        self._send(known, "outcomes", event)
        if self._chance(6):
            self._send(known + rng.randrange(3000), "outcomes", event)
        if self._chance(4):
            later = known + rng.randrange(3)  # of equal times the later arrival wins
            self._send(later + 1 + rng.randrange(3000), "outcomes", event | {"time": later, "outcome": other})
        if self._chance(2):
            self._send(known + 1 + rng.randrange(3000), "outcomes", event | {"time": known - 5, "outcome": other})
