"""The archive as it is written and read, without Kafka."""

from __future__ import annotations

import errno
import os
import random
from datetime import timedelta

import duckdb
import msgspec
import orjson
import pytest
from tests.archives import DAY, HOUR, SLICE_MS, START, Archive, spec

from driftline.archiver.writer import Writer
from driftline.errors import DeploymentError
from driftline.events.retraining import Span
from driftline.events.topics import Topic
from driftline.platform.archive import connect, query, retried, wait_until_reached
from driftline.platform.archive_files import (
    POSITIONS,
    SCHEMA,
    locked,
    places,
    prepare,
    read_positions,
    read_reached,
    stored_in,
)
from driftline.platform.archive_rows import logged_predictions, training_rows
from driftline.platform.records import Source
from driftline.spec.model import FeatureSpec

EVERYTHING = Span(start=0, end=2**60)


def rows(archive, sql):
    return query(archive.directory, sql).to_pylist()


@pytest.mark.parametrize("prepared", [False, True])
def test_an_archive_without_rows_has_all_views_with_their_columns(tmp_path, prepared):
    if prepared:
        prepare(tmp_path)
    with connect(tmp_path) as connection:
        for view in ("records", "predictions", "outcomes", "labelled", "repeats", "valid_outcomes"):
            assert connection.execute(f"FROM {view}").fetchall() == []
        columns = [name for name, *_ in connection.execute("DESCRIBE records").fetchall()]
        assert columns == SCHEMA.names
    found = training_rows(tmp_path, SLICE_MS, spec(), EVERYTHING, START)
    assert found.about.num_rows == found.features.num_rows == 0
    assert found.features.column_names == ["x", "c"]
    assert logged_predictions(tmp_path, SLICE_MS, spec(), "1", EVERYTHING, START).num_rows == 0


def test_a_connection_sees_what_is_archived_after_it_was_made(tmp_path):
    archive = Archive(tmp_path, spec())
    with connect(tmp_path) as connection:
        archive.predict(START, "a")
        archive.flush()
        assert connection.execute("SELECT id FROM predictions").fetchall() == [("a",)]


ODD_NAMES = ["a/b", "..", ".", "'; DROP VIEW x", "*?[a]", "a\nb", "é" * 900, "é" * 899 + "e", "a=b", "%41", "\x00"]


def test_models_of_any_name_stay_apart_and_inside_the_archive(tmp_path):
    directory = tmp_path / "it's [an] odd* place"
    archive = Archive(directory, *(spec(model=name) for name in ODD_NAMES))
    for name in ODD_NAMES:
        archive.predict(START, "same id", model=name)
        archive.outcome(START, "same id", model=name)
    archive.flush()
    assert {row["model"] for row in rows(archive, "FROM labelled")} == set(ODD_NAMES)
    assert len(places(directory, Topic.PREDICTIONS)) == len(ODD_NAMES)
    assert list(tmp_path.iterdir()) == [directory]
    for name in ODD_NAMES:
        found = training_rows(directory, SLICE_MS, spec(model=name), EVERYTHING, START + 1)
        assert found.about["id"].to_pylist() == ["same id"]


def test_what_a_crash_wrote_before_the_positions_is_counted_once(tmp_path):
    archive = Archive(tmp_path, spec())
    archive.predict(START, "a")
    archive.outcome(START, "a")
    before = (tmp_path / POSITIONS).read_bytes()
    archive.flush()
    (tmp_path / POSITIONS).write_bytes(before)  # as if it had ended between 1 and 2
    again = Archive(tmp_path)
    for name in ("a", "b"):
        again.predict(START, name)
        again.outcome(START + DAY, name)
    again.flush()
    assert [row["id"] for row in rows(archive, "FROM records WHERE topic = 'predictions' ORDER BY id")] == ["a", "b"]
    assert rows(archive, "FROM repeats") == []


def test_lost_positions_never_lead_to_a_file_being_replaced_by_another_one(tmp_path):
    archive = Archive(tmp_path, spec())
    archive.predict(START, "a")
    archive.flush()
    (tmp_path / POSITIONS).unlink()
    again = Archive(tmp_path)
    again.add(Topic.PREDICTIONS, START, b"{}")
    again.predict(START, "b")
    again.flush()
    assert [row["id"] for row in rows(archive, "FROM predictions ORDER BY id")] == ["a", "b"]


def test_a_refusing_file_system_is_told_and_nothing_counts_as_archived(tmp_path, monkeypatch):
    archive = Archive(tmp_path, spec())
    before = read_positions(tmp_path)
    archive.predict(START, "a")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DeploymentError, match="No space left"):
        archive.flush()
    monkeypatch.undo()
    assert read_positions(tmp_path) == before
    assert not list(tmp_path.rglob(".writing-*"))
    archive.flush()
    assert [row["id"] for row in rows(archive, "FROM predictions")] == ["a"]


def test_half_written_files_are_swept_up_at_the_start(tmp_path):
    left = tmp_path / "predictions" / "model=m" / ".writing-abc"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    prepare(tmp_path)
    assert not left.exists()


def test_damaged_positions_and_those_of_another_deployment_are_told_with_what_to_do(tmp_path):
    Archive(tmp_path, spec())
    with pytest.raises(DeploymentError, match=r"archive of the deployment 'd\.'.*DRIFTLINE_ARCHIVE_DIR"):
        Writer(tmp_path, "other.")
    (tmp_path / POSITIONS).write_bytes(b"{")
    with pytest.raises(DeploymentError, match=r"damaged.*remove it"):
        Writer(tmp_path, "d.")


def test_two_archivers_cannot_hold_one_archive(tmp_path):
    with locked(tmp_path), pytest.raises(DeploymentError, match="another archiver"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_marks_are_no_rows_and_yet_move_what_is_reached(tmp_path):
    archive = Archive(tmp_path, spec())
    archive.predict(START, "a")
    archive.tick(START + 5000)
    assert read_reached(tmp_path)["predictions"] == {0: START + 5000}
    assert read_positions(tmp_path).sources["predictions"] == {0: (2, START + 5000)}
    assert len(rows(archive, "FROM records WHERE topic <> 'specs'")) == 1


def test_rows_carry_what_they_say_and_where_they_stood(tmp_path):
    archive = Archive(tmp_path, spec())
    record = archive.predict(START, "a", arrival=START + 10, role="shadow")
    archive.flush()
    (row,) = rows(archive, "FROM predictions")
    assert {name: row[name] for name in SCHEMA.names if name not in ("value", "digest")} == {
        "topic": "predictions",
        "partition": 0,
        "offset": 0,
        "row": 0,
        "arrival": START + 10,
        "timestamp": START + 10,
        "key": "a",
        "model": "m",
        "id": "a",
        "version": "1",
        "role": "shadow",
        "time": START,
        "headers": None,
    }
    assert row["value"].encode() == record.value


def test_dead_letters_keep_their_bytes_and_take_their_record_out_of_the_views(tmp_path):
    archive = Archive(tmp_path, spec())
    good, bad = archive.predict(START, "good"), archive.predict(START, "bad")
    torn = archive.add(Topic.PREDICTIONS, START, b"\xff{", b"\xfe")
    forged = tuple((f"driftline.{k}", v) for k, v in (("topic", b"predictions"), ("offset", str(good.offset).encode())))
    archive.dead(bad, forged)
    archive.dead(torn)
    archive.flush()
    assert [row["id"] for row in rows(archive, "FROM predictions")] == ["good"]
    letters = rows(archive, "FROM records WHERE topic = 'dead-letters' ORDER BY \"offset\"")
    assert [row["id"] for row in letters] == ["predictions/0/1/0", "predictions/0/2/0"]
    assert letters[0]["value"].encode() == bad.value
    assert letters[1]["value"] == "base64:/3s="
    assert [name for name, _ in orjson.loads(letters[0]["headers"])][:2] == ["driftline.topic", "driftline.offset"]


def test_repeats_and_contradictions_are_told_apart(tmp_path):
    archive = Archive(tmp_path, spec())
    for score in (0.7, 0.7, 0.7, 0.2):
        archive.predict(START, "a", score=score)
    archive.predict(START, "a", version="2")
    archive.flush()
    assert rows(archive, "FROM repeats") == [{"model": "m", "version": "1", "duplicates": 2, "conflicts": 1}]
    assert len(rows(archive, "FROM predictions")) == 2


def test_events_of_a_model_without_a_spec_are_records_but_not_valid(tmp_path):
    archive = Archive(tmp_path, spec())
    archive.predict(START, "a", model="unknown")
    archive.flush()
    assert len(rows(archive, "FROM records WHERE topic = 'predictions'")) == 1
    assert rows(archive, "FROM predictions") == []


def test_training_rows_are_those_known_by_then_of_the_asked_span(tmp_path):
    archive = Archive(tmp_path, spec())
    for n in range(10):
        archive.predict(START + n, f"p{n}")
    for n in range(8):  # p8 and p9 have none
        archive.outcome(START + 100 + n, f"p{n}", "no" if n % 2 else "yes")
    archive.outcome(START + 500, "p3", "yes")  # a correction that comes later than what is known by then
    archive.flush()
    found = training_rows(tmp_path, SLICE_MS, spec(), Span(start=START + 2, end=START + 9), START + 107)
    assert found.about["id"].to_pylist() == ["p2", "p3", "p4", "p5", "p6"]
    assert found.about["outcome"].to_pylist() == ["yes", "no", "yes", "no", "yes"]
    assert found.about["outcome_arrival"].to_pylist() == [START + 102 + n for n in range(5)]
    assert found.about["time"].to_pylist() == [START + 2 + n for n in range(5)]
    later = training_rows(tmp_path, SLICE_MS, spec(), Span(start=START + 2, end=START + 9), START + 501)
    assert later.about["outcome"].to_pylist() == ["yes", "yes", "yes", "no", "yes", "no"]


def test_an_id_is_one_row_and_in_one_of_two_neighbouring_parts(tmp_path):
    archive = Archive(tmp_path, spec())
    archive.predict(START + 5, "a", version="2", role="shadow", features={"x": 2})
    archive.predict(START + 10, "a", features={"x": 1}, arrival=START + 5)
    archive.predict(START + 5, "b", version="2", role="shadow", features={"x": 3})
    archive.outcome(START + 20, "a")
    archive.outcome(START + 20, "b")
    archive.flush()
    parts = [Span(start=START, end=START + 10), Span(start=START + 10, end=START + 20)]
    found = [training_rows(tmp_path, SLICE_MS, spec(), part, START + 50) for part in parts]
    assert [f.about["id"].to_pylist() for f in found] == [["b"], ["a"]]
    assert found[1].about["version"].to_pylist() == ["1"]
    assert found[1].features["x"].to_pylist() == [1.0]


def test_features_come_in_the_specs_order_typed_and_under_any_name(tmp_path):
    names = ["x", "a'b\"c", "$.features[0]", "/x~1", "id", "value', (SELECT 1) --", ""]
    features = {name: FeatureSpec(type="category" if n % 2 else "number") for n, name in enumerate(names)}
    of_model = spec(features=features)
    archive = Archive(tmp_path, of_model)
    archive.predict(START, "a", features={name: f"v{n}" if n % 2 else n for n, name in enumerate(names)})
    archive.predict(START + 1, "b", features={"a'b\"c": True, "id": 10**400, "undeclared": 1})
    archive.outcome(START + 2, "a")
    archive.outcome(START + 2, "b")
    archive.flush()
    found = training_rows(tmp_path, SLICE_MS, of_model, EVERYTHING, START + 10).features
    assert found.column_names == names
    assert [column.type == "double" for column in found.columns] == [n % 2 == 0 for n in range(len(names))]
    assert [column[0].as_py() for column in found.columns] == [f"v{n}" if n % 2 else n for n in range(len(names))]
    assert [column[1].as_py() for column in found.columns] == [None, "true", None, None, None, None, None]


def test_labels_have_their_one_spelling_and_regression_has_numbers(tmp_path):
    archive = Archive(tmp_path, spec(labels=("0", "1"), positive="1"))
    for n, said in enumerate([1, 1.0, "1", 0]):
        archive.predict(START, f"p{n}", prediction=said)
        archive.outcome(START + 1, f"p{n}", said)
    archive.flush()
    found = training_rows(tmp_path, SLICE_MS, spec(), EVERYTHING, START + 10)
    assert found.about["outcome"].to_pylist() == ["1", "1", "1", "0"]
    said = logged_predictions(tmp_path, SLICE_MS, spec(), "1", EVERYTHING, START + 10)
    assert said["prediction"].to_pylist() == ["1", "1", "1", "0"]
    assert said["score"].to_pylist() == [0.7] * 4
    assert logged_predictions(tmp_path, SLICE_MS, spec(), "2", EVERYTHING, START + 10).num_rows == 0
    numbers = training_rows(tmp_path, SLICE_MS, spec(task="regression"), EVERYTHING, START + 10)
    assert numbers.about["outcome"].to_pylist() == [1.0, 1.0, 1.0, 0.0]


def test_rows_from_just_the_files_that_matter_are_those_from_all(tmp_path):
    """Over three weeks, with outcomes that came first, late, twice, and predictions stated ahead of their time."""
    of_model = spec(horizon=timedelta(days=2))
    archive, chance = Archive(tmp_path, of_model), random.Random(5)
    events = []
    for n in range(400):
        time = START + chance.randrange(21 * DAY)
        arrival = time + chance.choice([-4 * 60_000, 0, 1000, 40 * HOUR])
        events += [(arrival, "p", time, n)] * chance.choice([1, 1, 2])
        events += [(arrival + chance.randrange(-48 * HOUR, 47 * HOUR), "o", n % 7, n) for _ in range(n % 3)]
    for arrival, kind, time, n in sorted(events):
        if kind == "p":
            archive.predict(time, f"id{n}", arrival=arrival)
        else:
            archive.outcome(arrival, f"id{n}", "yes" if time else "no")
        if n % 50 == 0:
            archive.flush()
    archive.flush()
    part, known_by = Span(start=START + 6 * DAY, end=START + 9 * DAY), START + 10 * DAY
    sql = f"""SELECT id, outcome_time FROM labelled_by({known_by}) WHERE time >= {part.start} AND time < {part.end}
        ORDER BY time, id"""
    expected = [(row["id"], row["outcome_time"]) for row in rows(archive, sql)]
    found = training_rows(tmp_path, SLICE_MS, of_model, part, known_by).about
    assert len(expected) > 30
    assert list(zip(found["id"].to_pylist(), found["outcome_time"].to_pylist(), strict=True)) == expected


def test_waiting_ends_when_both_topics_and_the_dead_letters_are_in_the_archive(tmp_path):
    archive = Archive(tmp_path, spec())
    archive.tick(START)
    wait_until_reached(tmp_path, 1, START, 0)
    with pytest.raises(DeploymentError, match=r"did not reach 2013-03-01T00:00:01Z .*predictions-0, outcomes-0"):
        wait_until_reached(tmp_path, 1, START + 1000, 0)
    with pytest.raises(DeploymentError, match="predictions-1"):
        wait_until_reached(tmp_path, 2, START, 0)
    ends = {Source(Topic.DEAD_LETTERS, 0): 1}
    with pytest.raises(DeploymentError, match="dead-letters-0"):
        wait_until_reached(tmp_path, 1, START, 0, ends)
    archive.dead(archive.predict(START, "a"))
    archive.flush()
    wait_until_reached(tmp_path, 1, START, 0, ends)


def test_a_file_that_vanishes_under_a_query_is_looked_for_again():
    tries = []

    def read():
        tries.append(None)
        if len(tries) < 3:
            raise duckdb.IOException("No such file")
        return "read"

    assert retried(read) == "read"


def test_files_are_by_day_of_arrival_whatever_year_it_is(tmp_path):
    archive = Archive(tmp_path)
    for time in (-1, 0, START, START + DAY, 400_000_000_000_000):
        archive.add(Topic.METRICS, time, msgspec.json.encode({"model": "m", "id": "r", "revision": time}))
    archive.flush()
    days = [place.day for place in places(tmp_path, Topic.METRICS)]
    assert days == [-1, 0, START // DAY, START // DAY + 1, 400_000_000_000_000 // DAY]
    found = rows(archive, "SELECT time FROM records ORDER BY time")
    assert [row["time"] for row in found] == [-1, 0, START, START + DAY, 400_000_000_000_000]
    assert all(len(stored_in(place.within(tmp_path))) == 1 for place in places(tmp_path, Topic.METRICS))
