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
    assert (stored.position, stored.hashes, stored.logs, stored.outbox) == (None, {}, {}, [])


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
        await store.write("u", None, b"1", Changes(put={"h": {b"a": b"1"}}, append={"l": b"rows"}), {})
        for changes in (
            Changes(forget=["h", "l"], put={"h": {b"a": b"bad"}}),
            Changes(drop={"h": [b"a"]}, append={"l": b"bad", "new": b"bad"}),
        ):
            with pytest.raises(Fenced):
                await store.write("u", None, b"x", changes, {b"1": b"bad"})
        return await store.load("u")

    stored = asyncio.run(story())
    assert (stored.position, stored.hashes, stored.outbox) == (b"1", {"h": {b"a": b"1"}}, [])
    assert stored.logs == {"l": b"rows"}


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


def test_a_log_grows_at_its_end_in_the_order_of_the_writes(store):
    async def story():
        await store.write("u", None, b"1", Changes(append={"l": b"one,", "empty": b""}), {})
        await store.write("u", b"1", b"2", Changes(append={"l": b"two,", "m": b"\x00\xff"}), {})
        await store.write("u", b"2", b"3", Changes(append={"l": b"three"}), {})
        return (await store.load("u")).logs

    assert asyncio.run(story()) == {"l": b"one,two,three", "m": b"\x00\xff"}


def test_a_forgotten_log_is_gone_and_begins_anew(store):
    async def story():
        await store.write("u", None, b"1", Changes(put={"l": {b"a": b"1"}}, append={"l": b"old", "m": b"kept"}), {})
        await store.write("u", b"1", b"2", Changes(forget=["l"]), {})
        gone = await store.load("u")
        await store.write("u", b"2", b"3", Changes(forget=["l", "m"], append={"l": b"new"}), {})
        return (gone.hashes, gone.logs), (await store.load("u")).logs

    assert asyncio.run(story()) == (({}, {"m": b"kept"}), {"l": b"new"})


def test_a_hash_whose_last_field_is_dropped_is_not_there(store):
    async def story():
        await store.write("u", None, b"1", Changes(put={"h": {b"a": b"1"}}), {})
        await store.write("u", b"1", b"2", Changes(drop={"h": [b"a"]}), {})
        return (await store.load("u")).hashes

    assert asyncio.run(story()) == {}


def test_what_one_unit_writes_is_not_another_s(store):
    async def story():
        await store.write("u", None, b"1", Changes(put={"h": {b"a": b"1"}}, append={"l": b"u"}), {b"1": b"x"})
        await store.write("v", None, b"1", Changes(forget=["h", "l"], append={"l": b"v"}), {})
        return await store.load("u"), await store.load("v")

    u, v = asyncio.run(story())
    assert (u.hashes, u.logs, u.outbox) == ({"h": {b"a": b"1"}}, {"l": b"u"}, [(b"1", b"x")])
    assert (v.hashes, v.logs, v.outbox) == ({}, {"l": b"v"}, [])


def test_a_peek_is_the_position_and_one_hash(store):
    async def story():
        nothing = await store.peek("u", "h")
        await store.write("u", None, b"1", Changes(put={"h": {b"a": b"1"}, "g": {b"b": b"2"}}), {b"1": b"x"})
        return nothing, await store.peek("u", "h"), await store.peek("u", "none")

    assert asyncio.run(story()) == ((None, {}), (b"1", {b"a": b"1"}), (b"1", {}))


def test_a_unit_with_a_position_and_nothing_else_is_fresh(store):
    async def story():
        before = await store.load("u")
        await store.write("u", None, b"1", Changes(), {b"1": b"x"})
        position_only = await store.load("u")
        await store.write("u", b"1", b"2", Changes(append={"l": b"rows"}), {})
        return before.fresh, position_only.fresh, (await store.load("u")).fresh

    assert asyncio.run(story()) == (True, True, False)


BIG = 50_000_000
MANY = 60_000


def big_write():
    """50 MB at the end of one log, and more fields and records than one command may carry."""
    fields = {b"%06d" % i: b"x" * 50 for i in range(MANY)}
    return Changes(put={"h": fields}, append={"l": b"y" * BIG}), {b"%06d" % i: b"z" for i in range(MANY)}


def test_a_write_of_50_mb_is_one_write_which_a_reader_sees_whole_or_not_at_all(store):
    async def story():
        await store.write("u", None, b"1", Changes(), {})
        writing = asyncio.create_task(store.write("u", b"1", b"2", *big_write()))
        seen = set()
        while b"2" not in {position for position, *_ in seen}:
            await asyncio.sleep(0)  # the store in memory never waits
            stored = await store.load("u")
            log, fields = stored.logs.get("l", b""), stored.hashes.get("h", {})
            seen.add((stored.position, len(log), len(fields), len(stored.outbox)))
        await writing
        return seen

    assert asyncio.run(story()) <= {(b"1", 0, 0, 0), (b"2", BIG, MANY, MANY)}


def test_the_fence_refuses_all_of_a_write_of_50_mb(store):
    async def story():
        await store.write("u", None, b"1", Changes(append={"l": b"kept"}), {})
        with pytest.raises(Fenced):
            await store.write("u", None, b"2", *big_write())
        refused = await store.load("u")
        await store.write("u", b"1", b"2", Changes(), {b"%06d" % i: b"z" for i in range(MANY)})
        await store.clear("u", [b"%06d" % i for i in range(MANY - 1)])
        return refused, await store.load("u")

    refused, cleared = asyncio.run(story())
    assert (refused.position, refused.hashes, refused.logs, refused.outbox) == (b"1", {}, {"l": b"kept"}, [])
    assert cleared.outbox == [(b"%06d" % (MANY - 1), b"z")]
