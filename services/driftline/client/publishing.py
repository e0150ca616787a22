"""Publishing predictions and outcomes: checked before they leave, never slower than stated, counted."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Generic, Self, TypeVar

import msgspec
import orjson

from driftline.errors import InvalidRecord
from driftline.events.base import Millis
from driftline.events.columns import COLUMNS, PredictionBatch
from driftline.events.inputs import Outcome, Prediction, Value
from driftline.events.topics import DeadLetterReason, Topic
from driftline.platform import settings as settings_module
from driftline.platform.outlet import Delivery, Outlet
from driftline.platform.settings import Settings

E = TypeVar("E", Prediction, Outcome)

_decode_batch = msgspec.json.Decoder(PredictionBatch).decode

TIMEOUT_S = 0.1
MAX_WAITING = 20_000
FLUSH_S = 30.0


class _Publisher(Generic[E]):
    """What `Predictions` and `Outcomes` share. A context manager; safe to use from several threads."""

    _topic: ClassVar[Topic]
    _decode: ClassVar[msgspec.json.Decoder[Any]]

    def __init__(
        self, settings: Settings | None = None, *, timeout_s: float = TIMEOUT_S, max_waiting: int = MAX_WAITING
    ) -> None:
        self._outlet = Outlet(settings or settings_module.load(), self._topic, timeout_s, max_waiting)

    def send(self, event: E, *, timestamp: Millis | None = None) -> bool:
        """Hand `event` over; False: it could not be sent within `timeout_s` and was counted as unsent.

        numpy scalars are taken for the numbers they are, NaN for a missing value. `timestamp` (epoch milliseconds) is
        the record's own, for replays under `clock: events`; otherwise the broker writes it. Raises `InvalidRecord`,
        naming the field, where the monitor would refuse the event.
        """
        value = self._encode(event)
        return self._outlet.offer(event.id.encode(), value, timestamp) is None

    def flush(self, timeout_s: float = FLUSH_S) -> Delivery:
        """Wait until everything sent is acknowledged or has failed, at most `timeout_s`."""
        return self._outlet.wait(timeout_s)

    @property
    def delivery(self) -> Delivery:
        """What has become of the events so far."""
        return self._outlet.delivery()

    def close(self, timeout_s: float = FLUSH_S) -> Delivery:
        """`flush`, then disconnect: what is not acknowledged by then counts as failed, and is logged."""
        return self._outlet.close(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _encode(self, event: E) -> bytes:
        """The event's JSON, read back by the very decoder that the monitor uses."""
        name = type(event).__name__.lower()
        try:
            data = orjson.dumps(msgspec.structs.asdict(event), default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
            self._decode.decode(data)
        except (msgspec.ValidationError, TypeError) as error:
            why = _wrong_value(event) or str(error)
            raise InvalidRecord(
                DeadLetterReason.NOT_AN_EVENT, f"{name} {event.id!r} of model {event.model!r}: {why}"
            ) from error
        return data


class Predictions(_Publisher[Prediction]):
    """Publishes predictions. `with Predictions() as predictions: predictions.send(Prediction(...))`."""

    _topic = Topic.PREDICTIONS
    _decode = msgspec.json.Decoder(Prediction)

    def send_batch(self, batch: PredictionBatch, *, timestamp: Millis | None = None) -> bool:
        """Hand over many rows at once, which become one message a partition; else as `send`.

        For applications that predict many at a time: what each row costs, here and in the monitor, is much less than a
        single event. `delivery` counts the messages. Raises `InvalidRecord` where a field has the wrong type, or a
        column is not as long as `id`.
        """
        try:
            data = orjson.dumps(msgspec.structs.asdict(batch), default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
            checked = _decode_batch(data)
            uneven = checked.uneven()
        except (msgspec.ValidationError, TypeError) as error:
            raise InvalidRecord(DeadLetterReason.NOT_AN_EVENT, f"batch of {batch.model!r}: {error}") from error
        if uneven is not None:
            why = f"batch of {batch.model!r}: column {uneven} is not as long as id"
            raise InvalidRecord(DeadLetterReason.NOT_AN_EVENT, why)
        if not checked.id:
            return True
        headers = (("content-type", COLUMNS.encode()),)
        return self._outlet.offer_split(checked.split, headers, timestamp) is None


class Outcomes(_Publisher[Outcome]):
    """Publishes outcomes: what came true for a prediction, by the prediction's `id`."""

    _topic = Topic.OUTCOMES
    _decode = msgspec.json.Decoder(Outcome)


def _wrong_value(event: Prediction | Outcome) -> str | None:
    """The first feature or attribute that is no number, text, truth value or None: the decoder does not name it."""
    if isinstance(event, Outcome):
        return None
    for field in ("features", "attributes"):
        for name, value in getattr(event, field).items():
            try:
                msgspec.json.decode(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), type=Value)
            except (msgspec.ValidationError, TypeError):
                return f"{field}[{name!r}] is {value!r}, no number, text, truth value or None"
    return None


def _plain(value: object) -> object:
    """What orjson does not know by itself: datetimes of other classes, as pandas has them."""
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} is no JSON value")
