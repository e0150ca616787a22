"""Leases: of several workers only one works on something at a time.

They spare work and nothing else: where Redis has lost one, two may work on the same, so whoever writes an answer must
give it an id by which its readers know the second one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol, Self
from uuid import uuid4

import redis

from driftline.errors import Unreachable
from driftline.platform.settings import Settings

log = logging.getLogger("driftline.leases")

FOR_S = 10.0
"""How long a lease outlives its last renewal, and so how long others wait for a worker that was killed."""

_HOLD = """
local owner = redis.call('get', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class Leases(Protocol):
    """Where leases stand. Both methods raise `Unreachable`."""

    def hold(self, name: str, owner: str, for_s: float) -> bool:
        """Take it if it is free, keep it for longer if it is the owner's; False: it is somebody else's."""

    def release(self, name: str, owner: str) -> None:
        """Let it go, if it is the owner's."""


class MemoryLeases:
    """Leases of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[str, tuple[str, float]] = {}

    def hold(self, name: str, owner: str, for_s: float) -> bool:
        """See `Leases`."""
        now = self._clock()
        held_by, until = self._held.get(name, (owner, now))
        if held_by != owner and now < until:
            return False
        self._held[name] = (owner, now + for_s)
        return True

    def release(self, name: str, owner: str) -> None:
        """See `Leases`."""
        if self._held.get(name, ("", 0.0))[0] == owner:
            del self._held[name]


class RedisLeases:
    """Leases of a deployment, each a key that ends by itself."""

    def __init__(self, settings: Settings) -> None:
        client = redis.Redis.from_url(settings.redis_url, socket_timeout=FOR_S / 2)
        self._prefix = f"{settings.prefix}lease:"
        self._hold, self._release = client.register_script(_HOLD), client.register_script(_RELEASE)

    def hold(self, name: str, owner: str, for_s: float) -> bool:
        """See `Leases`."""
        try:
            return bool(self._hold([self._prefix + name], [owner, int(for_s * 1000)]))
        except redis.RedisError as error:
            raise Unreachable(f"no Redis answers ({error})") from error

    def release(self, name: str, owner: str) -> None:
        """See `Leases`."""
        try:
            self._release([self._prefix + name], [owner])
        except redis.RedisError as error:
            raise Unreachable(f"no Redis answers ({error})") from error


class Lease:
    """One lease of one owner, kept by a thread from `take` on until the end of a `with`.

    It is `lost` once it is found to be somebody else's. A Redis that does not answer, or has forgotten it, holds nobody
    up: it is taken for ours, and taken when Redis is back.
    """

    def __init__(self, leases: Leases, name: str, for_s: float = FOR_S) -> None:
        self._leases, self._name, self._for_s = leases, name, for_s
        self._owner = uuid4().hex
        self._lost, self._end = threading.Event(), threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"lease {name}", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether somebody else has it now."""
        return self._lost.is_set()

    def take(self) -> bool:
        """Try once; False: it is somebody else's."""
        try:
            return self._leases.hold(self._name, self._owner, self._for_s)
        except Unreachable as error:
            log.warning("work goes on without lease %s: %s", self._name, error)
            return True

    def __enter__(self) -> Self:
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._keeper.join()
        try:
            self._leases.release(self._name, self._owner)
        except Unreachable as error:
            log.warning("lease %s ends by itself: %s", self._name, error)

    def _keep(self) -> None:
        while not self._end.wait(self._for_s / 3):
            if not self.take():
                log.warning("lease %s is somebody else's now", self._name)
                self._lost.set()
                return
