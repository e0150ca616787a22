"""Formats of stored models: a further one is an entry of `FORMATS`. None of them may run code that a file brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftline.errors import ArtifactError, ArtifactFault

TRUSTED = frozenset(
    {
        # trees of numbers, which skops does not know to be harmless; anything else that it does not know is refused
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    }
)
"""What an artifact may hold beyond the types that skops trusts by itself. Fixed here, never taken from a file."""


@dataclass(frozen=True)
class Format:
    """How a model becomes the bytes of `file`, and comes back.

    What comes back has `predict`, and for classes `predict_proba` and `classes_`, as scikit-learn's estimators do.
    `load(data, path)` builds it without running anything that `data` brings, names the file in what it raises, and
    raises `ArtifactError`, never anything else: there is no other way to load what it refuses.
    """

    name: str
    file: str
    dump: Callable[[Any], bytes]
    load: Callable[[bytes, Path], Any]


def format_named(name: str) -> Format:
    """Raises `ArtifactError` where there is no such format."""
    if name not in FORMATS:
        raise ArtifactError(
            f"its format is {name!r}; only {', '.join(map(repr, FORMATS))} can be loaded", ArtifactFault.UNKNOWN_FORMAT
        )
    return FORMATS[name]


def _dump_skops(estimator: Any) -> bytes:
    data: bytes = _skops().dumps(estimator)
    return data


def _load_skops(data: bytes, path: Path) -> Any:
    try:
        skops_io = _skops()
        unknown = skops_io.get_untrusted_types(data=data)
        refused = sorted(set(unknown) - TRUSTED)
        if refused:
            raise ArtifactError(
                f"{path} holds types that are not allowed: {', '.join(refused)}", ArtifactFault.FORBIDDEN_TYPE
            )
        return skops_io.loads(data, trusted=unknown)
    except ArtifactError:
        raise
    except Exception as error:  # zlib, zipfile, json, numpy, scikit-learn: each has its own way to say that it cannot
        raise ArtifactError(
            f"{path} cannot be loaded: {type(error).__name__}: {error}", ArtifactFault.UNLOADABLE
        ) from error


def _skops() -> Any:
    """skops, an extra: only those who store or serve models need it."""
    try:
        from skops import io
    except ImportError as error:
        raise ArtifactError("models need scikit-learn and skops: pip install 'driftline[sklearn]'") from error
    return io


SKOPS = Format("skops", "model.skops", _dump_skops, _load_skops)
FORMATS = {each.name: each for each in (SKOPS,)}
