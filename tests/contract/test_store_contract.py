"""One suite for every store: what the checkpointed loop relies on."""

from __future__ import annotations

import asyncio
import os

import pytest
import redis.asyncio as redis

from driftline.platform.changes import Changes
from driftline.platform.store import Fenced, MemoryStore, RedisStore


def real_store(request):
    url = request.getfixturevalue("redis_url")
    return RedisStore(redis.Redis.from_url(url), f"contract{os.getpid()}.{request.node.name}.")


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
def store(request):
    return MemoryStore() if request.param == "memory" else real_store(request)


def test_nothing_stored_is_said_so(store):
    stored = asyncio.run(store.load("u"))
    assert (stored.position, stored.hashes, stored.outbox) == (None, {}, [])


def test_state_outbox_and_position_are_written_together(store):
    async def story():
        await store.write("u", None, b"1", Changes(put={"h": {b"a": b"1", b"b": b"2"}}), {b"2": b"y", b"1": b"x"})
        await store.write("u", b"1", b"2", Changes(drop={"h": [b"a"]}, put={"g": {b"c": b"3"}}), {b"3": b"z"})
        return await store.load("u")

    stored = asyncio.run(story())
    assert stored.position == b"2"
    assert stored.hashes == {"h": {b"b": b"2"}, "g": {b"c": b"3"}}
    assert stored.outbox == [(b"1", b"x"), (b"2", b"y"), (b"3", b"z")]


def test_a_worker_that_no_longer_owns_the_unit_can_write_nothing(store):
    async def story():
        await store.write("u", None, b"1", Changes(put={"h": {b"a": b"1"}}), {})
        with pytest.raises(Fenced):
            await store.write("u", None, b"x", Changes(forget=["h"], put={"h": {b"a": b"bad"}}), {b"1": b"bad"})
        return await store.load("u")

    stored = asyncio.run(story())
    assert (stored.position, stored.hashes, stored.outbox) == (b"1", {"h": {b"a": b"1"}}, [])


def test_a_forgotten_hash_is_gone_and_may_come_again(store):
    async def story():
        await store.write("u", None, b"1", Changes(put={"h": {b"a": b"1"}}), {})
        await store.write("u", b"1", b"2", Changes(forget=["h"]), {})
        gone = await store.load("u")
        await store.write("u", b"2", b"3", Changes(forget=["h"], put={"h": {b"b": b"2"}}), {})
        return gone.hashes, (await store.load("u")).hashes

    assert asyncio.run(story()) == ({}, {"h": {b"b": b"2"}})


def test_clearing_removes_what_was_relayed_and_no_more(store):
    async def story():
        await store.write("u", None, b"1", Changes(), {b"1": b"x", b"2": b"y"})
        await store.clear("u", [b"1", b"7"])
        return (await store.load("u")).outbox

    assert asyncio.run(story()) == [(b"2", b"y")]
