"""What a source partition says at once, and the headers of what it writes."""

from __future__ import annotations

from tests.timeline.shards import breach

from driftline.events.base import decode, encode
from driftline.events.slices import (
    Gap,
    Notice,
    NoticeKind,
    ReadUpTo,
    Slice,
    notice,
    notice_headers,
    read_up_to_headers,
    slice_headers,
)


def test_a_notice_has_the_same_id_however_and_whenever_it_is_worded():
    first = notice(NoticeKind.STOPPED, 3, 17, 1000, detail="a")
    assert notice(NoticeKind.STOPPED, 3, 17, 2000, detail="b").id == first.id


def test_notices_about_different_things_have_different_ids():
    found = [
        notice(NoticeKind.STOPPED, 3, 17, 0),
        notice(NoticeKind.RESUMED, 3, 17, 0),
        notice(NoticeKind.STOPPED, 4, 17, 0),
        notice(NoticeKind.STOPPED, 3, 18, 0),
        notice(NoticeKind.BREACH, 3, 17, 0, breach=breach()),
        notice(NoticeKind.BREACH, 3, 17, 0, breach=breach(version="2")),
        notice(NoticeKind.BREACH, 3, 17, 0, breach=breach(name="score")),
        notice(NoticeKind.GAP, 3, 17, 0, gap=Gap(topic="outcomes", first=1, last=2)),
        notice(NoticeKind.GAP, 3, 17, 0, gap=Gap(topic="predictions", first=1, last=2)),
    ]
    assert len({told.id for told in found}) == len(found)


def test_a_breach_names_its_model_and_the_worst_value_does_not_make_it_another():
    one, two = (notice(NoticeKind.BREACH, 3, 17, 0, breach=breach(worst)) for worst in (12.0, 13.0))
    assert (one.model, one.id) == ("m", two.id)
    assert decode(encode(one), Notice) == one


def test_headers_say_what_a_reader_of_another_shard_needs():
    first = Slice(partition=1, slice=7, previous=None, shard=2)
    assert dict(slice_headers(first)) == {
        "driftline-kind": b"slice",
        "driftline-slice": b"7",
        "driftline-shard": b"2",
        "driftline-previous": b"none",
    }
    assert dict(slice_headers(Slice(partition=1, slice=9, previous=7, shard=2)))["driftline-previous"] == b"7"
    assert dict(read_up_to_headers(ReadUpTo(partition=1, slice=8))) == {
        "driftline-kind": b"upto",
        "driftline-slice": b"8",
    }
    told = notice_headers(notice(NoticeKind.STOPPED, 3, 17, 0), 0)
    assert dict(told) == {"driftline-kind": b"notice", "driftline-slice": b"17", "driftline-shard": b"0"}
