"""Declaring things to a deployment: specs, baselines, commands. What the command line does, for programs."""

from __future__ import annotations

import time

from driftline.errors import DriftlineError, Unreachable
from driftline.events.admin import (
    Command,
    CommandResult,
    Deployment,
    Placed,
    SpecRevision,
    decode_specs_record,
)
from driftline.events.alerts import SliceSpan
from driftline.events.base import decode, digest_id, encode
from driftline.events.baselines import Baseline, Calibration, decode_baselines_record
from driftline.events.cloudevents import headers
from driftline.events.partitioning import partition_of
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.following import Tail
from driftline.platform.kafka import mark, read_all, read_deployment, send_all
from driftline.platform.lookups import CLOCK_SKEW_MS
from driftline.platform.records import Outgoing
from driftline.platform.settings import Settings
from driftline.spec.model import MonitorSpec, millis
from driftline.spec.plain import from_plain, to_plain

SOURCE = "driftline/command-line"
FIXED = ("pane", "task", "labels", "positive")
"""What a model's spec says once and for good."""


def latest_spec(settings: Settings, model: str) -> tuple[int, MonitorSpec] | None:
    """The newest revision of a model's spec, if there is any."""
    newest = max(spec_revisions(settings, model), key=lambda event: event.revision, default=None)
    return None if newest is None else (newest.revision, from_plain(newest.spec))


def latest_calibrations(settings: Settings, model: str) -> dict[str, Calibration]:
    """What the thresholds of a model's rules with a budget of false alarms were calibrated to last, by rule."""
    found = {}
    for record in read_all(settings, Topic.BASELINES):
        event = decode_baselines_record(record.value) if record.value else None
        if isinstance(event, Calibration) and event.model == model:
            found[event.rule] = event
    return found


def apply_spec(settings: Settings, spec: MonitorSpec, author: str) -> tuple[int, bool]:
    """Put a spec into force: (revision, whether it was not before). An unchanged spec is left as it is.

    1. The revision is written. Killed before: nothing has changed.
    2. Its marks, then where they were placed. Killed before the end: the next call with this spec places those marks
       that are missing, and says so.

    With `clock: live` it returns when the spec is in force, so that predictions sent afterwards are counted. Raises
    `DriftlineError` where one of `FIXED` would change: panes of one model must add up.
    """
    deployment = read_deployment(settings)
    event = _write(settings, spec, author)
    placed = _place(settings, deployment, event)
    if placed and deployment.clock == "live":
        _wait_for_next_slice(deployment)
    return event.revision, placed


def _write(settings: Settings, spec: MonitorSpec, author: str) -> SpecRevision:
    """The revision that holds this spec: the newest one, or a new one.

    Of several authors who take a number at once the first in the log has it, for every reader; the others take the
    next one, if their spec is still another one.
    """
    while True:
        newest = max(spec_revisions(settings, spec.model), key=lambda event: event.revision, default=None)
        if newest is not None:
            known = from_plain(newest.spec)
            if known == spec:
                return newest
            check_change(known, spec)
        revision = 1 if newest is None else newest.revision + 1
        event = SpecRevision(
            id=digest_id("spec", spec.model, revision),
            model=spec.model,
            revision=revision,
            author=author,
            written_at=_now(),
            spec=to_plain(spec),
        )
        send_all(settings, [Outgoing(Topic.SPECS, _key(event), encode(event), 0, headers(event, SOURCE))])
        first = next(each for each in spec_revisions(settings, spec.model) if each.revision == revision)
        if encode(first) == encode(event):
            return event


def _place(settings: Settings, deployment: Deployment, event: SpecRevision) -> bool:
    """Place the marks of a revision in the partitions that lack them; says whether it was not known to have all."""
    revision = (event.model, event.revision)
    told = (decode_specs_record(record.value) for record in read_all(settings, Topic.SPECS) if record.value)
    if any(isinstance(each, Placed) and (each.model, each.revision) == revision for each in told):
        return False
    text = f"spec {event.model}@{event.revision}"
    # a replay's records are stamped years back, and marks with 0
    since = event.written_at - CLOCK_SKEW_MS if deployment.clock == "live" else None
    stand = [r for r in read_all(settings, Topic.PREDICTIONS, since) if r.header(MARK_HEADER) == text]
    offsets = {record.source.partition: record.offset for record in reversed(stand)}
    offsets |= send_all(settings, [each for each in mark(deployment, text) if each.partition not in offsets])
    placed = Placed(
        id=digest_id("placed", event.model, event.revision),
        caused_by=(event.id,),
        model=event.model,
        revision=event.revision,
        offsets=dict(sorted(offsets.items())),
    )
    send_all(settings, [Outgoing(Topic.SPECS, _key(event), encode(placed), 0, headers(placed, SOURCE))])
    return True


def _key(event: SpecRevision) -> bytes:
    return f"{event.model}@{event.revision}".encode()


def check_change(known: MonitorSpec, spec: MonitorSpec) -> None:
    """Raises `DriftlineError` where one of `FIXED` would change."""
    for word in FIXED:
        if getattr(known, word) != getattr(spec, word):
            why = "what was counted would no longer add up; give the model another name"
            raise DriftlineError(f"`{word}` of {spec.model} cannot change: {why}")


def spec_revisions(settings: Settings, model: str) -> list[SpecRevision]:
    """Every revision of a model's spec, oldest first. Of two with one number the first counts."""
    events = (decode_specs_record(record.value) for record in read_all(settings, Topic.SPECS) if record.value)
    found: dict[int, SpecRevision] = {}
    for event in events:
        if isinstance(event, SpecRevision) and event.model == model:
            found.setdefault(event.revision, event)
    return list(found.values())


def declared_baselines(settings: Settings, model: str) -> list[Baseline]:
    """The baselines of a model's versions."""
    events = (decode_baselines_record(record.value) for record in read_all(settings, Topic.BASELINES) if record.value)
    return [event for event in events if isinstance(event, Baseline) and event.model == model]


def declare_baseline(settings: Settings, deployment: Deployment, baseline: Baseline) -> None:
    """Write a baseline, then its marks: predictions that follow them in the log are counted in its bins."""
    key = f"{baseline.model}/{baseline.version}".encode()
    send_all(settings, [Outgoing(Topic.BASELINES, key, encode(baseline), 0, headers(baseline, SOURCE))])
    send_all(settings, mark(deployment, f"baseline {baseline.id}"))


def send_command(settings: Settings, deployment: Deployment, command: Command, shard: int | None = None) -> None:
    """Ask control for something: the shard of the command's model, unless it is about a shard itself."""
    shard = partition_of(command.model, deployment.shards) if shard is None else shard
    # as with every record that is not the replay's own: the running maximum places it
    timestamp = 0 if deployment.clock == "events" else None
    record = Outgoing(
        Topic.COMMANDS, command.model.encode(), encode(command), shard, headers(command, SOURCE), timestamp
    )
    send_all(settings, [record])


def accept_missing(settings: Settings, missing: SliceSpan, author: str, timeout_s: float) -> list[CommandResult]:
    """Tell every shard of control to go on without slices that are missing; their answers."""
    deployment = read_deployment(settings)
    now = _now()
    commands = [
        Command(
            id=digest_id("accept", missing.partition, missing.first, missing.last, shard, now),
            model="",
            action="accept",
            author=author,
            written_at=now,
            missing=missing,
        )
        for shard in range(deployment.shards)
    ]
    for shard, command in enumerate(commands):
        send_command(settings, deployment, command, shard)
    return [wait_for_result(settings, command.id, timeout_s) for command in commands]


def wait_for_result(settings: Settings, command: str, timeout_s: float) -> CommandResult:
    """What came of a command. Raises `Unreachable` where control does not answer in time."""
    deadline = time.monotonic() + timeout_s
    tail = Tail(settings, Topic.COMMAND_RESULTS, begin="earliest")
    try:
        while time.monotonic() < deadline:
            for record in tail.poll(0.5):
                result = decode(record.value, CommandResult) if record.value else None
                if result is not None and result.command == command:
                    return result
    finally:
        tail.close()
    raise Unreachable(f"control did not answer within {timeout_s:g} s; see `driftline status`")


def _wait_for_next_slice(deployment: Deployment) -> None:
    """The broker's clock stamped the marks a moment ago: one slice from now theirs has ended."""
    time.sleep(millis(deployment.slice) / 1000)


def _now() -> int:
    return int(time.time() * 1000)
