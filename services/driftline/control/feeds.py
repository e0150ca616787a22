"""The logs of `slices` as a shard reads them: how far each source partition is finished, and whether it has holes."""

from __future__ import annotations

from collections import deque
from itertools import takewhile

import msgspec

from driftline.core.alerts import Standing
from driftline.events.alerts import SliceSpan
from driftline.events.slices import KIND_HEADER, NO_PREVIOUS, PREVIOUS_HEADER, SLICE_HEADER
from driftline.platform.records import Record


class Feed(msgspec.Struct, kw_only=True):
    """What a shard remembers of one source partition.

    `last`: the newest slice taken from its log, whichever shard's. `away`: the first slice that the books miss while
    the partition is left out. `accepted`: holes that a human accepted. `notices`: alerts by rule, of what the partition
    says of itself. `left_out`, `history`: alerts of what is seen of it here.
    """

    last: int | None = None
    away: int | None = None
    accepted: list[SliceSpan] = []
    notices: dict[str, Standing] = {}
    left_out: Standing = msgspec.field(default_factory=Standing)
    history: Standing = msgspec.field(default_factory=Standing)


class Seen(msgspec.Struct, frozen=True):
    """A record as it stands in its log.

    `due`: the slice that it belongs to; -1: none. `missing`: slices that were published and do not stand in the log
    before this one. `cut`: the slice before this one, which is the first that this shard has ever read.
    """

    due: int
    is_slice: bool = False
    missing: SliceSpan | None = None
    cut: int | None = None


class Front:
    """One partition's waiting records, each looked at once, in the order of its log.

    `finished`: the last slice that the partition says is finished. `missing`: holes that wait, each with the slice that
    shows it.
    """

    def __init__(self, partition: int, feed: Feed, applied: int) -> None:
        self.feed = feed
        self.finished = applied if feed.away is None else feed.away - 1
        self.missing: deque[tuple[int, SliceSpan]] = deque()
        self._partition = partition
        self._waiting: deque[Seen] = deque()
        self._last = feed.last

    def __len__(self) -> int:
        return len(self._waiting)

    def look(self, record: Record) -> Seen:
        """Look at the next record."""
        number = slice_number(record)
        match record.header(KIND_HEADER):
            case "slice":
                seen = self._look_at_slice(number, record.header(PREVIOUS_HEADER))
            case "upto":
                self.finished = max(self.finished, number)
                seen = Seen(number)
            case _:
                seen = Seen(-1)
        self._waiting.append(seen)
        if seen.missing is not None:
            self.missing.append((number, seen.missing))
        return seen

    def _look_at_slice(self, number: int, previous: str | None) -> Seen:
        known = self._last
        if known is not None and number <= known:
            return Seen(number, True)  # it comes again, or it is another shard's part
        self._last = number
        before = int(previous) if previous is not None and previous != NO_PREVIOUS else None
        if previous is None or before == known:
            return Seen(number, True)
        if known is None:
            return Seen(number, True, cut=before)
        last = number - 1 if before is None else before
        if last <= known:
            return Seen(number, True)  # computed again by a monitor that found other slices empty
        return Seen(number, True, missing=SliceSpan(partition=self._partition, first=known + 1, last=last))

    def until(self, target: int) -> int:
        """How many of the waiting records belong to slices up to `target`, or to none."""
        return sum(1 for _ in takewhile(lambda seen: seen.due <= target, self._waiting))

    def take(self, count: int) -> list[Seen]:
        """The first `count` of them are taken."""
        taken = [self._waiting.popleft() for _ in range(count)]
        for seen in taken:
            if seen.is_slice:
                self.feed.last = max(seen.due, -1 if self.feed.last is None else self.feed.last)
            if seen.missing is not None:
                self.missing.popleft()
                self.feed.accepted.append(seen.missing)
        return taken


def slice_number(record: Record) -> int:
    """The slice that a record of `slices` names."""
    return int(record.header(SLICE_HEADER) or -1)
