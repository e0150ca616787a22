"""What people ask for and what services say about themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import msgspec

from driftline.events.alerts import Severity, SliceSpan
from driftline.events.base import Event, Millis
from driftline.events.retraining import Artifact


class Deployment(Event, frozen=True, kw_only=True, tag="deployment", tag_field="type"):
    """What holds for all models under one prefix, fixed when the topics are made. First record of `specs`."""

    clock: Literal["live", "events"]
    slice: timedelta
    max_stall: timedelta
    partitions: int
    shards: int


class SpecRevision(Event, frozen=True, kw_only=True, tag="spec", tag_field="type"):
    """A resolved monitor spec (`spec.model.MonitorSpec` as plain JSON). Topic `specs`, key `model@revision`."""

    model: str
    revision: int
    author: str
    written_at: Millis
    spec: dict[str, Any]


class Placed(Event, frozen=True, kw_only=True, tag="placed", tag_field="type"):
    """Where the marks of a spec revision stand in `predictions`: partition -> offset. Topic `specs`."""

    model: str
    revision: int
    offsets: dict[int, int]


SpecsRecord = Deployment | SpecRevision | Placed
"""What topic `specs` holds."""


def decode_specs_record(data: bytes) -> SpecsRecord:
    """Read a record of topic `specs`. Raises `msgspec.ValidationError` where it is none."""
    record: SpecsRecord = msgspec.json.decode(data, type=SpecsRecord)
    return record


class Matching(msgspec.Struct, frozen=True, kw_only=True):
    """Which alerts of a model a silence is about, and for how long; what is empty fits everything."""

    lasts: timedelta
    rule: str = ""
    version: str = ""
    segment: str = ""
    severity: Severity | None = None


Action = Literal[
    "register",
    "retrain",
    "close",
    "acknowledge",
    "silence",
    "unsilence",
    "promote",
    "reject",
    "rollback",
    "accept",
]


class Command(Event, frozen=True, kw_only=True):
    """Somebody asks control for something. Topic `commands`, key model.

    `register`: make `version` the first champion (`artifact`, `baseline`). `retrain`: ask for an attempt now.
    `close`: a human closes the manual-intervention alert `fingerprint`, or the open `case`. `acknowledge`: somebody
    looks into the alert `fingerprint`. `silence`: nobody is to be told of alerts that `matching` fits, for its time;
    `unsilence` ends the `silence` of that id. `promote`, `reject`: what becomes of the candidate that `verdict` is
    about. `rollback`: to the version before. `accept`: go on without the slices `missing`, which stopped the shard in
    whose partition the command stands; its `model` is empty.
    """

    model: str
    action: Action
    author: str
    written_at: Millis
    version: str | None = None
    artifact: Artifact | None = None
    baseline: str | None = None
    fingerprint: str | None = None
    missing: SliceSpan | None = None
    comment: str = ""
    case: str | None = None
    verdict: str | None = None
    matching: Matching | None = None
    silence: str | None = None


class CommandResult(Event, frozen=True, kw_only=True):
    """What came of a command, or why a trigger asked for nothing. Topic `command-results`.

    `command` is the command's id, or `schedule`, or `rule NAME`: of those the first of several for the same reason is
    told; the counters of the window reports have the number.
    """

    command: str
    model: str
    accepted: bool
    reason: str
    at: Millis


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a shard of control has decided. Topic `progress`; read by replays."""

    shard: int
    decision_time: Millis
    open_attempts: tuple[str, ...]
