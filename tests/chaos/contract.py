"""What the contract says of one input record, in plain Python: the oracle's own reading of it.

Nothing here comes from Driftline. Whoever changes a rule of the contract has to change it twice, here too.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
import xxhash

LAST_INSTANT = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z
LONGEST_ID = 1024
DEFAULT_BINS = "default:"
COLUMNS = "application/vnd.driftline.columns+json"


def growing(first: float, growth: float, count: int) -> list[float]:
    """Edges that grow by the same factor."""
    edges = [first]
    while len(edges) < count:
        edges.append(edges[-1] * growth)
    return edges


LATENCIES, DELAYS = growing(0.05, 1.25, 63), growing(1000.0, 4 / 3, 63)
"""Edges between bins of latencies and of delays of labels, both in milliseconds."""


class BadRecordError(Exception):
    """The record is a dead letter, for this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@lru_cache(maxsize=64)
def milliseconds(duration: str) -> int:
    """An ISO 8601 duration of days, hours, minutes and seconds."""
    match = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?", duration)
    assert match is not None, f"{duration!r} is no duration"
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return round(((days * 24 + hours) * 60 + minutes) * 60_000 + seconds * 1000)


@dataclass(frozen=True)
class Spec:
    """A monitor spec as it stands in topic `specs`."""

    plain: Mapping[str, Any]

    @property
    def horizon(self) -> int:
        """How long after its prediction an outcome may come, in milliseconds."""
        return milliseconds(self.plain["horizon"])

    @property
    def max_ahead(self) -> int:
        """How far an event's time may lie ahead of its arrival, in milliseconds."""
        return milliseconds(self.plain["max_ahead"])

    @property
    def pane(self) -> int:
        """Length of a pane in milliseconds."""
        return milliseconds(self.plain["pane"])

    def kept(self, slice_ms: int) -> int:
        """An arrival meets another if they are less than so many slices apart: horizon and max_ahead, rounded up."""
        return -(-(self.horizon + self.max_ahead) // slice_ms) + 1

    def default_bins(self) -> dict[str, Any]:
        """Bins of a version without a baseline, as topic `baselines` would have them."""
        features = {}
        for name, declared in self.plain["features"].items():
            if declared["type"] == "category":
                allowed = declared["allowed"]
                known = {"buckets": 64} if allowed is None else {"values": allowed[:50], "others": allowed[50:]}
                features[name] = {"type": "category", "values": [], **known}
                continue
            low, high = declared["range"] or (None, None)
            if low is None:
                decades = [10.0**k for k in range(-6, 13)]
                edges = [-d for d in reversed(decades)] + [0.0, *decades]
            else:
                edges = np.linspace(low, high, 21)[1:-1].tolist()
            features[name] = {"type": "number", "edges": edges, "low": low, "high": high}
        labels = self.plain["labels"]
        odds, rare = 1.0, list[float]()
        for factor in np.linspace(1.03, 1.14, 256).tolist():
            odds *= 1 / factor
            rare.append(odds / (1 + odds))
        score = sorted([*np.linspace(0, 1, 513)[1:-1].tolist(), *rare, *(1 - p for p in rare)])
        return {"features": features, "labels": labels, "positive": self.plain["positive"], "score": score}


@dataclass
class Layout:
    """Which cell of a pane counts what: the histograms one after the other."""

    bins: Mapping[str, Any]
    start: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = {"n": 1, "labelled": 1}
        for name, bins in self.bins["features"].items():
            if bins["type"] == "number":
                sizes[f"feature:{name}"] = len(bins["edges"]) + 4
            else:
                sizes[f"feature:{name}"] = len(bins["values"]) + bool(bins.get("others")) + bins.get("buckets", 0) + 2
        scores, labels = len(self.bins["score"]) + 2, len(self.bins["labels"])
        sizes |= {"score": scores, "score|said": scores, "score|neg": scores, "score|pos": scores}
        sizes |= {"confusion": labels**2, "prediction": labels + 2}
        sizes |= {"latency": len(LATENCIES) + 1, "label_delay": len(DELAYS) + 1}
        for name in self.bins["features"]:
            sizes |= {f"{side}:{name}": sizes[f"feature:{name}"] for side in ("right", "wrong")}
        position = 0
        for name, size in sizes.items():
            self.start[name] = position
            position += size

    def feature(self, name: str, value: Any) -> int:
        """The cell of a feature's value."""
        bins = self.bins["features"][name]
        start = self.start[f"feature:{name}"]
        if bins["type"] == "category":
            known, others, buckets = list(bins["values"]), bins.get("others", []), bins.get("buckets", 0)
            rest = start + len(known) + bool(others)
            if value is None:
                return rest + buckets + 1
            spelled = spelling(value)
            if spelled in known:
                return start + known.index(spelled)
            if spelled in others:
                return rest - 1
            return rest + (xxhash.xxh3_64_intdigest(spelled.encode()) % buckets if buckets else 0)
        regular = len(bins["edges"]) + 1
        if value is None:
            return start + regular + 2
        if bins["low"] is not None and value < bins["low"]:
            return start + regular
        if bins["high"] is not None and value > bins["high"]:
            return start + regular + 1
        return start + bisect_right(bins["edges"], value)

    def among(self, name: str, cell: int, *, right: bool) -> int:
        """Where the cell of a feature's value stands among those of right or wrong predictions."""
        return cell - self.start[f"feature:{name}"] + self.start[f"{'right' if right else 'wrong'}:{name}"]

    def score(self, histogram: str, score: float | None) -> int:
        """The cell of a score in `score`, `score|neg` or `score|pos`."""
        edges = self.bins["score"]
        return self.start[histogram] + (len(edges) + 1 if score is None else bisect_right(edges, score))


def segments_of(event: Mapping[str, Any], cuts: list[dict[str, Any]], spec: Spec) -> list[tuple[str, str]]:
    """The segment of a prediction in each way to cut: (what it is cut by, its name)."""
    found = []
    for way in cuts:
        parts = [_part(event, cut, spec.plain["features"]) for cut in way["cuts"]]
        if None not in parts:
            found.append((", ".join(cut["name"] for cut in way["cuts"]), ", ".join(map(str, parts))))
    return found


def _part(event: Mapping[str, Any], cut: Mapping[str, Any], declared: Mapping[str, Any]) -> str | None:
    name, edges = cut["name"], cut["edges"]
    if cut["source"] == "feature" and name not in declared:
        return None
    value = event["features" if cut["source"] == "feature" else "attributes"].get(name)
    if edges:
        value = None if value is None or isinstance(value, str | bool) else float(value)
        if value is None:
            return f"{name}=(missing)"
        if value < edges[0]:
            return f"{name}=<{edges[0]:g}"
        if value >= edges[-1]:
            return f"{name}=>={edges[-1]:g}"
        place = bisect_right(edges, value)
        return f"{name}={edges[place - 1]:g} to {edges[place]:g}"
    return f"{name}={'(missing)' if value is None else spelling(value)}"


def spelling(value: Any) -> str:
    """The one spelling of a category or label that is not text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def label(value: Any) -> str:
    """The one spelling of a label; 1.0 is 1."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else spelling(value)


def read_json(value: bytes) -> Any:
    """The record's JSON; its numbers are finite. Raises `BadRecordError`."""
    try:
        return json.loads(value.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadRecordError("not-json") from error


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def read_columns(value: bytes) -> list[dict[str, Any]]:
    """The rows of a message of columns, each as it would stand by itself. Raises `BadRecordError`."""
    found = _object(read_json(value))
    columns = {name: found[name] for name in ("id", "time", "prediction", "score", "latency_ms") if name in found}
    columns = {name: column for name, column in columns.items() if column is not None or name in ("id", "time")}
    grouped = {group: found.get(group, {}) for group in ("features", "attributes")}
    for name in ("model", "version"):
        _text(found, name)
    if not all(isinstance(group, dict) for group in grouped.values()) or not {"id", "time", "prediction"} <= set(
        columns
    ):
        raise BadRecordError("not-an-event")
    every = [*columns.values(), *(column for group in grouped.values() for column in group.values())]
    if not all(isinstance(column, list) and len(column) == len(columns["id"]) for column in every):
        raise BadRecordError("not-an-event")
    shared = {name: found[name] for name in ("model", "version", "role") if name in found}
    return [
        shared
        | {name: column[i] for name, column in columns.items()}
        | {group: {name: column[i] for name, column in each.items()} for group, each in grouped.items()}
        for i in range(len(columns["id"]))
    ]


def read_prediction(found: Any) -> dict[str, Any]:
    """A prediction with every default filled in. Raises `BadRecordError`."""
    found = _object(found)
    event = {
        "id": _text(found, "id"),
        "model": _text(found, "model"),
        "version": _text(found, "version"),
        "time": _time(found),
        "prediction": _label(found, "prediction"),
        "role": found.get("role", "champion"),
        "features": _scalars(found, "features"),
        "attributes": _scalars(found, "attributes"),
        "score": _number(found, "score"),
        "latency_ms": _number(found, "latency_ms"),
    }
    if event["role"] not in ("champion", "shadow"):
        raise BadRecordError("not-an-event")
    return event


def read_outcome(found: Any) -> dict[str, Any]:
    """An outcome. Raises `BadRecordError`."""
    found = _object(found)
    return {
        "id": _text(found, "id"),
        "model": _text(found, "model"),
        "time": _time(found),
        "outcome": _label(found, "outcome"),
    }


def _object(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise BadRecordError("not-an-event")
    return found


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_ID:
        raise BadRecordError("not-an-event")
    return value


def _time(found: Mapping[str, Any]) -> int | str:
    value = found.get("time")
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        if isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None:
            return value
    except ValueError:
        pass
    raise BadRecordError("not-an-event")


def instant(time: int | str) -> int:
    """An event's time in epoch milliseconds."""
    if isinstance(time, int):
        return time
    then = datetime.fromisoformat(time) - datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    return (then.days * 86_400 + then.seconds) * 1000 + then.microseconds // 1000


def _scalar(value: Any) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _label(found: Mapping[str, Any], name: str) -> Any:
    if not _scalar(found.get(name)):
        raise BadRecordError("not-an-event")
    return found[name]


def _scalars(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    values = found.get(name, {})
    if not isinstance(values, dict) or not all(v is None or _scalar(v) for v in values.values()):
        raise BadRecordError("not-an-event")
    return values


def _number(found: Mapping[str, Any], name: str) -> float | None:
    value = found.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not _scalar(value) or isinstance(value, str):
        raise BadRecordError("not-an-event")
    return float(value)


def check_time(event: Mapping[str, Any], spec: Spec, arrival: int) -> int:
    """The event's instant. Raises `BadRecordError` where it is too far from its arrival."""
    time = instant(event["time"])
    if not 0 <= time <= LAST_INSTANT:
        raise BadRecordError("not-an-event")
    if arrival - time > spec.horizon:
        raise BadRecordError("too-old")
    if time - arrival > spec.max_ahead:
        raise BadRecordError("too-far-ahead")
    return time


def check_label(value: Any, spec: Spec) -> int:
    """The label's number. Raises `BadRecordError` where the spec has no such label."""
    labels = spec.plain["labels"]
    if label(value) not in labels:
        raise BadRecordError("unknown-label")
    return int(labels.index(label(value)))


def check_features(event: Mapping[str, Any], spec: Spec) -> dict[str, Any]:
    """The declared features' values. Raises `BadRecordError` where a number is none, or not finite."""
    values = {}
    for name, declared in spec.plain["features"].items():
        value = event["features"].get(name)
        if value is not None and declared["type"] == "number":
            if isinstance(value, bool | str):
                raise BadRecordError("wrong-type")
            try:
                value = float(value)
            except OverflowError as error:
                raise BadRecordError("wrong-type") from error
        values[name] = value
    return values
