"""Waiting until workers that have just been started say that they live."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from driftline.errors import DeploymentError, Unreachable
from driftline.platform.heartbeat import read_heartbeats
from driftline.platform.settings import Settings

LIVES_WITHIN_S = 120.0
LOOK_S = 0.2

Processes = Sequence[Mapping[str, Any]]
"""What the local supervisor says of each process: name, statename, pid."""


def wait_until_they_live(settings: Settings, workers: Sequence[str], processes: Callable[[], Processes]) -> None:
    """Wait until every named worker has said that it lives, in the process that runs now.

    Raises `Unreachable`, and `DeploymentError` where one is given up by the supervisor or stays silent.
    """
    deadline = time.monotonic() + LIVES_WITHIN_S
    while missing := _silent(settings, workers, processes()):
        if time.monotonic() > deadline:
            names = ", ".join(missing)
            raise DeploymentError(f"no sign of life of {names} within {LIVES_WITHIN_S:g} s; see `driftline logs`")
        time.sleep(LOOK_S)


def _silent(settings: Settings, workers: Sequence[str], processes: Processes) -> list[str]:
    try:
        heard = {(beat.service, beat.pid) for beat in read_heartbeats(settings)}
    except RedisError as error:
        raise Unreachable(f"no Redis answers ({error}); `driftline up` starts one on this machine") from error
    of_workers = [process for process in processes if process["name"] in workers]
    for process in of_workers:
        if process["statename"] == "FATAL":
            raise DeploymentError(f"{process['name']} ends whenever it starts; see `driftline logs {process['name']}`")
    living = {process["name"] for process in of_workers if (process["name"], process["pid"]) in heard}
    return [name for name in workers if name not in living]
