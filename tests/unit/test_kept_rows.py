"""The rows kept with an artifact."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import msgspec
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.dummy import DummyClassifier
from tests.unit.test_checks import spec

from driftline.errors import ArtifactError, DriftlineError
from driftline.platform import registering
from driftline.platform.artifacts import load
from driftline.platform.kept_rows import ROWS, KeptRows, pack_rows, unpack_rows
from driftline.platform.registering import read_reference
from driftline.platform.settings import Settings
from driftline.spec.model import FeatureSpec

FEATURES = {"time": FeatureSpec(type="number"), "carrier": FeatureSpec(type="category")}
SPEC = msgspec.structs.replace(spec("binary"), features=FEATURES)


def test_rows_come_back_as_they_were_though_a_feature_is_named_like_a_column_of_ours():
    rows = KeptRows(["a", None], [5, None], ["yes", None], {"carrier": ["UA", None], "time": [1.5, None]})
    data = pack_rows(SPEC, rows)
    assert pq.ParquetFile(io.BytesIO(data)).schema_arrow.names == ["id", "time", "outcome", "time", "carrier"]
    assert unpack_rows(data) == rows
    assert list(unpack_rows(data).features) == ["time", "carrier"]


def test_labels_and_categories_have_one_spelling_and_a_regression_numbers():
    rows = KeptRows(["a"], [5], [True], {"carrier": [True], "time": [float("nan")]})
    assert unpack_rows(pack_rows(SPEC, rows)).outcomes == ["true"]
    numeric = msgspec.structs.replace(SPEC, task="regression")
    found = unpack_rows(pack_rows(numeric, KeptRows(["a"], [5], [2], {"carrier": [1], "time": [2]})))
    assert (found.outcomes, found.features) == ([2.0], {"time": [2.0], "carrier": ["1"]})


def test_what_are_no_rows_is_refused():
    with pytest.raises(ArtifactError, match="cannot be read"):
        unpack_rows(b"PAR1 and no more")


def test_one_changed_byte_anywhere_gives_rows_or_is_refused():
    good = pack_rows(
        SPEC, KeptRows(["a", None], [5, None], ["yes", None], {"carrier": ["UA", None], "time": [1, None]})
    )
    refused = 0
    for at in range(len(good)):
        try:
            unpack_rows(good[:at] + bytes([good[at] ^ 128]) + good[at + 1 :])
        except ArtifactError:
            refused += 1
    assert refused > len(good) // 4


def test_reference_rows_bring_their_ids_and_times_where_they_have_them(tmp_path):
    path = tmp_path / "reference.csv"
    path.write_text("id,time,distance,outcome\na,2013-01-01T00:00:00Z,1,yes\nb,,2,no\n")
    known = msgspec.structs.replace(SPEC, features={"distance": FeatureSpec(type="number")})
    found = read_reference(known, path)
    assert found["id"] == ["a", "b"]
    assert found["time"] == [int(datetime(2013, 1, 1, tzinfo=UTC).timestamp() * 1000), None]
    path.write_text("time,distance\nsoon,1\n")
    with pytest.raises(DriftlineError, match="neither a timestamp nor milliseconds"):
        read_reference(known, path)


def test_a_registered_model_keeps_its_reference_rows(tmp_path, monkeypatch):
    for name in ("read_deployment", "declare_baseline", "send_command"):
        monkeypatch.setattr(registering, name, lambda *_: None)
    known = msgspec.structs.replace(SPEC, features={"distance": FeatureSpec(type="number")})
    settings = Settings("nowhere", "redis://nowhere", "t.", tmp_path, tmp_path, tmp_path / "artifacts")
    frame = pd.DataFrame({"distance": [1.0, 2.0]})
    estimator = DummyClassifier(strategy="prior").fit(frame, ["no", "yes"])

    def kept(version, reference):
        artifact = registering.register(settings, known, version, estimator, reference, "ada").artifact
        return unpack_rows(load(settings, artifact).extra(ROWS))

    features = {"distance": [1.0, None]}
    assert kept("1", features) == KeptRows([None, None], [None, None], [None, None], features)
    told = {"id": ["a", "b"], "time": [5, None], "outcome": ["yes", "no"]}
    assert kept("2", features | told) == KeptRows(["a", "b"], [5, None], ["yes", "no"], features)
