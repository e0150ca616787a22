"""The monitor's work on one partition, without Kafka: records in, slices and dead letters out."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import timedelta
from types import SimpleNamespace

import msgspec
import numpy as np
import orjson
import pytest
from tests.specs import bare_spec

from driftline.core.binning import default_bins
from driftline.core.pane import Layout, Pane, Totals
from driftline.errors import UnitStopped
from driftline.events.admin import Deployment
from driftline.events.baselines import Baseline
from driftline.events.columns import COLUMNS
from driftline.events.slices import Gap, Notice, NoticeKind, Slice
from driftline.events.topics import MARK_HEADER, Topic
from driftline.monitor.work import MonitorWork
from driftline.platform.records import Record, Source
from driftline.platform.store import Stored
from driftline.spec.model import FeatureSpec, MonitorSpec, OutputSpec

P, OUT = Source(Topic.PREDICTIONS, 0), Source(Topic.OUTCOMES, 0)


def spec(**changes) -> MonitorSpec:
    return bare_spec(
        **{
            "features": {"x": FeatureSpec(type="number", range=(0, 10)), "c": FeatureSpec(type="category")},
            "outputs": {"score": OutputSpec(range=(0, 1))},
            "horizon": timedelta(hours=1),
            "pane": timedelta(seconds=10),
            "metrics": ("accuracy",),
            "retain_raw": timedelta(days=1),
        }
        | changes
    )


class Catalog(SimpleNamespace):
    async def refresh(self):
        """Everything is already known."""


@pytest.fixture
def catalog():
    deployment = Deployment(
        id="d",
        clock="live",
        slice=timedelta(seconds=1),
        max_stall=timedelta(minutes=1),
        partitions=1,
        shards=1,
    )
    return Catalog(deployment=deployment, specs={("m", 1): spec()}, baselines={}, placed={}, written={})


class Log:
    """A topic partition pair that is written by hand."""

    def __init__(self):
        self.records = {P: [], OUT: []}
        self.mark(P, 0, "spec m@1")

    def add(self, source, time, value, key=None, headers=()):
        records = self.records[source]
        arrival = max([time, *(r.arrival for r in records[-1:])])
        key = key if key is not None else orjson.loads(value)["id"].encode()
        records.append(Record(source, len(records), time, arrival, key, value, headers))

    def mark(self, source, time, text):
        self.add(source, time, b"", b"", ((MARK_HEADER, text.encode()),))

    def predict(self, time, name, score=0.7, version="1", latency_ms=None, **features):
        event = {
            "id": name,
            "model": "m",
            "version": version,
            "time": time,
            "prediction": "yes" if score > 0.5 else "no",
            "score": score,
            "latency_ms": latency_ms,
            "features": {"x": 1.0, "c": "a"} | features,
        }
        self.add(P, time, orjson.dumps(event))

    def outcome(self, time, name, outcome="yes"):
        self.add(OUT, time, orjson.dumps({"id": name, "model": "m", "time": time, "outcome": outcome}))

    def end(self, time):
        self.mark(P, time, "tick")
        self.mark(OUT, time, "tick")


def run(log, catalog, batches=(10**9,), restart=False):
    """Feed the log in batches of the given sizes (then the rest at once); returns slices, dead letters."""
    work = MonitorWork(catalog, 0, lambda *_: None)
    stored: dict = {}
    logs: dict = {}
    waiting = {P: deque(), OUT: deque()}
    reached = {P: -1, OUT: -1}
    position = {P: 0, OUT: 0}
    out = []
    for size in [*batches, 10**9]:
        for source in (P, OUT):
            more = log.records[source][position[source] : position[source] + size]
            position[source] += len(more)
            waiting[source].extend(more)
            reached[source] = max([reached[source], *(r.arrival for r in more)])
        while (counts := work.cut(waiting, reached)) is not None:
            taken = {s: [waiting[s].popleft() for _ in range(n)] for s, n in counts.items()}
            asyncio.run(work.prepare(taken))
            step = work.step(taken, reached)
            out += step.outbox
            for name in step.changes.forget:
                stored.pop(name, None)
                logs.pop(name, None)
            for name, fields in step.changes.drop.items():
                for field in fields:
                    stored.get(name, {}).pop(field, None)
            for name, values in step.changes.put.items():
                stored.setdefault(name, {}).update(values)
            for name, more in step.changes.append.items():
                logs[name] = logs.get(name, b"") + more
            if restart:
                work = MonitorWork(catalog, 0, lambda *_: None)
                asyncio.run(work.start(Stored(b"1", stored, logs)))
    slices = [o.value for o in out if o.topic is Topic.SLICES and dict(o.headers)["driftline-kind"] == b"slice"]
    return slices, [o for o in out if o.topic is Topic.DEAD_LETTERS]


def totals(slices):
    layout = Layout(default_bins(spec()))
    panes = [
        Pane.of(np.array(d.cells), np.array(d.counts), d.sums)
        for s in slices
        for d in msgspec.json.decode(s, type=Slice).panes
    ]
    return Totals.of(layout, panes)


def busy_log():
    log = Log()
    for i in range(200):
        time = 2000 + i * 40
        log.predict(time, f"id{i}", score=(i % 97) / 97, x=i % 12)
        if i % 3 == 0:
            log.predict(time + 1, f"id{i}", score=(i % 97) / 97, version="2", x=i % 12)
        if i % 5 == 0:
            log.outcome(time - 500, f"id{i}", "no")
        if i % 2 == 0:
            log.outcome(time + 700, f"id{i}", "yes" if i % 4 else "no")
        if i % 50 == 7:
            log.predict(time + 2, f"id{i}", score=(i % 97) / 97, x=i % 12)
    log.records[OUT].sort(key=lambda r: r.timestamp)
    renumbered, arrival = [], -1
    for offset, record in enumerate(log.records[OUT]):
        arrival = max(arrival, record.timestamp)
        renumbered.append(record._replace(offset=offset, arrival=arrival))
    log.records[OUT] = renumbered
    log.end(60_000)
    return log


@pytest.mark.parametrize("sizes", [(1,) * 500, (3, 50, 7, 11), (100, 1, 1, 40)])
def test_a_slice_is_the_same_bytes_whatever_the_batches(catalog, sizes):
    log = busy_log()
    assert run(log, catalog, sizes) == run(log, catalog)


def test_a_slice_is_the_same_bytes_after_a_restart_at_every_step(catalog):
    log = busy_log()
    assert run(log, catalog, (5,) * 200, restart=True) == run(log, catalog)


def test_every_prediction_and_outcome_is_counted_once(catalog):
    slices, dead = run(busy_log(), catalog)
    found = totals(slices)
    assert found.n == 200 + 67
    with_outcome = {i for i in range(200) if i % 5 == 0 or i % 2 == 0}
    assert found.labelled == len(with_outcome) + sum(1 for i in with_outcome if i % 3 == 0)
    assert dead == []


def test_the_same_event_three_times_counts_once_and_is_told(catalog):
    log = Log()
    for _ in range(3):
        log.predict(2000, "a")
    log.end(5000)
    slices, _ = run(log, catalog)
    assert totals(slices).n == 1
    assert msgspec.json.decode(slices[-1], type=Slice).counters == {"m": {"duplicates": 2}}


def test_values_outside_their_range_are_counted_and_told_with_samples(catalog):
    log = Log()
    log.predict(2000, "good")
    log.predict(2001, "bad", x=99.0)
    log.predict(2002, "worse", x=-500.0)
    log.end(5000)
    slices, _ = run(log, catalog)
    (breach,) = msgspec.json.decode(slices[-1], type=Slice).breaches
    assert (breach.name, breach.n, breach.worst, breach.samples) == ("x", 2, -500.0, ("bad", "worse"))
    assert totals(slices).n == 3


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", b"not-json"),
        (b"\xff\xfe", b"not-json"),
        (b'\xef\xbb\xbf{"id":"a"}', b"not-json"),
        (b"[" * 5000, b"not-an-event"),
        (b"", b"not-json"),
        (b'{"id":"a"}', b"not-an-event"),
        (b'{"id":"","model":"m","version":"1","time":2000,"prediction":"yes"}', b"not-an-event"),
        (b'{"id":"a","model":"m","version":"1","time":true,"prediction":"yes"}', b"not-an-event"),
        (b'{"id":"a","model":"m","version":"1","time":2000,"prediction":"yes","score":NaN}', b"not-json"),
        (b'{"id":"a","model":"m","version":"1","time":2000,"prediction":"yes","score":1e400}', b"not-an-event"),
        (b'{"id":"a","model":"x","version":"1","time":2000,"prediction":"yes"}', b"unknown-model"),
        (b'{"id":"a","model":"m","version":"1","time":2000,"prediction":"maybe"}', b"unknown-label"),
        (b'{"id":"a","model":"m","version":"1","time":2000,"prediction":"yes","features":{"x":"1"}}', b"wrong-type"),
        (b'{"id":"b","model":"m","version":"1","time":2000,"prediction":"yes"}', b"key-mismatch"),
        (b'{"id":"a","model":"m","version":"1","time":-5,"prediction":"yes"}', b"not-an-event"),
        (b'{"id":"a","model":"m","version":"1","time":999999999,"prediction":"yes"}', b"too-far-ahead"),
    ],
)
def test_a_bad_record_is_a_dead_letter_with_its_place_and_reason_and_its_neighbours_count(catalog, value, reason):
    log = Log()
    log.predict(2000, "before")
    log.add(P, 2000, value, b"a")
    log.predict(2000, "after")
    log.end(5000)
    slices, (letter,) = run(log, catalog)
    headers = dict(letter.headers)
    assert headers["driftline.reason"] == reason
    assert (headers["driftline.topic"], headers["driftline.partition"], headers["driftline.offset"]) == (
        b"predictions",
        b"0",
        b"2",
    )
    assert letter.value == value
    assert totals(slices).n == 2


def test_a_record_of_a_content_type_that_is_not_known_is_a_dead_letter(catalog):
    log = Log()
    log.predict(2000, "before")
    log.add(P, 2000, b"\x08\x01", b"a", (("content-type", b"application/x-protobuf"),))
    log.end(5000)
    slices, (letter,) = run(log, catalog)
    assert dict(letter.headers)["driftline.reason"] == b"unknown-content-type"
    assert totals(slices).n == 1


@pytest.mark.parametrize("text", ["spec m@1", "spec nobody@1", "baseline 17", "\ufffd"])
def test_a_mark_among_the_outcomes_is_a_dead_letter_unless_it_is_a_tick(catalog, text):
    log = Log()
    log.predict(2000, "a")
    log.mark(OUT, 2000, text)
    log.outcome(2001, "a")
    log.end(5000)
    slices, (letter,) = run(log, catalog)
    headers = dict(letter.headers)
    assert (headers["driftline.topic"], headers["driftline.reason"]) == (b"outcomes", b"unknown-mark")
    assert totals(slices).labelled == 1


def test_an_event_older_than_the_horizon_is_refused(catalog):
    log = Log()
    log.mark(P, 4_000_000, "tick")
    log.predict(300_000, "old")
    log.end(5_000_000)
    _, (letter,) = run(log, catalog)
    assert dict(letter.headers)["driftline.reason"] == b"too-old"


def test_a_spec_holds_from_the_slice_after_its_mark(catalog):
    catalog.specs["m", 2] = spec(features={"x": FeatureSpec(type="number", range=(0, 0.5))})
    log = Log()
    log.predict(2000, "a")
    log.mark(P, 2100, "spec m@2")
    log.predict(2200, "b")
    log.predict(3000, "c")
    log.end(5000)
    slices, _ = run(log, catalog)
    breaches = [b for s in slices for b in msgspec.json.decode(s, type=Slice).breaches]
    assert [b.samples for b in breaches] == [("c",)]


def test_an_older_spec_whose_mark_stands_behind_that_of_a_newer_one_is_passed_over(catalog):
    catalog.specs |= {("m", n): spec(pane=timedelta(seconds=n)) for n in (2, 3)}
    log = Log()
    log.mark(P, 2000, "spec m@3")
    log.mark(P, 2100, "spec m@2")
    log.predict(3000, "a")
    log.mark(P, 3100, "spec m@2")
    log.predict(4000, "b")
    log.end(6000)
    slices, _ = run(log, catalog)
    panes = [pane.pane for data in slices for pane in msgspec.json.decode(data, type=Slice).panes]
    assert panes == [1, 1]  # of three seconds


def after_retention(log, kept):
    """The log without its first records, as Kafka holds it after a while."""
    late = Log()
    late.records = {source: records[kept:] if source is P else records for source, records in log.records.items()}
    return late


def test_a_rebuild_begins_with_the_newest_spec_and_the_baselines_whose_marks_stood_before_its_first_record(catalog):
    fine = default_bins(spec(features={"x": FeatureSpec(type="number", range=(0, 1))}))
    for name, version, written in (("b", "1", 1500), ("later", "2", 9000)):
        made = Baseline(id=name, model="m", version=version, bins=fine, n=0, counts={}, source="")
        catalog.baselines[name], catalog.written[name] = made, written
    catalog.specs |= {("m", n): spec(pane=timedelta(seconds=n)) for n in (2, 3)}
    catalog.placed |= {("m", 1): {0: 0}, ("m", 2): {0: 1}, ("m", 3): {0: 5}}
    log = Log()
    log.mark(P, 1000, "spec m@2")
    log.mark(P, 1501, "baseline b")
    for version in ("1", "2"):
        log.predict(3000, "a", version=version)
    log.mark(P, 3500, "spec m@3")
    log.predict(5000, "b")
    log.end(7000)
    slices, letters = run(after_retention(log, 3), catalog)
    assert letters == []
    panes = [pane for data in slices for pane in msgspec.json.decode(data, type=Slice).panes]
    assert [(pane.version, pane.pane, pane.bins) for pane in panes] == [
        ("1", 1, "b"),  # panes of two seconds
        ("2", 1, "default:m@2"),
        ("1", 1, "b"),  # of three
    ]


def test_marks_that_are_read_are_not_looked_up(catalog):
    catalog.placed[("m", 1)] = {0: 0}
    log = Log()
    log.predict(500, "too early")
    log.predict(2000, "a")
    log.end(5000)
    _, (letter,) = run(log, catalog)
    assert dict(letter.headers)["driftline.reason"] == b"unknown-model"


def test_each_slice_names_the_one_before(catalog):
    slices = [msgspec.json.decode(s, type=Slice) for s in run(busy_log(), catalog)[0]]
    assert [s.previous for s in slices] == [None, *(s.slice for s in slices[:-1])]


def test_a_partition_into_which_only_bad_records_come_stops_and_goes_on_when_told(catalog, monkeypatch):
    monkeypatch.setattr("driftline.monitor.work.BAD_IN_A_ROW", 20)
    log = Log()
    log.predict(2000, "good")
    for _ in range(19):
        log.add(P, 3000, b"{", b"a")
    log.end(5000)
    assert len(run(log, catalog)[1]) == 19
    log.records[P][-1:] = []
    log.add(P, 3500, b"{", b"a")
    log.end(5000)
    with pytest.raises(UnitStopped, match=r"20 records of predictions-0 in a row cannot be used, .* not-json"):
        run(log, catalog)


def test_columns_count_as_single_messages_do_and_their_bad_rows_are_dead_letters(catalog):
    names, xs, latencies = ["a", "b", "c", "d"], [1.0, "no number", 3.0, None], [2.0, 3.0, None, 40.0]
    single, columns = Log(), Log()
    for name, x, latency in zip(names, xs, latencies, strict=True):
        single.predict(2000, name, x=x, latency_ms=latency)
    message = {
        "model": "m",
        "version": "1",
        "id": names,
        "time": [2000] * 4,
        "prediction": ["yes"] * 4,
        "score": [0.7] * 4,
        "latency_ms": latencies,
        "features": {"x": xs, "c": ["a"] * 4},
    }
    columns.add(P, 2000, orjson.dumps(message), b"", (("content-type", COLUMNS.encode()),))
    for log in (single, columns):
        log.end(5000)
    (slices, (letter,)), (slices_of_columns, (letter_of_row,)) = run(single, catalog), run(columns, catalog)
    assert slices == slices_of_columns
    assert dict(letter_of_row.headers)["driftline.row"] == b"1"
    assert dict(letter_of_row.headers)["driftline.reason"] == dict(letter.headers)["driftline.reason"] == b"wrong-type"
    wanted = {"id": "b", "model": "m", "version": "1", "features": {"x": "no number", "c": "a"}}
    assert wanted.items() <= orjson.loads(letter_of_row.value).items()
    assert "content-type" not in dict(letter_of_row.headers)


@pytest.mark.parametrize("answer", ["perhaps", ["a list"]], ids=["found by all rows", "found row by row"])
def test_a_message_of_bad_rows_makes_letters_of_about_its_own_size(catalog, answer):
    n, log = 3_000, Log()
    columns = {"id": [f"{i}" for i in range(n)], "time": [2000] * n, "prediction": [answer] * n}
    message = orjson.dumps({"model": "m", "version": "1", **columns, "features": {"c": ["a"] * n}})
    log.add(P, 2000, message, b"", (("content-type", COLUMNS.encode()),))
    log.end(5000)
    _, letters = run(log, catalog)
    assert [int(dict(letter.headers)["driftline.row"]) for letter in letters] == list(range(n))
    assert sum(len(letter.value) for letter in letters) < 5 * len(message)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"time": [2000]}, b"not-an-event"),
        ({"features": {"x": [1.0]}}, b"not-an-event"),
        ({"model": "unknown"}, b"unknown-model"),
        ({"version": ""}, b"not-an-event"),
        ({"id": "a"}, b"not-an-event"),
    ],
)
def test_a_message_of_columns_that_does_not_fit_together_is_refused(catalog, changed, reason):
    message = {
        "model": "m",
        "version": "1",
        "id": ["a", "b"],
        "time": [2000] * 2,
        "prediction": ["yes", "no"],
    } | changed
    log = Log()
    log.add(P, 2000, orjson.dumps(message), b"", (("content-type", COLUMNS.encode()),))
    log.end(5000)
    _, dead = run(log, catalog)
    assert {dict(letter.headers)["driftline.reason"] for letter in dead} == {reason}


def test_events_of_models_without_a_spec_are_dead_letters_also_where_no_spec_is_in_force(catalog):
    log = Log()
    log.records[P].clear()
    log.predict(2000, "a")
    log.outcome(2000, "a")
    log.end(5000)
    _, dead = run(log, catalog)
    assert [dict(letter.headers)["driftline.reason"] for letter in dead] == [b"unknown-model"] * 2


def test_rows_beyond_the_limit_of_a_model_are_forgotten_early_and_told(catalog):
    catalog.specs["m", 1] = spec(max_kept=16)
    log = Log()
    for i in range(30):
        log.predict(2000 + i * 1000, f"id{i}")
    log.outcome(33_000, "id2")
    log.outcome(33_000, "id29")
    log.end(40_000)
    slices, _ = run(log, catalog)
    counters = [msgspec.json.decode(s, type=Slice).counters.get("m", {}) for s in slices]
    assert sum(each.get("evicted", 0) for each in counters) >= 14
    assert totals(slices).labelled == 1
    assert run(log, catalog, (3,) * 20) == run(log, catalog) == run(log, catalog, (1,) * 60, restart=True)


def test_a_value_that_is_not_allowed_is_told_before_its_slice_is_finished(catalog):
    log = Log()
    log.end(1000)
    work = MonitorWork(catalog, 0, lambda *_: None)
    taken = {P: log.records[P], OUT: log.records[OUT]}
    work.step(taken, {P: 1000, OUT: 1000})
    log.predict(2100, "bad", x=99.0)
    log.predict(2200, "bad too", x=98.0)
    told = work.at_once(log.records[P][-2:])
    (notice,) = [msgspec.json.decode(o.value, type=Notice) for o in told]
    assert (notice.kind, notice.slice, notice.breach.name, notice.breach.n) == (NoticeKind.BREACH, 2, "x", 2)
    assert work.at_once(log.records[P][-2:]) == []


def test_a_record_that_is_refused_is_a_dead_letter_and_its_neighbours_count(catalog):
    log = Log()
    log.predict(2000, "before")
    log.predict(2000, "culprit")
    log.outcome(2100, "before")
    log.mark(P, 2200, "spec m@1")
    log.predict(2300, "after")
    log.end(5000)
    work = MonitorWork(catalog, 0, lambda *_: None)
    work.refuse({(P, 2): "ValueError: x", (P, 3): "KeyError: y"})
    taken = {source: log.records[source] for source in (P, OUT)}
    step = work.step(taken, {P: 5000, OUT: 5000})
    letters = [dict(o.headers) for o in step.outbox if o.topic is Topic.DEAD_LETTERS]
    assert [(letter["driftline.offset"], letter["driftline.detail"]) for letter in letters] == [
        (b"2", b"ValueError: x"),
        (b"3", b"KeyError: y"),
    ]
    assert {letter["driftline.reason"] for letter in letters} == {b"step-failed"}
    slices = [o.value for o in step.outbox if dict(o.headers).get("driftline-kind") == b"slice"]
    assert totals(slices).n == 2


def test_the_monitor_tells_on_its_partition_of_slices_within_the_slice_that_is_not_finished(catalog):
    log = Log()
    log.predict(2000, "a")
    log.end(5000)
    work = MonitorWork(catalog, 0, lambda *_: None)
    work.step({source: log.records[source] for source in (P, OUT)}, {P: 5000, OUT: 5000})
    gap = Gap(topic="predictions", first=3, last=9)
    (record,) = work.tell(NoticeKind.GAP, 4321, "why", gap)
    notice = msgspec.json.decode(record.value, type=Notice)
    assert (record.topic, record.partition, dict(record.headers)["driftline-kind"]) == (Topic.SLICES, 0, b"notice")
    assert (notice.kind, notice.partition, notice.slice, notice.at, notice.gap) == (NoticeKind.GAP, 0, 5, 4321, gap)
