"""Recorded streams with figures from outside, in a folder beside the project, whose README says what is in which file.

A test that reads them is marked with `beside`: it is skipped where they are not.
"""

from __future__ import annotations

import csv
import gzip
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[2] / "shared" / "data"

beside = pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real streams is not beside the project")


def path_of(stream: str, file: str) -> Path:
    """Where the rows of `predictions`, `outcomes` or `reference` are."""
    return DATA / stream / f"{file}.csv.gz"


@lru_cache(maxsize=3)  # the files of one stream: those of all would take a few hundred MB
def rows(stream: str, file: str) -> list[dict[str, str]]:
    """What `path_of` names, read once: not to be changed."""
    with gzip.open(path_of(stream, file), "rt", encoding="utf-8", newline="") as text:
        names, *lines = csv.reader(text)
    return [dict(zip(names, line, strict=True)) for line in lines]


def meta(stream: str) -> dict[str, Any]:
    """What the stream is: its name, task and features."""
    return json.loads((DATA / stream / "meta.json").read_text())


def golden(stream: str) -> dict[str, Any]:
    """Counts, metrics and distances that scikit-learn and scipy gave."""
    return json.loads((DATA / stream / "golden.json").read_text())


def published(stream: str, table: str) -> list[dict[str, str]]:
    """The one table that somebody printed for the stream and whose name begins with `table`."""
    (found,) = (DATA / stream / "published").glob(f"{table}*")
    with found.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def detector_vectors() -> dict[str, Any]:
    """Sequences and where River's detectors fire on them."""
    return json.loads((DATA / "detector_vectors.json").read_text())
