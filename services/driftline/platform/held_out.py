"""What a candidate is compared on: the question, the held-out rows, and both kept beside its artifact for whoever asks
again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from driftline.errors import ArtifactError
from driftline.events.base import Millis, decode, encode
from driftline.events.inputs import Label, Score, Value
from driftline.events.retraining import Artifact, Candidate, RetrainRequest
from driftline.events.verdicts import Kept
from driftline.platform.kept_rows import KeptRows, pack_rows, unpack_rows
from driftline.platform.paths import inside
from driftline.platform.settings import Settings
from driftline.platform.writing import write
from driftline.spec.model import MonitorSpec
from driftline.spec.plain import from_plain

HOLDOUT, BESIDE, QUESTION = "holdout.parquet", "beside.json", "question.json"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Who is compared with whom, under which spec (as plain JSON). `champion`: its artifact, where it has one."""

    candidate: Candidate
    request: RetrainRequest
    spec: dict[str, Any]
    champion: Artifact | None

    @property
    def resolved(self) -> MonitorSpec:
        """The spec."""
        return from_plain(self.spec)


@dataclass(frozen=True)
class HeldOutRows:
    """Row i is the i-th of each. `said`: what the champion answered, if its logged predictions stand for it."""

    ids: Sequence[str]
    times: Sequence[Millis]
    outcomes: Sequence[Label]
    features: Mapping[str, Sequence[Value]]
    attributes: Sequence[Mapping[str, Value]]
    said: Sequence[tuple[Label, Score]] | None


class _Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What no column of the rows holds."""

    attributes: list[dict[str, Value]]
    said: list[tuple[Label, Score]] | None


def keep(settings: Settings, question: Question, rows: HeldOutRows, answers: dict[str, str]) -> Kept:
    """Store both in `<the candidate's artifact>.verdict`: beside it, for what stands in it is vouched for already.

    The same question and rows are the same bytes, so a gate that was killed writes over what it left.
    """
    assert question.candidate.artifact is not None, "it has been compared"
    uri = f"{question.candidate.artifact.uri}.verdict"
    place = inside(settings.artifact_dir, uri)
    beside = _Beside(
        attributes=[dict(each) for each in rows.attributes], said=None if rows.said is None else list(rows.said)
    )
    content = {
        HOLDOUT: pack_rows(question.resolved, KeptRows(rows.ids, rows.times, rows.outcomes, rows.features)),
        BESIDE: encode(beside),
        QUESTION: encode(question),
    }
    for name, data in content.items():
        write(place / name, data)
    return Kept(uri=uri, files={name: _sha256(data) for name, data in content.items()}, answers=answers)


def fetch(settings: Settings, kept: Kept) -> tuple[Question, HeldOutRows]:
    """What was kept. Raises `ArtifactError` where it is gone or not what it was."""
    found = {}
    for name in (HOLDOUT, BESIDE, QUESTION):
        path = inside(settings.artifact_dir, f"{kept.uri}/{name}")
        try:
            found[name] = path.read_bytes()
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
        if _sha256(found[name]) != kept.files.get(name):
            raise ArtifactError(f"{path} is not what the verdict was made from: its sha256 has changed")
    question, beside, rows = decode(found[QUESTION], Question), decode(found[BESIDE], _Beside), found[HOLDOUT]
    table = unpack_rows(rows)
    return question, HeldOutRows(
        ids=[str(row_id) for row_id in table.ids],
        times=[time for time in table.times if time is not None],
        outcomes=[outcome for outcome in table.outcomes if outcome is not None],
        features=table.features,
        attributes=beside.attributes,
        said=beside.said,
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
