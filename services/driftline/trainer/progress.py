"""How far a training is: lines on its standard output, such as `driftline-progress: 0.4 fitting`."""

from __future__ import annotations

import re
from pathlib import Path

MARK = "driftline-progress:"
LONGEST = 120
AT_ONCE = 1_000_000
"""Characters of a log that are looked through at a time, so that one which grows fast holds nobody up."""
_LINE = re.compile(rb"^" + MARK.encode() + rb"[ \t]*(\d*\.?\d+)(?:[ \t]+(.*\S))?[ \t\r]*$", re.MULTILINE)


def report(fraction: float, message: str = "") -> None:
    """Say it, as any program can."""
    print(MARK, f"{fraction:.3f}", " ".join(message.split()), flush=True)


class Progress:
    """Follows a log from `begin` on, a position in bytes, and finds the newest of these lines."""

    def __init__(self, log: Path, begin: int) -> None:
        self._log, self._read = log, begin

    def newest(self) -> str | None:
        """`40 %: fitting`; None where nothing new was said. A line counts once it has ended."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            new = file.read(AT_ONCE)
        whole = new if len(new) == AT_ONCE else new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        found = [(float(share), said) for share, said in _LINE.findall(whole) if float(share) <= 1]
        if not found:
            return None
        share, said = found[-1]
        return f"{share * 100:.0f} %" + (f": {said.decode(errors='replace')[:LONGEST]}" if said else "")
