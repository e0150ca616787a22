"""Finding out about two stored models what the gate wants to know beside their answers to the held-out rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from driftline.core import proofs
from driftline.core.baseline import count_again
from driftline.core.checks import figures_of, side_of, truth_of
from driftline.core.columns import scores_of
from driftline.core.comparison import days_of
from driftline.events.base import decode
from driftline.events.inputs import Value
from driftline.events.retraining import Candidate, Figure, TrainedOn
from driftline.events.verdicts import Latency, Proof, Size
from driftline.platform.artifacts import StoredModel, frame_of
from driftline.platform.formats import SKOPS
from driftline.platform.held_out import HeldOutRows
from driftline.platform.kept_rows import ROWS, TRIAL, VALIDATED, KeptRows, unpack_rows
from driftline.platform.lookups import rows_digest
from driftline.spec.model import FeatureSpec, MonitorSpec

TIMED_ROWS, WARM_UP = 25, 5
NO_ROWS = "its artifact keeps no rows"


def of_candidate(
    spec: MonitorSpec, candidate: Candidate, model: StoredModel, rows: HeldOutRows, start: int
) -> tuple[Proof, ...]:
    """Whether it has not seen the held-out rows, which begin at `start`, and is what the trainer says of it."""
    kept, told = _rows(model), candidate.trained_on
    if kept is None:
        late = told is not None and told.span.end > start
        detail = "its training span reaches into the holdout" if late else NO_ROWS
        return (
            Proof(of="candidate", kind="unseen", holds=False if late else None, detail=detail),
            Proof(of="candidate", kind="rows", holds=None, detail=NO_ROWS),
        )
    return (
        proofs.unseen(kept.ids, kept.times, rows.ids, start),
        _same_rows(told, kept),
        *_reported(spec, candidate, model, kept),
        *_measured(spec, candidate, model, kept),
    )


def of_champion(spec: MonitorSpec, model: StoredModel) -> Proof:
    """Whether its own rows give its recorded baseline."""
    kept = _rows(model)
    if model.baseline is None or kept is None:
        missing = NO_ROWS if kept is None else "its artifact keeps no baseline"
        return Proof(of="champion", kind="baseline", holds=None, detail=missing)
    answers = model.answers_to(frame_of(model.manifest, kept.features))
    # it was counted under the spec of its day; of the features only the types matter, for the bins are given
    features = {name: FeatureSpec(type=kind) for name, kind in model.manifest.features.items()}
    again = count_again(
        model.baseline,
        msgspec.structs.replace(spec, features=features, segments=()),
        kept.features,
        scores_of(spec, [score for _, score in answers]),
        [label for label, _ in answers],
        kept.outcomes,
    )
    return proofs.same_baseline(model.baseline, again)


def latency(
    limit: float | None, champion: StoredModel | None, candidate: StoredModel, features: Mapping[str, Sequence[Value]]
) -> Latency:
    """How long each takes for one row, in turn, so that whatever else the machine does slows both."""
    models = [model for model in (candidate, champion) if model is not None]
    taken: list[list[float]] = [[] for _ in models]
    size = len(next(iter(features.values()), ()))
    for turn in range(WARM_UP + TIMED_ROWS):
        row = {name: [values[turn % size]] for name, values in features.items()}
        for model, times in zip(models, taken, strict=True):
            frame = frame_of(model.manifest, row)
            begun = time.perf_counter()
            model.answers_to(frame)
            times.append((time.perf_counter() - begun) * 1000)
    medians = [round(median(times[WARM_UP:]), 4) for times in taken]
    of_champion = medians[1] if champion is not None else None
    ratio = None if of_champion is None else round(medians[0] / of_champion, 3)
    return Latency(champion_ms=of_champion, candidate_ms=medians[0], ratio=ratio, limit=limit)


def size(limit: int | None, model: StoredModel) -> Size:
    """What an artifact takes, without what is kept with it to find its figures again."""
    assert model.place is not None, "it was loaded from its place"
    files = [path for path in model.place.iterdir() if path.name not in (ROWS, VALIDATED, TRIAL)]
    return Size(size_bytes=sum(path.stat().st_size for path in files), limit=limit)


def _rows(model: StoredModel) -> KeptRows | None:
    data = model.extra(ROWS)  # noqa: S610 - a file of an artifact, no query of Django
    return None if data is None else unpack_rows(data)


def _same_rows(told: TrainedOn | None, kept: KeptRows) -> Proof:
    if told is None:
        detail = "the trainer does not say which rows it has learnt from"
        return Proof(of="candidate", kind="rows", holds=None, detail=detail, found=len(kept.ids))
    same = rows_digest(kept.ids, kept.outcomes) == told.digest
    detail = "" if same else f"the {len(kept.ids):,} rows kept with it have another digest than its training rows"
    return Proof(of="candidate", kind="rows", holds=same, detail=detail, told=told.n, found=len(kept.ids))


def _reported(spec: MonitorSpec, candidate: Candidate, model: StoredModel, kept: KeptRows) -> tuple[Proof, ...]:
    """What the training function or command says of its model, on the rows and of the model that it says it of."""
    if not candidate.validation:
        return ()
    trial, chosen = model.extra(TRIAL), model.extra(VALIDATED)  # noqa: S610 - files of an artifact, no query of Django
    tried = model if trial is None else replace(model, estimator=SKOPS.load(trial, Path(TRIAL)))
    rows = kept if chosen is None else kept.at(decode(chosen, list[int]))
    found = _scores(spec, tried, rows, candidate, in_days=True)
    told = proofs.with_intervals(candidate.validation, found)
    return proofs.found_again("validation", told, {each.name: each.value for each in found})


def _measured(spec: MonitorSpec, candidate: Candidate, model: StoredModel, kept: KeptRows) -> tuple[Proof, ...]:
    """What the trainer itself found."""
    if not candidate.checks:
        return (Proof(of="candidate", kind="figure", holds=None, detail="the trainer told no figures"),)
    found = {each.name: each.value for each in _scores(spec, model, kept, candidate)}
    return proofs.found_again("figure", candidate.checks, found)


def _scores(
    spec: MonitorSpec, model: StoredModel, kept: KeptRows, candidate: Candidate, *, in_days: bool = False
) -> tuple[Figure, ...]:
    """The usual metrics of a model on those rows whose outcome is known.

    `in_days`: with their intervals, where all these rows have a time.
    """
    rows = kept.at([place for place, outcome in enumerate(kept.outcomes) if outcome is not None])
    truth = truth_of(spec, [outcome for outcome in rows.outcomes if outcome is not None])
    times = [time for time in rows.times if time is not None]
    dated = in_days and len(times) == truth.size
    days = days_of(times, candidate.recipe.training.start) if dated else np.zeros(truth.size, np.int64)
    side = side_of(spec, model.answers_to(frame_of(model.manifest, rows.features)))
    return figures_of(spec, truth, side, days, candidate.id)
