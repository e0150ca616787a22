"""The artifact store: models as directories whose every byte a manifest vouches for, loaded without running code."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec

from driftline.core.binning import category_name
from driftline.errors import ArtifactError
from driftline.events.base import decode, encode
from driftline.events.baselines import Baseline
from driftline.events.inputs import Label, Score, Value
from driftline.events.retraining import Artifact
from driftline.platform.settings import Settings
from driftline.spec.metrics import Task

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "skops"
MANIFEST, MODEL, BASELINE = "manifest.json", "model.skops", "baseline.json"
TRUSTED = frozenset(
    {
        # trees of numbers, which skops does not know to be harmless; anything else that it does not know is refused
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    }
)
"""What an artifact may hold beyond the types that skops trusts by itself. Fixed here, never taken from a file."""

Row = Mapping[str, Value]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an artifact is. `features`: name -> type, in the order of the model's columns; `files`: name -> sha256."""

    model: str
    version: str
    task: Task
    labels: tuple[str, ...]
    positive: str | None
    features: dict[str, Literal["number", "category"]]
    format: str = FORMAT
    files: dict[str, str] = {}


@dataclass(frozen=True)
class StoredModel:
    """A loaded artifact: a scikit-learn estimator and what its manifest says. `place`: its directory, once stored."""

    manifest: Manifest
    estimator: Any
    baseline: Baseline | None
    place: Path | None = None

    def extra(self, name: str) -> bytes | None:
        """A file that was stored with it, checked like all others; None where it has none of this name."""
        if self.place is None or name not in self.manifest.files:
            return None
        return _verified(_inside(self.place, name), self.manifest.files[name])

    def frame(self, rows: Sequence[Row]) -> pd.DataFrame:
        """The rows as the estimator takes them; see `frame_of`."""
        return frame_of(self.manifest, {name: [row.get(name) for row in rows] for name in self.manifest.features})

    def answers(self, rows: Sequence[Row]) -> list[tuple[Label, Score]]:
        """For each row the prediction and its score."""
        return self.answers_to(self.frame(rows)) if rows else []

    def answers_to(self, frame: pd.DataFrame) -> list[tuple[Label, Score]]:
        """As `answers`, of a frame such as `frame_of` makes, which must not be empty."""
        if self.manifest.task == "regression":
            return [(float(value), None) for value in self.estimator.predict(frame)]
        classes = [str(name) for name in self.estimator.classes_]
        shares = self.estimator.predict_proba(frame)
        chosen = shares.argmax(axis=1)
        if self.manifest.task == "multiclass":
            told = (dict(zip(classes, row, strict=True)) for row in shares.tolist())
            return [(classes[i], scores) for i, scores in zip(chosen, told, strict=True)]
        scores = shares[:, classes.index(str(self.manifest.positive))]
        return [(classes[i], float(score)) for i, score in zip(chosen, scores, strict=True)]


def frame_of(manifest: Manifest, columns: Mapping[str, Sequence[Value]]) -> pd.DataFrame:
    """A column a feature, in the manifest's order: numbers as float64 with NaN, text as objects with None."""
    import pandas as pd

    series = {}
    for name, type_ in manifest.features.items():
        values: list[Any] = list(columns[name])
        if type_ == "number":
            series[name] = pd.Series(values, dtype="float64")
        else:
            series[name] = pd.Series([category_name(value) for value in values], dtype=object)
    return pd.DataFrame(series)


def store(
    settings: Settings,
    manifest: Manifest,
    estimator: Any,
    baseline: Baseline | None = None,
    extra: Mapping[str, bytes] = {},
) -> Artifact:
    """Write an artifact under `<model>/<version>/<digest>`: complete or not at all, and never over another one.

    `extra`: further files to keep with it, by name.
    """
    skops_io = _skops()
    settings.artifact_dir.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".writing-", dir=settings.artifact_dir))
    try:
        _write(work / MODEL, skops_io.dumps(estimator))
        if baseline is not None:
            _write(work / BASELINE, encode(baseline))
        for name, content in extra.items():
            _write(work / name, content)
        files = {path.name: _sha256(path.read_bytes()) for path in sorted(work.iterdir())}
        data = encode(msgspec.structs.replace(manifest, files=files))
        _write(work / MANIFEST, data)
        digest = _sha256(data)
        uri = f"{quote(manifest.model, safe='')}/{quote(manifest.version, safe='')}/{digest[:16]}"
        place = settings.artifact_dir / uri
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            work.chmod(0o755)
            os.replace(work, place)
            _sync(place.parent)
        return Artifact(uri=uri, sha256=digest, format=FORMAT)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def load(settings: Settings, artifact: Artifact) -> StoredModel:
    """Check every checksum from `artifact.sha256` on, then load. Raises `ArtifactError`."""
    place = _inside(settings.artifact_dir, artifact.uri)
    data = _read(place / MANIFEST)
    if _sha256(data) != artifact.sha256:
        raise ArtifactError(f"{place / MANIFEST} is not what was promoted: its sha256 is not {artifact.sha256}")
    try:
        manifest = decode(data, Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{place / MANIFEST} is no manifest: {error}") from error
    if manifest.format != FORMAT or MODEL not in manifest.files:
        raise ArtifactError(f"{place} is of format {manifest.format!r}; only {FORMAT!r} can be loaded")
    files = {name: _verified(_inside(place, name), digest) for name, digest in manifest.files.items()}
    _check_nothing_else(place, set(files))
    baseline = decode(files[BASELINE], Baseline) if BASELINE in files else None
    return StoredModel(manifest, _load_estimator(files[MODEL], place), baseline, place)


def load_estimator(path: Path) -> Any:
    """A model saved by skops, under the same fixed list of allowed types. Raises `ArtifactError`."""
    return _load_estimator(_read(path), path)


def _load_estimator(data: bytes, place: Path) -> Any:
    skops_io = _skops()
    try:
        unknown = skops_io.get_untrusted_types(data=data)
        refused = sorted(set(unknown) - TRUSTED)
        if refused:
            raise ArtifactError(f"{place / MODEL} holds types that are not allowed: {', '.join(refused)}")
        return skops_io.loads(data, trusted=unknown)
    except (zipfile.BadZipFile, ImportError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ArtifactError(f"{place / MODEL} cannot be loaded: {type(error).__name__}: {error}") from error


def _verified(path: Path, digest: str) -> bytes:
    data = _read(path)
    if _sha256(data) != digest:
        raise ArtifactError(f"{path} does not match the checksum in its manifest")
    return data


def _check_nothing_else(place: Path, named: set[str]) -> None:
    """What the manifest does not vouch for has no business there, nor has a link to somewhere else."""
    for path in sorted(place.iterdir()):
        if path.name not in {*named, MANIFEST}:
            raise ArtifactError(f"{path} is not in the manifest; whoever put it there is not Driftline")
        if path.is_symlink():
            raise ArtifactError(f"{path} is a link; an artifact is made of plain files")


def _write(path: Path, data: bytes) -> None:
    """Write so that the bytes outlive a loss of power, before the directory gets its final name."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    """Let the names in it outlive a loss of power too."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error


def _inside(directory: Path, name: str) -> Path:
    """`directory / name`, which must not lead out of it."""
    path = (directory / name).resolve()
    if not path.is_relative_to(directory.resolve()) or path == directory.resolve():
        raise ArtifactError(f"{name!r} leads out of {directory}")
    return path


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _skops() -> Any:
    """skops, an extra: only those who store or serve models need it."""
    try:
        from skops import io
    except ImportError as error:
        raise ArtifactError("models need scikit-learn and skops: pip install 'driftline[sklearn]'") from error
    return io
