"""The artifact store: models as directories, loaded without running code.

A manifest vouches for every byte of a directory, and a signature for the manifest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from driftline.core.binning import category_name
from driftline.errors import ArtifactError, ArtifactFault
from driftline.events.base import decode, encode
from driftline.events.baselines import Baseline
from driftline.events.inputs import Label, Score, Value
from driftline.events.retraining import Artifact
from driftline.platform.formats import SKOPS, format_named
from driftline.platform.keys import Keyring
from driftline.platform.paths import inside, name_for
from driftline.platform.settings import Settings
from driftline.platform.writing import aside, settle
from driftline.spec.metrics import Task

if TYPE_CHECKING:
    import pandas as pd

MANIFEST, SIGNATURE, BASELINE = "manifest.json", "manifest.sig", "baseline.json"
MODEL = SKOPS.file

Row = Mapping[str, Value]
T = TypeVar("T")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an artifact is. `features`: name -> type, in the order of the model's columns; `files`: name -> sha256."""

    model: str
    version: str
    task: Task
    labels: tuple[str, ...]
    positive: str | None
    features: dict[str, Literal["number", "category"]]
    format: str = SKOPS.name
    files: dict[str, str] = {}


@dataclass(frozen=True)
class StoredModel:
    """A loaded artifact: an estimator and what its manifest says. `place`: its directory, once stored."""

    manifest: Manifest
    estimator: Any
    baseline: Baseline | None
    place: Path | None = None

    def extra(self, name: str) -> bytes | None:
        """A file that was stored with it, checked like all others; None where it has none of this name."""
        if self.place is None or name not in self.manifest.files:
            return None
        return _verified(self.place / name, self.manifest.files[name])

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
    """Write an artifact under `<model>/<version>/<digest>`: signed and complete, or not at all, never over another.

    `extra`: further files to keep with it, by name. Raises `DeploymentError` where nothing can be signed.
    """
    format = format_named(manifest.format)
    with aside(settings.artifact_dir) as work:
        _write(work / format.file, format.dump(estimator))
        if baseline is not None:
            _write(work / BASELINE, encode(baseline))
        for name, content in extra.items():
            _write(work / name, content)
        files = {path.name: _sha256(path.read_bytes()) for path in sorted(work.iterdir())}
        data = encode(msgspec.structs.replace(manifest, files=files))
        signature = Keyring(settings.keys).sign(data)
        _write(work / MANIFEST, data)
        _write(work / SIGNATURE, signature.encode())
        # the signature too: the same model signed by another key does not meet the place of the first
        digest = _sha256(data + signature.encode())
        uri = f"{name_for(manifest.model)}/{name_for(manifest.version)}/{digest[:16]}"
        place = settings.artifact_dir / uri
        if not place.exists():
            work.chmod(0o755)
            settle(work, place)
        return Artifact(uri=uri, sha256=_sha256(data), format=format.name, signature=signature)


def load(settings: Settings, artifact: Artifact) -> StoredModel:
    """Check who signed, then every file, then load what was checked. Raises `ArtifactError`, which names its fault.

    1. nothing but plain files stands in the directory that `artifact` names;
    2. the manifest is the one of which `artifact` speaks, and a trusted key has signed it;
    3. the manifest names all files that are there, with their checksums, and a format that is known;
    4. only now anything is built from the bytes, which are still those that were checked.
    """
    place = inside(settings.artifact_dir, artifact.uri)
    there = _plain_files(place)
    manifest = _signed_manifest(settings, artifact, place, there)
    format = format_named(manifest.format)
    if extra := there - {MANIFEST, SIGNATURE} - manifest.files.keys():
        raise ArtifactError(f"{place} holds {_listed(extra)}, not in the manifest", ArtifactFault.EXTRA_FILE)
    if absent := {format.file, *manifest.files} - there:
        raise ArtifactError(f"{place} lacks {_listed(absent)}", ArtifactFault.MISSING)
    files = {name: _verified(place / name, digest) for name, digest in manifest.files.items()}
    baseline = _decoded(files[BASELINE], Baseline, place / BASELINE) if BASELINE in files else None
    return StoredModel(manifest, format.load(files[format.file], place / format.file), baseline, place)


def load_estimator(path: Path) -> Any:
    """A model saved by skops, under the same fixed list of allowed types. Raises `ArtifactError`."""
    return SKOPS.load(_read(path), path)


def _signed_manifest(settings: Settings, artifact: Artifact, place: Path, there: set[str]) -> Manifest:
    data = _read(place / MANIFEST)
    if _sha256(data) != artifact.sha256:
        raise ArtifactError(
            f"{place / MANIFEST} is not what was promoted: its sha256 is not {artifact.sha256}",
            ArtifactFault.OTHER_MANIFEST,
        )
    if artifact.signature is None or SIGNATURE not in there:
        raise ArtifactError(f"nobody has signed {place / MANIFEST}; store the model again", ArtifactFault.UNSIGNED)
    if _read(place / SIGNATURE) != artifact.signature.encode():
        raise ArtifactError(f"{place / SIGNATURE} is not the signature announced", ArtifactFault.BAD_SIGNATURE)
    Keyring(settings.keys).verify(data, artifact.signature)
    return _decoded(data, Manifest, place / MANIFEST)


def _plain_files(place: Path) -> set[str]:
    """The names of what stands there. A link to somewhere else has no business there, nor anything but a file."""
    try:
        paths = list(place.iterdir())
    except OSError as error:
        raise ArtifactError(f"{place} cannot be read: {error.strerror}", ArtifactFault.MISSING) from error
    if odd := {path.name for path in paths if path.is_symlink() or not path.is_file()}:
        raise ArtifactError(f"{place} holds {_listed(odd)}, which is no plain file", ArtifactFault.LINK)
    return {path.name for path in paths}


def _decoded(data: bytes, kind: type[T], path: Path) -> T:
    try:
        return decode(data, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"{path} is no {kind.__name__.lower()}: {error}", ArtifactFault.UNLOADABLE) from error


def _verified(path: Path, digest: str) -> bytes:
    data = _read(path)
    if _sha256(data) != digest:
        raise ArtifactError(f"{path} does not match the checksum in its manifest", ArtifactFault.CHANGED_FILE)
    return data


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}", ArtifactFault.MISSING) from error


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
