"""Where a unit's state, outbox and position are stored: one atomic, fenced write."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import redis.asyncio as redis
from redis.exceptions import WatchError

from driftline.platform.changes import Changes


class Fenced(Exception):
    """Somebody else has moved this unit's position: what is in memory is void."""


@dataclass(frozen=True)
class Stored:
    """A unit as stored. `position` None: nothing is stored. `outbox` in the order in which it must be relayed."""

    position: bytes | None
    hashes: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    outbox: list[tuple[bytes, bytes]] = field(default_factory=list)


class Store(Protocol):
    """State, outbox and position of units. The contract suite in `tests/contract` says what each must hold."""

    async def load(self, unit: str) -> Stored:
        """Everything stored of `unit`."""

    async def write(
        self, unit: str, expected: bytes | None, position: bytes, changes: Changes, outbox: dict[bytes, bytes]
    ) -> None:
        """All of it or nothing. Raises `Fenced` unless the stored position is `expected`."""

    async def clear(self, unit: str, fields: list[bytes]) -> None:
        """Remove what has been relayed from the outbox."""


class RedisStore:
    """Redis keys of one unit: `<prefix>{<unit>}:position`, `:outbox`, `:names` (its hashes), `:h:<name>`.

    The braces are a hash tag, so that a Redis Cluster keeps a unit's keys together.
    """

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._redis = client
        self._prefix = prefix

    def _key(self, unit: str, part: str) -> str:
        return f"{self._prefix}{{{unit}}}:{part}"

    async def load(self, unit: str) -> Stored:
        """See `Store.load`. Read in one transaction, so that a write by another worker is seen whole or not at all."""
        while True:
            async with self._redis.pipeline(transaction=True) as pipe:
                try:
                    await pipe.watch(self._key(unit, "position"))
                    members: set[bytes] = await pipe.smembers(self._key(unit, "names"))  # type: ignore[assignment]  # never decoded
                    names = sorted(name.decode() for name in members)
                    pipe.multi()  # type: ignore[no-untyped-call]  # redis-py has no types here
                    pipe.get(self._key(unit, "position"))
                    pipe.hgetall(self._key(unit, "outbox"))
                    for name in names:
                        pipe.hgetall(self._key(unit, f"h:{name}"))
                    position, outbox, *hashes = await pipe.execute()
                except WatchError:
                    continue
            return Stored(position, dict(zip(names, hashes, strict=True)), sorted(outbox.items()))

    async def write(
        self, unit: str, expected: bytes | None, position: bytes, changes: Changes, outbox: dict[bytes, bytes]
    ) -> None:
        """See `Store.write`. WATCH makes the transaction fail if the position moves between the check and EXEC."""
        key = self._key(unit, "position")
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(key)
            if await pipe.get(key) != expected:
                raise Fenced(unit)
            pipe.multi()  # type: ignore[no-untyped-call]  # redis-py has no types here
            for name in changes.forget:
                pipe.delete(self._key(unit, f"h:{name}"))
                pipe.srem(self._key(unit, "names"), name)
            for name, fields in changes.drop.items():
                if fields:
                    pipe.hdel(self._key(unit, f"h:{name}"), *fields)
            for name, values in changes.put.items():
                if values:
                    pipe.hset(self._key(unit, f"h:{name}"), mapping=_mapping(values))
                    pipe.sadd(self._key(unit, "names"), name)
            if outbox:
                pipe.hset(self._key(unit, "outbox"), mapping=_mapping(outbox))
            pipe.set(key, position)
            try:
                await pipe.execute()
            except WatchError as error:
                raise Fenced(unit) from error

    async def clear(self, unit: str, fields: list[bytes]) -> None:
        """See `Store.clear`."""
        if fields:
            await self._redis.hdel(self._key(unit, "outbox"), *fields)


def _mapping(values: dict[bytes, bytes]) -> Any:
    """redis-py declares an invariant key type that a dict of bytes does not satisfy."""
    return values


class MemoryStore:
    """The same in memory, for tests and for whoever runs the core without Redis."""

    def __init__(self) -> None:
        self._units: dict[str, Stored] = {}

    async def load(self, unit: str) -> Stored:
        """See `Store.load`."""
        stored = self._units.get(unit, Stored(None))
        hashes = {name: dict(values) for name, values in stored.hashes.items()}
        return Stored(stored.position, hashes, sorted(stored.outbox))

    async def write(
        self, unit: str, expected: bytes | None, position: bytes, changes: Changes, outbox: dict[bytes, bytes]
    ) -> None:
        """See `Store.write`."""
        stored = await self.load(unit)
        if stored.position != expected:
            raise Fenced(unit)
        for name in changes.forget:
            stored.hashes.pop(name, None)
        for name, fields in changes.drop.items():
            for gone in fields:
                stored.hashes.get(name, {}).pop(gone, None)
        for name, values in changes.put.items():
            if values:
                stored.hashes.setdefault(name, {}).update(values)
        kept = {name: values for name, values in stored.hashes.items() if values}
        self._units[unit] = Stored(position, kept, [*stored.outbox, *outbox.items()])

    async def clear(self, unit: str, fields: list[bytes]) -> None:
        """See `Store.clear`."""
        stored = await self.load(unit)
        gone = set(fields)
        left = [(name, value) for name, value in stored.outbox if name not in gone]
        if stored.position is not None:
            self._units[unit] = Stored(stored.position, stored.hashes, left)
