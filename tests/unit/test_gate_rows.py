"""Which rows of the archive a candidate is compared on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.archives import HOUR, SLICE_MS, START, Archive, spec

from driftline.events.admin import Deployment
from driftline.events.retraining import Artifact, Candidate, Recipe, RetrainRequest, Span, Trigger
from driftline.gate.work import held_out_rows
from driftline.platform.held_out import Question
from driftline.platform.settings import Settings
from driftline.spec.plain import to_plain

DEPLOYMENT = Deployment(
    id="d",
    clock="events",
    slice=timedelta(milliseconds=SLICE_MS),
    max_stall=timedelta(minutes=1),
    partitions=1,
    shards=1,
)
STORED = Artifact(uri="m/1/a", sha256="a", format="skops")


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings("nowhere:1", "redis://nowhere", "d.", tmp_path, tmp_path / "archive", tmp_path / "artifacts")


def asked(champion: Artifact | None, *exclude: Span) -> Question:
    holdout = Span(start=START + HOUR, end=START + 5 * HOUR)
    recipe = Recipe(
        training=Span(start=START, end=START + HOUR), holdout=holdout, known_by=START + 9 * HOUR, exclude=exclude
    )
    request = RetrainRequest(
        id="r",
        case="c",
        model="m",
        champion="1",
        trigger=Trigger.COMMAND,
        attempt=1,
        requested_at=0,
        deadline=0,
        recipe=recipe,
        spec="m@1",
        reason="command",
    )
    candidate = Candidate(
        id="k",
        case="c",
        request="r",
        model="m",
        attempt=1,
        version="2",
        artifact=STORED,
        baseline=None,
        trained_on=None,
        validation={},
        recipe=recipe,
    )
    return Question(candidate=candidate, request=request, spec=to_plain(spec()), champion=champion)


def filled(settings: Settings) -> None:
    archive = Archive(settings.archive_dir, spec())
    for hour in range(6):
        time = START + hour * HOUR + 60_000
        version = "0" if hour == 3 else "1"  # another version served meanwhile
        features = {"x": hour / 2, "c": "A" if hour % 2 else None}
        archive.predict(time, f"p{hour}", version=version, features=features, attributes={"origin": f"O{hour}"})
        archive.outcome(time + 1000, f"p{hour}", outcome="yes" if hour % 2 else "no")
    archive.tick(START + 10 * HOUR)


def test_the_rows_are_those_of_the_holdout_with_their_attributes(settings):
    filled(settings)
    rows = held_out_rows(settings, DEPLOYMENT, asked(STORED))
    assert rows.ids == ["p1", "p2", "p3", "p4"]
    assert rows.times == [START + hour * HOUR + 60_000 for hour in (1, 2, 3, 4)]
    assert rows.outcomes == ["yes", "no", "yes", "no"]
    assert rows.features == {"x": [0.5, 1.0, 1.5, 2.0], "c": ["A", None, "A", None]}
    assert rows.attributes == [{"origin": f"O{hour}"} for hour in (1, 2, 3, 4)]
    assert rows.said is None


def test_rows_of_an_excluded_period_are_not_compared_on(settings):
    filled(settings)
    excluded = Span(start=START + 2 * HOUR, end=START + 3 * HOUR + 60_000)
    rows = held_out_rows(settings, DEPLOYMENT, asked(STORED, excluded))
    assert rows.ids == ["p1", "p3", "p4"]
    assert [each["origin"] for each in rows.attributes] == ["O1", "O3", "O4"]


def test_a_champion_without_an_artifact_is_compared_on_the_rows_that_it_answered(settings):
    filled(settings)
    rows = held_out_rows(settings, DEPLOYMENT, asked(None))
    assert rows.ids == ["p1", "p2", "p4"]
    assert rows.said == [("yes", 0.7)] * 3
    assert rows.features["x"] == [0.5, 1.0, 2.0]
    assert [each["origin"] for each in rows.attributes] == ["O1", "O2", "O4"]
