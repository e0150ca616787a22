"""From reference values to bins, and from values to bin numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from driftline.core.columns import hash_of_name
from driftline.events.baselines import Bins, CategoryBins, NumberBins
from driftline.events.inputs import Value
from driftline.spec.model import FeatureSpec, MonitorSpec, told

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FEATURE_BINS = 20
SCORE_QUANTILES, SCORE_GRID, SCORE_ODDS = 640, 256, 128
LABEL_QUANTILES, LABEL_GRID = 192, 64  # of each label's probability: 256 bins err by 0.0001 in AUC
MAX_CATEGORIES = 50
MAX_KNOWN = 1000  # values of a reference that are listed, at 150 bytes each in memory
BUCKETS = 64  # two values share one with a chance of 1.6 %
ERROR_GROWTH, ERROR_EDGES = 1.2, 125  # ten decades, each bin up to a fifth wider than what lies below it


def quantile_edges(values: FloatArray, bins: int) -> tuple[float, ...]:
    """Inner edges at the quantiles of the finite `values`: at most `bins + 1`, strictly increasing.

    A value that alone would fill a bin (zeros of rain, a constant) gets one of its own, so that leaving it is seen.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return ()
    quantiles = np.quantile(finite, np.linspace(0, 1, bins + 1), method="inverted_cdf")
    values_at, times = np.unique(quantiles, return_counts=True)
    frequent = values_at[times > 1]
    inner = values_at[(values_at > finite.min()) & (values_at < finite.max())]
    with np.errstate(over="ignore"):  # after the largest double comes infinity, which is no edge
        beyond = np.nextafter(frequent, np.inf)
    edges = np.union1d(inner, np.append(frequent, beyond))
    return tuple(float(edge) for edge in edges if np.isfinite(edge))


def grid_edges(low: float, high: float, bins: int) -> tuple[float, ...]:
    """Inner edges of `bins` bins of equal width over `[low, high]`."""
    inner = np.linspace(low / 2, high / 2, bins + 1) * 2 if np.isinf(high - low) else np.linspace(low, high, bins + 1)
    return tuple(float(edge) for edge in np.unique(inner[1:-1]))


def signed_log_edges() -> tuple[float, ...]:
    """The fixed grid for numbers of which nothing is known: +-1e-6 .. +-1e12, one bin a decade, and 0."""
    decades = [10.0**k for k in range(-6, 13)]
    return tuple([-d for d in reversed(decades)] + [0.0] + decades)


def growing_edges(first: float, growth: float, count: int) -> FloatArray:
    """Inner edges of bins of relative width `growth - 1`; products of doubles, so the same on every machine."""
    return first * np.cumprod(np.append(1.0, np.full(count - 1, growth)))


def magnitude(bins: NumberBins) -> float:
    """How large the numbers in `bins` are: the median of their edges that are not 0, without sign; 1 without edges."""
    sizes = np.abs(np.array(bins.edges, np.float64))
    sizes = np.sort(sizes[(sizes >= 1e-100) & (sizes <= 1e100)])
    return float(sizes[sizes.size // 2]) if sizes.size else 1.0


def error_edges(bins: NumberBins) -> FloatArray:
    """Inner edges for absolute errors of predictions in `bins`: from a millionth of their magnitude to 6,600 times."""
    return growing_edges(magnitude(bins) * 1e-6, ERROR_GROWTH, ERROR_EDGES)


LATENCY_EDGES = growing_edges(0.05, 1.25, 63)
"""Inner edges for serving latencies in ms: up to 51 s, each bin a quarter wider than what lies below it."""
DELAY_EDGES = growing_edges(1000.0, 4 / 3, 63)
"""Inner edges for delays of labels in ms: from a second to 648 days, each bin a third wider than what lies below it."""


def score_edges(scores: FloatArray | None) -> tuple[float, ...]:
    """Edges of 1,024 bins for probabilities: of equal width, by odds, and at the quantiles of reference `scores`.

    The mix keeps the tie mass small where scores crowd, which bounds the error of AUC, and still covers `[0, 1]`.
    """
    if scores is None or scores.size == 0:
        return _fixed_edges(SCORE_GRID * 2, SCORE_GRID * 2, 1.03, 1.14)
    return _with_quantiles(scores, SCORE_QUANTILES, _fixed_edges(SCORE_GRID, SCORE_ODDS, 1.1, 1.4))


def label_edges(shares: FloatArray | None) -> tuple[float, ...]:
    """The same for the probability of one of many labels, in fewer bins."""
    if shares is None or shares.size == 0:
        return _fixed_edges(LABEL_GRID * 2, LABEL_GRID * 2, 1.1, 1.4)
    return _with_quantiles(shares, LABEL_QUANTILES, _fixed_edges(LABEL_GRID, 0, 1.1, 1.4))


@cache  # models without reference share these very objects: 32 kB that none has of its own
def _fixed_edges(grid: int, odds: int, first: float, last: float) -> tuple[float, ...]:
    """`grid` bins of equal width, cut by `odds` edges that lie closer and closer to 0 and 1, as rare labels need.

    From even odds, half of these go down by a factor that grows from `first` to `last`; the others mirror them.
    Products and quotients of doubles, so the same on every machine.
    """
    down = np.cumprod(1 / np.linspace(first, last, odds // 2))
    rare = down / (1 + down)
    return tuple(float(e) for e in np.unique(np.concatenate([grid_edges(0, 1, grid), rare, 1 - rare])))


def _with_quantiles(scores: FloatArray, quantiles: int, fixed: Sequence[float]) -> tuple[float, ...]:
    mixed = np.union1d(fixed, np.array(quantile_edges(scores, quantiles)))
    return tuple(float(e) for e in mixed if 0 < e <= 1)


def to_numbers(values: Sequence[Value]) -> FloatArray:
    """Values of a numeric feature as floats; null becomes NaN, which is how "missing" is written inside arrays."""
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def category_name(value: Value) -> str | None:
    """The spelling of a category; null stays null."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@lru_cache(maxsize=1 << 14)
def bucket_of(category: str | None, buckets: int) -> int:
    """The bucket of a category that is not listed (see `CategoryBins`); 0 where there is none."""
    return hash_of_name(category) % buckets if buckets else 0


def default_bins(spec: MonitorSpec) -> Bins:
    """Bins of a version that came without reference data: a grid over the declared range, else the signed-log grid."""
    return _bins(spec, {}, None, None)


def bins_from_reference(
    spec: MonitorSpec,
    columns: Mapping[str, Sequence[Value]],
    scores: FloatArray | None,
    predictions: FloatArray | None,
    shares: FloatArray | None = None,
) -> Bins:
    """Bins from reference data: quantiles for numbers, the most frequent values for categories.

    `columns` has one sequence a feature; `scores` (binary; multiclass: of the answer) and `predictions` (regression)
    are those of the model on the same rows; `shares` (rows, labels), multiclass, the probability of each label.
    """
    return _bins(spec, columns, scores, predictions, shares)


def _bins(
    spec: MonitorSpec,
    columns: Mapping[str, Sequence[Value]],
    scores: FloatArray | None,
    predictions: FloatArray | None,
    shares: FloatArray | None = None,
) -> Bins:
    labels = told(spec.labels)
    features: dict[str, NumberBins | CategoryBins] = {}
    for name, feature in spec.features.items():
        values = columns.get(name, ())
        features[name] = (
            _number_bins(feature.range, to_numbers(values))
            if feature.type == "number"
            else _categories(feature, values)
        )
    output = spec.outputs.get("prediction")
    return Bins(
        features=features,
        labels=labels,
        positive=spec.positive,
        score=None if spec.task == "regression" else score_edges(scores),
        scores=tuple(label_edges(None if shares is None else shares[:, i]) for i in range(len(labels)))
        if spec.task == "multiclass"
        else (),
        prediction=None
        if spec.task != "regression"
        else _number_bins(output.range if output else None, np.array([]) if predictions is None else predictions),
    )


def _number_bins(declared: tuple[float, float] | None, values: FloatArray) -> NumberBins:
    low, high = declared if declared is not None else (None, None)
    inside = values[np.isfinite(values)]
    if low is not None and high is not None:
        inside = inside[(inside >= low) & (inside <= high)]
    if inside.size:
        least, most = float(inside.min()), float(inside.max())
        return NumberBins(edges=quantile_edges(inside, FEATURE_BINS), low=low, high=high, least=least, most=most)
    if low is not None and high is not None:
        return NumberBins(edges=grid_edges(low, high, FEATURE_BINS), low=low, high=high, least=low, most=high)
    return NumberBins(edges=signed_log_edges(), low=low, high=high)


def _categories(feature: FeatureSpec, values: Sequence[Value]) -> CategoryBins:
    """Those allowed are known, else those of the reference; of many the most frequent are told by themselves."""
    counts = Counter(name for value in values if (name := category_name(value)) is not None)
    known: Sequence[str] = sorted(counts) if feature.allowed is None else feature.allowed
    if feature.allowed is None or len(known) > MAX_CATEGORIES:
        known = sorted(known, key=lambda name: -counts[name])
    told, rest = tuple(known[:MAX_CATEGORIES]), tuple(known[MAX_CATEGORIES:])
    if feature.allowed is None and not 0 < len(known) <= MAX_KNOWN:
        return CategoryBins(values=told, buckets=BUCKETS)
    return CategoryBins(values=told, others=rest)
