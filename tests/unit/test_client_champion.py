"""Following a champion, with the topic and the artifacts faked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.dummy import DummyRegressor

from driftline.client import champion as module
from driftline.client.champion import Answer, Champion
from driftline.errors import ArtifactError, DeploymentError, Unreachable
from driftline.events import retraining
from driftline.events.base import encode
from driftline.events.retraining import Artifact, ModelState
from driftline.events.topics import Topic
from driftline.platform import artifacts
from driftline.platform.keys import Keyring
from driftline.platform.records import Record, Source
from driftline.platform.settings import Settings

SETTINGS = Settings("nowhere:1", "redis://nowhere", "test.", Path("/s"), Path("/a"), Path("/m"))
CHANGED = ArtifactError("model.skops does not match its checksum")


class Models:
    """The topic `models`, and loaders of what it names."""

    def __init__(self) -> None:
        self.unread: list[Record] = []
        self.broken: dict[str, Exception] = {}
        self.trouble: Exception | None = None
        self.loaded: list[str] = []
        self.polled = threading.Condition()

    def __call__(self, settings, *topics):
        assert topics == (Topic.MODELS,)
        return self

    def write(self, value: bytes, model: str = "m") -> None:
        with self.polled:
            self.unread.append(Record(Source(Topic.MODELS, 0), 7, 0, 0, model.encode(), value, ()))

    def promote(self, version: str, model: str = "m", sha: str = "s", artifact: bool = True) -> None:
        self.name(version, Artifact(uri=version, sha256=sha, format="skops") if artifact else None, model)

    def name(self, version: str, artifact: Artifact | None, model: str = "m", beside: str | None = None) -> None:
        self.write(encode(named(version, artifact, model, beside)), model)

    def catch_up(self) -> list[Record]:
        records, self.unread = self.unread, []
        return records

    def poll(self, timeout_s) -> list[Record]:
        with self.polled:
            self.polled.notify_all()
            if self.trouble is not None:
                raise self.trouble
            return self.catch_up()

    def until(self, check: Callable[[], bool]) -> None:
        """Wait for what a follower does between two polls."""
        with self.polled:
            assert self.polled.wait_for(check, 10)

    def load(self, settings, artifact):
        if artifact.uri in self.broken:
            raise self.broken[artifact.uri]
        self.loaded.append(artifact.uri)
        return Scorer(artifact.uri)

    def close(self) -> None:
        pass


def named(version: str, artifact: Artifact | None, model: str = "m", beside: str | None = None) -> ModelState:
    serves = retraining.Champion(version=version, artifact=artifact, baseline=None, since=0)
    other = None if beside is None else Artifact(uri=beside, sha256="s", format="skops")
    shadow = retraining.Champion(version=beside, artifact=other, baseline=None, since=0) if beside else None
    return ModelState(id=version, model=model, champion=serves, previous=None, shadow=shadow, reason="promoted", at=0)


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


@pytest.mark.parametrize("error", [CHANGED, RuntimeError("odd")])
def test_what_cannot_be_loaded_does_not_answer_beside_and_disturbs_nobody(models, error):
    models.name("1", Artifact(uri="1", sha256="s", format="skops"), beside="2")
    models.broken = {"2": error}
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
    models.broken = {"2": CHANGED}
    models.promote("2")
    assert not champion.refresh()
    assert champion.version == "1"
    assert champion.predict([{"x": 1}])[0].version == "1"
    assert champion.problem == "version 2 of model 'm' cannot be served: model.skops does not match its checksum"
    models.broken = {}  # it has arrived whole by now
    assert champion.refresh()
    assert (champion.version, champion.problem) == ("2", None)


OF_A_NEWER_DRIFTLINE = encode(named("2", None)).replace(b'"stable"', b'"retired"')


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda models: models.write(OF_A_NEWER_DRIFTLINE),
            "offset 7 of models-0, about model 'm', cannot be read: not-an-event: ",
        ),
        (lambda models: models.write(b"{"), "offset 7 of models-0, about model 'm', cannot be read: not-json: "),
        (
            lambda models: models.write(b'{"x":' + b"[" * 100_000),
            "offset 7 of models-0, about model 'm', cannot be read: not-json",
        ),
        (lambda models: models.promote("odd"), "version odd of model 'm' cannot be served: RuntimeError: encrypted"),
    ],
)
def test_whatever_one_record_or_artifact_does_is_told_and_the_next_good_promotion_is_taken(models, caplog, spoil, said):
    models.broken = {"odd": RuntimeError("encrypted")}
    models.promote("1")
    with open_champion(models, follow=True) as champion:
        spoil(models)
        models.until(lambda: champion.problem is not None and champion.problem in caplog.text)
        assert champion.problem.startswith(said)
        assert champion.predict([{"x": 1}])[0].version == "1"
        models.promote("2")
        models.until(lambda: (champion.version, champion.problem) == ("2", None))


def test_what_cannot_be_read_stays_told_until_the_model_is_named_anew(models):
    models.promote("1")
    models.write(b"{")
    champion = open_champion(models)
    assert (champion.version, champion.refresh()) == ("1", False)
    assert "cannot be read" in champion.problem
    models.promote("1")
    assert not champion.refresh()
    assert champion.problem is None


def test_what_cannot_be_read_and_is_about_another_model_is_no_problem_of_this_one(models):
    models.promote("1")
    models.write(b"{", model="another")
    champion = open_champion(models)
    assert (champion.version, champion.problem) == ("1", None)


def test_a_model_of_which_nothing_can_be_read_says_so_and_not_that_it_has_none(models):
    models.write(b"{")
    with pytest.raises(DeploymentError, match="cannot be read"):
        open_champion(models)


@pytest.mark.parametrize(
    ("error", "said"),
    [(Unreachable("no Kafka answers"), "no Kafka"), (ValueError("odd bytes"), "ValueError: odd bytes")],
)
def test_a_follower_that_cannot_read_says_so_and_goes_on_when_it_can(models, monkeypatch, error, said):
    monkeypatch.setattr(module, "RETRY_S", 0)
    models.promote("1")
    models.trouble = error
    with open_champion(models, follow=True) as champion:
        models.until(lambda: champion.problem is not None)
        assert champion.problem.startswith(f"promotions of model 'm' are not seen: {said}")
        models.promote("2")
        models.trouble = None
        models.until(lambda: (champion.version, champion.problem) == ("2", None))


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


@pytest.mark.parametrize("error", [CHANGED, RuntimeError("checksum")])
def test_a_first_champion_that_is_broken_is_an_error(models, error):
    models.broken = {"1": error}
    models.promote("1")
    with pytest.raises(ArtifactError, match="checksum"):
        open_champion(models)


def test_a_follower_swaps_without_being_asked(models):
    models.promote("1")
    with open_champion(models, follow=True) as champion:
        models.promote("2")
        models.until(lambda: champion.version == "2")
    assert champion.predict([{"x": 1}])[0].version == "2"
