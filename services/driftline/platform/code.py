"""Which Driftline this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _version() -> str:
    try:
        return version("driftline")
    except PackageNotFoundError:  # run from a checkout that nobody installed
        return "unknown"


CODE = _version()
"""The installed version; what decisions and answers say that they were made by."""
