"""A workload of W1's shape, for those who have no copy of W1 beside the project: same fields, sizes, drift and lags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

NUMBERS = tuple(f"f{i}" for i in range(10))
LEVELS = {"c0": 8, "c1": 50}
CENTRES = np.array([0, 10, 0, 50, -1, 0, 3, 500, 0, 50.0])
WIDTHS = np.array([1, 5, 0.2, 10, 1, 3, 1, 100, 1, 29.0])
LAG = 20_000
"""An outcome comes this many predictions later at most."""
START_MS = 1_717_200_000_000
EVERY_MS = 10
REFERENCE_ROWS = 10_000

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Generated:
    """JSON of predictions in arrival order, of outcomes in arrival order, and columns of undrifted rows."""

    predictions: list[bytes]
    outcomes: list[bytes]
    reference: dict[str, list[Any]]


def generate(n: int, models: int, seed: int = 20240601) -> Generated:
    """`n` predictions, one every 10 ms, of models drawn at random, each with one outcome.

    From 60 % on f0 and f3 have moved by one standard deviation; from 75 % on a fifth of the outcomes are turned round;
    one prediction in a thousand has f5 out of range, one in two thousand a score of 1.5.
    """
    rng = np.random.default_rng(seed)
    reference = _columns(rng, REFERENCE_ROWS, REFERENCE_ROWS, REFERENCE_ROWS)
    columns = _columns(rng, n, n * 6 // 10, n * 3 // 4)
    columns["f5"][rng.random(n) < 0.001] = 1e4
    columns["score"][rng.random(n) < 0.0005] = 1.5
    raw = rng.bytes(16 * n).hex()
    ids = [f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}" for h in (raw[i : i + 32] for i in range(0, 32 * n, 32))]
    names = [f"m{k}" for k in rng.integers(0, models, n).tolist()]
    due = np.arange(n) + rng.integers(1, LAG + 1, n)
    order = np.argsort(due, kind="stable").tolist()
    lists = {name: values.tolist() for name, values in columns.items()}
    features = (*NUMBERS, *LEVELS)
    rows = zip(*(lists[name] for name in features), strict=True)
    predictions = [
        orjson.dumps(
            {
                "id": ids[i],
                "model": names[i],
                "version": "1",
                "time": START_MS + i * EVERY_MS,
                "features": dict(zip(features, row, strict=True)),
                "prediction": lists["prediction"][i],
                "score": lists["score"][i],
            }
        )
        for i, row in enumerate(rows)
    ]
    outcomes = [
        orjson.dumps(
            {
                "id": ids[i],
                "model": names[i],
                "time": START_MS + int(due[i]) * EVERY_MS,
                "outcome": lists["outcome"][i],
            }
        )
        for i in order
    ]
    return Generated(predictions, outcomes, {name: values.tolist() for name, values in reference.items()})


def _columns(rng: np.random.Generator, n: int, drift: int, turn: int) -> dict[str, NDArray[Any]]:
    z = rng.standard_normal((n, len(NUMBERS)))
    z[drift:, [0, 3]] += 1.0
    values = np.round(CENTRES + WIDTHS * z, 6)
    values[:, 6] = np.round(np.exp(z[:, 6]), 6)
    c0 = rng.choice(LEVELS["c0"], n, p=_falling(LEVELS["c0"]))
    c1 = rng.choice(LEVELS["c1"], n, p=_falling(LEVELS["c1"]))
    score = 1 / (1 + np.exp(-(1.2 * z[:, 1] - 0.8 * z[:, 2] + 0.5 * z[:, 4] + 0.15 * (c0 - 2))))
    outcome = rng.random(n) < score
    outcome[turn:] ^= rng.random(max(0, n - turn)) < 0.2
    columns: dict[str, NDArray[Any]] = {name: values[:, k] for k, name in enumerate(NUMBERS)}
    columns["c0"] = np.array([f"lvl{k}" for k in range(LEVELS["c0"])])[c0]
    columns["c1"] = np.array([f"city_{k:02d}" for k in range(LEVELS["c1"])])[c1]
    columns["score"] = np.round(score, 6)
    columns["prediction"] = (score > 0.5).astype(np.int64)
    columns["outcome"] = outcome.astype(np.int64)
    return columns


def _falling(levels: int) -> FloatArray:
    weights: FloatArray = 1 / np.arange(1.0, levels + 1)
    shares: FloatArray = weights / weights.sum()
    return shares
