"""Finding what a trace is made of: the decisions first, then what they name."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

import msgspec

from driftline.core.trace import Graph, Tree
from driftline.errors import DriftlineError
from driftline.events.base import Event, Millis, decode
from driftline.events.inputs import Prediction
from driftline.events.reports import WindowReport
from driftline.events.topics import Topic
from driftline.platform import stored
from driftline.platform.kafka import read_deployment
from driftline.platform.settings import Settings
from driftline.spec.model import millis


def trace(settings: Settings, name: str) -> Tree:
    """The tree around what `name` means. Raises `DriftlineError` where it means nothing, or several things."""
    deployment = read_deployment(settings)
    graph = Graph(millis(deployment.slice), live=deployment.clock == "live")
    graph.add(stored.decisions(settings))
    found = graph.find(name)
    if not found:
        graph.add(_named(settings, [name], None))
        found = graph.find(name) or ([name] if graph.names(name) else [])
    if not found:
        raise DriftlineError(f"nothing is called {name}, neither in the topics nor in the archive")
    if len(found) > 1:
        raise DriftlineError(f"{name} is the beginning of {len(found)} ids: {', '.join(found[:5])}")
    tree = graph.tree(found[0])
    if missing := tree.missing():
        graph.add(_named(settings, missing, tree.begins()))
        tree = graph.tree(found[0])
    return tree


def _named(settings: Settings, ids: Collection[str], since: Millis | None) -> list[Event | Prediction]:
    """Window reports, and predictions that can be read, by their ids."""
    told = stored.named(settings, Topic.METRICS, ids, since)
    found: list[Event | Prediction] = [decode(row.value, WindowReport) for row in told]
    for row in stored.named(settings, Topic.PREDICTIONS, ids, since):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            found.append(decode(row.value, Prediction))
    return found
