"""McNemar's and DeLong's test, as readers of papers expect them beside a gain.

Both take rows for independent, which rows of one day are not: they are shown, and decide nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from driftline.core.paired_metrics import FloatArray, Side
from driftline.events.verdicts import PairedTest
from driftline.spec.metrics import Task

Bools = NDArray[np.bool_]


def paired_tests(task: Task, truth: FloatArray, champion: Side, candidate: Side) -> tuple[PairedTest, ...]:
    """Those that apply: McNemar where there are labels, DeLong where there are two."""
    if task == "regression":
        return ()
    found = [mcnemar(champion.predictions == truth, candidate.predictions == truth)]
    if task == "binary" and champion.scores is not None and candidate.scores is not None:
        found.append(delong(truth == 1, champion.scores, candidate.scores))
    return tuple(test for test in found if test is not None)


def mcnemar(champion_right: Bools, candidate_right: Bools) -> PairedTest | None:
    """Whether the two are right equally often, from the rows in which only one of them is (McNemar, Psychometrika 12,
    1947): z without correction, the p-value exact, of the binomial with equal chances. None without such rows.
    """
    lost, won = int((champion_right & ~candidate_right).sum()), int((~champion_right & candidate_right).sum())
    apart = lost + won
    if apart == 0:
        return None
    return PairedTest(
        name="mcnemar",
        difference=(won - lost) / champion_right.size,
        statistic=(won - lost) / apart**0.5,
        p_value=min(1.0, 2 * float(stats.binom.cdf(min(lost, won), apart, 0.5))),
    )


def delong(positive: Bools, champion: FloatArray, candidate: FloatArray) -> PairedTest | None:
    """Whether the AUCs are equal (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988), two-sided.

    The structural components come out of midranks (Sun and Xu, IEEE Signal Processing Letters 21, 2014). None where a
    class has fewer than two rows or the two models rank all rows alike.
    """
    hits, others = int(positive.sum()), int((~positive).sum())
    if hits < 2 or others < 2:
        return None
    (a, of_hits_a, of_others_a), (b, of_hits_b, of_others_b) = (
        _components(positive, scores) for scores in (champion, candidate)
    )
    variance = (of_hits_b - of_hits_a).var(ddof=1) / hits + (of_others_b - of_others_a).var(ddof=1) / others
    if variance <= 0:
        return None
    z = float((b - a) / np.sqrt(variance))
    return PairedTest(name="delong", difference=b - a, statistic=z, p_value=float(2 * stats.norm.sf(abs(z))))


def _components(positive: Bools, scores: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """AUC; for each positive row the share of negative ones below it; for each negative one the positive ones above."""
    ranks = stats.rankdata(scores)
    hits, others = int(positive.sum()), int((~positive).sum())
    of_hits = (ranks[positive] - stats.rankdata(scores[positive])) / others
    of_others = 1 - (ranks[~positive] - stats.rankdata(scores[~positive])) / hits
    return float(of_hits.mean()), of_hits, of_others
