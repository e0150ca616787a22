"""What applications publish: predictions and outcomes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
import xxhash

from driftline.events.base import encode

Value = float | int | str | bool | None
Label = str | int | float | bool
Score = float | dict[str, float] | None
"""What a model says of its answer: the probability of the positive class (binary), or of each label (multiclass)."""
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Time = int | Annotated[datetime, msgspec.Meta(tz=True)]


class Prediction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One answer of one model version. Topic `predictions`, key `id`.

    `score` is the probability of the positive class (binary); `scores` that of each label (multiclass), 0 for one that
    is left out. Regression has only `prediction`. A shadow's prediction carries the same `id` as the champion's.
    """

    id: Text
    model: Text
    version: Text
    time: Time
    prediction: Label
    role: Literal["champion", "shadow"] = "champion"
    features: dict[str, Value] = {}
    attributes: dict[str, Value] = {}
    score: float | None = None
    scores: dict[str, float] | None = None
    latency_ms: float | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What came true for a prediction. Topic `outcomes`, key `id` of the prediction.

    `time` is when the truth became known; a later `time` corrects an earlier outcome. It scores every version that
    predicted this `id`.
    """

    id: Text
    model: Text
    time: Time
    outcome: Label


def content_digest(event: Prediction | Outcome) -> int:
    """64 bits of an input event's content: equal for an exact repeat however it was written down, else different."""
    return xxhash.xxh3_64_intdigest(encode(event))


def label_name(value: Label) -> str:
    """The one spelling of a label: `true`, `1`, `late`; 1, 1.0 and "1" are the same label."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
