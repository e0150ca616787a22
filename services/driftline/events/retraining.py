"""The retrain case and what it passes around: requests, candidates, verdicts, cases, models."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from driftline.events.base import Decision, Event, Millis
from driftline.events.verdicts import Kept, Latency, NotWorse, PairedTest, Proof, SegmentGain, Size


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """`[start, end)` in milliseconds."""

    start: Millis
    end: Millis


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows: predictions whose *event time* lies in `training` or `holdout`, and which, like their outcome, had
    arrived before `known_by`. The holdout is later than the training data and ends a label delay before `known_by`.
    """

    training: Span
    holdout: Span
    known_by: Millis
    exclude: tuple[Span, ...] = ()


class Trigger(StrEnum):
    """Why a retrain was asked for."""

    RULE = "rule"
    SCHEDULE = "schedule"
    COMMAND = "command"


class RetrainRequest(Decision, frozen=True, kw_only=True):
    """Attempt `attempt` of case `case`. Topic `retrain-requests`.

    `metric` and `value`: the figure that asked for it, or the one that the case is measured by.
    """

    case: str
    champion: str
    trigger: Trigger
    attempt: int
    requested_at: Millis
    deadline: Millis
    recipe: Recipe
    reason: str
    metric: str | None = None
    value: float | None = None


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """A stored model: `uri` of its directory under the artifact store, `sha256` of its manifest.

    `signature` is that of the Ed25519 key `ID` over the manifest, `ID:SIGNATURE` in hex. Without one it is not loaded.
    """

    uri: str
    sha256: str
    format: str
    signature: str | None = None


class TrainedOn(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that a candidate has learnt from; `digest` is over their ids and labels."""

    n: int
    span: Span
    digest: str


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of one model on `n` known rows, with its 95 % interval; null where it has none."""

    name: str
    value: float
    low: float | None
    high: float | None
    n: int


Told = float | tuple[float, float, float]
"""A figure as a training function or command reports it: its value, or that with its interval, low and high."""


class Candidate(Event, frozen=True, kw_only=True):
    """The trainer's answer to a request: a model, or `error`. Topic `candidates`. `id` follows from the request's.

    `baseline` is the id of a `Baseline` event that the trainer stored beside the artifact (`baseline.json`), so that
    control can publish it before the version is named champion. `validation`: what the training function or command
    says of its model, a value or `[value, low, high]` each. `checks`: what the trainer itself finds that the model
    scores on the rows that it was trained on. These are kept with it, so that the gate can compute both again.
    """

    case: str
    request: str
    model: str
    attempt: int
    version: str
    artifact: Artifact | None
    baseline: str | None
    trained_on: TrainedOn | None
    validation: dict[str, Told]
    recipe: Recipe
    checks: tuple[Figure, ...] = ()
    error: str | None = None
    duration_s: float = 0.0
    code: str = ""
    written_at: Millis = 0


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of both sides on the same rows. `difference` is the candidate's gain: positive is better.

    `low` and `high` bound it at the verdict's confidence; `p_value` is below what that leaves exactly where 0 lies
    outside.
    """

    name: str
    champion: float
    candidate: float
    difference: float
    low: float | None
    high: float | None
    p_value: float | None = None


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """The held-out rows, so that anyone can compare again."""

    span: Span
    n: int
    blocks: int
    digest: str


class Verdict(Event, frozen=True, kw_only=True):
    """The gate's judgement of one candidate. Topic `verdicts`. `id` follows from the candidate's.

    `hold`: the rows did not suffice to judge it. `metrics` begins with the promotion metric, the one that decides: the
    candidate must gain `min_effect` in it, and the lower bound at `confidence` must be above 0. All that was looked at
    is told, also beyond what decided.
    """

    case: str
    candidate: str
    model: str
    version: str
    champion: str
    artifact_sha256: str
    decision: Literal["promote", "hold", "refuse"]
    reason: str
    rows: Rows | None
    metrics: tuple[Comparison, ...]
    method: str
    spec: str = ""
    min_effect: float | None = None
    confidence: float | None = None
    block_ms: int | None = None
    tests: tuple[PairedTest, ...] = ()
    not_worse: tuple[NotWorse, ...] = ()
    worse_by: float | None = None
    segments: tuple[SegmentGain, ...] = ()
    latency: Latency | None = None
    size: Size | None = None
    proofs: tuple[Proof, ...] = ()
    kept: Kept | None = None
    code: str = ""
    written_at: Millis = 0


class AttemptState(StrEnum):
    """An attempt's life.

    requested -> comparing -> [shadow ->] [awaiting-approval ->] promoted | refused
        |            |            |
        |            +------------+-----> held -> promoted | refused
        +------------+------------------> failed

    `shadow`: the candidate answers beside the champion, and its live figures decide. `held`: too little is known to
    decide; as with `awaiting-approval` a human may, until the case's deadline.
    """

    REQUESTED = "requested"
    COMPARING = "comparing"
    SHADOW = "shadow"
    AWAITING_APPROVAL = "awaiting-approval"
    HELD = "held"
    PROMOTED = "promoted"
    REFUSED = "refused"
    FAILED = "failed"


class CaseState(StrEnum):
    """A case's life. `watching`: a candidate was promoted and the metric is being watched.

    open <-> watching -> improved | no-better-candidate | escalated | closed -> rolled-back
      |         |
      |         +-------> rolled-back
      +-----------------> recovered | no-better-candidate | escalated | closed

    From `watching` the next attempt leads back to `open`. A promotion may be taken back after its case has ended.
    `closed`: by a human.
    """

    OPEN = "open"
    WATCHING = "watching"
    IMPROVED = "improved"
    RECOVERED = "recovered"
    NO_BETTER_CANDIDATE = "no-better-candidate"
    ROLLED_BACK = "rolled-back"
    ESCALATED = "escalated"
    CLOSED = "closed"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a case, at which a candidate is compared with `champion`."""

    n: int
    state: AttemptState
    request: str
    requested_at: Millis
    deadline: Millis
    trigger: Trigger
    champion: str = ""
    candidate: str | None = None
    version: str | None = None
    verdict: str | None = None
    reason: str = ""


class Case(Decision, frozen=True, kw_only=True):
    """A retrain case at one of its changes. Topic `cases`. `case` names it; `id` names this change."""

    case: str
    state: CaseState
    trigger: Trigger
    rule: str | None
    attempts: tuple[Attempt, ...]
    opened_at: Millis
    at: Millis
    deadline: Millis | None
    reason: str
    metric: str | None = None
    before: float | None = None
    after: float | None = None


class Champion(msgspec.Struct, frozen=True, kw_only=True):
    """The version that serves, since when."""

    version: str
    artifact: Artifact | None
    baseline: str | None
    since: Millis


Serving = Literal["stable", "shadow", "probation", "rolled-back"]
"""How a champion serves."""


class ModelState(Decision, frozen=True, kw_only=True):
    """Which version of a model serves. Topic `models`; control is its only writer.

    `shadow`: a version that is to answer beside the champion, so that the two can be compared: a candidate, or in
    `probation` the version that was replaced. Applications send its predictions with the role `shadow`.
    """

    champion: Champion
    previous: Champion | None
    shadow: Champion | None = None
    state: Serving = "stable"
    reason: str
    at: Millis
