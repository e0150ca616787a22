"""What may stand against a promotion, each with its own reason, and which reason comes first."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from tests.specs import bare_spec

from driftline.core.comparison import HeldOut
from driftline.core.gate import HOLDS, Measured, Reason, decision_of, judge
from driftline.core.paired_metrics import Side
from driftline.events.verdicts import Latency, Proof, Size
from driftline.spec.model import MonitorSpec, PromotionSpec, VetoSpec

DAYS, A_DAY = 7, 120


def spec(**promotion) -> MonitorSpec:
    return bare_spec(
        task="regression",
        labels=(),
        positive=None,
        promotion=PromotionSpec(**{"metric": "mae", "min_effect": 0.01} | promotion),
    )


def stage(gain=0.3, seed=1, **by_segment):
    """Rows of three airports, and a candidate whose absolute error is smaller by `gain`, or by what an airport says."""
    chance = np.random.default_rng(seed)
    n = DAYS * A_DAY
    truth = np.zeros(n)
    origin = [f"origin={('EWR', 'JFK', 'LGA')[i % 3]}" for i in range(n)]
    errors = 2 + np.abs(chance.normal(size=n))
    gains = np.array([by_segment.get(name.removeprefix("origin="), gain) for name in origin])
    held_out = HeldOut(truth, np.repeat(np.arange(DAYS), A_DAY), {"origin": origin})
    return held_out, Side(errors, None), Side(errors - gains + 0.1 * chance.normal(size=n), None)


def failed(of: str, kind: str) -> Measured:
    return Measured(proofs=(Proof(of=of, kind=kind, holds=False),))


VETO = VetoSpec(segments=("origin",), worse_by=0.1)


def test_better_overall_and_in_every_segment_is_promoted():
    judgement = judge(spec(veto=VETO, not_worse={"rmse": 0.0}), *stage(), "c")
    assert (judgement.reason, judgement.decision) == (Reason.BETTER, "promote")
    assert [segment.segment for segment in judgement.segments] == ["origin=EWR", "origin=JFK", "origin=LGA"]
    assert not any(segment.vetoes for segment in judgement.segments)


def test_better_overall_and_certainly_worse_in_one_segment_is_refused():
    judgement = judge(spec(veto=VETO), *stage(LGA=-0.2), "c")
    assert (judgement.reason, judgement.decision) == (Reason.SEGMENT_WORSE, "refuse")
    assert [segment.segment for segment in judgement.segments if segment.vetoes] == ["origin=LGA"]
    assert judge(spec(), *stage(LGA=-0.2), "c").reason is Reason.BETTER  # nobody asked for a veto


def test_a_segment_that_is_worse_by_less_than_the_veto_says_does_not_veto():
    judgement = judge(spec(veto=VetoSpec(segments=("origin",), worse_by=0.5)), *stage(LGA=-0.2), "c")
    assert judgement.reason is Reason.BETTER


def test_the_bound_of_a_segment_is_students_at_a_chance_of_error_shared_among_the_segments():
    held_out, champion, candidate = stage()
    segment = judge(spec(veto=VETO), held_out, champion, candidate, "c").segments[0]
    chosen = np.array(held_out.segments["origin"]) == "origin=EWR"
    gains = (champion.predictions - candidate.predictions)[chosen].reshape(DAYS, -1).mean(axis=1)
    high = gains.mean() + stats.t.ppf(1 - 0.025 / 3, DAYS - 1) * stats.sem(gains)
    assert (segment.difference, segment.high) == pytest.approx((gains.mean(), high), abs=1e-12)


def test_small_segments_are_told_and_not_looked_at_nor_counted_among_those_that_share():
    held_out, champion, candidate = stage()
    few = ["origin=HPN"] * 60 + held_out.segments["origin"][60:]
    judgement = judge(
        spec(veto=VETO), HeldOut(held_out.truth, held_out.blocks, {"origin": few}), champion, candidate, "c"
    )
    small = next(segment for segment in judgement.segments if segment.segment == "origin=HPN")
    assert (small.n, small.difference, small.vetoes) == (60, None, False)
    assert sum(segment.difference is not None for segment in judgement.segments) == 3


def test_segments_beyond_the_fifty_largest_are_one():
    held_out, champion, candidate = stage()
    many = [f"route={i % 60:02}" for i in range(held_out.size)]
    veto = VetoSpec(segments=("route",), worse_by=0.1)
    judgement = judge(
        spec(veto=veto), HeldOut(held_out.truth, held_out.blocks, {"route": many}), champion, candidate, "c"
    )
    assert len(judgement.segments) == 51
    (rest,) = [segment for segment in judgement.segments if segment.segment == "route=(other)"]
    assert rest.n == 10 * held_out.size // 60
    assert rest.difference is not None


def test_equal_models_are_vetoed_by_chance_no_more_often_than_promoted():
    vetoed = 0
    for seed in range(400):
        held_out, champion, candidate = stage(gain=0.0, seed=seed)
        segments = judge(
            spec(veto=VetoSpec(segments=("origin",), worse_by=0.0)), held_out, champion, candidate, "c"
        ).segments
        vetoed += any(segment.vetoes for segment in segments)
    assert vetoed / 400 <= 0.025 + 2 * (0.025 * 0.975 / 400) ** 0.5


def test_another_metric_that_may_have_lost_more_than_its_margin_refuses():
    held_out, champion, candidate = stage()
    rare = candidate.predictions.copy()
    rare[::40] += 9.0  # most rows are better by 0.3, a few much worse: the mean error gains, its square does not
    candidate = Side(rare, None)
    judgement = judge(spec(not_worse={"rmse": 0.05}), held_out, champion, candidate, "c")
    assert (judgement.reason, judgement.decision) == (Reason.ANOTHER_METRIC_WORSE, "refuse")
    (told,) = judgement.not_worse
    assert (told.name, told.margin, told.holds) == ("rmse", 0.05, False)
    assert told.low < -0.05
    assert judge(spec(not_worse={"rmse": 9.0}), held_out, champion, candidate, "c").reason is Reason.BETTER


def test_a_candidate_that_takes_longer_than_the_ratio_allows_is_refused():
    slow = Measured(latency=Latency(champion_ms=1.0, candidate_ms=2.1, ratio=2.1, limit=2.0))
    assert judge(spec(), *stage(), "c", slow).reason is Reason.TOO_SLOW
    for latency in (
        Latency(champion_ms=1.0, candidate_ms=2.0, ratio=2.0, limit=2.0),
        Latency(champion_ms=1.0, candidate_ms=9.0, ratio=9.0, limit=None),
        Latency(champion_ms=None, candidate_ms=9.0, ratio=None, limit=2.0),  # someone else's service is not timed here
    ):
        assert judge(spec(), *stage(), "c", Measured(latency=latency)).reason is Reason.BETTER


def test_a_candidate_larger_than_allowed_is_refused():
    assert judge(spec(), *stage(), "c", Measured(size=Size(size_bytes=11, limit=10))).reason is Reason.TOO_LARGE
    for size in (Size(size_bytes=10, limit=10), Size(size_bytes=11, limit=None)):
        assert judge(spec(), *stage(), "c", Measured(size=size)).reason is Reason.BETTER


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (failed("candidate", "unseen"), Reason.HOLDOUT_SEEN),
        (failed("candidate", "rows"), Reason.RETRAIN_NOT_REPRODUCED),
        (failed("candidate", "validation"), Reason.RETRAIN_NOT_REPRODUCED),
        (failed("candidate", "figure"), Reason.RETRAIN_NOT_REPRODUCED),
        (failed("champion", "baseline"), Reason.BASELINE_NOT_REPRODUCED),
    ],
)
def test_what_does_not_hold_of_the_two_models_refuses_whatever_the_gain(measured, reason):
    judgement = judge(spec(), *stage(), "c", measured)
    assert (judgement.reason, judgement.decision, judgement.metrics) == (reason, "refuse", ())
    few = HeldOut(np.zeros(9), np.zeros(9, np.int64))
    assert judge(spec(), few, Side(np.zeros(9), None), Side(np.zeros(9), None), "c", measured).reason is reason


def proven(**holds) -> Measured:
    """All that must be proven of the two, but for what `holds` says."""
    kinds = {"unseen": True, "rows": True, "figure": True, "baseline": True} | holds
    of = {"baseline": "champion"}
    return Measured(proofs=tuple(Proof(of=of.get(kind, "candidate"), kind=kind, holds=h) for kind, h in kinds.items()))


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (proven(rows=None), Reason.RETRAIN_NOT_PROVEN),
        (proven(figure=None), Reason.RETRAIN_NOT_PROVEN),
        (proven(figure=None, validation=None), Reason.RETRAIN_NOT_PROVEN),
        (proven(unseen=None), Reason.HOLDOUT_PERHAPS_SEEN),
        (proven(baseline=None), Reason.BASELINE_NOT_PROVEN),
        (proven(rows=None, unseen=None, baseline=None), Reason.RETRAIN_NOT_PROVEN),
        (proven(unseen=None, baseline=None), Reason.HOLDOUT_PERHAPS_SEEN),
    ],
)
def test_what_would_be_promoted_is_held_where_it_cannot_be_proven(measured, reason):
    judgement = judge(spec(), *stage(), "c", measured)
    assert (judgement.reason, judgement.decision) == (reason, "hold")
    assert judgement.metrics  # whoever decides instead sees them
    assert judge(spec(min_effect=9.0), *stage(), "c", measured).reason is Reason.GAIN_TOO_SMALL


def test_one_figure_found_again_is_enough():
    assert judge(spec(), *stage(), "c", proven()).reason is Reason.BETTER
    assert judge(spec(), *stage(), "c", proven(validation=None)).reason is Reason.BETTER
    assert judge(spec(), *stage(), "c", proven(figure=None, validation=True)).reason is Reason.BETTER


def test_of_two_things_against_it_the_one_nearer_to_the_root_is_the_reason():
    all_kinds = [Proof(of="champion", kind="baseline", holds=False), Proof(of="candidate", kind="figure", holds=False)]
    assert judge(spec(), *stage(), "c", Measured(proofs=(*all_kinds,))).reason is Reason.RETRAIN_NOT_REPRODUCED
    seen = Proof(of="candidate", kind="unseen", holds=False)
    assert judge(spec(), *stage(), "c", Measured(proofs=(*all_kinds, seen))).reason is Reason.HOLDOUT_SEEN
    slow = Latency(champion_ms=1, candidate_ms=3, ratio=3, limit=2)
    both = Measured(latency=slow, size=Size(size_bytes=2, limit=1))
    assert judge(spec(), *stage(), "c", both).reason is Reason.TOO_SLOW
    assert judge(spec(veto=VETO), *stage(LGA=-0.2), "c", both).reason is Reason.SEGMENT_WORSE
    assert judge(spec(min_effect=9.0, veto=VETO), *stage(LGA=-0.2), "c", both).reason is Reason.GAIN_TOO_SMALL


def test_too_few_rows_and_what_is_not_proven_hold_and_everything_else_but_better_refuses():
    assert {reason for reason in Reason if decision_of(reason) == "promote"} == {Reason.BETTER}
    assert {reason for reason in Reason if decision_of(reason) == "hold"} == set(HOLDS)
    too_few = {Reason.NO_ROWS, Reason.TOO_FEW_ROWS, Reason.TOO_FEW_BLOCKS, Reason.METRIC_UNDEFINED}
    assert set(HOLDS) - too_few == {
        Reason.RETRAIN_NOT_PROVEN, Reason.HOLDOUT_PERHAPS_SEEN, Reason.BASELINE_NOT_PROVEN
    }  # fmt: skip


def test_every_length_of_block_decides_over_its_own_blocks():
    held_out, champion, candidate = stage()
    halves = HeldOut(held_out.truth, np.repeat(np.arange(2 * DAYS), A_DAY // 2))
    judgement = judge(spec(), halves, champion, candidate, "c")
    assert (judgement.blocks, judgement.method) == (14, "block-bootstrap")
