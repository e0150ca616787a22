"""A verdict in plain words."""

from __future__ import annotations

from collections.abc import Iterator

from driftline.core.gate import Reason
from driftline.events.base import iso
from driftline.events.retraining import Comparison, Verdict
from driftline.events.verdicts import Latency, Proof

DAY_MS = 86_400_000
_SAID = {
    Reason.BETTER: "it gains enough, certainly, and nothing stands against it",
    Reason.NO_ROWS: "there were no held-out rows with an outcome and an answer of the champion",
    Reason.TOO_FEW_ROWS: "there were too few held-out rows",
    Reason.TOO_FEW_BLOCKS: "the held-out rows are of too few blocks",
    Reason.METRIC_UNDEFINED: "the metric that decides is not defined on these rows",
    Reason.CANDIDATE_UNUSABLE: "the candidate's model cannot be used",
    Reason.CHAMPION_UNUSABLE: "the champion's model cannot be used",
    Reason.NOT_COMPARED: "the two could not be compared",
    Reason.HOLDOUT_SEEN: "the candidate has learnt from rows that it must not have seen",
    Reason.RETRAIN_NOT_REPRODUCED: "on its own rows the candidate is not what the trainer said: training is broken",
    Reason.BASELINE_NOT_REPRODUCED: "the champion's baseline does not come out of its own rows: data is broken",
    Reason.CANDIDATE_OUT_OF_RANGE: "the candidate gives answers that the spec's outputs forbid",
    Reason.GAIN_TOO_SMALL: "it does not gain enough",
    Reason.GAIN_UNCERTAIN: "what it gains may be chance: the lower bound is not above 0",
    Reason.ANOTHER_METRIC_WORSE: "another metric may have got worse by more than its margin",
    Reason.SEGMENT_WORSE: "it is certainly worse in a segment",
    Reason.TOO_SLOW: "it is too slow",
    Reason.TOO_LARGE: "it is too large",
    Reason.RETRAIN_NOT_PROVEN: "it is better, but nobody can find out whether it is what the trainer said",
    Reason.HOLDOUT_PERHAPS_SEEN: "it is better, but nobody knows whether it has learnt from rows that it must not see",
    Reason.BASELINE_NOT_PROVEN: "it is better, but nobody can find the champion's baseline again",
}
_DONE = {"promote": "promoted", "hold": "held", "refuse": "refused"}


def explanation(verdict: Verdict) -> str:
    """All of it, a line a figure."""
    return "\n".join(_lines(verdict))


def _lines(verdict: Verdict) -> Iterator[str]:
    word, _, detail = verdict.reason.partition(": ")
    why = _SAID[Reason(word)] if word in set(Reason) else word  # another version of Driftline may know more
    yield f"{verdict.model} version {verdict.version} was {_DONE[verdict.decision]} ({word}): {why}."
    if detail:
        yield f"  {detail}"
    yield f"verdict {verdict.id} on candidate {verdict.candidate} of case {verdict.case}"
    yield f"champion {verdict.champion or 'unknown'}, spec {verdict.spec or 'unknown'}"
    if verdict.rows is not None:
        span = verdict.rows.span
        yield f"compared on {verdict.rows.n:,} rows, {verdict.rows.blocks} blocks of {_length(verdict.block_ms)}"
        yield f"  from {iso(span.start)} to {iso(span.end)}, digest {verdict.rows.digest[:16]}"
        yield f"intervals: {verdict.method}, {verdict.confidence or 0:.0%}"
    for place, metric in enumerate(verdict.metrics):
        decides = f"  decides, needs {verdict.min_effect:g} and a bound above 0" if place == 0 else ""
        yield f"  {_compared(metric)}{decides}"
    yield from _guards(verdict)
    for test in verdict.tests:
        told = f"{test.name} {test.difference:+.4f}, z {test.statistic:+.2f}, p {test.p_value:.2g}"
        yield f"beside it, as if rows were independent: {told}"
    if verdict.proofs:
        yield "what was said of both, found again"
    for proof in verdict.proofs:
        yield f"  {_proof(proof)}"
    if verdict.kept is not None:
        yield f"rows and question are kept in {verdict.kept.uri}; --rerun computes all this again"


def _guards(verdict: Verdict) -> Iterator[str]:
    for each in verdict.not_worse:
        bound = "unknown" if each.low is None else f"{each.low:+.4f}"
        yield f"{_mark(each.holds)} {each.name} not worse by {each.margin:g}: lower bound of its gain {bound}"
    looked_at = sum(each.difference is not None for each in verdict.segments)
    if verdict.segments:
        of = f"with an upper bound below 0, its chance of error shared among {looked_at}"
        yield f"segments: a loss of {verdict.worse_by or 0:g} {of}, vetoes"
    for segment in verdict.segments:
        if segment.difference is None:
            yield f"  not looked at: {segment.segment}, n = {segment.n:,}: too few rows or blocks, or not defined"
        else:
            told = f"gain {segment.difference:+.4f}, at most {segment.high:+.4f}, n = {segment.n:,}"
            yield f"  {_mark(not segment.vetoes)} {segment.segment}: {told}"
    if verdict.latency is not None:
        yield _latency(verdict.latency)
    if verdict.size is not None:
        size, limit = verdict.size.size_bytes, verdict.size.limit
        yield (
            f"size: {size:,} bytes"
            if limit is None
            else f"{_mark(size <= limit)} size {size:,} bytes, at most {limit:,}"
        )


def _latency(latency: Latency) -> str:
    told = f"latency of one row: candidate {latency.candidate_ms:.3g} ms"
    if latency.champion_ms is None or latency.ratio is None:
        return told + ("" if latency.limit is None else ", not judged: the champion is no artifact")
    told += f", champion {latency.champion_ms:.3g} ms, ratio {latency.ratio:g}"
    if latency.limit is None:
        return told
    return f"{_mark(latency.ratio <= latency.limit)} {told}, at most {latency.limit:g}"


def _compared(metric: Comparison) -> str:
    known = metric.low is not None and metric.high is not None
    bounds = f"[{metric.low:+.4f}, {metric.high:+.4f}]" if known else "no interval"
    p_value = "" if metric.p_value is None else f", p {metric.p_value:.2g}"
    sides = f"{metric.champion:.4f} -> {metric.candidate:.4f}"
    return f"{metric.name}: {sides}, gain {metric.difference:+.4f} {bounds}{p_value}"


def _proof(proof: Proof) -> str:
    what = {
        "unseen": "the candidate has not seen the held-out rows",
        "rows": "the rows kept with the candidate are those it has learnt from",
        "validation": f"the {proof.name} that the training reports",
        "figure": f"the candidate's {proof.name or 'figures'} on its own rows",
        "baseline": "the champion's baseline on its own rows",
    }[proof.kind]
    if proof.kind in ("validation", "figure") and proof.told is not None and proof.found is not None:
        bounds = "" if proof.low is None else f" [{proof.low:.4f}, {proof.high:.4f}]"
        what += f": told {proof.told:.4f}{bounds}, found {proof.found:.4f}"
    detail = f" ({proof.detail})" if proof.detail else ""
    return f"{_mark(proof.holds)} {what}{detail}"


def _mark(holds: bool | None) -> str:
    return "not tried:" if holds is None else "holds:" if holds else "FAILS:"


def _length(block_ms: int | None) -> str:
    if block_ms is None:
        return "unknown length"
    return "a day" if block_ms == DAY_MS else f"{block_ms / 3_600_000:g} h"
