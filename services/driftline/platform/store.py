"""Where a unit's state, outbox and position are stored: one atomic, fenced write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

import redis.asyncio as redis
from redis.exceptions import WatchError

from driftline.platform.changes import Changes

FIELDS_A_COMMAND = 10_000
"""Redis refuses a command of more than about a million words."""


class Fenced(Exception):
    """Somebody else has moved this unit's position: what is in memory is void."""


@dataclass(frozen=True)
class Stored:
    """A unit as stored. `position` None: nothing is stored. `outbox` in the order in which it must be relayed."""

    position: bytes | None
    hashes: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    logs: dict[str, bytes] = field(default_factory=dict)
    outbox: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def fresh(self) -> bool:
        """Whether no state is stored; a position may be, of a unit that stopped before it had any."""
        return not self.hashes and not self.logs

    def without(self, name: str) -> Stored:
        """The same without one hash."""
        return replace(self, hashes={each: fields for each, fields in self.hashes.items() if each != name})


class Store(Protocol):
    """State, outbox and position of units. The contract suite in `tests/contract` says what each must hold."""

    async def load(self, unit: str) -> Stored:
        """Everything stored of `unit`."""

    async def peek(self, unit: str, name: str) -> tuple[bytes | None, dict[bytes, bytes]]:
        """The position and one hash, as they are together at one moment, without reading the rest."""

    async def write(
        self, unit: str, expected: bytes | None, position: bytes, changes: Changes, outbox: dict[bytes, bytes]
    ) -> None:
        """All of it or nothing. Raises `Fenced` unless the stored position is `expected`."""

    async def clear(self, unit: str, fields: list[bytes]) -> None:
        """Remove what has been relayed from the outbox."""


class RedisStore:
    """Redis keys of one unit: `<prefix>{<unit>}:position`, `:outbox`, `:names` and `:h:<name>` (its hashes), `:logs`
    and `:log:<name>` (its logs, strings of at most 512 MB each).

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
                    names, logs = [await self._members(pipe, unit, kind) for kind in ("names", "logs")]
                    pipe.multi()  # type: ignore[no-untyped-call]  # redis-py has no types here
                    pipe.get(self._key(unit, "position"))
                    pipe.hgetall(self._key(unit, "outbox"))
                    for name in names:
                        pipe.hgetall(self._key(unit, f"h:{name}"))
                    for name in logs:
                        pipe.get(self._key(unit, f"log:{name}"))
                    position, outbox, *values = await pipe.execute()
                except WatchError:
                    continue
            hashes = {name: found for name, found in zip(names, values[: len(names)], strict=True) if found}
            return Stored(position, hashes, dict(zip(logs, values[len(names) :], strict=True)), sorted(outbox.items()))

    async def peek(self, unit: str, name: str) -> tuple[bytes | None, dict[bytes, bytes]]:
        """See `Store.peek`."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.get(self._key(unit, "position"))
            pipe.hgetall(self._key(unit, f"h:{name}"))
            position, fields = await pipe.execute()
        return position, fields

    async def _members(self, pipe: Any, unit: str, kind: str) -> list[str]:
        return sorted(name.decode() for name in await pipe.smembers(self._key(unit, kind)))

    async def write(
        self, unit: str, expected: bytes | None, position: bytes, changes: Changes, outbox: dict[bytes, bytes]
    ) -> None:
        """See `Store.write`. WATCH makes the transaction fail if the position moves between the check and EXEC.

        However much is written, it is one transaction: it is cut into commands, never into several EXECs.
        """
        key = self._key(unit, "position")
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(key)
            if await pipe.get(key) != expected:
                raise Fenced(unit)
            pipe.multi()  # type: ignore[no-untyped-call]  # redis-py has no types here
            self._queue(pipe, unit, changes)
            for part in _parts(outbox):
                pipe.hset(self._key(unit, "outbox"), mapping=_mapping(part))
            pipe.set(key, position)
            try:
                await pipe.execute()
            except WatchError as error:
                raise Fenced(unit) from error

    def _queue(self, pipe: Any, unit: str, changes: Changes) -> None:
        for name in changes.forget:
            pipe.delete(self._key(unit, f"h:{name}"), self._key(unit, f"log:{name}"))
            pipe.srem(self._key(unit, "names"), name)
            pipe.srem(self._key(unit, "logs"), name)
        for name, fields in changes.drop.items():
            for gone in _slices(fields):
                pipe.hdel(self._key(unit, f"h:{name}"), *gone)
        for name, values in changes.put.items():
            for part in _parts(values):
                pipe.hset(self._key(unit, f"h:{name}"), mapping=_mapping(part))
            if values:
                pipe.sadd(self._key(unit, "names"), name)
        for name, more in changes.append.items():
            if more:
                pipe.append(self._key(unit, f"log:{name}"), more)
                pipe.sadd(self._key(unit, "logs"), name)

    async def clear(self, unit: str, fields: list[bytes]) -> None:
        """See `Store.clear`."""
        for part in _slices(fields):
            await self._redis.hdel(self._key(unit, "outbox"), *part)


def _slices(fields: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (fields[i : i + FIELDS_A_COMMAND] for i in range(0, len(fields), FIELDS_A_COMMAND))


def _parts(values: dict[bytes, bytes]) -> Iterator[dict[bytes, bytes]]:
    items = iter(values.items())
    while part := dict(islice(items, FIELDS_A_COMMAND)):
        yield part


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
        return Stored(stored.position, hashes, dict(stored.logs), sorted(stored.outbox))

    async def peek(self, unit: str, name: str) -> tuple[bytes | None, dict[bytes, bytes]]:
        """See `Store.peek`."""
        stored = await self.load(unit)
        return stored.position, stored.hashes.get(name, {})

    async def write(
        self, unit: str, expected: bytes | None, position: bytes, changes: Changes, outbox: dict[bytes, bytes]
    ) -> None:
        """See `Store.write`."""
        stored = await self.load(unit)
        if stored.position != expected:
            raise Fenced(unit)
        for name in changes.forget:
            stored.hashes.pop(name, None)
            stored.logs.pop(name, None)
        for name, fields in changes.drop.items():
            for gone in fields:
                stored.hashes.get(name, {}).pop(gone, None)
        for name, values in changes.put.items():
            if values:
                stored.hashes.setdefault(name, {}).update(values)
        for name, more in changes.append.items():
            if more:
                stored.logs[name] = stored.logs.get(name, b"") + more
        kept = {name: values for name, values in stored.hashes.items() if values}
        self._units[unit] = Stored(position, kept, stored.logs, [*stored.outbox, *outbox.items()])

    async def clear(self, unit: str, fields: list[bytes]) -> None:
        """See `Store.clear`."""
        stored = await self.load(unit)
        gone = set(fields)
        left = [(name, value) for name, value in stored.outbox if name not in gone]
        if stored.position is not None:
            self._units[unit] = Stored(stored.position, stored.hashes, stored.logs, left)
