"""One suite for leases in memory and in Redis, and what keeps one."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest
import redis

from driftline.errors import Unreachable
from driftline.platform.leases import Lease, MemoryLeases, RedisLeases


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
def leases(request):
    if request.param == "memory":
        return MemoryLeases()
    url = request.getfixturevalue("redis_url")
    return RedisLeases(SimpleNamespace(redis_url=url, prefix=f"contract{os.getpid()}.{request.node.name}."))


def eventually(check) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_of_two_gets_it_and_keeps_it(leases):
    assert leases.hold("a", "ann", 60)
    assert not leases.hold("a", "bob", 60)
    assert leases.hold("a", "ann", 60)
    assert leases.hold("another", "bob", 60)


def test_only_its_owner_can_let_it_go(leases):
    leases.hold("a", "ann", 60)
    leases.release("a", "bob")
    assert not leases.hold("a", "bob", 60)
    leases.release("a", "ann")
    assert leases.hold("a", "bob", 60)
    leases.release("nobody's", "bob")


def test_it_ends_by_itself_unless_it_is_renewed(leases):
    leases.hold("a", "ann", 0.05)
    eventually(lambda: leases.hold("a", "bob", 60))
    assert not leases.hold("a", "ann", 60)


def test_it_is_kept_beyond_its_time_while_work_goes_on_and_free_at_once_afterwards(leases):
    lease = Lease(leases, "a", for_s=3)
    assert lease.take()
    with lease:
        end = time.monotonic() + 3.5
        while time.monotonic() < end:
            assert not leases.hold("a", "bob", 60)
            time.sleep(0.05)
        assert not lease.lost
    assert leases.hold("a", "bob", 60)


def test_one_that_somebody_else_has_got_is_lost_and_left_to_him(leases):
    lease = Lease(leases, "a", for_s=0.3)

    def bob_gets_it_from_a_redis_that_forgot() -> bool:
        leases.release("a", lease._owner)
        return leases.hold("a", "bob", 60)

    assert lease.take()
    with lease:
        eventually(bob_gets_it_from_a_redis_that_forgot)  # ann may renew hers between the two
        eventually(lambda: lease.lost)
    assert not leases.hold("a", "ann", 60)


def test_one_that_was_forgotten_is_taken_again(leases):
    watched = Watched(leases)
    lease = Lease(watched, "a", for_s=3)
    assert lease.take()
    with lease:
        leases.release("a", lease._owner)
        before = watched.renewals
        eventually(lambda: watched.renewals >= before + 2)  # the first may have been on its way
        assert not leases.hold("a", "bob", 60)
        assert not lease.lost


class Watched:
    """Leases, and how often one of them was taken or renewed."""

    def __init__(self, leases):
        self._leases, self.renewals = leases, 0

    def hold(self, name, owner, for_s):
        held = self._leases.hold(name, owner, for_s)
        self.renewals += 1
        return held

    def release(self, name, owner):
        self._leases.release(name, owner)


def test_a_redis_that_does_not_answer_holds_nobody_up():
    nowhere = RedisLeases(SimpleNamespace(redis_url="redis://localhost:1", prefix="p."))
    with pytest.raises(Unreachable, match="no Redis answers"):
        nowhere.hold("a", "ann", 60)
    lease = Lease(nowhere, "a", for_s=0.03)
    assert lease.take()
    with lease:
        time.sleep(0.2)
        assert not lease.lost


@pytest.mark.integration
def test_in_redis_it_is_one_key_with_an_end(redis_url):
    leases = RedisLeases(SimpleNamespace(redis_url=redis_url, prefix=f"one{os.getpid()}."))
    leases.hold("case:1", "ann", 60)
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    (key,) = client.scan_iter(f"one{os.getpid()}.*")
    assert key == f"one{os.getpid()}.lease:case:1"
    assert client.get(key) == "ann"
    assert 0 < client.pttl(key) <= 60_000
