"""The topics, what they hold, and how long. The one table that creation, checks, archive and schemas read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

import msgspec

from driftline.events.admin import Command, CommandResult, Progress, SpecsRecord
from driftline.events.alerts import Alert
from driftline.events.baselines import Baseline, Calibration, decode_baselines_record
from driftline.events.columns import PredictionBatch
from driftline.events.inputs import Outcome, Prediction
from driftline.events.reports import WindowReport
from driftline.events.retraining import Candidate, Case, ModelState, RetrainRequest, Verdict
from driftline.events.slices import Notice, ReadUpTo, Slice


class Topic(StrEnum):
    """Names without the deployment's prefix."""

    PREDICTIONS = "predictions"
    OUTCOMES = "outcomes"
    SLICES = "slices"
    METRICS = "metrics"
    ALERTS = "alerts"
    RETRAIN_REQUESTS = "retrain-requests"
    CANDIDATES = "candidates"
    VERDICTS = "verdicts"
    CASES = "cases"
    MODELS = "models"
    SPECS = "specs"
    BASELINES = "baselines"
    COMMANDS = "commands"
    COMMAND_RESULTS = "command-results"
    PROGRESS = "progress"
    DEAD_LETTERS = "dead-letters"


class Spread(Enum):
    """How many partitions: those of the source topics, those of control's shards, or one."""

    SOURCE = "partitions"
    SHARD = "shards"
    ONE = "one"


class Kept(Enum):
    """How long: for the deployment's retention, for ever, or a day."""

    RETENTION = "retention"
    FOREVER = "forever"
    DAY = "day"


@dataclass(frozen=True)
class TopicRule:
    """One line of the table. `holds` is the event type of its values; dead letters hold the original bytes."""

    spread: Spread
    kept: Kept
    key: str
    writer: str
    holds: type[msgspec.Struct] | object | None


DEAD_LETTER_WRITERS = "monitor, control, trainer, gate; marks of what was replayed: command line"

TOPICS: dict[Topic, TopicRule] = {
    Topic.PREDICTIONS: TopicRule(Spread.SOURCE, Kept.RETENTION, "id", "applications", Prediction | PredictionBatch),
    Topic.OUTCOMES: TopicRule(Spread.SOURCE, Kept.RETENTION, "id", "applications", Outcome),
    Topic.SLICES: TopicRule(Spread.SOURCE, Kept.RETENTION, "", "monitor", Slice | ReadUpTo | Notice),
    Topic.METRICS: TopicRule(Spread.SHARD, Kept.RETENTION, "model", "control", WindowReport),
    Topic.ALERTS: TopicRule(Spread.SHARD, Kept.FOREVER, "fingerprint", "control", Alert),
    Topic.RETRAIN_REQUESTS: TopicRule(Spread.SHARD, Kept.FOREVER, "model", "control", RetrainRequest),
    Topic.CANDIDATES: TopicRule(Spread.SHARD, Kept.FOREVER, "model", "trainer", Candidate),
    Topic.VERDICTS: TopicRule(Spread.SHARD, Kept.FOREVER, "model", "gate", Verdict),
    Topic.CASES: TopicRule(Spread.SHARD, Kept.FOREVER, "model", "control", Case),
    Topic.MODELS: TopicRule(Spread.SHARD, Kept.FOREVER, "model", "control", ModelState),
    Topic.SPECS: TopicRule(Spread.ONE, Kept.FOREVER, "model@revision", "command line", SpecsRecord),
    Topic.BASELINES: TopicRule(
        Spread.ONE, Kept.FOREVER, "model/version", "control, command line", Baseline | Calibration
    ),
    Topic.COMMANDS: TopicRule(Spread.SHARD, Kept.FOREVER, "model", "command line", Command),
    Topic.COMMAND_RESULTS: TopicRule(Spread.SHARD, Kept.FOREVER, "model", "control", CommandResult),
    Topic.PROGRESS: TopicRule(Spread.SHARD, Kept.DAY, "", "control", Progress),
    Topic.DEAD_LETTERS: TopicRule(Spread.ONE, Kept.RETENTION, "source topic-partition", DEAD_LETTER_WRITERS, None),
}


def decode_record(topic: Topic, value: bytes) -> Any:
    """What a record of one of control's topics, or of `specs` and `baselines`, holds.

    Raises `msgspec.ValidationError` where it holds none of what the topic does.
    """
    if topic is Topic.BASELINES:  # a baseline has no tag by which msgspec could choose
        return decode_baselines_record(value)
    return msgspec.json.decode(value, type=TOPICS[topic].holds)


MARK_HEADER = "driftline-mark"
"""A record with this header and an empty value is a mark of Driftline's own; the header's value is its text."""


class DeadLetterReason(StrEnum):
    """Why a record could not be used."""

    NOT_JSON = "not-json"  # not UTF-8 JSON at all
    NOT_AN_EVENT = "not-an-event"  # JSON, but a known field is missing or has the wrong type
    UNKNOWN_MODEL = "unknown-model"  # no spec of this model is in force in the partition
    UNKNOWN_LABEL = "unknown-label"  # a prediction or outcome that is none of the declared labels
    WRONG_TYPE = "wrong-type"  # a declared feature, score or value of another type than declared
    TOO_OLD = "too-old"  # its event time lies further back than the horizon
    TOO_FAR_AHEAD = "too-far-ahead"  # its event time lies further ahead of its arrival than max_ahead
    KEY_MISMATCH = "key-mismatch"  # the record's key is not the event's id: it may stand in a wrong partition
    UNKNOWN_MARK = "unknown-mark"  # a mark that names nothing known
    STEP_FAILED = "step-failed"  # Driftline itself cannot work on it: a bug, told in the detail
    UNKNOWN_CONTENT_TYPE = "unknown-content-type"  # its header content-type is none of those known
