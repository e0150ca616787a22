"""Reference rows of a model version, counted in its own bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.core.binning import (
    bins_from_reference,
    cells_of_categories,
    cells_of_numbers,
    cells_of_scores,
    to_numbers,
)
from driftline.core.pane import histogram_size
from driftline.events.base import digest_id, encode
from driftline.events.baselines import Baseline, CategoryBins, NumberBins
from driftline.events.inputs import Label, Value, label_name
from driftline.spec.model import MonitorSpec

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def make_baseline(
    spec: MonitorSpec,
    columns: Mapping[str, Sequence[Value]],
    scores: FloatArray | None,
    predictions: FloatArray | Sequence[Label] | None,
    version: str,
    source: str,
    truths: Sequence[float | None] = (),
) -> Baseline:
    """The bins of `version` and how its reference rows fall into them.

    `columns` has one sequence a feature, all of one length; `scores` (binary) and `predictions` (labels, or numbers of
    a regression) are the model's own on these rows. The id follows from the content, so the same reference gives the
    same baseline. `truths`: of a regression, what came true in these rows, where that is known: half of their errors
    are large ones.
    """
    numbers = np.asarray(predictions, np.float64) if spec.task == "regression" and predictions is not None else None
    bins = bins_from_reference(spec, columns, scores, numbers)
    if numbers is not None and len(truths):
        errors = np.abs(numbers - to_numbers(truths))
        large = float(np.median(errors[np.isfinite(errors)])) if np.isfinite(errors).any() else None
        bins = msgspec.structs.replace(bins, large_error=large)
    counts: dict[str, IntArray] = {}
    for name, feature in bins.features.items():
        values = columns[name]
        cells = (
            cells_of_numbers(feature, to_numbers(values))
            if isinstance(feature, NumberBins)
            else cells_of_categories(feature, values)
        )
        counts[f"feature:{name}"] = np.bincount(cells, minlength=histogram_size(feature))
    if bins.score is not None and scores is not None:
        counts["score"] = np.bincount(cells_of_scores(bins.score, scores), minlength=len(bins.score) + 2)
    if bins.prediction is not None and numbers is not None:
        cells = cells_of_numbers(bins.prediction, numbers)
        counts["prediction"] = np.bincount(cells, minlength=histogram_size(bins.prediction))
    elif bins.score is not None and predictions is not None:
        labels = CategoryBins(values=bins.labels)
        cells = cells_of_categories(labels, [label_name(label) for label in predictions])
        counts["prediction"] = np.bincount(cells, minlength=histogram_size(labels))
    rows = len(next(iter(columns.values()), ()))
    baseline = Baseline(
        id="",
        model=spec.model,
        version=version,
        bins=bins,
        n=rows,
        counts={name: tuple(int(n) for n in found) for name, found in counts.items()},
        source=source,
    )
    return msgspec.structs.replace(baseline, id=digest_id("baseline", encode(baseline)))
