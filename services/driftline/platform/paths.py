"""How what stands in an event becomes part of a path: nothing from outside is one unchecked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

from driftline.errors import ArtifactError, ArtifactFault

LONGEST_NAME = 200


def name_for(text: str) -> str:
    """`text` (an id, a model, a version) as the name of one file or directory, always the same for the same text.

    Percent-encoded, a dot at its beginning too, so that it is neither `..` nor hidden nor empty; cut, with a digest,
    where it is too long for a file system.
    """
    name = quote(text, safe="") or "%"
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > LONGEST_NAME:
        name = f"{name[:100]}~{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    return name


def inside(directory: Path, name: str) -> Path:
    """`directory / name`, links followed. Raises `ArtifactError` where that leads out of it or is no path."""
    try:
        path, whole = (directory / name).resolve(), directory.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a ring, a name with a zero byte
        raise ArtifactError(f"{name!r} is no path: {error}", ArtifactFault.OUTSIDE_STORE) from error
    if not path.is_relative_to(whole) or path == whole:
        raise ArtifactError(f"{name!r} leads out of {directory}", ArtifactFault.OUTSIDE_STORE)
    return path
