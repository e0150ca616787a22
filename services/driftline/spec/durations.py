"""Durations as people write them: 500ms, 1s, 15m, 48h, 7d."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_PATTERN = re.compile(r"(\d+)(ms|s|m|h|d)")
LONGEST = timedelta(days=36_500)
"""Sums of a few durations, and instants moved by them, still fit every type that holds a time."""


def parse_duration(text: str) -> timedelta:
    """`15m` as a timedelta. Raises `ValueError` with what is expected."""
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration; write a whole number and ms, s, m, h or d, such as 15m or 48h")
    digits, unit = match[1].lstrip("0") or "0", match[2]
    if len(digits) > 15 or int(digits) * _UNITS[unit] > LONGEST.total_seconds():
        raise ValueError(f"{text!r} is longer than {show_duration(LONGEST)}, the longest duration")
    return timedelta(seconds=int(digits) * _UNITS[unit])


def parse_budget(text: str) -> tuple[int, timedelta]:
    """`8 per 60d` as a count and a time. Raises `ValueError` with what is expected."""
    parts = text.split()
    if len(parts) != 3 or parts[1] != "per" or not parts[0].isdecimal():
        raise ValueError(f"{text!r} is no budget; write for example `8 per 60d`")
    length = parse_duration(parts[2])
    if not length:
        raise ValueError(f"{text!r}: a budget is for a time longer than zero")
    return int(parts[0]), length


def show_duration(duration: timedelta) -> str:
    """The shortest way to write it: 48 hours are `2d`, 90 seconds `90s`."""
    ms = duration // timedelta(milliseconds=1)
    for unit in ("d", "h", "m", "s"):
        size = int(_UNITS[unit] * 1000)
        if ms % size == 0 and ms:
            return f"{ms // size}{unit}"
    return f"{ms}ms"
