"""A resolved spec as plain JSON and back: how it travels on topic `specs`."""

from __future__ import annotations

from typing import Any

import msgspec

from driftline.spec.model import MonitorSpec


def to_plain(spec: MonitorSpec) -> dict[str, Any]:
    """The spec as JSON types; durations become ISO 8601 text."""
    plain: dict[str, Any] = msgspec.to_builtins(spec)
    return plain


def from_plain(plain: dict[str, Any]) -> MonitorSpec:
    """The spec back. Raises `msgspec.ValidationError` where `plain` is not one."""
    return msgspec.convert(plain, MonitorSpec)
