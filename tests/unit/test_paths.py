"""Names from outside as parts of paths: they stay where they belong."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyRegressor
from tests.unit.test_checks import spec
from tests.unit.test_gate_rows import asked

from driftline.errors import ArtifactError, ArtifactFault
from driftline.events.base import digest_id
from driftline.platform.archive_files import NO_MODEL, directory_of
from driftline.platform.artifacts import Manifest, load, store
from driftline.platform.held_out import HeldOutRows, keep
from driftline.platform.paths import inside, name_for
from driftline.platform.settings import Settings
from driftline.trainer import work

ODD = ["", ".", "..", "../../x", "/tmp/escaped/x", "a/b", "a\\b", ".hidden", "a\0b", "ü" * 200, "x" * 1000, "%2E", "~"]


@pytest.fixture
def settings(tmp_path):
    state = tmp_path / "state"
    return Settings("nowhere:1", "redis://nowhere", "t.", state, state / "archive", state / "artifacts")


def escaped(settings) -> list[Path]:
    """What stands beside the state directory."""
    return [path for path in settings.state_dir.parent.iterdir() if path != settings.state_dir]


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(ODD))
def test_any_text_is_one_name_that_a_file_system_takes_and_stays_inside(text):
    name = name_for(text)
    assert 0 < len(name.encode()) <= 200
    assert "/" not in name
    assert not name.startswith(".")
    assert Path(os.path.normpath(Path("/a") / name)).parent == Path("/a")


def test_different_texts_have_different_names_and_those_of_driftline_are_left_as_they_are():
    assert len({name_for(text) for text in ODD}) == len(ODD)
    assert name_for(digest_id("request")) == digest_id("request")
    assert name_for("v20130401-1f2e3d") == "v20130401-1f2e3d"
    assert (directory_of(None), directory_of("a b")) == (NO_MODEL, "a%20b")


@pytest.mark.parametrize("request_id", ODD, ids=range(len(ODD)))
def test_a_training_stays_in_the_state_directory_whatever_its_request_is_called(settings, request_id):
    request = msgspec.structs.replace(asked(None).request, id=request_id)
    directory = work._job(settings, request, spec("binary"))
    assert directory.parent == settings.state_dir / "trainings"
    assert directory.resolve() == directory
    assert escaped(settings) == []


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_an_artifact_stays_in_the_store_whatever_its_model_and_version_are_called(settings, odd):
    for model, version in ((odd, "1"), ("m", odd), (odd, odd)):
        manifest = Manifest(
            model=model, version=version, task="regression", labels=(), positive=None, features={"x": "number"}
        )
        artifact = store(settings, manifest, DummyRegressor().fit([[0]], [0]))
        load(settings, artifact)
        assert len(Path(artifact.uri).parts) == 3
    assert escaped(settings) == []


@pytest.mark.parametrize("uri", ["../../x", "/tmp/escaped/x", "m/../../../x", "a\0b"])
def test_rows_are_kept_for_no_artifact_that_leads_out_of_the_store(settings, uri):
    question = asked(None)
    artifact = msgspec.structs.replace(question.candidate.artifact, uri=uri)
    candidate = msgspec.structs.replace(question.candidate, artifact=artifact)
    rows = HeldOutRows([], [], [], {name: [] for name in question.resolved.features}, [], None)
    with pytest.raises(ArtifactError) as caught:
        keep(settings, msgspec.structs.replace(question, candidate=candidate), rows, {})
    assert caught.value.fault == ArtifactFault.OUTSIDE_STORE
    assert escaped(settings) == []


def test_links_in_a_ring_or_to_elsewhere_lead_nowhere(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ArtifactError):
        inside(tmp_path, "a")
    (tmp_path / "out").symlink_to("/tmp")
    with pytest.raises(ArtifactError, match="leads out of"):
        inside(tmp_path, "out/x")
