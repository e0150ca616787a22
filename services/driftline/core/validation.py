"""Is an input event usable under the spec in force? Says why not; changes nothing."""

from __future__ import annotations

import math
from datetime import datetime

from driftline.errors import InvalidRecord
from driftline.events.base import Millis, iso, to_millis
from driftline.events.inputs import Outcome, Prediction, Value, label_name
from driftline.events.topics import DeadLetterReason
from driftline.spec.model import LARGEST, MonitorSpec, millis

LATEST: Millis = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, the last instant that RFC 3339 can name


def check_prediction(event: Prediction, spec: MonitorSpec, arrival: Millis) -> None:
    """Raises `InvalidRecord` with a named reason if the prediction cannot be used."""
    _check_time(event.time, spec, arrival)
    if event.score is not None and not math.isfinite(event.score):
        raise InvalidRecord(DeadLetterReason.WRONG_TYPE, "score is not finite")
    for label, share in (event.scores or {}).items() if spec.task == "multiclass" else ():
        if not math.isfinite(share):
            raise InvalidRecord(DeadLetterReason.WRONG_TYPE, f"the score of {label!r} is not finite")
        _check_value(label, spec, "the label of a score")
    _check_value(event.prediction, spec, "prediction")
    for name, feature in spec.features.items():
        value = event.features.get(name)
        if value is not None and feature.type == "number":
            _number(value, name)


def check_outcome(event: Outcome, spec: MonitorSpec, arrival: Millis) -> None:
    """Raises `InvalidRecord` with a named reason if the outcome cannot be used."""
    _check_time(event.time, spec, arrival)
    _check_value(event.outcome, spec, "outcome")


def kept_slices(spec: MonitorSpec, slice_ms: int) -> int:
    """For how many slices an arrival is remembered.

    The horizon, and `max_ahead` more, so that a repeat of a forgotten prediction is always `too-old` and cannot count
    again; one slice more since slices begin before the arrivals in them.
    """
    return -(-(millis(spec.horizon) + millis(spec.max_ahead)) // slice_ms) + 1


def _check_time(stated: int | datetime, spec: MonitorSpec, arrival: Millis) -> None:
    time = to_millis(stated)
    if not 0 <= time <= LATEST:
        raise InvalidRecord(DeadLetterReason.NOT_AN_EVENT, f"time {time} is no instant between 1970 and 9999")
    if arrival - time > millis(spec.horizon):
        raise InvalidRecord(DeadLetterReason.TOO_OLD, f"{iso(time)} is more than the horizon before {iso(arrival)}")
    if time - arrival > millis(spec.max_ahead):
        raise InvalidRecord(DeadLetterReason.TOO_FAR_AHEAD, f"{iso(time)} is more than max_ahead after {iso(arrival)}")


def _check_value(value: str | int | float | bool, spec: MonitorSpec, what: str) -> None:
    if spec.task == "regression":
        number = _number(value, what)
        if abs(number) > LARGEST:
            raise InvalidRecord(DeadLetterReason.WRONG_TYPE, f"{what} {number} is beyond {LARGEST:g}")
        return
    label = label_name(value)
    if label not in spec.labels:
        raise InvalidRecord(DeadLetterReason.UNKNOWN_LABEL, f"{what} {label!r} is none of {', '.join(spec.labels)}")


def _number(value: Value, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRecord(DeadLetterReason.WRONG_TYPE, f"{what} is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidRecord(DeadLetterReason.WRONG_TYPE, f"{what} is not a finite number")
    return number
