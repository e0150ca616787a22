"""Records that cannot be used, of every kind that we could think of, and some that look so but can be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tests.chaos.bookkeeping import MARK

DEPTH = 5_000


class Odd(NamedTuple):
    """A record, and the reason for which it must be a dead letter; None: it counts."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    reason: str | None


def kinds(stamp: int, tag: str) -> Iterator[Odd]:
    """One record of every kind, with events of about `stamp`; `tag` keeps the ids of several rounds apart."""
    for topic, event in (("predictions", _prediction(stamp)), ("outcomes", _outcome(stamp))):
        for name, value, reason in (*_broken(event), *_wrong(event, topic), *_unusual(event, topic)):
            event_id = f"{topic[0]}-{name}-{tag}"
            mine = value.replace(b"ID", event_id.encode())
            yield Odd(topic, _key(mine, event_id), mine, (), reason)
        ours = json.dumps(event | {"id": f"{topic[0]}-{tag}"}).encode()
        key = f"{topic[0]}-{tag}".encode()
        yield Odd(topic, b"another", ours, (), "key-mismatch")
        yield Odd(topic, b"", ours, (), "key-mismatch")
        yield Odd(topic, key, ours, (("content-type", b"application/x-protobuf"),), "unknown-content-type")
        yield Odd(topic, key, b"", ((MARK, b"spec nobody@1"),), "unknown-mark")
        yield Odd(topic, key, b"", ((MARK, b"baseline 17"),), "unknown-mark")
        yield Odd(topic, key, b"", ((MARK, b"\xff\x00"),), "unknown-mark")


def _key(value: bytes, event_id: str) -> bytes:
    """The id that stands in the value, if one can be read there."""
    try:
        found = json.loads(value)
        return str(found["id"]).encode() if isinstance(found, dict) else event_id.encode()
    except (ValueError, KeyError, RecursionError):
        return event_id.encode()


def _prediction(stamp: int) -> dict[str, Any]:
    features = {"x": 1.5, "y": 2.5, "z": 0.5, "kind": "red", "place": "north"}
    return {
        "id": "ID",
        "model": "alpha",
        "version": "1",
        "time": stamp,
        "features": features,
        "prediction": "yes",
        "score": 0.75,
    }


def _outcome(stamp: int) -> dict[str, Any]:
    return {"id": "ID", "model": "alpha", "time": stamp, "outcome": "yes"}


def _broken(event: Mapping[str, Any]) -> Iterator[tuple[str, bytes, str]]:
    """No UTF-8 JSON."""
    good = json.dumps(event).encode()
    deep = b"[" * DEPTH + b"]" * DEPTH
    yield "empty", b"", "not-json"
    yield "cut", good[: len(good) // 2], "not-json"
    yield "words", b"late, I think", "not-json"
    yield "bom", b"\xef\xbb\xbf" + good, "not-json"
    yield "utf16", json.dumps(event).encode("utf-16"), "not-json"
    yield "bad-utf8", good.replace(b'"alpha"', b'"alph\xff"'), "not-json"
    yield "raw-nul", good.replace(b'"alpha"', b'"al\x00ha"'), "not-json"
    yield "zeros", b"\x00" * 64, "not-json"
    yield "two", good + good, "not-json"
    yield "nan", good.replace(b'"time": ', b'"time": NaN, "old": '), "not-json"
    yield "infinity", good[:-1] + b', "more": -Infinity}', "not-json"
    yield "deep", good[:-1] + b', "more": ' + deep + b"}", "not-json"
    yield "single-quotes", good.replace(b'"', b"'"), "not-json"


def _wrong(event: Mapping[str, Any], topic: str) -> Iterator[tuple[str, bytes, str]]:
    """JSON, but not what the contract or the spec wants."""
    answer = "prediction" if topic == "predictions" else "outcome"
    for name in ("id", "model", "time", answer):
        yield f"no-{name}", _json({k: v for k, v in event.items() if k != name}), "not-an-event"
        yield f"null-{name}", _json(event | {name: None}), "not-an-event"
        yield f"list-{name}", _json(event | {name: [1]}), "not-an-event"
    changes: dict[str, dict[str, Any]] = {
        "id-number": {"id": 17},
        "id-empty": {"id": ""},
        "id-long": {"id": "x" * 10_000},
        "time-words": {"time": "yesterday"},
        "time-no-offset": {"time": "2026-01-01T00:00:00"},
        "time-fraction": {"time": 1.5},
        "time-true": {"time": True},
        "time-negative": {"time": -1},
        "time-seconds": {"time": 10**29},
    }
    yield from ((name, _json(event | change), "not-an-event") for name, change in changes.items())
    yield "scalar", b"17", "not-an-event"
    yield "list", _json([event]), "not-an-event"
    yield "unknown-model", _json(event | {"model": "gamma"}), "unknown-model"
    yield "unknown-label", _json(event | {answer: "perhaps"}), "unknown-label"
    yield "label-number", _json(event | {answer: 3}), "unknown-label"
    yield "too-old", _json(event | {"time": event["time"] - 7_200_000}), "too-old"
    yield "ahead", _json(event | {"time": event["time"] + 7_200_000}), "too-far-ahead"
    yield "in-micros", _json(event | {"time": 253_402_300_799_999}), "too-far-ahead"
    if topic == "predictions":
        yield from _wrong_predictions(event)


def _wrong_predictions(event: Mapping[str, Any]) -> Iterator[tuple[str, bytes, str]]:
    good, features = _json(event), event["features"]
    yield "role", _json(event | {"role": "boss"}), "not-an-event"
    yield "version-number", _json(event | {"version": 1}), "not-an-event"
    yield "score-text", _json(event | {"score": "0.5"}), "not-an-event"
    yield "score-true", _json(event | {"score": True}), "not-an-event"
    yield "score-1e400", good.replace(b"0.75", b"1e400"), "not-an-event"
    yield "feature-1e400", good.replace(b"1.5", b"-1e400"), "not-an-event"
    yield "features-list", _json(event | {"features": [1, 2]}), "not-an-event"
    yield "features-null", _json(event | {"features": None}), "not-an-event"
    yield "feature-object", _json(event | {"features": {"x": {"a": 1}}}), "not-an-event"
    yield "feature-nan", good.replace(b"1.5", b"NaN"), "not-json"
    yield "feature-text", _json(event | {"features": features | {"x": "1.5"}}), "wrong-type"
    yield "feature-true", _json(event | {"features": features | {"y": True}}), "wrong-type"
    yield "feature-400-digits", _json(event | {"features": features | {"y": 10**400}}), "wrong-type"


def _unusual(event: Mapping[str, Any], topic: str) -> Iterator[tuple[str, bytes, None]]:
    """Strange, and valid."""
    good = _json(event)
    yield "unknown-field", _json(event | {"more": {"a": [1, None, "b"]}}), None
    yield "twice-a-key", good.replace(b'"time": ', b'"time": 3, "time": '), None
    yield "spaces", b" \r\n\t" + good + b"\n\n", None
    yield "escaped", good.replace(b'"alpha"', b'"\\u0061lpha"'), None
    yield "nul", good.replace(b'"ID"', b'"ID\\u0000end"'), None
    yield "right-to-left", good.replace(b'"ID"', '"ID\u202e\u05d0\u05d1 \U0001f427\U0001f3fd"'.encode()), None
    yield "long", good.replace(b'"ID"', b'"ID' + b"y" * 900 + b'"'), None
    if topic == "predictions":
        features = event["features"]
        yield "minus-zero", _json(event | {"features": features | {"x": -0.0}}), None
        yield "1e308", _json(event | {"features": features | {"x": 1e308}}), None
        yield "30-digits", _json(event | {"features": features | {"y": 10**29 + 1}}), None
        yield "unseen", _json(event | {"features": features | {"place": "nowhere", "kind": "plaid"}}), None
        yield "none-of-the-features", _json(event | {"features": {"other": 1}}), None
        yield "huge", _json(event | {"more": "z" * 3_000_000}), None


def _json(event: object) -> bytes:
    return json.dumps(event).encode()
