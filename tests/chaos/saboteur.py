"""A service that strikes itself at an exact point of its loop: `python -m tests.chaos.saboteur driftline.monitor.main`.

The service is started unchanged; what the loop calls outside itself (store, producer, consumer, work) is wrapped here.
Which call is struck, and how, stands in the environment variable `CHAOS_FAULT`, as JSON.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import runpy
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import aiokafka
import msgspec

from driftline.platform.loop import Loop
from driftline.platform.store import RedisStore

FAULT = "CHAOS_FAULT"
OURS = ("slices", "dead-letters")
INPUTS = ("predictions", "outcomes")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Strike at the `nth` call of `call` (of `unit`, where the call names one), before or after it.

    `do`: `kill` or `stop` this process, let this call `wait` for `seconds`, or let every step `raise` that is given a
    record with `text` in it. `flag` is a file made at that moment.
    """

    call: Literal["load", "fetch", "cut", "step", "write", "send", "clear", "commit"]
    when: Literal["before", "after"] = "before"
    nth: int = 1
    unit: str = ""
    do: Literal["kill", "stop", "wait", "raise"] = "kill"
    seconds: float = 0.0
    flag: str = ""
    text: str = ""


class Bug(Exception):
    """What a step raises that has been made to."""


def armed(*faults: Fault) -> dict[str, str]:
    """The environment of a service that is struck so."""
    return {FAULT: msgspec.json.encode(faults).decode()}


class Saboteur:
    """Counts the calls, and strikes. Several of them can watch one service."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._calls = 0

    def install(self) -> None:
        """Wrap what the loop calls."""
        for name in ("load", "write"):
            self._wrap(RedisStore, name, name, lambda args: args[1])
        # what is empty is cleared at each start, which is not worth a fault
        self._wrap(RedisStore, "clear", "clear", lambda args: args[1], lambda args: bool(args[2]))
        self._wrap(aiokafka.AIOKafkaProducer, "send", "send", lambda args: args[1], lambda args: args[1].endswith(OURS))
        self._wrap(aiokafka.AIOKafkaConsumer, "commit", "commit", lambda _: "")
        self._wrap_fetch()
        self._wrap_work()

    def _hits(self, call: str, about: str) -> bool:
        """Whether this is the call to strike; each is counted once, before it is made."""
        fault = self._fault
        if call != fault.call or (fault.unit and call in ("load", "write", "clear") and about != fault.unit):
            return False
        self._calls += 1
        return self._calls == fault.nth

    def _strike(self) -> None:
        if self._fault.flag:
            Path(self._fault.flag).touch()
        if self._fault.do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._fault.do == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)

    async def _strike_and_wait(self) -> None:
        self._strike()
        if self._fault.do == "wait":
            await asyncio.sleep(self._fault.seconds)

    def _wrap(
        self,
        owner: type,
        method: str,
        call: str,
        about: Callable[[Any], str],
        counts: Callable[[Any], bool] = lambda _: True,
    ) -> None:
        real: Callable[..., Awaitable[Any]] = getattr(owner, method)

        @functools.wraps(real)
        async def wrapped(*args: Any, **options: Any) -> Any:
            hit = counts(args) and self._hits(call, about(args))
            if hit and self._fault.when == "before":
                await self._strike_and_wait()
            result = await real(*args, **options)
            if hit and self._fault.when == "after":
                await self._strike_and_wait()
            return result

        setattr(owner, method, wrapped)

    def _wrap_fetch(self) -> None:
        """A fetch is one that brings records of the inputs."""
        real = aiokafka.AIOKafkaConsumer.getmany

        @functools.wraps(real)
        async def getmany(*args: Any, **options: Any) -> Any:
            batches = await real(*args, **options)
            brings = any(records and place.topic.endswith(INPUTS) for place, records in batches.items())
            if brings and self._hits("fetch", ""):
                await self._strike_and_wait()
            return batches

        aiokafka.AIOKafkaConsumer.getmany = getmany

    def _wrap_work(self) -> None:
        """The loop makes its work by a factory: what comes out of it is watched."""
        real = Loop.__init__
        signature = inspect.signature(real)

        @functools.wraps(real)
        def init(*args: Any, **options: Any) -> None:
            bound = signature.bind(*args, **options)
            make = bound.arguments["make_work"]
            bound.arguments["make_work"] = lambda: Watched(make(), self)
            real(*bound.args, **bound.kwargs)

        Loop.__init__ = init  # type: ignore[method-assign]  # the point of this module


class Watched:
    """A unit's work, whose `cut` and `step` can be struck."""

    def __init__(self, work: Any, saboteur: Saboteur) -> None:
        self._work = work
        self._saboteur = saboteur
        self._refused: Any = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)

    def cut(self, *args: Any, **options: Any) -> Any:
        """A cut is one that finds something to do."""
        counts = self._work.cut(*args, **options)
        if counts and any(counts.values()):
            return self._between("cut", lambda: counts)
        return counts

    def refuse(self, records: Any) -> None:
        """See `Work.refuse`."""
        self._refused = records
        self._work.refuse(records)

    def step(self, taken: Any, *args: Any, **options: Any) -> Any:
        """The pure step."""
        fault = self._saboteur._fault
        if fault.do == "raise":
            for record in (record for records in taken.values() for record in records):
                refused = (record.source, record.offset) in self._refused
                if not refused and fault.text.encode() in (record.value or b""):
                    self._saboteur._strike()
                    raise Bug(f"made to raise at offset {record.offset}")
            return self._work.step(taken, *args, **options)
        return self._between("step", lambda: self._work.step(taken, *args, **options))

    def _between(self, call: str, work: Callable[[], Any]) -> Any:
        hit = self._saboteur._hits(call, "")
        if hit and self._saboteur._fault.when == "before":
            self._saboteur._strike()
        result = work()
        if hit and self._saboteur._fault.when == "after":
            self._saboteur._strike()
        return result


def main() -> None:
    """Start the service named on the command line, with the fault armed."""
    for fault in msgspec.json.decode(os.environ[FAULT], type=tuple[Fault, ...]):
        Saboteur(fault).install()
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
