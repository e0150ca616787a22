"""From a question and its held-out rows to a verdict: in the gate, and again for whoever does not believe it."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from driftline.core.checks import side_of, truth_of
from driftline.core.comparison import HeldOut, blocks_of
from driftline.core.gate import Judgement, Measured, Reason, decision_of, judge
from driftline.core.segments import segments_of
from driftline.errors import ArtifactError, DriftlineError
from driftline.events.base import digest_id
from driftline.events.inputs import Label, Score, Value
from driftline.events.retraining import Artifact, Candidate, Rows, Verdict
from driftline.events.verdicts import Kept, Latency
from driftline.platform import proving
from driftline.platform.artifacts import StoredModel, frame_of, load
from driftline.platform.held_out import HeldOutRows, Question, fetch
from driftline.platform.lookups import rows_digest
from driftline.platform.settings import Settings
from driftline.spec.model import MonitorSpec, millis

NEAR = 1e-9
"""How far a number may lie from what it was, relative to its size, when it is computed again elsewhere."""


class NotCompared(DriftlineError):
    """The comparison could not be made."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True)
class Compared:
    """A verdict, and a digest of what each side answered."""

    verdict: Verdict
    answers: dict[str, str]


def compared(settings: Settings, question: Question, rows: HeldOutRows, timed: Latency | None = None) -> Compared:
    """Both sides on the same rows: the champion by its artifact, else by what it said of them.

    `timed`: how long the two take, where that is known. Raises `NotCompared`.
    """
    spec, candidate, recipe = question.resolved, question.candidate, question.request.recipe
    if candidate.artifact is None:
        raise NotCompared(Reason.CANDIDATE_UNUSABLE, "it has no artifact")
    challenger = _loaded(settings, candidate.artifact, Reason.CANDIDATE_UNUSABLE)
    champion = None if question.champion is None else _loaded(settings, question.champion, Reason.CHAMPION_UNUSABLE)
    if not rows.ids:
        known = f"none in the archive that version {question.request.champion} has answered"
        raise NotCompared(Reason.NO_ROWS, known)
    with _Blamed(Reason.CANDIDATE_UNUSABLE):
        said = challenger.answers_to(frame_of(challenger.manifest, rows.features))
        proofs = proving.of_candidate(spec, candidate, challenger, rows, recipe.holdout.start)
    with _Blamed(Reason.CHAMPION_UNUSABLE):
        by_champion = _said(champion, rows)
        if champion is not None:  # of somebody else's service there is no baseline to find again
            proofs += (proving.of_champion(spec, champion),)
    promotion, block_ms = spec.promotion, millis(spec.promotion.block)
    measured = Measured(
        proofs=proofs,
        latency=timed or proving.latency(promotion.max_latency_ratio, champion, challenger, rows.features),
        size=proving.size(promotion.max_size, challenger),
    )
    held_out = HeldOut(
        truth_of(spec, rows.outcomes),
        blocks_of(rows.times, recipe.holdout.start, block_ms),
        _segments(spec, rows),
    )
    judgement = judge(spec, held_out, side_of(spec, by_champion), side_of(spec, said), candidate.id, measured)
    verdict = msgspec.structs.replace(
        verdict_on(candidate, question.request.champion, judgement.reason.value, judgement, measured),
        rows=Rows(
            span=recipe.holdout,
            n=len(rows.ids),
            blocks=judgement.blocks,
            digest=rows_digest(rows.ids, rows.outcomes),
        ),
        method=judgement.method if champion else f"{judgement.method}, champion by its logged predictions",
        spec=question.request.spec,
        min_effect=promotion.min_effect,
        confidence=promotion.confidence,
        block_ms=block_ms,
        worse_by=promotion.veto.worse_by if promotion.veto else None,
    )
    return Compared(verdict, {"champion": _digest(by_champion), "candidate": _digest(said)})


def verdict_id(candidate: Candidate) -> str:
    """The id of the one verdict on a candidate."""
    return digest_id("verdict", candidate.id)


def verdict_on(
    candidate: Candidate,
    champion: str,
    reason: str,
    judgement: Judgement | None = None,
    measured: Measured | None = None,
) -> Verdict:
    """A verdict that says no more than this. `reason` begins with a `Reason`, and may go on with a detail."""
    return Verdict(
        id=verdict_id(candidate),
        caused_by=(candidate.id,),
        case=candidate.case,
        candidate=candidate.id,
        model=candidate.model,
        version=candidate.version,
        champion=champion,
        artifact_sha256=candidate.artifact.sha256 if candidate.artifact else "",
        decision=decision_of(Reason(reason.partition(":")[0])),
        reason=reason,
        rows=None,
        metrics=judgement.metrics if judgement else (),
        method="",
        tests=judgement.tests if judgement else (),
        not_worse=judgement.not_worse if judgement else (),
        segments=judgement.segments if judgement else (),
        latency=measured.latency if measured else None,
        size=measured.size if measured else None,
        proofs=measured.proofs if measured else (),
        written_at=int(time.time() * 1000),
    )


def again(settings: Settings, verdict: Verdict, kept: Kept) -> list[str]:
    """Compute a verdict once more from what was kept: what is not the same, but for latency.

    Raises `DriftlineError` where that is gone, or not what it was.
    """
    question, rows = fetch(settings, kept)
    found = compared(settings, question, rows, verdict.latency)
    told = {"written_at": verdict.written_at, "kept": verdict.kept, "code": verdict.code}  # no results
    now = msgspec.structs.replace(found.verdict, **told)
    different = list(_differences(msgspec.to_builtins(verdict), msgspec.to_builtins(now), ""))
    different += [f"answers of the {side}" for side, digest in found.answers.items() if digest != kept.answers[side]]
    return different


def _differences(then: Any, now: Any, where: str) -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in then | now:
            yield from _differences(then.get(name), now.get(name), f"{where}.{name}".lstrip("."))
    elif isinstance(then, list | tuple) and isinstance(now, list | tuple) and len(then) == len(now):
        for place, pair in enumerate(zip(then, now, strict=True)):
            yield from _differences(*pair, f"{where}[{place}]")
    elif isinstance(then, float) and isinstance(now, float):
        if not math.isclose(then, now, rel_tol=NEAR, abs_tol=NEAR):
            yield f"{where}: {then} then, {now} now"
    elif then != now:
        yield f"{where}: {then} then, {now} now"


class _Blamed:
    """Whatever a model's own code raises inside is a reason not to use it."""

    def __init__(self, reason: Reason) -> None:
        self._reason = reason

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, ArtifactError):
            raise NotCompared(self._reason, str(error)) from error
        if isinstance(error, Exception):
            raise NotCompared(self._reason, f"it fails on known rows ({type(error).__name__}: {error})") from error


def _loaded(settings: Settings, artifact: Artifact, reason: Reason) -> StoredModel:
    with _Blamed(reason):
        return load(settings, artifact)


def _said(champion: StoredModel | None, rows: HeldOutRows) -> Sequence[tuple[Label, Score]]:
    if champion is not None:
        return champion.answers_to(frame_of(champion.manifest, rows.features))
    assert rows.said is not None, "without an artifact its logged predictions stand for it"
    return rows.said


def _segments(spec: MonitorSpec, rows: HeldOutRows) -> Mapping[str, Sequence[str]]:
    """The segment of each row, by the ways to cut that may veto."""
    ways = spec.promotion.veto.segments if spec.promotion.veto else ()
    cuts = {cut.name for way in spec.segments for cut in way.cuts if way.name in ways and cut.source == "attribute"}
    columns: dict[str, Sequence[Value]] = {**rows.features}
    columns |= {name: [each.get(name) for each in rows.attributes] for name in cuts}
    return {way.name: segments_of(way, columns) for way in spec.segments if way.name in ways}


def _digest(answers: Sequence[tuple[Label, Score]]) -> str:
    digest = hashlib.sha256()
    for answer in answers:
        digest.update(msgspec.json.encode(answer, order="sorted") + b"\n")
    return digest.hexdigest()
