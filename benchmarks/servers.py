"""The Kafka and the Redis that benchmarks use: those that the environment names, else their own, gone afterwards."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis as redis_client

from driftline.platform.local import servers as local
from driftline.platform.local.stack import LocalStack, redis_answers
from driftline.platform.settings import LocalServers, Settings

START_S = 240.0
"""A worker of a crowded machine takes its time to start."""
STOP_S = 30.0
_numbers = itertools.count(1)


class Failed(Exception):
    """A process ended, or did not get there in time; says which and where its log is."""


@contextmanager
def servers() -> Iterator[LocalServers]:
    """A Kafka and a Redis."""
    bootstrap, redis_url = os.environ.get("DRIFTLINE_BOOTSTRAP"), os.environ.get("DRIFTLINE_REDIS_URL")
    if bootstrap and redis_url:
        yield LocalServers(bootstrap=bootstrap, redis_url=redis_url)
        return
    with _directory() as state:
        stack = LocalStack(state)
        try:
            yield stack.start()
        finally:
            stack.stop()


@contextmanager
def only_redis() -> Iterator[str]:
    """The address of a Redis."""
    if named := os.environ.get("DRIFTLINE_REDIS_URL"):
        yield named
        return
    with _directory() as state:
        port = local.free_port()
        program = local.redis(state, port)
        with (state / "redis.log").open("wb") as log:
            process = subprocess.Popen(program.command, stdout=log, stderr=log)
        try:
            url = f"redis://127.0.0.1:{port}/0"
            wait_for(lambda: redis_answers(url), START_S, lambda: process.poll() is None, state / "redis.log")
            yield url
        finally:
            stop(process)


def new_settings(addresses: LocalServers, state: Path) -> Settings:
    """A deployment of its own: a prefix that nobody else has."""
    return Settings(
        bootstrap=addresses.bootstrap,
        redis_url=addresses.redis_url,
        prefix=f"benchmark{os.getpid()}-{next(_numbers)}.",
        state_dir=state,
        archive_dir=state / "archive",
        artifact_dir=state / "artifacts",
    )


@contextmanager
def worker(settings: Settings, service: str, slot: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """One worker process of a service, ended afterwards."""
    environment = {
        **os.environ,
        "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
        "DRIFTLINE_REDIS_URL": settings.redis_url,
        "DRIFTLINE_PREFIX": settings.prefix,
        "DRIFTLINE_STATE_DIR": str(settings.state_dir),
        "DRIFTLINE_SLOT": str(slot),
    }
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with log_of(settings, service, slot).open("ab") as log:
        command = [sys.executable, "-m", f"driftline.{service}.main"]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        stop(process)


def log_of(settings: Settings, service: str, slot: int = 0) -> Path:
    """Where a worker's output goes."""
    return settings.state_dir / f"{settings.prefix}{service}-{slot}.log"


def wait_for(done: Callable[[], bool], limit_s: float, alive: Callable[[], bool], log: Path) -> None:
    """Look again and again. Raises `Failed` when the limit has passed, or what is waited for has died."""
    deadline = time.monotonic() + limit_s
    while not done():
        if not alive() or time.monotonic() > deadline:
            how = "did not get there in time" if alive() else "has ended"
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else "(no log)"
            raise Failed(f"{log.name.removesuffix('.log')} {how}; the end of its log:\n{tail}")
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here, and wait for its end."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def forget(settings: Settings) -> None:
    """Remove what this deployment, and nobody else, has in Redis."""
    client = redis_client.Redis.from_url(settings.redis_url)
    try:
        keys = list(client.scan_iter(f"{settings.prefix}*", count=10_000))
        for start in range(0, len(keys), 1000):
            client.unlink(*keys[start : start + 1000])
    finally:
        client.close()


@contextmanager
def _directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="driftline-benchmark-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
