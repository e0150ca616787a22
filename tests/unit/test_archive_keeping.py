"""What is put together and what is let go: no row is lost, doubled, or removed while a live artifact rests on it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from tests.archives import DAY, START, Archive, spec

from driftline.archiver import keeper as keeper_module
from driftline.archiver.keeper import Keeper
from driftline.archiver.tidying import LARGE_BYTES, expired_days, to_merge
from driftline.events.base import encode
from driftline.events.retraining import (
    Artifact,
    Attempt,
    AttemptState,
    Candidate,
    Case,
    CaseState,
    Champion,
    ModelState,
    Recipe,
    RetrainRequest,
    Span,
    Trigger,
)
from driftline.events.topics import Topic
from driftline.platform.archive import connect, query
from driftline.platform.archive_files import Stored, places, stored_in

ARTIFACT = Artifact(uri="u", sha256="s", format="skops")


def recipe(first: int, last: int) -> Recipe:
    """Trained on the days `first` to `last`, held out the day after, asked for at the end of the next one."""
    start, end = START + first * DAY, START + (last + 1) * DAY
    return Recipe(training=Span(start=start, end=end), holdout=Span(start=end, end=end + DAY), known_by=end + 2 * DAY)


def candidate(version: str, made_by: Recipe, request: str = "r") -> Candidate:
    return Candidate(
        id=f"candidate-{version}",
        case="case",
        request=request,
        model="m",
        attempt=1,
        version=version,
        artifact=ARTIFACT,
        baseline=None,
        trained_on=None,
        validation={},
        recipe=made_by,
    )


def serving(version: str, previous: str | None, at: int) -> ModelState:
    champion, before = (
        Champion(version=v, artifact=ARTIFACT, baseline=None, since=at) if v is not None else None
        for v in (version, previous)
    )
    return ModelState(id=f"{version}-{at}", model="m", champion=champion, previous=before, reason="r", at=at)


def case(state: AttemptState, request: str) -> Case:
    attempt = Attempt(n=1, state=state, request=request, requested_at=0, deadline=0, trigger=Trigger.SCHEDULE)
    return Case(
        id=f"case-{state}",
        case=f"case-{request}",
        model="m",
        state=CaseState.OPEN,
        trigger=Trigger.SCHEDULE,
        rule=None,
        attempts=(attempt,),
        opened_at=0,
        at=0,
        deadline=None,
        reason="r",
    )


def request(name: str, made_by: Recipe) -> RetrainRequest:
    return RetrainRequest(
        id=name,
        case=f"case-{name}",
        model="m",
        champion="1",
        trigger=Trigger.SCHEDULE,
        attempt=1,
        requested_at=0,
        deadline=0,
        recipe=made_by,
        spec="m@1",
        reason="r",
    )


def days_of(archive: Archive, topic: Topic, model: str = "m") -> list[int]:
    """The days that the archive still holds, counted from `START`."""
    return [place.day - START // DAY for place in places(archive.directory, topic) if place.model == model]


def one_a_day(archive: Archive, days: int) -> None:
    for day in range(days):
        time = START + day * DAY + DAY // 2
        archive.predict(time, f"d{day}")
        archive.outcome(time + 1, f"d{day}")
    archive.flush()


def let_go(archive: Archive, decision_time: int) -> None:
    archive.flush()
    Keeper(archive.directory).let_go(decision_time)


def test_raw_days_go_when_they_are_older_than_the_spec_keeps_them_and_decisions_stay(tmp_path):
    archive = Archive(tmp_path, spec(retain_raw=timedelta(days=3)))
    one_a_day(archive, 8)
    archive.add(Topic.MODELS, START, encode(serving("1", None, START)))
    let_go(archive, START + 8 * DAY)
    assert days_of(archive, Topic.PREDICTIONS) == days_of(archive, Topic.OUTCOMES) == [5, 6, 7]
    assert days_of(archive, Topic.MODELS) == [0]
    let_go(archive, START + 9 * DAY - 1)
    assert days_of(archive, Topic.PREDICTIONS) == [5, 6, 7]
    let_go(archive, START + 9 * DAY)
    assert days_of(archive, Topic.PREDICTIONS) == [6, 7]


def test_rows_of_the_champion_the_version_before_and_open_attempts_are_kept(tmp_path):
    archive = Archive(tmp_path, spec(retain_raw=timedelta(days=3)))
    one_a_day(archive, 40)
    for version, (first, last) in {"1": (1, 2), "2": (8, 9), "3": (15, 16), "refused": (22, 23)}.items():
        archive.add(Topic.CANDIDATES, START, encode(candidate(version, recipe(first, last))))
    for state in (serving("1", None, 1), serving("2", "1", 2), serving("3", "2", 3)):
        archive.add(Topic.MODELS, START, encode(state))
    archive.add(Topic.RETRAIN_REQUESTS, START, encode(request("open", recipe(28, 29))))
    archive.add(Topic.RETRAIN_REQUESTS, START, encode(request("over", recipe(22, 23))))
    for state in (case(AttemptState.REQUESTED, "open"), case(AttemptState.REQUESTED, "over")):
        archive.add(Topic.CASES, START, encode(state))
    archive.add(Topic.CASES, START, encode(case(AttemptState.REFUSED, "over")))
    let_go(archive, START + 40 * DAY)
    # a day before: what arrived up to max_ahead early, and outcomes that came first; then up to what was known by
    kept = [*range(7, 12), *range(14, 19), *range(27, 32), *range(37, 40)]
    assert days_of(archive, Topic.PREDICTIONS) == days_of(archive, Topic.OUTCOMES) == kept


def test_each_model_has_its_own_retention_and_what_names_none_has_the_longest(tmp_path):
    specs = (spec(retain_raw=timedelta(days=3)), spec(model="long", retain_raw=timedelta(days=6)))
    archive = Archive(tmp_path, *specs)
    for day in range(10):
        time = START + day * DAY
        archive.predict(time, "a")
        archive.predict(time, "a", model="long")
        archive.predict(time, "a", model="stranger")
        archive.add(Topic.PREDICTIONS, time, b"\xff")
    let_go(archive, START + 10 * DAY)
    assert days_of(archive, Topic.PREDICTIONS) == [7, 8, 9]
    for model in ("long", "stranger", "__HIVE_DEFAULT_PARTITION__"):
        assert days_of(archive, Topic.PREDICTIONS, model) == [4, 5, 6, 7, 8, 9]


def test_a_dead_letter_stays_as_long_as_records_that_it_may_be_about(tmp_path):
    archive = Archive(tmp_path, spec(retain_raw=timedelta(days=3)))
    for day in range(10):
        archive.dead(archive.predict(START + day * DAY, f"bad{day}"))
    archive.add(Topic.CANDIDATES, START, encode(candidate("1", recipe(4, 4))))
    archive.add(Topic.MODELS, START, encode(serving("1", None, START)))
    let_go(archive, START + 10 * DAY)
    assert days_of(archive, Topic.PREDICTIONS) == [3, 4, 5, 6, 7, 8, 9]
    assert days_of(archive, Topic.DEAD_LETTERS) == [3, 4, 5, 6, 7, 8, 9]
    assert query(tmp_path, "FROM predictions").num_rows == 0


def test_nothing_goes_while_no_spec_says_how_long_it_is_kept(tmp_path):
    archive = Archive(tmp_path)
    one_a_day(archive, 3)
    let_go(archive, START + 1000 * DAY)
    assert days_of(archive, Topic.PREDICTIONS) == [0, 1, 2]


def test_a_day_counts_as_over_only_when_its_last_moment_is_older_than_is_kept():
    day = START // DAY
    assert expired_days([day], START + 4 * DAY - 1, timedelta(days=3), []) == []
    assert expired_days([day], START + 4 * DAY, timedelta(days=3), []) == [day]
    assert expired_days([day], START + 4 * DAY, timedelta(days=3), [Span(start=0, end=START)]) == [day]
    assert expired_days([day], START + 4 * DAY, timedelta(days=3), [Span(start=0, end=START + 1)]) == []


def test_putting_files_together_keeps_every_row_once_at_every_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper_module, "GRACE_S", -1.0)
    archive = Archive(tmp_path, spec())
    keeper, most = Keeper(tmp_path), 0

    def write(n: int) -> None:
        archive.predict(START + n, f"p{n}")
        archive.predict(START + n, f"p{n}")
        keeper.wrote(archive.flush())

    write(0)
    connection = connect(tmp_path)  # its views find new files by themselves
    for n in range(1, 40):
        write(n)
        keeper.turn(archive.writer.flush_number, START + n)
        (counted,) = connection.execute("SELECT count(*) FROM records WHERE topic = 'predictions'").fetchone()
        assert counted == 2 * (n + 1)
        most = max(most, len(files_of_predictions(tmp_path)))
    assert most <= 33
    for _ in range(3):
        keeper.turn(archive.writer.flush_number, START + 2 * DAY)
    assert len(files_of_predictions(tmp_path)) == 1
    assert query(tmp_path, "FROM predictions").num_rows == 40
    assert query(tmp_path, "FROM repeats")["duplicates"].to_pylist() == [40]


def test_files_that_readers_may_be_at_stay_for_a_while(tmp_path):
    archive = Archive(tmp_path, spec())
    for n in range(3):
        archive.predict(START + n, f"p{n}")
        archive.flush()
    keeper = Keeper(tmp_path)
    for _ in range(3):
        keeper.turn(archive.writer.flush_number, START + 2 * DAY)
    assert len(files_of_predictions(tmp_path)) == 4
    assert query(tmp_path, "FROM predictions").num_rows == 3


def test_what_is_not_archived_yet_is_never_put_together(tmp_path):
    archive = Archive(tmp_path, spec())
    for n in range(3):
        archive.predict(START + n, f"p{n}")
        archive.flush()
    Keeper(tmp_path).turn(2, START + 2 * DAY)  # only the spec's flush and one more are known to the positions
    assert len(files_of_predictions(tmp_path)) == 3


def test_the_number_of_files_stays_small_and_a_row_is_written_a_few_times_only():
    chance = random.Random(1)
    for usual in (5_000, 60_000, 900_000):  # with our columns a Parquet file of one row has 5 kB
        files: list[Stored] = []
        flushed = written = 0
        for n in range(2_000):
            size = chance.randrange(usual // 2, usual * 2)
            flushed += size
            files.append(Stored(Path(str(n)), n, n, size, 0.0))
            while chosen := to_merge(files, finished=False):
                size = sum(file.size_bytes for file in chosen)
                written += size
                merged = Stored(Path(f"{n}+"), chosen[0].first, chosen[-1].last, size, 0.0)
                files = [*without(files, chosen), merged]
        assert len(files) <= 60 + 4 * flushed / LARGE_BYTES
        assert written <= 4 * flushed
        while chosen := to_merge(files, finished=True):
            size = sum(file.size_bytes for file in chosen)
            merged = Stored(Path("end"), chosen[0].first, chosen[-1].last, size, 0.0)
            files = [*without(files, chosen), merged]
        assert len(files) <= 1 + 2 * flushed / LARGE_BYTES


def without(files: list[Stored], chosen: Sequence[Stored]) -> list[Stored]:
    gone = {file.path for file in chosen}
    return [file for file in files if file.path not in gone]


def files_of_predictions(directory: Path) -> list[Stored]:
    return [f for p in places(directory, Topic.PREDICTIONS) for f in stored_in(p.within(directory))]
