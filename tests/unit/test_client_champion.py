"""Following a champion, with the topic and the artifacts faked."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.dummy import DummyRegressor

from driftline.client import champion as module
from driftline.client.champion import Answer, Champion
from driftline.errors import ArtifactError, DeploymentError
from driftline.events import retraining
from driftline.events.base import encode
from driftline.events.retraining import Artifact, ModelState
from driftline.events.topics import Topic
from driftline.platform import artifacts
from driftline.platform.keys import Keyring
from driftline.platform.records import Record, Source
from driftline.platform.settings import Settings

SETTINGS = Settings("nowhere:1", "redis://nowhere", "test.", Path("/s"), Path("/a"), Path("/m"))


class Models:
    """The topic `models`, and loaders of what it names."""

    def __init__(self) -> None:
        self.unread: list[Record] = []
        self.broken: set[str] = set()
        self.loaded: list[str] = []
        self.swapped = threading.Event()

    def __call__(self, settings, *topics):
        assert topics == (Topic.MODELS,)
        return self

    def promote(self, version: str, model: str = "m", sha: str = "s", artifact: bool = True) -> None:
        self.name(version, Artifact(uri=version, sha256=sha, format="skops") if artifact else None, model)

    def name(self, version: str, artifact: Artifact | None, model: str = "m", beside: str | None = None) -> None:
        serves = retraining.Champion(version=version, artifact=artifact, baseline=None, since=0)
        other = None if beside is None else Artifact(uri=beside, sha256="s", format="skops")
        shadow = retraining.Champion(version=beside, artifact=other, baseline=None, since=0) if beside else None
        state = ModelState(
            id=version, model=model, champion=serves, previous=None, shadow=shadow, reason="promoted", at=0
        )
        self.unread.append(Record(Source(Topic.MODELS, 0), 0, 0, 0, model.encode(), encode(state), ()))

    def catch_up(self) -> list[Record]:
        records, self.unread = self.unread, []
        return records

    def poll(self, timeout_s) -> list[Record]:
        if self.loaded and self.loaded[-1] == "2":
            self.swapped.set()
        return self.catch_up()

    def load(self, settings, artifact):
        if artifact.uri in self.broken:
            raise ArtifactError("model.skops does not match its checksum")
        self.loaded.append(artifact.uri)
        return Scorer(artifact.uri)

    def close(self) -> None:
        pass


class Scorer:
    def __init__(self, version: str) -> None:
        self.version = version

    def answers(self, rows):
        return [(f"by-{self.version}", row["x"]) for row in rows]


@pytest.fixture
def models(monkeypatch):
    models = Models()
    monkeypatch.setattr(module, "Tail", models)
    return models


def open_champion(models, **options) -> Champion:
    return Champion("m", SETTINGS, load=models.load, **options)


def test_the_newest_champion_of_the_model_answers_and_names_its_version(models):
    models.promote("1")
    models.promote("2")
    models.promote("9", model="another")
    champion = open_champion(models)
    assert champion.version == "2"
    assert champion.predict([{"x": 0.5}, {"x": 0.1}]) == [Answer("2", "by-2", 0.5), Answer("2", "by-2", 0.1)]
    assert models.loaded == ["2"]  # what was replaced before need not be there any more


def test_refresh_swaps_in_place_and_says_so(models):
    models.promote("1")
    champion = open_champion(models)
    assert not champion.refresh()
    models.promote("2")
    assert champion.refresh()
    assert champion.version == "2"
    models.promote("1")  # a human brought the old one back
    assert champion.refresh()
    assert champion.version == "1"


def test_what_is_to_answer_beside_the_champion_does_so_while_it_is_wanted(models):
    first = Artifact(uri="1", sha256="s", format="skops")
    models.name("1", first)
    champion = open_champion(models)
    assert champion.predict_beside([{"x": 0.5}]) == []
    models.name("1", first, beside="2")
    assert not champion.refresh()  # the same version serves
    assert champion.version == "1"
    assert champion.predict_beside([{"x": 0.5}]) == [Answer("2", "by-2", 0.5)]
    models.name("1", first)
    champion.refresh()
    assert champion.predict_beside([{"x": 0.5}]) == []


def test_what_cannot_be_loaded_does_not_answer_beside_and_disturbs_nobody(models):
    models.name("1", Artifact(uri="1", sha256="s", format="skops"), beside="2")
    models.broken = {"2"}
    champion = open_champion(models)
    assert champion.predict_beside([{"x": 0.5}]) == []
    assert (champion.version, champion.problem) == ("1", None)


def test_the_same_version_with_another_artifact_is_loaded_anew(models):
    models.promote("1", sha="a")
    champion = open_champion(models)
    models.promote("1", sha="b")
    assert champion.refresh()
    models.promote("1", sha="b")
    assert not champion.refresh()


def test_a_broken_artifact_never_replaces_a_good_one(models):
    models.promote("1")
    champion = open_champion(models)
    models.broken = {"2"}
    models.promote("2")
    assert not champion.refresh()
    assert champion.version == "1"
    assert champion.predict([{"x": 1}])[0].version == "1"
    assert champion.problem == "version 2 of model 'm' cannot be served: model.skops does not match its checksum"
    models.broken = set()  # it has arrived whole by now
    assert champion.refresh()
    assert (champion.version, champion.problem) == ("2", None)


def unsigned(settings, artifact):
    (settings.artifact_dir / artifact.uri / artifacts.SIGNATURE).unlink()


def one_file_more(settings, artifact):
    (settings.artifact_dir / artifact.uri / "more.pkl").write_bytes(b"")


def changed(settings, artifact):
    path = settings.artifact_dir / artifact.uri / artifacts.MODEL
    path.write_bytes(path.read_bytes() + b" ")


def by_a_key_that_is_not_trusted(settings, artifact):
    Keyring(settings.keys).distrust(artifact.signature.split(":")[0])


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (unsigned, "unsigned"),
        (one_file_more, "extra-file"),
        (changed, "changed-file"),
        (by_a_key_that_is_not_trusted, "unknown-signer"),
    ],
)
def test_an_artifact_that_is_not_what_was_signed_is_told_by_name_and_the_old_model_serves(
    models, tmp_path, damage, fault
):
    settings = replace(SETTINGS, state_dir=tmp_path, artifact_dir=tmp_path / "artifacts")

    def stored(version: str, answer: float) -> Artifact:
        manifest = artifacts.Manifest(
            model="m", version=version, task="regression", labels=(), positive=None, features={"x": "number"}
        )
        return artifacts.store(settings, manifest, DummyRegressor(strategy="constant", constant=answer).fit([[0]], [0]))

    models.name("1", stored("1", 1.0))
    champion = Champion("m", settings)
    artifact = stored("2", 2.0)
    damage(settings, artifact)
    models.name("2", artifact)
    assert not champion.refresh()
    assert champion.predict([{"x": 0}]) == [Answer("1", 1.0, None)]
    assert champion.problem.startswith(f"version 2 of model 'm' cannot be served: {fault}: ")


def test_a_champion_without_an_artifact_does_not_replace_one_that_has_one(models):
    models.promote("1")
    champion = open_champion(models)
    models.promote("2", artifact=False)
    champion.refresh()
    assert champion.version == "1"
    assert "without an artifact" in champion.problem


def test_a_model_without_champion_says_how_to_register_one(models):
    with pytest.raises(DeploymentError, match="driftline models register"):
        open_champion(models)


def test_a_first_champion_that_is_broken_is_an_error(models):
    models.broken = {"1"}
    models.promote("1")
    with pytest.raises(ArtifactError, match="checksum"):
        open_champion(models)


def test_a_follower_swaps_without_being_asked(models):
    models.promote("1")
    with open_champion(models, follow=True) as champion:
        models.promote("2")
        assert models.swapped.wait(10)
        assert champion.version == "2"
    assert champion.predict([{"x": 1}])[0].version == "2"
