"""What a benchmark found: one table, the figures by name, and where and when it was."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

Cell = str | float | None
Kind = Literal["text", "count", "rate", "ratio", "us", "ms", "s", "bytes", "percent", "figure"]
LIBRARIES = ("aiokafka", "msgspec", "numpy", "orjson", "redis", "river")
RESULTS = Path(__file__).parent / "results"


class Column(msgspec.Struct, frozen=True):
    """A heading, and how the values under it are written."""

    name: str
    kind: Kind = "text"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it ran. `load`: the machine's average load over a minute, before and after."""

    processor: str
    cores: int
    python: str
    libraries: dict[str, str]
    load: tuple[float, float]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark's outcome. `figures` are what the table of targets reads; `rounds` every single measurement."""

    name: str
    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    figures: dict[str, float]
    notes: list[str] = []
    rounds: dict[str, list[float]] = {}
    workload: str = ""
    quick: bool = False
    at: str = ""
    seconds: float = 0.0
    machine: Machine | None = None

    def save(self, directory: Path = RESULTS) -> Path:
        """Write it to `<directory>/<name>.json`."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.name}.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
        return path


class Began:
    """The start of a benchmark, from which its result learns where and when it was."""

    def __init__(self) -> None:
        self._at = time.time()
        self._load = os.getloadavg()[0]

    def stamped(self, result: Result) -> Result:
        """The result with machine, date and duration."""
        machine = Machine(
            processor=_processor(),
            cores=os.cpu_count() or 0,
            python=platform.python_version(),
            libraries={name: version(name) for name in LIBRARIES},
            load=(round(self._load, 1), round(os.getloadavg()[0], 1)),
        )
        return msgspec.structs.replace(
            result,
            machine=machine,
            at=time.strftime("%Y-%m-%d", time.gmtime(self._at)),
            seconds=round(time.time() - self._at, 1),
        )


def load(directory: Path = RESULTS) -> dict[str, Result]:
    """All results of a directory, by name."""
    found = [msgspec.json.decode(path.read_bytes(), type=Result) for path in sorted(directory.glob("*.json"))]
    return {result.name: result for result in found}


def show(value: Cell, kind: Kind = "text") -> str:
    """A value for people: 214,000, 2.1 x, 3.4 us, 61 B, 12 %."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    match kind:
        case "count":
            return f"{value:,.0f}"
        case "rate":
            return f"{_three_digits(value):,.0f}"
        case "ratio":
            return f"{value:.2f} x"
        case "us" | "ms" | "s":
            return f"{_short(value)} {kind}"
        case "bytes":
            return _bytes(value)
        case "percent":
            return f"{100 * value:.1f} %"
        case _:
            return f"{value:.6g}"


def to_console(result: Result, console: Console) -> None:
    """The table, and the notes under it."""
    table = Table(title=result.title, title_justify="left", box=None, header_style="bold")
    for column in result.columns:
        table.add_column(column.name, justify="left" if column.kind == "text" else "right")
    for row in result.rows:
        table.add_row(*_shown(result.columns, row))
    console.print(table)
    for note in result.notes:
        console.print(f"  {note}", highlight=False)
    console.print(f"  {stamp(result)}", highlight=False)


def to_markdown(result: Result) -> str:
    """The same as a page's part."""
    lines = [
        "| " + " | ".join(column.name for column in result.columns) + " |",
        "|" + "|".join("---" if column.kind == "text" else "--:" for column in result.columns) + "|",
    ]
    lines += ["| " + " | ".join(_shown(result.columns, row)) + " |" for row in result.rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in result.notes), f"- {stamp(result)}"])


def stamp(result: Result) -> str:
    """Where and when, in a sentence."""
    made = f"{result.workload}; " if result.workload else ""
    form = "short form, " if result.quick else ""
    if result.machine is None:
        return f"{made}{form}{result.at}"
    machine = result.machine
    return (
        f"{made}{form}{result.at}, {result.seconds:.0f} s on {machine.cores} cores of {machine.processor}, "
        f"Python {machine.python}, load {machine.load[0]:g} before and {machine.load[1]:g} after"
    )


def _shown(columns: Sequence[Column], row: Sequence[Cell]) -> list[str]:
    return [show(value, column.kind) for column, value in zip(columns, row, strict=True)]


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= size * (10 if unit == "kB" else 1):
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
