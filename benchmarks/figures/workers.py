"""What an event costs in processor time when two workers share the partitions, against one."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from kafka.admin import KafkaAdminClient

from benchmarks.loading import PARTITIONS, Spread, declare, send_in_order
from benchmarks.measure import Progress, Spent, median, paired_ratio
from benchmarks.results import Cell, Column, Result
from benchmarks.servers import START_S, Failed, log_of, new_settings, wait_for, worker
from benchmarks.watched import Timing
from benchmarks.watching import Watch, run_until
from benchmarks.workload import Workload, generate, location
from driftline.platform.settings import LocalServers, Settings
from driftline.platform.status import UNKNOWN_YET

HORIZON = timedelta(seconds=500)
COUNTS = (1, 2)
LEAST_SHARE = 0.2
"""Of the work that each of two workers must have done for the run to count."""


@dataclass(frozen=True)
class Scale:
    """Predictions, the slice, rounds."""

    predictions: int
    slice: timedelta
    rounds: int


FULL = Scale(200_000, timedelta(seconds=50), 3)
QUICK = Scale(4_000, timedelta(seconds=5), 1)


def measure(scale: Scale, progress: Progress, addresses: LocalServers, state: Path) -> Result:
    """One worker, two workers, one worker, ...: each time on a new deployment, loaded while they run."""
    progress.expect(1 + len(COUNTS) * scale.rounds)
    progress("making the workload")
    workload = generate(scale.predictions)
    timing = Timing(slice=scale.slice, horizon=HORIZON)
    spread = Spread.of(workload, timing.slice_ms)
    found: dict[int, list[Spent]] = {count: [] for count in COUNTS}
    for number in range(scale.rounds):
        for count in COUNTS:
            progress(f"round {number + 1} of {scale.rounds}: {count} worker{'s' if count > 1 else ''}")
            found[count].append(_round(new_settings(addresses, state), workload, timing, spread, count))
    return _result(scale, found)


def _round(settings: Settings, workload: Workload, timing: Timing, spread: Spread, count: int) -> Spent:
    declare(settings, workload, timing)
    watch = Watch(settings, timing.slice_ms)
    with ExitStack() as stack:
        stack.callback(watch.close)
        processes = [stack.enter_context(worker(settings, "monitor", slot)) for slot in range(count)]
        log = log_of(settings, "monitor")
        alive = lambda: all(process.poll() is None for process in processes)  # noqa: E731  # said once, used twice
        wait_for(lambda: _members(settings) == count, START_S, alive, log)
        wait_for(lambda: len(watch.heard()) == PARTITIONS, START_S, alive, log)
        loader = threading.Thread(target=send_in_order, args=(settings, spread), daemon=True)
        loader.start()
        spent, each = run_until(watch, spread, processes, log)
        loader.join()
    if min(each) < LEAST_SHARE * sum(each) / count:
        raise Failed(f"the workers took {each} seconds: they did not share the work")
    return spent


def _members(settings: Settings) -> int:
    """How many members of the monitor's group have been given partitions."""
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap)
    try:
        group = settings.group("monitor")
        described = admin.describe_groups([group])[group]
        if described["group_state"] != "Stable":
            return 0
        return sum(bool(member["member_assignment"]) for member in described["members"])
    except UNKNOWN_YET:
        return 0
    finally:
        admin.close()


def _result(scale: Scale, found: dict[int, list[Spent]]) -> Result:
    alone = [spent.cpu_us for spent in found[1]]
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    for count, runs in found.items():
        costs = [spent.cpu_us for spent in runs]
        ratio = paired_ratio(costs, alone)
        rate = median([spent.wall_rate for spent in runs])
        rows.append([str(count), median(costs), min(costs), max(costs), ratio, rate])
        figures[f"{count} workers: us an event"] = median(costs)
        figures[f"{count} workers: x one"] = ratio
    return Result(
        name="workers",
        title="Processor time an event of all monitors together",
        columns=[
            Column("workers"),
            Column("median", "us"),
            Column("lowest", "us"),
            Column("highest", "us"),
            Column("to one worker", "ratio"),
            Column("events/s by the clock", "rate"),
        ],
        rows=rows,
        figures=figures,
        notes=[
            f"{scale.predictions:,} predictions and their outcomes in {PARTITIONS} partitions, in order of arrival, "
            f"loaded as fast as a loader can while the workers run; {scale.rounds} rounds in turn; every byte through "
            "Kafka and Redis, whose own processor time is not in it.",
        ],
        rounds={str(count): [spent.cpu_us for spent in runs] for count, runs in found.items()},
        workload=location()[1],
    )
