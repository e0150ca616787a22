"""The walls of the house: who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "services" / "driftline"
SERVICES = {"monitor", "control", "trainer", "gate", "archiver"}
ALLOWED = {
    "events": {"events", "errors"},
    "spec": {"spec", "events", "errors"},
    "core": {"core", "events", "spec", "errors"},
    "platform": {"platform", "core", "events", "spec", "errors"},
    "client": {"client", "platform", "events", "errors", "spec", "core"},
    "backtesting": {"backtesting", "monitor", "control", "platform", "core", "events", "spec", "errors"},
    "cli": {"cli", "backtesting", "platform", "core", "events", "spec", "errors"},
    **{name: {name, "platform", "core", "events", "spec", "errors", "client"} for name in SERVICES},
}
# pyarrow is not among them: a table of rows is a value, like an array
CLIENT_LIBRARIES = {
    "kafka",
    "aiokafka",
    "redis",
    "faust",
    "mode",
    "supervisor",
    "duckdb",
    "skops",
    "cryptography",
    "jgo",
    "prometheus_client",
}
MAY_USE_LIBRARIES = {"platform"}
ERROR_TYPES_ONLY = {"cli/main.py"}  # turns what the client libraries raise into a sentence
PICKLES = {"pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve"}


def modules():
    return sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_only_what_stands_below_them(path):
    room = path.relative_to(ROOT).parts[0]
    used = {name.split(".")[1] for name in imports(path) if name.startswith("driftline.")}
    assert used <= ALLOWED[room]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_platform_knows_a_client_library(path):
    place = path.relative_to(ROOT)
    if place.parts[0] in MAY_USE_LIBRARIES or str(place) in ERROR_TYPES_ONLY:
        return
    assert not {name.split(".")[0] for name in imports(path)} & CLIENT_LIBRARIES


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_ever_unpickled(path):
    assert not {name.split(".")[0] for name in imports(path)} & PICKLES
