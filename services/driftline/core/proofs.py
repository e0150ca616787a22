"""Whether what was said of two models is found again: the retrain itself is proven, not taken for granted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np

from driftline.events.base import Millis
from driftline.events.baselines import Baseline
from driftline.events.retraining import Figure, Told
from driftline.events.verdicts import Proof

SAME = 1e-6
"""A figure without an interval is found again if it is that near, relative to its size where that is above 1."""
MOVED = 0.001
"""So large a share of rows may fall into another bin of the model's answers: machines differ in the last digit, and
bins end at answers. Features have none: they are what they were."""


def unseen(
    ids: Collection[str | None], times: Sequence[Millis | None], held_out: Collection[str], start: Millis
) -> Proof:
    """Whether none of a candidate's rows is a held-out one or came after the holdout's `start`.

    Nobody knows it of rows without an id or a time.
    """
    both = len({row_id for row_id in ids if row_id is not None} & set(held_out))
    later = sum(time is not None and time >= start for time in times)
    if both or later:
        detail = f"{both:,} of its rows are held out, {later:,} are not from before them"
        return Proof(of="candidate", kind="unseen", holds=False, detail=detail)
    unnamed, undated = sum(row_id is None for row_id in ids), sum(time is None for time in times)
    if unnamed or undated:
        detail = f"{unnamed:,} of its rows have no id, {undated:,} no time"
        return Proof(of="candidate", kind="unseen", holds=None, detail=detail)
    return Proof(of="candidate", kind="unseen", holds=True)


def with_intervals(validation: Mapping[str, Told], found: Sequence[Figure]) -> tuple[Figure, ...]:
    """What a training says of its model, with intervals.

    To a figure that comes without one the interval is lent that `found` has of the same metric on the same rows, laid
    around what was told: its value may be as far from the one found as the rows leave that uncertain.
    """
    known = {figure.name: figure for figure in found}
    return tuple(_told(name, told, known.get(name)) for name, told in validation.items())


def _told(name: str, told: Told, found: Figure | None) -> Figure:
    n = found.n if found else 0
    if isinstance(told, tuple):
        value, low, high = told
        return Figure(name=name, value=value, low=low, high=high, n=n)
    if found is None or found.low is None or found.high is None:
        return Figure(name=name, value=told, low=None, high=None, n=n)
    low, high = told - (found.high - found.value), told + (found.value - found.low)
    return Figure(name=name, value=told, low=low, high=high, n=n)


def found_again(
    kind: Literal["validation", "figure"], figures: Sequence[Figure], found: Mapping[str, float]
) -> tuple[Proof, ...]:
    """Each figure that was told, beside what the candidate scores on the rows kept with it."""
    return tuple(_figure(kind, told, found.get(told.name)) for told in figures)


def _figure(kind: Literal["validation", "figure"], told: Figure, found: float | None) -> Proof:
    if found is None:
        holds, detail = None, "the gate does not know this metric, or it is not defined on these rows"
    elif told.low is None or told.high is None:
        holds, detail = abs(found - told.value) <= SAME * max(1.0, abs(told.value)), ""
    else:
        holds, detail = told.low <= found <= told.high, ""
    return Proof(
        of="candidate",
        kind=kind,
        holds=holds,
        detail=detail,
        name=told.name,
        told=told.value,
        low=told.low,
        high=told.high,
        found=found,
    )


def same_baseline(recorded: Baseline, again: Baseline) -> Proof:
    """Whether a champion's rows, counted again in the bins of its baseline, fall as that says.

    `told` and `found` are the rows of the two.
    """
    detail = "" if recorded.n == again.n else f"it was made from {recorded.n:,} rows, kept are {again.n:,}"
    for name, counts in recorded.counts.items():
        if detail:
            break
        moved = _moved(counts, again.counts.get(name, ()))
        allowed = 0.0 if name.startswith("feature:") else MOVED * recorded.n
        if moved > allowed:
            detail = f"{moved:,.0f} of {recorded.n:,} rows fall into another bin of {name}"
    return Proof(
        of="champion", kind="baseline", holds=not detail, detail=detail, told=float(recorded.n), found=float(again.n)
    )


def _moved(counts: Sequence[int], again: Sequence[int]) -> float:
    """Rows in another cell; all of them where the histograms are not of the same cells."""
    a, b = np.array(counts), np.array(again)
    return float(np.abs(a - b).sum() / 2) if a.shape == b.shape else float(max(a.sum(), 1))
