"""A real Kafka and a real Redis for the tests that need them, started once, in a state directory of their own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftline.platform import topics
from driftline.platform.local.stack import SHARING, LocalStack
from driftline.platform.settings import LocalServers, Settings

for _name, _value in SHARING.items():  # before anything imports scikit-learn; several processes test at once
    os.environ.setdefault(_name, _value)

_numbers = itertools.count(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares a recording of the loop stays in one process and goes first, because it takes longest.

    Otherwise what is in one file stays in one process.
    """
    of_loop = {id(item) for item in items if "loop" in getattr(item, "fixturenames", ())}
    for item in items:
        item.add_marker(pytest.mark.xdist_group("loop" if id(item) in of_loop else item.path.name))
    items.sort(key=lambda item: id(item) not in of_loop)


@pytest.fixture(autouse=True, scope="session")
def no_power_cut() -> Iterator[None]:
    """Files are not forced onto the disk in this process: no test cuts the power, and waiting for a disk takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def own_servers(tmp_path_factory: pytest.TempPathFactory):
    """The stack of a Kafka and a Redis of this test run's own; None where the environment names others."""
    if os.environ.get("DRIFTLINE_BOOTSTRAP") and os.environ.get("DRIFTLINE_REDIS_URL"):
        yield None
        return
    stack = LocalStack(tmp_path_factory.mktemp("servers"), brief=True)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="session")
def servers(own_servers: LocalStack | None) -> LocalServers:
    """Addresses of a Kafka and a Redis."""
    if own_servers is not None:
        return own_servers.addresses()
    return LocalServers(
        bootstrap=os.environ["DRIFTLINE_BOOTSTRAP"],
        redis_url=os.environ["DRIFTLINE_REDIS_URL"],
    )


@pytest.fixture
def redis_url(servers: LocalServers) -> str:
    """A Redis that answers."""
    return servers.redis_url


@pytest.fixture
def fresh_settings(servers: LocalServers, tmp_path: Path) -> Settings:
    """A deployment of the test's own, whose topics have not been made."""
    return Settings(
        bootstrap=servers.bootstrap,
        redis_url=servers.redis_url,
        prefix=f"test{os.getpid()}-{next(_numbers)}.",
        state_dir=tmp_path,
        archive_dir=tmp_path / "archive",
        artifact_dir=tmp_path / "artifacts",
    )


@pytest.fixture
def deployment(fresh_settings: Settings) -> Settings:
    """A deployment with its topics, clock live."""
    topics.create(fresh_settings)
    return fresh_settings
