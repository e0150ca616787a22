"""Which drift detectors there are, and their settings."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from driftline.spec.yaml_nodes import nearest

PRESETS: dict[str, tuple[str, dict[str, float]]] = {
    "adwin": ("ADWIN", {"delta": 0.01, "clock": 8}),
    "page_hinkley": (
        "PageHinkley",
        {"delta": 0.25, "threshold": 20, "min_instances": 100, "alpha": 1.0},  # alpha 1: the mean forgets nothing
    ),
    "kswin": ("KSWIN", {"alpha": 3e-3, "window_size": 600, "stat_size": 300}),
}
"""Calibrated settings; docs/performance.md has what they were measured to do."""

MAIN = {"adwin": "delta", "page_hinkley": "threshold", "kswin": "alpha"}
"""The argument that says how strict a preset is."""
SEED = 42
"""Of detectors that draw by chance: River's own differs from one run to the next, and a replay must find the same."""


def make_detector(name: str, params: Mapping[str, float]) -> Any:
    """A preset, or a detector of River's by its class. Raises `ValueError` where there is none, or no such argument."""
    from river import drift  # takes a second, and most specs have no detector

    kind, settings = PRESETS.get(name, (name, {}))
    rooms = (drift, drift.binary)
    known: dict[str, Any] = {each: getattr(room, each, None) for room in rooms for each in room.__all__}
    classes = {each: found for each, found in known.items() if hasattr(found, "drift_detected")}
    if kind not in classes:
        raise ValueError(f"unknown detector `{name}`{nearest(name, [*PRESETS, *classes])}")
    if "seed" in signature(classes[kind]).parameters:
        settings = {"seed": SEED, **settings}
    try:
        return classes[kind](**{**settings, **{key: _whole(value) for key, value in params.items()}})
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` does not take these `params`: {error}") from error


def _whole(value: float) -> float:
    """Counts as whole numbers, which River asks for."""
    return int(value) if float(value).is_integer() else value
