"""Writing so that what stands in its place is whole, through a kill at any moment and through a loss of power."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WRITING = ".writing-"
"""Begins the name of what has not taken its place yet."""
LEFT_S = 3600.0
"""So long what a killed writer left stays at least. Its lock, gone with it, says that it is left; but a lock comes a
moment after its directory, and on some network file systems it is not seen from other machines."""


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """The whole file or none, over one that stands there; at no moment readable for more than `mode` says."""
    with aside(path.parent) as work:
        new = work / path.name
        new.touch(0o600)
        new.write_bytes(data)
        new.chmod(mode)
        settle(new, path)


@contextmanager
def aside(parent: Path) -> Iterator[Path]:
    """A directory in `parent`, readable for its owner alone, to write what is to `settle`; afterwards it is gone.

    Where its writer is killed, a later one in the same place removes it.
    """
    make_directory(parent)
    _remove_left(parent)
    work = Path(tempfile.mkdtemp(prefix=WRITING, dir=parent))
    handle = os.open(work, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: what is left there stays
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield work
    finally:
        os.close(handle)
        shutil.rmtree(work, ignore_errors=True)


def settle(work: Path, place: Path) -> None:
    """Let `work`, a file or a directory of files, take its `place`, in which a file may stand.

    Each step is on the disk before the next: 1 the bytes, and the names in the directory; 2 the way to the place;
    3 the new name. A loss of power before 3: nothing has taken its place.
    """
    for file in sorted(work.iterdir()) if work.is_dir() else ():
        _sync(file)
    _sync(work)
    make_directory(place.parent)
    os.replace(work, place)
    _sync(place.parent)


def make_directory(directory: Path) -> None:
    """Make it, with those above it, where it is missing."""
    if not directory.is_dir():
        make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        _sync(directory.parent)


def _remove_left(parent: Path) -> None:
    for left in parent.glob(f"{WRITING}*"):
        with suppress(OSError):  # somebody writes in it, or was quicker to remove it
            handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(handle).st_mtime > LEFT_S:
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(handle)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
