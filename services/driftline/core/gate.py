"""The decision on a candidate: everything that is looked at, and the first thing that stands against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from driftline.core.comparison import MIN_BLOCKS, HeldOut, compare, gain_of, method_of
from driftline.core.paired_metrics import Side, numbered
from driftline.core.paired_tests import paired_tests
from driftline.core.segments import largest
from driftline.events.retraining import Comparison
from driftline.events.verdicts import Latency, NotWorse, PairedTest, Proof, SegmentGain, Size
from driftline.spec.metrics import USUAL
from driftline.spec.model import MonitorSpec, PromotionSpec, VetoSpec

MIN_ROWS = 100
MOST_SEGMENTS = 50  # of one way to cut, as in a window report; the rest counts as one


class Reason(StrEnum):
    """Why a candidate is promoted, held or refused: see `decision_of`.

    Of several things that stand against it, the one that is named first here is the reason.
    """

    BETTER = "better"  # it gains enough, certainly, and nothing stands against it
    NOT_COMPARED = "not-compared"  # something kept it from being compared, with its error
    CANDIDATE_UNUSABLE = "candidate-unusable"  # its artifact cannot be loaded, or fails on known rows
    CHAMPION_UNUSABLE = "champion-unusable"  # likewise
    NO_ROWS = "no-rows"  # no held-out row has an outcome, and an answer of the champion
    HOLDOUT_SEEN = "holdout-seen"  # it has learnt from held-out rows, or from later ones
    RETRAIN_NOT_REPRODUCED = "retrain-not-reproduced"  # on its own rows it does not score what the trainer said
    BASELINE_NOT_REPRODUCED = "baseline-not-reproduced"  # the champion's rows do not give its recorded baseline
    TOO_FEW_ROWS = "too-few-rows"  # fewer than a hundred
    TOO_FEW_BLOCKS = "too-few-blocks"  # fewer than three days, or whatever the spec's `block` is
    CANDIDATE_OUT_OF_RANGE = "candidate-out-of-range"  # it answers with what the spec's `outputs` forbid, or with NaN
    METRIC_UNDEFINED = "metric-undefined"  # such as AUC where only one class came true
    GAIN_TOO_SMALL = "gain-too-small"  # the gain is below `min_effect`
    GAIN_UNCERTAIN = "gain-uncertain"  # the gain is large enough, but its lower bound is not above 0
    ANOTHER_METRIC_WORSE = "another-metric-worse"  # one of `not_worse` may have lost its margin
    SEGMENT_WORSE = "segment-worse"  # `veto`: a segment has certainly lost, and so much
    TOO_SLOW = "too-slow"  # slower than `max_latency_ratio` allows
    TOO_LARGE = "too-large"  # larger than `max_size` allows
    RETRAIN_NOT_PROVEN = "retrain-not-proven"  # it is better, but keeps no rows, or no figure to find again on them
    HOLDOUT_PERHAPS_SEEN = "holdout-perhaps-seen"  # likewise, but some of its rows have no id or no time
    BASELINE_NOT_PROVEN = "baseline-not-proven"  # likewise, but the champion's artifact keeps no rows or no baseline


HOLDS = (
    *(Reason.NO_ROWS, Reason.TOO_FEW_ROWS, Reason.TOO_FEW_BLOCKS, Reason.METRIC_UNDEFINED),
    *(Reason.RETRAIN_NOT_PROVEN, Reason.HOLDOUT_PERHAPS_SEEN, Reason.BASELINE_NOT_PROVEN),
)
"""These say nothing against the candidate: with more rows, or with what is missing of the two, it may be judged."""

Decision = Literal["promote", "hold", "refuse"]


def decision_of(reason: Reason) -> Decision:
    """What follows from a reason."""
    return "promote" if reason is Reason.BETTER else "hold" if reason in HOLDS else "refuse"


@dataclass(frozen=True)
class Measured:
    """What was found out about the two models beside their answers to the held-out rows."""

    proofs: tuple[Proof, ...] = ()
    latency: Latency | None = None
    size: Size | None = None


@dataclass(frozen=True)
class Judgement:
    """A reason with its evidence."""

    reason: Reason
    blocks: int
    method: str
    metrics: tuple[Comparison, ...] = ()
    tests: tuple[PairedTest, ...] = ()
    not_worse: tuple[NotWorse, ...] = ()
    segments: tuple[SegmentGain, ...] = ()

    @property
    def decision(self) -> Decision:
        """What follows from the reason."""
        return decision_of(self.reason)


def judge(
    spec: MonitorSpec, held_out: HeldOut, champion: Side, candidate: Side, name: str, measured: Measured = Measured()
) -> Judgement:
    """Compare and decide. Pure: `name` (the candidate's id) seeds the bootstrap, so a repeat decides the same."""
    promotion, blocks = spec.promotion, numbered(held_out.blocks)[1]
    method = method_of(blocks)
    too_early = _broken(measured.proofs) or _too_few(held_out.size, blocks)
    if too_early is None and not in_range(spec, candidate):
        too_early = Reason.CANDIDATE_OUT_OF_RANGE
    if too_early is not None:
        return Judgement(too_early, blocks, method)
    names = sorted(USUAL[spec.task], key=lambda metric: metric != promotion.metric)  # what decides comes first
    metrics = compare(names, held_out, champion, candidate, promotion.confidence, name)
    not_worse = tuple(_not_worse(metric, margin, metrics) for metric, margin in promotion.not_worse.items())
    segments = () if promotion.veto is None else _segments(promotion, promotion.veto, held_out, champion, candidate)
    return Judgement(
        reason=decide(promotion, metrics, not_worse, segments, measured),
        blocks=blocks,
        method=method,
        metrics=metrics,
        tests=paired_tests(spec.task, held_out.truth, champion, candidate),
        not_worse=not_worse,
        segments=segments,
    )


def decide(
    promotion: PromotionSpec,
    metrics: Sequence[Comparison],
    not_worse: Sequence[NotWorse] = (),
    segments: Sequence[SegmentGain] = (),
    measured: Measured = Measured(),
) -> Reason:
    """`better` if and only if the gain in the promotion metric reaches `min_effect`, its lower bound is above 0,
    nothing of the rest stands against it, and all that must be proven of the two is.
    """
    found = next((metric for metric in metrics if metric.name == promotion.metric), None)
    if found is None:
        return Reason.METRIC_UNDEFINED
    if found.difference < promotion.min_effect:
        return Reason.GAIN_TOO_SMALL
    if found.low is None or found.low <= 0:
        return Reason.GAIN_UNCERTAIN
    if not all(each.holds for each in not_worse):
        return Reason.ANOTHER_METRIC_WORSE
    if any(segment.vetoes for segment in segments):
        return Reason.SEGMENT_WORSE
    latency, size = measured.latency, measured.size
    if latency and latency.ratio is not None and latency.limit is not None and latency.ratio > latency.limit:
        return Reason.TOO_SLOW
    if size and size.limit is not None and size.size_bytes > size.limit:
        return Reason.TOO_LARGE
    return _unproven(measured.proofs) or Reason.BETTER


def in_range(spec: MonitorSpec, side: Side) -> bool:
    """Whether every answer is finite and within the declared outputs; a probability is never outside [0, 1]."""
    outputs = {"prediction": side.predictions} if spec.task == "regression" else {"score": side.scores}
    for name, values in outputs.items():
        if values is None or not np.isfinite(values).all():
            return False
        declared = spec.outputs.get(name)
        low, high = declared.range if declared else (-np.inf, np.inf)
        if name == "score":
            low, high = max(low, 0.0), min(high, 1.0)
        if ((values < low) | (values > high)).any():
            return False
    return True


def _broken(proofs: Sequence[Proof]) -> Reason | None:
    """What did not hold of what was said of the models."""
    failed = [proof for proof in proofs if proof.holds is False]
    if any(proof.kind == "unseen" for proof in failed):
        return Reason.HOLDOUT_SEEN
    if any(proof.of == "candidate" for proof in failed):
        return Reason.RETRAIN_NOT_REPRODUCED
    return Reason.BASELINE_NOT_REPRODUCED if failed else None


def _unproven(proofs: Sequence[Proof]) -> Reason | None:
    """What could not be tried of what must hold.

    Of the figures one that was found again is enough: a training may report whatever it likes beside it.
    """
    untried = {proof.kind for proof in proofs if proof.holds is None}
    figures = [proof.holds for proof in proofs if proof.kind in ("validation", "figure")]
    if "rows" in untried or (figures and not any(figures)):
        return Reason.RETRAIN_NOT_PROVEN
    if "unseen" in untried:
        return Reason.HOLDOUT_PERHAPS_SEEN
    return Reason.BASELINE_NOT_PROVEN if "baseline" in untried else None


def _too_few(rows: int, blocks: int) -> Reason | None:
    if rows < MIN_ROWS:
        return Reason.TOO_FEW_ROWS
    return Reason.TOO_FEW_BLOCKS if blocks < MIN_BLOCKS else None


def _not_worse(metric: str, margin: float, metrics: Sequence[Comparison]) -> NotWorse:
    """Non-inferiority by the lower bound of the same interval. All metrics must hold, so none needs a correction."""
    found = next((each for each in metrics if each.name == metric), None)
    low = found.low if found else None
    holds = low is not None and low > -margin
    return NotWorse(name=metric, margin=margin, difference=found.difference if found else None, low=low, holds=holds)


def _segments(
    promotion: PromotionSpec, veto: VetoSpec, held_out: HeldOut, champion: Side, candidate: Side
) -> tuple[SegmentGain, ...]:
    """The gain in each segment, and which veto.

    The mirror image of a promotion: a segment vetoes if its loss is at least `worse_by` and the upper bound of its gain
    is below 0. The chance of error of that bound, (1 - confidence) / 2 on its one side, is shared equally among the
    segments looked at (Bonferroni): a candidate that is worse in none of them is vetoed no more often than that.
    """
    rows = {name: chosen for way in veto.segments for name, chosen in _rows_by_segment(way, held_out).items()}
    told, looked_at = {}, {}
    for name, chosen in rows.items():
        n = int(chosen.sum())
        told[name] = SegmentGain(segment=name, n=n)
        if n < MIN_ROWS:
            continue
        sides = champion.of_rows(chosen), candidate.of_rows(chosen)
        found = gain_of(promotion.metric, held_out.of_rows(chosen), *sides)
        if found is not None and found[2].error is not None:
            looked_at[name] = (n, *found)
    for name, (n, a, b, gain, blocks) in looked_at.items():
        assert gain.error is not None, "those without were left out"
        tail = (1 - promotion.confidence) / 2 / len(looked_at)
        high = gain.value + float(stats.t.isf(tail, blocks - 1)) * gain.error
        vetoes = gain.value <= -veto.worse_by and high < 0
        told[name] = SegmentGain(
            segment=name, n=n, champion=a, candidate=b, difference=gain.value, high=high, vetoes=vetoes
        )
    return tuple(told.values())


def _rows_by_segment(way: str, held_out: HeldOut) -> dict[str, NDArray[np.bool_]]:
    """The rows of each segment that a way to cut makes, in order of names; small ones beyond the first are one."""
    names = held_out.segments[way]
    named = largest(Counter(names), way, MOST_SEGMENTS)
    told = sorted({named[name] for name in names})
    number = {name: told.index(named[name]) for name in named if named[name] in told}
    codes = np.array([number[name] for name in names])
    return {name: codes == place for place, name in enumerate(told)}
