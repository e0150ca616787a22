"""Records as they are written."""

from __future__ import annotations

import pytest

from driftline.errors import InvalidRecord
from driftline.events.topics import DeadLetterReason, Topic
from driftline.platform.records import BEGINNING, LARGEST_LETTER, Record, Source, dead_letter
from driftline.platform.topics import MAX_MESSAGE_BYTES

WHY = InvalidRecord(DeadLetterReason.NOT_JSON, "no JSON")


def record(value, headers=()):
    return Record(Source(Topic.OUTCOMES, 3), 17, 0, 0, b"key", value, headers)


def size(letter):
    return len(letter.value) + sum(len(name) + len(value) for name, value in letter.headers)


@pytest.mark.parametrize("value", [b"", b"\xff\x00", b"x" * LARGEST_LETTER], ids=["empty", "bytes", "largest"])
def test_a_dead_letter_has_the_bytes_that_came_and_the_headers(value):
    theirs = (("traceparent", b"1"),) if len(value) < LARGEST_LETTER else ()
    letter = dead_letter(record(value, theirs), WHY, row=2)
    assert letter.value == value
    headers = dict(letter.headers)
    assert set(dict(theirs).items()) <= set(headers.items())
    assert "driftline.size" not in headers
    place = [headers[f"driftline.{name}"] for name in ("topic", "partition", "offset", "row", "reason")]
    assert place == [b"outcomes", b"3", b"17", b"2", b"not-json"]


@pytest.mark.parametrize("n", [LARGEST_LETTER + 1, MAX_MESSAGE_BYTES, 30 << 20])
def test_what_is_too_large_to_be_written_again_is_cut_and_says_so(n):
    letter = dead_letter(record(b"ab" * (n // 2 + 1)), WHY)
    assert letter.value == b"ab" * (BEGINNING // 2)
    assert int(dict(letter.headers)["driftline.size"]) >= n


def test_headers_that_are_too_large_are_left_out():
    letter = dead_letter(record(b"short", (("blob", b"x" * MAX_MESSAGE_BYTES),)), WHY)
    assert size(letter) < BEGINNING
    assert letter.value == b"short"
