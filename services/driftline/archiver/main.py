"""Starts the archiver: `python -m driftline.archiver.main`. One a deployment; it stops within seconds of SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass

from driftline.archiver.keeper import Keeper
from driftline.archiver.writer import Writer
from driftline.errors import DriftlineError, Unreachable
from driftline.events.admin import Deployment
from driftline.events.base import Millis
from driftline.platform import settings as settings_module
from driftline.platform.archive_files import ARCHIVED, locked, prepare
from driftline.platform.heartbeat import Heartbeat
from driftline.platform.intake import Intake, sources_of
from driftline.platform.kafka import read_deployment
from driftline.platform.settings import Settings
from driftline.platform.telemetry import setup_logging
from driftline.platform.topics import check

log = logging.getLogger("driftline.archiver")

FLUSH_S = 2.0
HEARTBEAT_S = 1.0
BACK_OFF_S = 1.0


@dataclass
class Told:
    """What the heartbeat tells."""

    events: int = 0
    last_event: Millis | None = None
    decision_time: Millis | None = None


async def archive(settings: Settings, deployment: Deployment, stop: asyncio.Event) -> None:
    """Archive until told to stop, whatever Kafka does. Raises `DriftlineError` where a human has to do something."""
    told = Told()
    beating = asyncio.create_task(_beat(settings, told))
    try:
        with locked(settings.archive_dir):
            prepare(settings.archive_dir)
            while not stop.is_set():
                try:
                    await _live(settings, deployment, stop, told)
                except Unreachable as error:
                    log.warning("%s; trying again", error)
                    await asyncio.sleep(BACK_OFF_S)
    finally:
        beating.cancel()


async def _live(settings: Settings, deployment: Deployment, stop: asyncio.Event, told: Told) -> None:
    """One connection's life: what it took and did not write will be read again."""
    writer = Writer(settings.archive_dir, settings.prefix)
    keeper = Keeper(settings.archive_dir)
    intake = Intake(settings, sources_of(deployment, ARCHIVED))
    try:
        await intake.open(writer.sources)
        next_flush = time.monotonic() + FLUSH_S
        while not stop.is_set():
            for records in await intake.fetch():
                writer.add(records)
                told.events += len(records)
                told.last_event = int(time.time() * 1000)
            if writer.full or time.monotonic() >= next_flush:
                next_flush = time.monotonic() + FLUSH_S
                keeper.wrote(await asyncio.to_thread(writer.flush))
                told.decision_time = writer.decision_time(deployment.partitions)
                await asyncio.to_thread(keeper.turn, writer.flush_number, told.decision_time)
        await asyncio.to_thread(writer.flush)
    finally:
        await intake.close()


async def _beat(settings: Settings, told: Told) -> None:
    heartbeat = Heartbeat(settings, "archiver", os.environ.get("DRIFTLINE_SLOT", "0"))
    while True:
        await asyncio.to_thread(heartbeat.beat_if_possible, told.events, told.last_event, told.decision_time)
        await asyncio.sleep(HEARTBEAT_S)


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    deployment = await asyncio.to_thread(read_deployment, settings)
    await archive(settings, deployment, stop)


def main() -> None:
    """Run until told to stop; exit code 0 then, 1 with a sentence where something has to be mended first."""
    setup_logging()
    try:
        settings = settings_module.load()
        if problems := check(settings):
            sys.exit("\n".join(f"driftline archiver: {problem}" for problem in problems))
        asyncio.run(_run(settings))
    except DriftlineError as error:
        sys.exit(f"driftline archiver: {error}")


if __name__ == "__main__":
    main()
