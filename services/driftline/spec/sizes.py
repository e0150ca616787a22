"""Amounts of memory as people write them: 512MB, 2GB."""

from __future__ import annotations

import re

_UNITS = {"MB": 1_000_000, "GB": 1_000_000_000}
_PATTERN = re.compile(r"(\d{1,9})(MB|GB)")


def parse_size(text: str) -> int:
    """`2GB` in bytes. Raises `ValueError` with what is expected."""
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no amount of memory; write a whole number and MB or GB, such as 2GB")
    return int(match[1]) * _UNITS[match[2]]


def show_size(size_bytes: int) -> str:
    """The shortest way to write it: 2,000 MB are `2GB`."""
    unit = "MB" if size_bytes % _UNITS["GB"] else "GB"
    return f"{size_bytes // _UNITS[unit]}{unit}"
