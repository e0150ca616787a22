"""What is written is whole and on the disk before it has its name; what a kill leaves is tidied, and nothing else."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from sklearn.dummy import DummyRegressor
from tests.archives import START, Archive, spec
from tests.unit.test_gate_rows import asked

from driftline.platform import writing
from driftline.platform.artifacts import Manifest, store
from driftline.platform.held_out import HeldOutRows, keep
from driftline.platform.settings import Settings
from driftline.platform.writing import LEFT_S, aside, settle, write


class Disk:
    """What would be left of `root` after a loss of power: only what was synced.

    `steps`: the calls in their order. `lost`: what had its name before its bytes or the names in it were synced.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.steps: list[tuple[str, str]] = []
        self.lost: list[str] = []
        self.synced: set[int] = set()
        self.names: set[tuple[int, str, int]] = set()
        self._fsync, self._replace = os.fsync, os.replace

    def fsync(self, handle: int) -> None:
        self._fsync(handle)
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        self.steps.append(("fsync", self.called(path)))
        self.synced.add(path.stat().st_ino)
        if path.is_dir():
            self.names |= {(path.stat().st_ino, each.name, each.stat().st_ino) for each in path.iterdir()}

    def replace(self, work: Path, place: Path) -> None:
        self.lost += [self.called(path) for path in (work, *Path(work).rglob("*")) if not self.holds(Path(path))]
        self.lost += [self.called(path) for path in Path(place).parents if self.within(path) and not self.named(path)]
        self._replace(work, place)
        self.steps.append(("replace", self.called(place)))

    def holds(self, path: Path) -> bool:
        found = path.stat().st_ino
        return found in self.synced and all((found, e.name, e.stat().st_ino) in self.names for e in _in(path))

    def named(self, path: Path) -> bool:
        return (path.parent.stat().st_ino, path.name, path.stat().st_ino) in self.names

    def within(self, path: Path) -> bool:
        return path.is_relative_to(self.root) and path != self.root

    def called(self, path: Path) -> str:
        relative = str(Path(path).relative_to(self.root))
        return "/".join("ASIDE" if part.startswith(".writing-") else part for part in relative.split("/"))

    def survives(self, path: Path) -> bool:
        """Whether the file comes back with its bytes: it and every name on the way to it."""
        return self.holds(path) and all(map(self.named, (path, *filter(self.within, path.parents))))


def _in(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else []


@pytest.fixture
def disk(tmp_path, monkeypatch):
    disk = Disk(tmp_path)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    monkeypatch.setattr(os, "replace", disk.replace)
    return disk


def test_a_directory_takes_its_place_after_its_bytes_its_names_and_its_way_are_on_the_disk(tmp_path, disk):
    with aside(tmp_path) as work:
        (work / "b").write_bytes(b"2")
        (work / "a").write_bytes(b"1")
        settle(work, tmp_path / "m" / "1" / "x")
    assert disk.steps == [
        ("fsync", "ASIDE/a"),
        ("fsync", "ASIDE/b"),
        ("fsync", "ASIDE"),
        ("fsync", "."),
        ("fsync", "m"),
        ("replace", "m/1/x"),
        ("fsync", "m/1"),
    ]
    assert disk.survives(tmp_path / "m" / "1" / "x" / "a")
    assert disk.lost == []


def test_a_file_takes_its_place_after_its_bytes_and_its_way_are_on_the_disk(tmp_path, disk):
    for data in (b"1", b"2"):
        write(tmp_path / "m" / "file", data)
    assert disk.steps == [
        ("fsync", "."),
        *[("fsync", "m/ASIDE/file"), ("replace", "m/file"), ("fsync", "m")] * 2,
    ]
    assert (tmp_path / "m" / "file").read_bytes() == b"2"
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["file"]
    assert disk.lost == []


def test_artifacts_keys_kept_rows_and_the_archive_survive_a_loss_of_power(tmp_path, disk):
    settings = Settings("nowhere:1", "redis://x", "t.", tmp_path, tmp_path / "archive", tmp_path / "store")
    manifest = Manifest(model="m", version="1", task="regression", labels=(), positive=None, features={"x": "number"})
    artifact = store(settings, manifest, DummyRegressor().fit([[0]], [0]))
    question = asked(None)
    rows = HeldOutRows([], [], [], {name: [] for name in question.resolved.features}, [], None)
    kept = keep(settings, question, rows, {})
    archive = Archive(settings.archive_dir, spec())
    archive.predict(START, "a")
    archive.flush()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "_lock"]
    assert {path.parent for path in files} >= {
        settings.artifact_dir / artifact.uri,
        settings.artifact_dir / kept.uri,
        settings.keys,
        settings.keys / "trusted",
        settings.archive_dir,
    }
    assert [disk.called(path) for path in files if not disk.survives(path)] == []
    assert disk.lost == []


def test_what_fails_leaves_nothing_and_the_old_file_stays(tmp_path, monkeypatch):
    write(tmp_path / "file", b"old")

    def full(handle):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write(tmp_path / "file", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


@contextmanager
def a_writer_elsewhere(parent: Path):
    """Another process that has begun to write in `parent`; it ends with the block, by SIGKILL."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        with aside(parent) as work:
            (work / "half").write_bytes(b"")
            os.write(tell, work.name.encode())
            signal.pause()
        os._exit(0)
    try:
        yield parent / os.read(ready, 100).decode()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(tell)


def made_old(path: Path) -> None:
    os.utime(path, (0, os.stat(path).st_mtime - 2 * LEFT_S))


def test_what_a_killed_writer_left_is_removed_by_the_next_one_and_what_one_still_writes_is_not(tmp_path):
    with a_writer_elsewhere(tmp_path) as work:
        made_old(work)
        write(tmp_path / "file", b"1")
        assert (work / "half").exists()
    write(tmp_path / "file", b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_was_left_a_moment_ago_stays_for_its_lock_may_not_be_seen_yet(tmp_path):
    with a_writer_elsewhere(tmp_path) as work:
        pass
    write(tmp_path / "file", b"1")
    assert work.exists()


def test_a_link_that_looks_like_a_leftover_and_where_it_leads_are_left_alone(tmp_path):
    (tmp_path / "precious").mkdir()
    made_old(tmp_path / "precious")
    (tmp_path / ".writing-x").symlink_to("precious")
    write(tmp_path / "file", b"1")
    assert {path.name for path in tmp_path.iterdir()} == {"precious", ".writing-x", "file"}


def test_a_file_system_without_locks_is_written_to_and_not_tidied(tmp_path, monkeypatch):
    left = tmp_path / ".writing-x"
    left.mkdir()
    made_old(left)

    def no_locks(*_):
        raise OSError("no locks available")

    monkeypatch.setattr(writing.fcntl, "flock", no_locks)
    write(tmp_path / "file", b"1")
    assert left.exists()
    monkeypatch.undo()
    write(tmp_path / "file", b"2")
    assert not left.exists()
