"""Durations as people write them: 500ms, 1s, 15m, 48h, 7d."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_PATTERN = re.compile(r"(\d+)(ms|s|m|h|d)")


def parse_duration(text: str) -> timedelta:
    """`15m` as a timedelta. Raises `ValueError` with what is expected."""
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration; write a whole number and ms, s, m, h or d, such as 15m or 48h")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def show_duration(duration: timedelta) -> str:
    """The shortest way to write it: 48 hours are `2d`, 90 seconds `90s`."""
    ms = duration // timedelta(milliseconds=1)
    for unit in ("d", "h", "m", "s"):
        size = int(_UNITS[unit] * 1000)
        if ms % size == 0 and ms:
            return f"{ms // size}{unit}"
    return f"{ms}ms"
