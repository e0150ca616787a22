"""A process of its own: one backtest, and the memory that it took. `python -m benchmarks.backtesting <json>`."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from benchmarks import files
from benchmarks.measure import resident_bytes
from benchmarks.watched import Timing, watch
from driftline.backtesting.findings import Findings
from driftline.backtesting.job import Inputs, run


class Job(msgspec.Struct, kw_only=True):
    """Which files, and how the workload's clock is cut."""

    directory: str
    form: str
    timing: Timing


class Peak(msgspec.Struct, kw_only=True):
    """Resident bytes before the first row was read, and at most; rows that counted."""

    before: int
    peak: int
    predictions: int


def backtested(directory: Path, form: str, timing: Timing) -> Findings:
    """The whole job: look, declare with the reference, read, decide."""
    predictions, outcomes, reference = (
        files.path(directory, what, form) for what in ("predictions", "outcomes", "reference")
    )
    return run(watch("m0", timing), Inputs(predictions, outcomes, reference))


def peak_bytes() -> int:
    """The most that this process has ever had in memory; what `getrusage` says begins with its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line for line in lines if line.startswith("VmHWM:")).split()[1]
    return int(kilobytes) * 1024


if __name__ == "__main__":
    job = msgspec.json.decode(sys.argv[1], type=Job)
    before = resident_bytes()
    found = backtested(Path(job.directory), job.form, job.timing)
    told = Peak(before=before, peak=peak_bytes(), predictions=found.predictions)
    sys.stdout.buffer.write(msgspec.json.encode(told))
