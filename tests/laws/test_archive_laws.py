"""The archive's views against the ledger itself, on random streams that are archived with repeats and crashes."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plain_ledger import Fate, Kept, Ledger, Truth

from driftline.archiver.rows import row_of
from driftline.archiver.writer import Writer
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.archive_files import POSITIONS, bytes_of, prepare, text_of
from driftline.platform.archive_view import connect_views
from driftline.platform.records import Record, Source

KEPT, SLICE_MS = 12, 1000

arrivals = st.lists(
    st.tuples(
        st.sampled_from(["p", "o"]),
        st.integers(0, 1),  # id
        st.integers(0, 5),  # slices since the arrival before
        st.integers(0, 2),  # version or outcome time
        st.integers(0, 1),  # value
        st.sampled_from(["", "", "", "", "dead", "tick"]),
    ),
    min_size=10,
    max_size=60,
)


def records_of(events):
    """The stream as records, each with its place in the ledger's order; dead letters follow what they are about."""
    found, offsets, now = [], Counter(), 0
    for kind, name, wait, detail, value, fault in events:
        now += wait * SLICE_MS
        topic = Topic.PREDICTIONS if kind == "p" else Topic.OUTCOMES
        event = {"id": str(name), "model": "m"}
        if kind == "p":
            event |= {"version": str(detail), "time": 5, "prediction": str(value)}
        else:
            event |= {"time": detail, "outcome": str(value)}
        headers = ((MARK_HEADER, b"tick"),) if fault == "tick" else ()
        offset = offsets[topic]
        found.append(Record(Source(topic, 0), offset, now, now, str(name).encode(), orjson.dumps(event), headers))
        offsets[topic] += 1
        if fault == "dead":
            place = {"topic": topic.value, "partition": "0", "offset": str(offset), "row": "0"}
            headers = tuple((f"driftline.{name}", text.encode()) for name, text in place.items())
            source = Source(Topic.DEAD_LETTERS, 0)
            found.append(Record(source, offsets[source.topic], now, now, b"k", b"{}", headers))
            offsets[source.topic] += 1
    return found


def ledger_says(events, known_by=None):
    """Counted, joined, duplicates and conflicts by the ledger that the monitor uses."""
    ledger = Ledger(KEPT, Ledger.segment_size(KEPT))
    counted, net, fates, now, offsets = Counter(), Counter(), Counter(), 0, Counter()
    for kind, name, wait, detail, value, fault in events:
        now += wait
        offset = offsets[kind]
        offsets[kind] += 1
        if fault or (known_by is not None and now * SLICE_MS >= known_by):
            continue
        ledger.forget(now)
        key = Ledger.key(str(name))
        if kind == "p":
            item = Kept(now, str(detail), "champion", now, float(value), None, value, None)
            fate, joined = ledger.predict(key, item)
            if fate is Fate.COUNTED:
                counted[str(name), str(detail), now * SLICE_MS] += 1
            else:
                fates[str(detail), fate.value] += 1
        else:
            _, joined = ledger.outcome(key, Truth(now, offset, detail, float(value), detail * 2 + value, False))
        for j in joined:
            where = str(name), j.prediction.version, j.prediction.slice * SLICE_MS, j.truth.time, int(j.truth.value)
            net[where] += j.sign
    return counted, {k: n for k, n in net.items() if n}, dict(fates)


def archive(directory, records, batch, crashes):
    """Archive the records in flushes of `batch`; after the flushes in `crashes` the positions are lost again."""
    prepare(directory)
    by_source = {}
    for record in records:
        by_source.setdefault(record.source, []).append(record)
    flush = 0
    while True:
        writer = Writer(directory, "d.")
        left = {
            s: [r for r in found if r.offset >= writer.sources.get(s, (0, -1))[0]] for s, found in by_source.items()
        }
        if not any(left.values()):
            return
        for found in left.values():
            writer.add(found[: batch + (flush % 2)])
        before = (directory / POSITIONS).read_bytes() if (directory / POSITIONS).exists() else None
        writer.flush()
        if flush in crashes:
            if before is None:
                (directory / POSITIONS).unlink()
            else:
                (directory / POSITIONS).write_bytes(before)
        flush += 1


def view_says(connection, suffix=""):
    counted = Counter(connection.execute(f"SELECT id, version, arrival FROM predictions{suffix}").fetchall())
    rows = connection.execute(
        f"SELECT id, version, arrival, outcome_time, outcome_value FROM labelled{suffix}"
    ).fetchall()
    labelled = Counter((i, v, a, t, int(orjson.loads(value)["outcome"])) for i, v, a, t, value in rows)
    fates = {}
    for _, version, duplicates, conflicts in connection.execute(f"FROM repeats{suffix}").fetchall():
        fates |= {(version, name): n for name, n in (("duplicates", duplicates), ("conflicts", conflicts)) if n}
    return counted, dict(labelled), fates


@settings(max_examples=30, deadline=None)
@given(arrivals, st.integers(1, 20), st.sets(st.integers(0, 10), max_size=4), st.integers(0, 60))
def test_the_views_say_what_the_ledger_says_however_the_archive_was_written(events, batch, crashes, until):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        archive(directory, records_of(events), batch, crashes)
        with connect_views(directory, SLICE_MS, {"m": KEPT}) as connection:
            assert view_says(connection) == ledger_says(events)
            known_by = until * SLICE_MS
            assert view_says(connection, f"_by({known_by})") == ledger_says(events, known_by)
            marks = sum(fault == "tick" for *_, fault in events)
            dead = sum(fault == "dead" for *_, fault in events)
            assert connection.execute("SELECT count(*) FROM records").fetchone() == (len(events) - marks + dead,)


@given(st.binary())
def test_bytes_become_text_and_the_same_bytes_again(data):
    assert bytes_of(text_of(data)) == data
    assert bytes_of(text_of(b"base64:" + data)) == b"base64:" + data


@given(st.sampled_from(list(Topic)), st.binary(max_size=30), st.binary() | st.none())
def test_whatever_bytes_a_record_holds_its_row_holds_them_too(topic, key, value):
    row = row_of(Record(Source(topic, 3), 7, 5, 6, key, value, (("h", key), ("h", b"2"))))
    assert bytes_of(row.key) == key
    assert row.value is None if value is None else bytes_of(row.value) == value
    assert [(k, bytes_of(v)) for k, v in orjson.loads(row.headers)] == [("h", key), ("h", b"2")]
