"""Alerts about a source partition: what the monitor says of it, and what control sees in its slices."""

from __future__ import annotations

import msgspec

from driftline.core.alert_events import alert_about
from driftline.core.alerts import Change, Standing, fire, resolve
from driftline.events.alerts import Alert, AlertKind, Evidence, Severity, SliceSpan
from driftline.events.base import Millis, iso
from driftline.events.slices import Notice, NoticeKind

LEFT_OUT, HOLE, HISTORY = "left-out", "hole-in-slices", "history-is-cut"

_OPENS = {
    NoticeKind.GAP: (AlertKind.DATA, Severity.CRITICAL),
    NoticeKind.ALL_BAD: (AlertKind.DATA, Severity.CRITICAL),
    NoticeKind.STOPPED: (AlertKind.DATA, Severity.CRITICAL),
    NoticeKind.BEHIND: (AlertKind.LAG, Severity.WARNING),
}
_ENDS = {
    NoticeKind.RESUMED: (Change.RESUMED, (NoticeKind.GAP, NoticeKind.ALL_BAD, NoticeKind.STOPPED)),
    NoticeKind.CAUGHT_UP: (Change.CAUGHT_UP, (NoticeKind.BEHIND,)),
}


def observe_notice(standings: dict[str, Standing], notice: Notice) -> list[Alert]:
    """What a notice about a whole partition changes; `standings` are those of its partition, by rule.

    A function of the partition's log alone, in its order, so that it may be told before any slice is decided.
    """
    if notice.kind in _OPENS:
        kind, severity = _OPENS[notice.kind]
        told = _alert(f"partition:{notice.partition}", notice.kind.value, kind, severity, notice.at, _sentence(notice))
        told = msgspec.structs.replace(told, caused_by=(notice.id,), evidence=Evidence(gap=notice.gap))
        opened = fire(standings.setdefault(notice.kind.value, Standing()), told)
        return [] if opened is None else [opened]
    if notice.kind not in _ENDS:
        return []
    change, rules = _ENDS[notice.kind]
    ended = (resolve(standings[rule], change, notice.at, (notice.id,)) for rule in rules if rule in standings)
    return [alert for alert in ended if alert is not None]


def _sentence(notice: Notice) -> str:
    """What has happened, in the words of the notice where it has some."""
    what = f"Partition {notice.partition} stopped"
    told = "see `driftline status`"
    match notice.kind:
        case NoticeKind.GAP if notice.gap is not None:
            gap = notice.gap
            told = f"records {gap.first} to {gap.last} of {gap.topic} are gone from Kafka unread; {told}"
        case NoticeKind.ALL_BAD:
            told = f"nothing but records that cannot be used came; {told}"
        case NoticeKind.BEHIND:
            what = f"The monitor does not keep up with partition {notice.partition}"
    return f"{what}: {(notice.detail or told).removesuffix('.')}."


def leave_out(standing: Standing, partition: int, shard: int, first: int, at: Millis) -> Alert | None:
    """A shard of control goes on without a partition, whose slices it misses from `first` on."""
    told = _alert(
        _place(partition, shard),
        LEFT_OUT,
        AlertKind.LAG,
        Severity.CRITICAL,
        at,
        f"Partition {partition} is left out from slice {first} on: nothing came of it for longer than max_stall. "
        "What it holds is counted once it is back. See `driftline status`.",
    )
    span = SliceSpan(partition=partition, first=first, last=None)
    return fire(standing, msgspec.structs.replace(told, evidence=Evidence(slices=span)))


def take_back(standing: Standing, last: int, at: Millis) -> Alert | None:
    """A partition that was left out is back: what it brought up to slice `last` is applied in slice `last`."""
    ended = resolve(standing, Change.BACK, at)
    if ended is None or ended.evidence.slices is None:
        return None
    span = msgspec.structs.replace(ended.evidence.slices, last=last)
    standing.last = msgspec.structs.replace(
        ended,
        evidence=Evidence(slices=span),
        summary=f"Partition {span.partition} is back: slices {span.first} to {last} are counted in slice {last}.",
    )
    return standing.last


def find_hole(standing: Standing, shard: int, missing: SliceSpan, at: Millis) -> Alert | None:
    """Slices were published that do not stand in the topic: the shard stops at them until a human accepts that."""
    told = _alert(
        _place(missing.partition, shard),
        HOLE,
        AlertKind.DATA,
        Severity.CRITICAL,
        at,
        f"Shard {shard} stopped: {hole_sentence(missing)}.",
    )
    return fire(standing, msgspec.structs.replace(told, evidence=Evidence(slices=missing)))


def hole_sentence(missing: SliceSpan) -> str:
    """What is missing, and what an operator types to go on without it; without a full stop."""
    between = f"between {missing.first} and {missing.last}"
    return (
        f"slices of partition {missing.partition} {between} are missing from topic slices; to go on without them run "
        f"`driftline slices accept {missing.partition} {missing.first} {missing.last}`"
    )


def cut_history(standing: Standing, partition: int, shard: int, before: int, at: Millis) -> Alert | None:
    """A shard without state begins to read where slices before have been deleted."""
    told = _alert(
        _place(partition, shard),
        HISTORY,
        AlertKind.DATA,
        Severity.WARNING,
        at,
        f"Slices of partition {partition} up to {before} (before {iso(at)}) are no longer kept: figures are exact "
        "from two horizons later on.",
    )
    standing.quiet_since = at
    return fire(standing, told)


def _place(partition: int, shard: int) -> str:
    return f"partition:{partition}/shard:{shard}"


def _alert(segment: str, rule: str, kind: AlertKind, severity: Severity, at: Millis, summary: str) -> Alert:
    return alert_about(kind, "", "", rule, severity, rule, at, summary, segment=segment)
