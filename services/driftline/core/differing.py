"""How two baselines differ, which may be counted in different bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline.core.binning import bucket_of
from driftline.events.baselines import Baseline, CategoryBins, NumberBins

FloatArray = NDArray[np.float64]

OTHER = "(other)"


@dataclass(frozen=True)
class Difference:
    """One feature in two baselines. Pairs are (first, second).

    `moved`: the share of rows that would have to change: of a number, the greatest distance between the two cumulated
    shares (Kolmogorov-Smirnov, values spread evenly within their bins); of a category, half the sum of the differences
    (total variation), where values that one of them does not tell by themselves are taken together. None where one of
    them has no values. `missing`: shares of all rows. `middle`: medians of a number, the most frequent values of a
    category.
    """

    feature: str
    moved: float | None
    missing: tuple[float, float]
    middle: tuple[float | str | None, float | str | None]


def differences(first: Baseline, second: Baseline) -> list[Difference]:
    """The features that both have in the same type, the most different first."""
    found = []
    for name, bins in first.bins.features.items():
        other = second.bins.features.get(name)
        ours, theirs = (np.array(each.counts.get(f"feature:{name}", ()), np.int64) for each in (first, second))
        if not ours.size or not theirs.size:
            continue
        missing = (_share(ours), _share(theirs))
        if isinstance(bins, NumberBins) and isinstance(other, NumberBins):
            one, two = _Spread(bins, ours), _Spread(other, theirs)
            found.append(Difference(name, _farthest(one, two), missing, (one.median(), two.median())))
        elif isinstance(bins, CategoryBins) and isinstance(other, CategoryBins):
            moved = _variation(_shares(bins, ours, bins, other), _shares(other, theirs, bins, other))
            tops = _top(_shares(bins, ours, bins)), _top(_shares(other, theirs, other))
            found.append(Difference(name, moved, missing, tops))
    return sorted(found, key=lambda each: (-(each.moved or 0.0), each.feature))


def _share(counts: NDArray[np.int64]) -> float:
    """That of the last cell, which counts what is missing."""
    return int(counts[-1]) / int(counts.sum()) if counts.sum() else 0.0


class _Spread:
    """Cumulated shares of the values within a range, and what lies below and above it, at the edges of their bins."""

    def __init__(self, bins: NumberBins, counts: NDArray[np.int64]) -> None:
        inside, below, above = counts[:-3], int(counts[-3]), int(counts[-2])
        edges = np.array(bins.edges, np.float64)
        ends = [bins.least, bins.most] if edges.size == 0 else [_or(bins.least, edges[0]), _or(bins.most, edges[-1])]
        low, high = (0.0 if end is None else end for end in ends)
        self.at = np.concatenate([[min(low, *edges[:1])], edges, [max(high, *edges[-1:])]])
        self.n = int(inside.sum()) + below + above
        self.share = np.concatenate([[below], below + np.cumsum(inside)]) / max(self.n, 1)

    def below(self, values: FloatArray) -> FloatArray:
        """The share of values at or below each."""
        found: FloatArray = np.interp(values, self.at, self.share, left=0.0, right=1.0)
        # a bin so narrow that its slope is infinite is one value: it counts as a whole
        ends = self.share[np.minimum(np.searchsorted(self.at, values, side="right"), self.share.size - 1)]
        return np.where(np.isfinite(found), found, ends)

    def median(self) -> float | None:
        """Where half of the values lie below; None without values."""
        scale = max(float(np.abs(self.at).max()), 1.0)  # the span of huge values would be infinite
        return float(np.interp(0.5, self.share, self.at / scale)) * scale if self.n else None


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _farthest(one: _Spread, two: _Spread) -> float | None:
    if not one.n or not two.n:
        return None
    at = np.union1d(one.at, two.at)
    return float(np.abs(one.below(at) - two.below(at)).max())


def _shares(bins: CategoryBins, counts: NDArray[np.int64], *told: CategoryBins) -> dict[str, float]:
    """By what all of `told` tell apart: values, buckets, or the others together. Empty without values."""
    known = int(counts[:-1].sum())
    apart = len({each.buckets for each in told if each.others or each.buckets}) < 2
    buckets = [f"(bucket {i})" if apart else OTHER for i in range(bins.buckets)]
    values = [_told(value, told, apart=apart) for value in bins.values]
    names = (*values, *([OTHER] if bins.others else []), *buckets, "(unseen)")
    found: dict[str, float] = {}
    for name, n in zip(names, counts[:-1].tolist(), strict=True):
        if n:
            found[name] = found.get(name, 0.0) + n / known
    return found


def _told(value: str, told: Sequence[CategoryBins], *, apart: bool) -> str:
    """A value, or where those counted it that do not tell it by itself."""
    for each in told:
        if value not in each.values and (value in each.others or each.buckets):
            return f"(bucket {bucket_of(value, each.buckets)})" if each.buckets and apart else OTHER
    return value


def _variation(one: dict[str, float], two: dict[str, float]) -> float | None:
    if not one or not two:
        return None
    return sum(abs(one.get(name, 0.0) - two.get(name, 0.0)) for name in one.keys() | two.keys()) / 2


def _top(shares: dict[str, float]) -> str | None:
    return max(shares, key=lambda name: (shares[name], name), default=None)
