"""The figures that the design asks for, where each is read, and who stands there today."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.results import Kind, Result, show

Results = Mapping[str, Result]


@dataclass(frozen=True)
class Figure:
    """One number of a result."""

    result: str
    name: str
    kind: Kind
    unit: str = ""

    def read(self, results: Results) -> float | None:
        """The number, if it has been measured."""
        result = results.get(self.result)
        return None if result is None else result.figures.get(self.name)

    def shown(self, results: Results) -> str:
        """The number for people."""
        value = self.read(results)
        return "not measured" if value is None else f"{show(value, self.kind)}{self.unit}"


@dataclass(frozen=True)
class Target:
    """One line of the table. `judged` is held against `limit`; `beside` are told with it."""

    what: str
    reach: str
    judged: tuple[Figure, ...]
    limits: tuple[float, ...]
    better: Callable[[float, float], bool]
    beside: tuple[Figure, ...]
    today: str

    def met(self, results: Results) -> str:
        """Whether the figures reach what they should."""
        values = [figure.read(results) for figure in self.judged]
        if any(value is None for value in values):
            return ""
        reached = all(
            self.better(value, limit) for value, limit in zip(values, self.limits, strict=True) if value is not None
        )
        return "yes" if reached else "no"

    def row(self, results: Results) -> str:
        """As a line of Markdown."""
        reached = ", ".join(figure.shown(results) for figure in (*self.judged, *self.beside))
        return f"| {self.what} | {self.reach} | {reached} | {self.met(results)} | {self.today} |"


def _at_least(value: float, limit: float) -> bool:
    return value >= limit


def _at_most(value: float, limit: float) -> bool:
    return value <= limit


ENGINE = "Driftline, batches of 20,000"
BACKTEST = "backtest, CSV"
WITH, WAITING = "bytes a prediction with its outcome", "bytes a prediction waiting for its outcome"
KEPT_LIMIT = 64 + 12

TARGETS = (
    Target(
        "engine in memory, one core, batches of 20,000",
        "2 x River naive in the same run; about 200,000 predictions/s with their outcomes",
        (Figure("engine", f"{ENGINE}: x River", "ratio", " River"),),
        (2.0,),
        _at_least,
        (Figure("engine", f"{ENGINE}: predictions/s", "rate", " predictions/s"),),
        "a loop by hand without state or time 343,000, River naive 96,000, whylogs 41,000, Evidently 4,200, MLRun's "
        "stream 3,600 (part of the job)",
    ),
    Target(
        "a backtest from CSV, whole job",
        "half of the engine's rate in the same run",
        (Figure("backtest", f"{BACKTEST}: x engine", "ratio", " the engine"),),
        (0.5,),
        _at_least,
        (
            Figure("backtest", f"{BACKTEST}: predictions/s", "rate", " predictions/s"),
            Figure("backtest", "backtest, Parquet: x engine", "ratio", " from Parquet"),
        ),
        "Evidently: 6 h for 3 million rows of 1,000 columns",
    ),
    Target(
        "memory of a backtest of four times the file",
        "flat: 1.1 x",
        (Figure("backtest", f"{BACKTEST}: memory of 4 x", "ratio"),),
        (1.1,),
        _at_most,
        (Figure("backtest", f"{BACKTEST}: bytes beside the code", "bytes", " beside the code"),),
        "-",
    ),
    Target(
        "Kafka to stored slices, one worker, single JSON",
        "0.2 of bare consumption, stretch 0.35; about 50,000 predictions/s",
        (Figure("stream", "single: x bare", "ratio", " bare"),),
        (0.2,),
        _at_least,
        (Figure("stream", "single: predictions/s", "rate", " predictions/s with their outcomes"),),
        "Quix with a broker 29,000, part of the job, nothing stored",
    ),
    Target(
        "the same, JSON columns",
        "2 x single JSON; about 150,000 rows/s",
        (Figure("stream", "columns: x single", "ratio", " single"),),
        (2.0,),
        _at_least,
        (
            Figure("stream", "columns: predictions/s", "rate", " predictions/s with their outcomes, which are single"),
            Figure("stream", "columns alone: x single", "ratio", " single"),
            Figure("stream", "columns alone: predictions/s", "rate", " predictions/s alone"),
        ),
        "-",
    ),
    Target(
        "a breach appended to its alert readable, 20,000 events/s",
        "p50 250 ms, p99 1 s",
        (Figure("breach", "p50 ms", "ms", " p50"), Figure("breach", "p99 ms", "ms", " p99")),
        (250.0, 1000.0),
        _at_most,
        (Figure("breach", "events/s", "rate", " events/s"),),
        "MLRun 10 min, SageMaker 1 h, Arize a daily join",
    ),
    Target(
        "a promotion appended to an application that answers with the version",
        "2 s",
        (Figure("swap", "p99 ms", "ms", " p99"),),
        (2000.0,),
        _at_most,
        (Figure("swap", "p50 ms", "ms", " p50"),),
        "-",
    ),
    Target(
        "memory a kept prediction, with its outcome, worker",
        "64 bytes and 1 a feature: 76",
        (Figure("memory", f"{WITH}: worker, resident", "bytes"),),
        (KEPT_LIMIT,),
        _at_most,
        (Figure("memory", f"{WAITING}: worker, resident", "bytes", " while it waits"),),
        "a dictionary: 131 bytes for the index alone",
    ),
    Target(
        "the same in Redis",
        "64 bytes and 1 a feature: 76",
        (Figure("memory", f"{WITH}: Redis", "bytes"),),
        (KEPT_LIMIT,),
        _at_most,
        (Figure("memory", f"{WAITING}: Redis", "bytes", " while it waits"),),
        "-",
    ),
    Target(
        "monitor's state a model (12 features, idle)",
        "100 kB; 10,000 models on one worker",
        (Figure("models", "bytes an idle model", "bytes"),),
        (100_000,),
        _at_most,
        (),
        "MLRun: 1,000 to 5,000 endpoints in a large project",
    ),
    Target(
        "cost an event, 10,000 models interleaved against one",
        "3 x, stretch 1.5 x",
        (Figure("models", "10,000 models: x one model", "ratio"),),
        (3.0,),
        _at_most,
        (),
        "-",
    ),
    Target(
        "processor time an event, 2 workers against 1",
        "1.1 x",
        (Figure("workers", "2 workers: x one", "ratio"),),
        (1.1,),
        _at_most,
        (),
        "-",
    ),
)

KEY_FIGURES = (
    ("engine, predictions/s", Figure("engine", f"{ENGINE}: predictions/s", "rate")),
    ("to River naive", Figure("engine", f"{ENGINE}: x River", "ratio")),
    ("Kafka to slices, predictions/s", Figure("stream", "single: predictions/s", "rate")),
    ("to bare", Figure("stream", "single: x bare", "ratio")),
    ("10,000 models", Figure("models", "10,000 models: x one model", "ratio")),
    ("kept, worker", Figure("memory", f"{WITH}: worker, resident", "bytes")),
    ("kept, Redis", Figure("memory", f"{WITH}: Redis", "bytes")),
    ("breach p50", Figure("breach", "p50 ms", "ms")),
    ("breach p99", Figure("breach", "p99 ms", "ms")),
)
"""What the history keeps."""


def table(results: Results) -> str:
    """The table of targets as Markdown."""
    lines = ["| figure | reach | reached | met | who stands there today |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(target.row(results) for target in TARGETS)])
