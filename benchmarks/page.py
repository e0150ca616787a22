"""The generated parts of docs/performance.md: between markers, from the results, so that no figure is typed by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from benchmarks.results import RESULTS, Result, load, to_markdown
from benchmarks.targets import KEY_FIGURES, table
from benchmarks.workload import ROOT

PAGE = ROOT / "docs" / "performance.md"
HISTORY = RESULTS / "history" / "history.json"
_PART = re.compile(r"<!-- figures: ([a-z]+) -->\n.*?<!-- end -->", re.DOTALL)


class Then(msgspec.Struct, frozen=True, kw_only=True):
    """The main figures at some time, as they were shown."""

    label: str
    at: str
    figures: dict[str, str]


def render(text: str, results: Mapping[str, Result], history: list[Then]) -> str:
    """The page with every generated part as the results have it."""

    def part(match: re.Match[str]) -> str:
        return f"<!-- figures: {match[1]} -->\n{_content(match[1], results, history)}\n<!-- end -->"

    return _PART.sub(part, text)


def write(page: Path = PAGE, results: Path = RESULTS) -> bool:
    """Bring the page up to date; whether that changed it."""
    before = page.read_text()
    after = render(before, load(results), read_history())
    page.write_text(after)
    return before != after


def record(label: str, results: Mapping[str, Result]) -> Path:
    """Keep the main figures under a label."""
    figures = {name: figure.shown(results) for name, figure in KEY_FIGURES}
    at = max((result.at for result in results.values()), default="")
    kept = [then for then in read_history() if then.label != label]
    HISTORY.parent.mkdir(parents=True, exist_ok=True)
    HISTORY.write_bytes(
        msgspec.json.format(msgspec.json.encode([*kept, Then(label=label, at=at, figures=figures)]), indent=1) + b"\n"
    )
    return HISTORY


def read_history() -> list[Then]:
    """What has been kept, oldest first."""
    return msgspec.json.decode(HISTORY.read_bytes(), type=list[Then]) if HISTORY.exists() else []


def _content(name: str, results: Mapping[str, Result], history: list[Then]) -> str:
    if name == "targets":
        return table(results)
    if name == "history":
        return _history(history)
    result = results.get(name)
    return to_markdown(result) if result else f"Not measured yet: `python -m benchmarks {name} --save`."


def _history(history: list[Then]) -> str:
    names = [name for name, _ in KEY_FIGURES]
    lines = [f"| | when | {' | '.join(names)} |", "|---|---|" + "--:|" * len(names)]
    for then in history:
        cells = [then.figures.get(name, "") for name in names]
        lines.append(f"| {then.label} | {then.at} | {' | '.join(cells)} |")
    return "\n".join(lines)
