"""Dead letters read back: what they were, and which of them are put back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from driftline.errors import InvalidRecord
from driftline.events.topics import MARK_HEADER, DeadLetterReason, Topic
from driftline.platform import letters
from driftline.platform.letters import (
    REPLAYED_HEADER,
    Wanted,
    _mark,
    _original,
    look_through,
    read_letter,
    to_replay,
)
from driftline.platform.records import Outgoing, Record, Source, dead_letter


def record(offset=7, value=b'{"model":"m","id":"a"}', key=b"a", headers=(), topic=Topic.PREDICTIONS, partition=1):
    return Record(Source(topic, partition), offset, 5, 5, key, value, headers)


def written(outgoing: Outgoing, offset=0) -> Record:
    """What was sent to `dead-letters`, as it is read."""
    return Record(
        Source(Topic.DEAD_LETTERS, 0), offset, 1000 + offset, 0, outgoing.key, outgoing.value, outgoing.headers
    )


def letter(offset=0, row=0, **of_record):
    outgoing = dead_letter(record(**of_record), InvalidRecord(DeadLetterReason.UNKNOWN_MODEL, "because"))
    if row:
        headers = tuple((n, b"%d" % row if n == "driftline.row" else v) for n, v in outgoing.headers)
        outgoing = Outgoing(outgoing.topic, outgoing.key, outgoing.value, 0, headers)
    return read_letter(written(outgoing, offset))


def places(found, replayed=(), again=False, partitions=4):
    return [each.place for each in to_replay(found, set(replayed), again, partitions)]


@pytest.mark.parametrize("key", [b"a", b"\xff\x00", b"", None])
@pytest.mark.parametrize("value", [b'{"model":"m"}', b"\xff\xfe", b"", b"[" * 100_000])
def test_a_record_that_is_put_back_has_its_own_bytes_key_headers_and_partition(key, value):
    headers = (("traceparent", b"00-1"), ("content-type", b"x"), ("traceparent", b"00-2"))
    back = _original(letter(key=key, value=value, headers=headers), None)
    assert (back.topic, back.partition, back.key, back.value) == (Topic.PREDICTIONS, 1, key, value)
    assert back.headers == (*headers, (REPLAYED_HEADER, b"predictions/1/7"))


def test_a_letter_says_where_its_record_stood_and_which_model_it_names():
    found = letter(offset=3)
    assert (found.offset, found.at, found.reason, found.detail) == (3, 1003, "unknown-model", "because")
    assert (found.topic, found.partition, found.record_offset, found.row) == ("predictions", 1, 7, 0)
    assert (found.place, found.model) == ("predictions/1/7", "m")


@pytest.mark.parametrize("value", [b"{", b"\xff", b"[]", b"5", b'{"model":5}', b'{"id":"a"}', b"[" * 100_000])
def test_bytes_that_name_no_model_are_a_letter_without_one(value):
    assert letter(value=value).model is None


def test_a_record_that_failed_again_keeps_the_place_of_the_original():
    back = _original(letter(), None)
    again = Record(Source(Topic.PREDICTIONS, 1), 90, 5, 5, back.key, back.value, back.headers)
    second = read_letter(written(dead_letter(again, InvalidRecord("too-old", "")), 9))
    assert (second.record_offset, second.place, second.reason) == (90, "predictions/1/7", "too-old")
    third = _original(second, None)
    assert third.headers == ((REPLAYED_HEADER, b"predictions/1/7"),)


def test_each_original_is_put_back_once_whatever_became_of_it():
    first, repeated = letter(), letter(offset=1)
    failed_again = record(offset=90, headers=((REPLAYED_HEADER, b"predictions/1/7"),))
    descendant = read_letter(written(dead_letter(failed_again, InvalidRecord("too-old", ""))))
    assert places([first, repeated, descendant]) == ["predictions/1/7"]


def test_what_has_been_replayed_is_passed_over_unless_it_is_asked_for():
    found = [letter(), letter(offset=1, value=b"x")]
    assert places(found, replayed=["predictions/1/7"]) == []
    assert places(found, replayed=["predictions/1/7"], again=True) == ["predictions/1/7"]


def test_rows_of_one_record_that_hold_the_whole_of_it_are_put_back_once_and_rows_of_their_own_each():
    whole = [letter(offset=n, row=n + 1, value=b"whole") for n in range(3)]
    assert places(whole) == ["predictions/1/7/1"]
    assert places(whole, replayed=["predictions/1/7/1"]) == []
    apart = [letter(offset=n, row=n + 1, value=b"%d" % n) for n in range(3)]
    assert places(apart) == ["predictions/1/7/1", "predictions/1/7/2", "predictions/1/7/3"]


@pytest.mark.parametrize(
    "own",
    [
        {"topic": Topic.SLICES},
        {"topic": Topic.RETRAIN_REQUESTS},
        {"headers": ((MARK_HEADER, b"spec m@7"),)},
        {"partition": 9},
    ],
)
def test_what_driftline_wrote_itself_or_fits_nowhere_is_never_put_back(own):
    assert places([letter(**own)], again=True) == []


def test_one_of_which_only_the_beginning_was_kept_is_never_put_back():
    outgoing = dead_letter(record(), InvalidRecord("not-an-event", ""))
    cut = read_letter(written(replace(outgoing, headers=(*outgoing.headers, ("driftline.size", b"9000000")))))
    assert places([cut], again=True) == []


def test_marks_and_descendants_both_say_what_has_been_replayed(monkeypatch):
    first = dead_letter(record(), InvalidRecord("unknown-model", ""))
    other = dead_letter(record(offset=8), InvalidRecord("not-json", ""))
    back = _original(letter(), None)
    again = Record(Source(Topic.PREDICTIONS, 1), 90, 5, 5, back.key, back.value, back.headers)
    failed = dead_letter(again, InvalidRecord("too-old", ""))

    def found_in(*outgoing, **wanted):
        records = [written(each, n) for n, each in enumerate(outgoing)]
        monkeypatch.setattr(letters, "read_all", lambda settings, topic, since: iter(records))
        return look_through(None, Wanted(**wanted))

    fresh = found_in(first, other)
    assert (fresh.letters, fresh.by_reason, fresh.replayed) == (2, {"unknown-model": 1, "not-json": 1}, set())
    assert found_in(first, _mark(letter())).replayed == {"predictions/1/7"}
    assert found_in(first, failed).replayed == {"predictions/1/7"}
    assert found_in(first, other, failed, reason="not-json").letters == 1
    assert found_in(first, other, failed, model="nobody").letters == 0


def test_a_dead_letter_of_a_mark_is_a_letter_and_no_mark(monkeypatch):
    mark = record(value=b"", key=None, headers=((MARK_HEADER, b"replayed predictions/1/7"),))
    found = read_letter(written(dead_letter(mark, InvalidRecord("unknown-mark", ""))))
    assert found.mark
    assert read_letter(written(Outgoing(Topic.DEAD_LETTERS, None, b"", 0, mark.headers))) is None
