"""Finding out about two stored models what the gate wants to know beside their answers to the held-out rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median

import msgspec
import numpy as np

from driftline.core import proofs
from driftline.core.baseline import count_again
from driftline.core.checks import side_of, truth_of
from driftline.core.columns import scores_of
from driftline.core.comparison import HeldOut, figures
from driftline.events.inputs import Value
from driftline.events.retraining import Candidate
from driftline.events.verdicts import Latency, Proof, Size
from driftline.platform.artifacts import StoredModel, frame_of
from driftline.platform.held_out import HeldOutRows
from driftline.platform.kept_rows import ROWS, KeptRows, unpack_rows
from driftline.platform.lookups import rows_digest
from driftline.spec.metrics import USUAL
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
    found = [proofs.unseen(kept.ids, kept.times, rows.ids, start)]
    if told is not None:
        same = rows_digest(kept.ids, kept.outcomes) == told.digest
        detail = "" if same else f"the {len(kept.ids):,} rows kept with it have another digest than its training rows"
        found.append(Proof(of="candidate", kind="rows", holds=same, detail=detail, told=told.n, found=len(kept.ids)))
    if not candidate.checks:
        found.append(Proof(of="candidate", kind="figure", holds=None, detail="the trainer told no figures"))
    else:
        found += proofs.found_again(candidate.checks, _scores_on(spec, model, kept))
    return tuple(found)


def of_champion(spec: MonitorSpec, model: StoredModel | None) -> Proof:
    """Whether its own rows give its recorded baseline."""
    kept = None if model is None else _rows(model)
    if model is None or model.baseline is None or kept is None:
        missing = "it is no artifact of this store" if model is None else NO_ROWS if kept is None else "it has none"
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
    """What an artifact takes, without the rows kept with it."""
    assert model.place is not None, "it was loaded from its place"
    files = [path for path in model.place.iterdir() if path.name != ROWS]
    return Size(size_bytes=sum(path.stat().st_size for path in files), limit=limit)


def _rows(model: StoredModel) -> KeptRows | None:
    data = model.extra(ROWS)  # noqa: S610 - a file of an artifact, no query of Django
    return None if data is None else unpack_rows(data)


def _scores_on(spec: MonitorSpec, model: StoredModel, kept: KeptRows) -> dict[str, float]:
    """The usual metrics of a model on the rows kept with it, of those whose outcome is known."""
    side = side_of(spec, model.answers_to(frame_of(model.manifest, kept.features)))
    known = np.array([outcome is not None for outcome in kept.outcomes])
    truth = truth_of(spec, [outcome for outcome in kept.outcomes if outcome is not None])
    one_block = HeldOut(truth, np.zeros(truth.size, np.int64))
    return {each.name: each.value for each in figures(USUAL[spec.task], one_block, side.of_rows(known), "")}
