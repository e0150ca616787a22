"""The artifact store: what comes back is what went in, and nothing else is loaded."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

from driftline.errors import ArtifactError
from driftline.events.baselines import Baseline, Bins
from driftline.platform.artifacts import MANIFEST, MODEL, Manifest, load, store
from driftline.platform.settings import Settings

MANIFEST_OF_M = Manifest(
    model="m/odd name",
    version="1",
    task="binary",
    labels=("on-time", "late"),
    positive="late",
    features={"distance": "number", "carrier": "category"},
)
BASELINE = Baseline(id="b", model="m", version="1", bins=Bins(features={}), n=0, counts={}, source="test")
ROWS = [{"distance": 100.0, "carrier": "UA"}, {"carrier": "B6"}, {"distance": None, "carrier": None, "unknown": 1}]


@pytest.fixture
def settings(tmp_path):
    return Settings("nowhere:1", "redis://nowhere", "test.", tmp_path, tmp_path / "archive", tmp_path / "artifacts")


BOOSTED = HistGradientBoostingClassifier(max_iter=5)


def fitted(classifier=BOOSTED):
    chance = np.random.default_rng(0)
    frame = pd.DataFrame({"distance": chance.random(300), "carrier": pd.Series(["UA", "B6", "DL"] * 100, dtype=object)})
    target = np.where(chance.random(300) < frame["distance"], "late", "on-time")
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    return make_pipeline(make_column_transformer((codes, ["carrier"]), remainder="passthrough"), classifier).fit(
        frame, target
    )


def test_a_stored_classifier_answers_as_before_it_was_stored(settings):
    estimator = fitted()
    loaded = load(settings, store(settings, MANIFEST_OF_M, estimator, BASELINE))
    assert loaded.baseline == BASELINE
    assert msgspec.structs.replace(loaded.manifest, files={}) == MANIFEST_OF_M
    frame = pd.DataFrame(
        {
            "distance": [100.0, np.nan, np.nan],
            "carrier": pd.Series(["UA", "B6", None], dtype=object),
        }
    )
    pd.testing.assert_frame_equal(loaded.frame(ROWS), frame)
    late = estimator.predict_proba(frame)[:, list(estimator.classes_).index("late")]
    assert [score for _, score in loaded.answers(ROWS)] == late.tolist()
    assert [label for label, _ in loaded.answers(ROWS)] == estimator.predict(frame).tolist()
    assert loaded.answers([]) == []


def test_a_stored_model_of_many_labels_answers_with_the_probability_of_each(settings):
    labels = ("ant", "bee", "cat")
    manifest = msgspec.structs.replace(MANIFEST_OF_M, task="multiclass", labels=labels, positive=None)
    frame = pd.DataFrame({"distance": np.arange(30.0), "carrier": pd.Series(["UA", "B6", "DL"] * 10, dtype=object)})
    estimator = make_pipeline(
        make_column_transformer((OrdinalEncoder(), ["carrier"]), remainder="passthrough"), BOOSTED
    ).fit(frame, np.repeat(labels, 10))
    loaded = load(settings, store(settings, manifest, estimator))
    answers = loaded.answers_to(frame)
    shares = estimator.predict_proba(frame)
    assert [scores for _, scores in answers] == [dict(zip(labels, row, strict=True)) for row in shares.tolist()]
    assert [label for label, _ in answers] == estimator.predict(frame).tolist()


def test_a_stored_regressor_answers_with_numbers(settings):
    manifest = Manifest(
        model="m", version="1", task="regression", labels=(), positive=None, features={"distance": "number"}
    )
    estimator = LinearRegression().fit(pd.DataFrame({"distance": [0.0, 1.0]}), [1.0, 3.0])
    answers = load(settings, store(settings, manifest, estimator)).answers([{"distance": 2}])
    assert answers == [(pytest.approx(5.0), None)]


def test_forests_are_allowed_as_well(settings):
    load(settings, store(settings, MANIFEST_OF_M, fitted(RandomForestClassifier(3))))


def test_storing_the_same_again_gives_the_same_artifact_and_leaves_nothing_half_written(settings):
    estimator = fitted()
    first = store(settings, MANIFEST_OF_M, estimator)
    assert load(settings, store(settings, MANIFEST_OF_M, estimator)).manifest.version == "1"
    load(settings, first)
    assert not list(settings.artifact_dir.glob(".writing-*"))


def test_a_changed_model_file_is_refused(settings):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    path = settings.artifact_dir / artifact.uri / MODEL
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="does not match the checksum"):
        load(settings, artifact)


def test_a_changed_manifest_is_refused(settings):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    path = settings.artifact_dir / artifact.uri / MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"late"', b'"soon"'))
    with pytest.raises(ArtifactError, match="not what was promoted"):
        load(settings, artifact)


def test_a_type_that_is_not_on_the_list_is_refused_though_every_checksum_is_right(settings):
    artifact = store(settings, MANIFEST_OF_M, make_pipeline(FunctionTransformer(Path.touch)))
    with pytest.raises(ArtifactError, match="not allowed"):
        load(settings, artifact)


def test_a_missing_artifact_is_an_error_that_names_the_file(settings):
    artifact = msgspec.structs.replace(store(settings, MANIFEST_OF_M, fitted()), uri="m/1/none")
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
        load(settings, artifact)


@pytest.mark.parametrize("uri", ["../outside", "/etc", "", "m/../.."])
def test_a_name_that_leads_out_of_the_store_is_refused(settings, uri):
    artifact = msgspec.structs.replace(store(settings, MANIFEST_OF_M, fitted()), uri=uri)
    with pytest.raises(ArtifactError, match="leads out of"):
        load(settings, artifact)


def test_a_manifest_cannot_name_files_outside_its_directory(settings):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    manifest = msgspec.structs.replace(MANIFEST_OF_M, files={"../../secret": "0" * 64, MODEL: "0" * 64})
    data = msgspec.json.encode(manifest)
    (settings.artifact_dir / artifact.uri / MANIFEST).write_bytes(data)
    forged = msgspec.structs.replace(artifact, sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(ArtifactError, match="leads out of"):
        load(settings, forged)


def test_bytes_that_are_no_model_are_refused(settings):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    place = settings.artifact_dir / artifact.uri
    (place / MODEL).write_bytes(b"\x80\x04")
    digest = hashlib.sha256(b"\x80\x04").hexdigest()
    data = msgspec.json.encode(msgspec.structs.replace(MANIFEST_OF_M, files={MODEL: digest}))
    (place / MANIFEST).write_bytes(data)
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        load(settings, msgspec.structs.replace(artifact, sha256=hashlib.sha256(data).hexdigest()))


def test_a_file_that_the_manifest_does_not_name_is_refused(settings):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    (settings.artifact_dir / artifact.uri / "extra.pkl").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="not in the manifest"):
        load(settings, artifact)


def test_a_link_to_the_right_bytes_elsewhere_is_refused(settings, tmp_path):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    path = settings.artifact_dir / artifact.uri / MODEL
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match=r"leads out of|is a link"):
        load(settings, artifact)


def test_a_pickle_in_place_of_the_model_is_refused_and_never_run(settings, tmp_path):
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            return Path.touch, (canary,)

    artifact = store(settings, MANIFEST_OF_M, fitted())
    place, data = settings.artifact_dir / artifact.uri, pickle.dumps(Payload())
    (place / MODEL).write_bytes(data)
    manifest = msgspec.structs.replace(MANIFEST_OF_M, files={MODEL: hashlib.sha256(data).hexdigest()})
    (place / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    digest = hashlib.sha256((place / MANIFEST).read_bytes()).hexdigest()
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        load(settings, msgspec.structs.replace(artifact, sha256=digest))
    assert not canary.exists()


def test_a_file_stored_with_a_model_comes_back_and_is_vouched_for_like_the_others(settings):
    artifact = store(settings, MANIFEST_OF_M, fitted(), extra={"rows.parquet": b"rows"})
    loaded = load(settings, artifact)
    assert loaded.extra("rows.parquet") == b"rows"
    assert loaded.extra("manifest.json") is None  # not one of the files that it vouches for
    (settings.artifact_dir / artifact.uri / "rows.parquet").write_bytes(b"others")
    with pytest.raises(ArtifactError, match="does not match the checksum"):
        loaded.extra("rows.parquet")
    with pytest.raises(ArtifactError, match="does not match the checksum"):
        load(settings, artifact)
