"""The artifact store: what comes back is what went in, and nothing else is loaded."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

from driftline.errors import ArtifactError, ArtifactFault
from driftline.events.base import encode
from driftline.events.baselines import Baseline, Bins
from driftline.events.retraining import Artifact
from driftline.platform.artifacts import BASELINE as BASELINE_FILE
from driftline.platform.artifacts import MANIFEST, MODEL, SIGNATURE, Manifest, load, load_estimator, store
from driftline.platform.formats import FORMATS, SKOPS, Format
from driftline.platform.keys import Keyring
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


def refused(settings, artifact) -> ArtifactFault | None:
    """Why it is; the message says so too."""
    with pytest.raises(ArtifactError) as caught:
        load(settings, artifact)
    assert str(caught.value).startswith(f"{caught.value.fault}: ")
    return caught.value.fault


def place_of(settings, artifact) -> Path:
    return settings.artifact_dir / artifact.uri


def signed_again(settings, artifact, data: bytes, keyring: Keyring | None = None) -> Artifact:
    """With `data` as its manifest, and the signature of whoever has the key."""
    signature = (keyring or Keyring(settings.keys)).sign(data)
    (place_of(settings, artifact) / MANIFEST).write_bytes(data)
    (place_of(settings, artifact) / SIGNATURE).write_text(signature)
    return msgspec.structs.replace(artifact, sha256=hashlib.sha256(data).hexdigest(), signature=signature)


def with_files(settings, artifact, **files: bytes) -> Artifact:
    """The artifact with these files in place of its model, all of it signed for."""
    (place_of(settings, artifact) / MODEL).unlink()
    digests = {}
    for name, data in files.items():
        path = place_of(settings, artifact) / name.replace("_", ".")
        path.write_bytes(data)
        digests[path.name] = hashlib.sha256(data).hexdigest()
    return signed_again(settings, artifact, encode(msgspec.structs.replace(MANIFEST_OF_M, files=digests)))


def elsewhere(tmp_path) -> Keyring:
    """The keys of another machine."""
    return Keyring(tmp_path / "another machine")


def test_an_artifact_carries_the_signature_of_the_key_that_the_machine_made_for_itself(settings):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    (key,) = Keyring(settings.keys).trusted()
    assert artifact.signature.split(":")[0] == key.id
    assert (place_of(settings, artifact) / SIGNATURE).read_text() == artifact.signature
    key.public.verify(
        bytes.fromhex(artifact.signature.split(":")[1]), (place_of(settings, artifact) / MANIFEST).read_bytes()
    )


def test_what_another_machine_has_signed_is_loaded_once_its_key_is_trusted(settings, tmp_path):
    there = elsewhere(tmp_path)
    artifact = store(replace(settings, key_dir=there.directory), MANIFEST_OF_M, fitted())
    store(settings, MANIFEST_OF_M, fitted())  # a key of our own does not help
    assert refused(settings, artifact) == ArtifactFault.UNKNOWN_SIGNER
    (key,) = there.trusted()
    Keyring(settings.keys).trust(key.file)
    load(settings, artifact)
    Keyring(settings.keys).distrust(key.id)
    assert refused(settings, artifact) == ArtifactFault.UNKNOWN_SIGNER


def test_a_new_key_leaves_what_the_old_one_has_signed_loadable_and_the_same_model_is_signed_anew_beside_it(settings):
    same_bytes = msgspec.structs.replace(MANIFEST_OF_M, format="same")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FORMATS, "same", Format("same", "same.txt", lambda model: b"1", lambda data, path: data))
        old = store(settings, same_bytes, None)
        Keyring(settings.keys).make("second")
        new = store(settings, same_bytes, None)
        assert (old.sha256, old.uri) != (new.sha256, new.uri)
        assert old.sha256 == new.sha256
        assert load(settings, old).estimator == load(settings, new).estimator == b"1"


def test_an_unsigned_artifact_is_refused(settings):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    assert refused(settings, msgspec.structs.replace(artifact, signature=None)) == ArtifactFault.UNSIGNED
    (place_of(settings, artifact) / SIGNATURE).unlink()
    assert refused(settings, artifact) == ArtifactFault.UNSIGNED


def test_a_forger_who_does_everything_right_but_has_no_trusted_key_is_refused(settings, tmp_path):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    data = encode(msgspec.structs.replace(MANIFEST_OF_M, version="2", files={MODEL: "0" * 64}))
    forged = signed_again(settings, artifact, data, elsewhere(tmp_path))
    assert refused(settings, forged) == ArtifactFault.UNKNOWN_SIGNER
    # and in the name of a key that is trusted
    stolen = f"{artifact.signature.split(':')[0]}:{forged.signature.split(':')[1]}"
    (place_of(settings, artifact) / SIGNATURE).write_text(stolen)
    assert refused(settings, msgspec.structs.replace(forged, signature=stolen)) == ArtifactFault.BAD_SIGNATURE


@pytest.mark.parametrize("signature", ["", ":", "signed, honestly", "é:00", "{key}:", "{key}:zz", "{key}:00"])
def test_what_is_no_signature_is_refused(settings, signature):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    signature = signature.format(key=artifact.signature.split(":")[0])
    (place_of(settings, artifact) / SIGNATURE).write_bytes(signature.encode())
    found = refused(settings, msgspec.structs.replace(artifact, signature=signature))
    assert found in {ArtifactFault.BAD_SIGNATURE, ArtifactFault.UNKNOWN_SIGNER}


def test_nothing_is_built_from_an_artifact_before_it_is_verified(settings, monkeypatch):
    built = []
    monkeypatch.setitem(FORMATS, "skops", replace(SKOPS, load=lambda data, path: built.append(path)))
    artifact = store(settings, MANIFEST_OF_M, fitted(), BASELINE)
    for name in (MODEL, BASELINE_FILE, MANIFEST, SIGNATURE):
        path = place_of(settings, artifact) / name
        good = path.read_bytes()
        path.write_bytes(good + b" ")
        refused(settings, artifact)
        path.write_bytes(good)
    assert built == []
    load(settings, artifact)
    assert built == [place_of(settings, artifact) / MODEL]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """An artifact of a few hundred bytes a file: where it is, and what stands in each of its files."""
    path = tmp_path_factory.mktemp("small")
    settings = Settings("nowhere:1", "redis://nowhere", "test.", path, path / "archive", path / "artifacts")
    estimator = LinearRegression().fit(pd.DataFrame({"distance": [0.0, 1.0]}), [1.0, 3.0])
    artifact = store(settings, MANIFEST_OF_M, estimator, BASELINE)
    load(settings, artifact)
    return settings, artifact, {path: path.read_bytes() for path in place_of(settings, artifact).iterdir()}


@given(data=st.data())
def test_a_changed_byte_of_any_file_or_of_the_signature_is_refused(small, data):
    settings, artifact, files = small
    path = data.draw(st.sampled_from(sorted(files)))
    at = data.draw(st.integers(0, len(files[path]) - 1))
    changed = bytearray(files[path])
    changed[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        refused(settings, artifact)
        if path.name == SIGNATURE:  # and where the event says the same
            said = changed.decode("latin-1")
            assume(said.lower() != artifact.signature)  # the same numbers, in capital letters
            path.write_text(said)
            refused(settings, msgspec.structs.replace(artifact, signature=said))
    finally:
        path.write_bytes(files[path])


@given(data=st.data())
def test_a_file_cut_short_or_with_more_at_its_end_is_refused(small, data):
    settings, artifact, files = small
    path = data.draw(st.sampled_from(sorted(files)))
    cut = data.draw(st.integers(0, len(files[path]) - 1))
    path.write_bytes(data.draw(st.sampled_from([files[path][:cut], files[path] + files[path][cut:]])))
    try:
        refused(settings, artifact)
    finally:
        path.write_bytes(files[path])


def test_a_changed_model_file_is_refused(settings):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    path = place_of(settings, artifact) / MODEL
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="does not match the checksum"):
        load(settings, artifact)
    assert refused(settings, artifact) == ArtifactFault.CHANGED_FILE


def test_a_changed_manifest_is_refused(settings):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    path = place_of(settings, artifact) / MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"late"', b'"soon"'))
    with pytest.raises(ArtifactError, match="not what was promoted"):
        load(settings, artifact)


def test_an_older_artifact_in_the_place_of_a_newer_one_is_refused_though_both_are_signed(settings):
    old = store(settings, MANIFEST_OF_M, fitted())
    new = store(settings, msgspec.structs.replace(MANIFEST_OF_M, version="2"), fitted())
    shutil.rmtree(place_of(settings, new))
    shutil.copytree(place_of(settings, old), place_of(settings, new))
    assert refused(settings, new) == ArtifactFault.OTHER_MANIFEST


def test_a_type_that_is_not_on_the_list_is_refused_though_every_checksum_is_right(settings):
    artifact = store(settings, MANIFEST_OF_M, make_pipeline(FunctionTransformer(Path.touch)))
    with pytest.raises(ArtifactError, match="not allowed"):
        load(settings, artifact)
    assert refused(settings, artifact) == ArtifactFault.FORBIDDEN_TYPE


def test_a_missing_artifact_is_an_error_that_names_it(settings):
    artifact = msgspec.structs.replace(store(settings, MANIFEST_OF_M, fitted()), uri="m/1/none")
    with pytest.raises(ArtifactError, match=r"m/1/none cannot be read"):
        load(settings, artifact)
    assert refused(settings, artifact) == ArtifactFault.MISSING


@pytest.mark.parametrize("name", [MODEL, BASELINE_FILE, MANIFEST])
def test_an_artifact_that_lacks_a_file_is_refused(settings, name):
    artifact = store(settings, MANIFEST_OF_M, fitted(), BASELINE)
    (place_of(settings, artifact) / name).unlink()
    assert refused(settings, artifact) == ArtifactFault.MISSING


@pytest.mark.parametrize("uri", ["../outside", "/etc", "", "m/../.."])
def test_a_name_that_leads_out_of_the_store_is_refused(settings, uri):
    artifact = msgspec.structs.replace(store(settings, MANIFEST_OF_M, fitted()), uri=uri)
    assert refused(settings, artifact) == ArtifactFault.OUTSIDE_STORE


@pytest.mark.parametrize("name", ["../../secret", "/etc/hostname", ".", ""])
def test_a_manifest_cannot_name_files_outside_its_directory(settings, name):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    (settings.artifact_dir / "secret").write_bytes(b"x")
    model = hashlib.sha256((place_of(settings, artifact) / MODEL).read_bytes()).hexdigest()
    manifest = msgspec.structs.replace(MANIFEST_OF_M, files={name: hashlib.sha256(b"x").hexdigest(), MODEL: model})
    assert refused(settings, signed_again(settings, artifact, encode(manifest))) == ArtifactFault.MISSING


def test_bytes_that_are_no_model_are_refused(settings):
    artifact = with_files(settings, store(settings, MANIFEST_OF_M, fitted()), model_skops=b"\x80\x04")
    assert refused(settings, artifact) == ArtifactFault.UNLOADABLE


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"\xff", b"[1]", b'{"x":' + b"[" * 100_000],
    ids=["nothing", "empty", "no text", "list", "deep"],
)
def test_a_manifest_or_a_baseline_that_is_none_is_refused_though_it_is_signed(settings, data):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    model = (place_of(settings, artifact) / MODEL).read_bytes()
    assert refused(settings, signed_again(settings, artifact, data)) == ArtifactFault.UNLOADABLE
    artifact = with_files(settings, artifact, baseline_json=data, model_skops=model)
    assert refused(settings, artifact) == ArtifactFault.UNLOADABLE


def test_a_file_that_the_manifest_does_not_name_is_refused(settings):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    (place_of(settings, artifact) / "extra.pkl").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="not in the manifest"):
        load(settings, artifact)
    assert refused(settings, artifact) == ArtifactFault.EXTRA_FILE


@pytest.mark.parametrize("name", [MODEL, MANIFEST, SIGNATURE])
def test_a_link_to_the_right_bytes_elsewhere_is_refused(settings, tmp_path, name):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    path = place_of(settings, artifact) / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert refused(settings, artifact) == ArtifactFault.LINK


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_at_all_is_refused_and_not_waited_for(settings, make):
    artifact = store(settings, MANIFEST_OF_M, fitted())
    make(place_of(settings, artifact) / "odd")
    assert refused(settings, artifact) == ArtifactFault.LINK


def test_a_pickle_in_place_of_the_model_is_refused_and_never_run_though_it_is_signed(settings, tmp_path):
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            return Path.touch, (canary,)

    artifact = with_files(settings, store(settings, MANIFEST_OF_M, fitted()), model_skops=pickle.dumps(Payload()))
    assert refused(settings, artifact) == ArtifactFault.UNLOADABLE
    assert not canary.exists()


def test_a_format_without_a_loader_is_refused_and_a_further_one_needs_only_its_entry(settings, monkeypatch):
    numbers = Format("numbers", "numbers.json", msgspec.json.encode, lambda data, path: msgspec.json.decode(data))
    manifest = msgspec.structs.replace(MANIFEST_OF_M, format="numbers")
    with pytest.raises(ArtifactError, match="'numbers'; only 'skops'"):
        store(settings, manifest, [1, 2])
    with monkeypatch.context() as patch:
        patch.setitem(FORMATS, "numbers", numbers)
        artifact = store(settings, manifest, [1, 2])
        assert (artifact.format, load(settings, artifact).estimator) == ("numbers", [1, 2])
    assert refused(settings, artifact) == ArtifactFault.UNKNOWN_FORMAT


def test_a_file_that_skops_has_not_written_cannot_be_registered(tmp_path):
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(LinearRegression()))
    with pytest.raises(ArtifactError, match=r"unloadable: .*model\.pkl cannot be loaded"):
        load_estimator(tmp_path / "model.pkl")


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
