"""The page of the reference on what is measured: metrics, their intervals, drift measures, figures of operation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from driftline.core.binning import BUCKETS, MAX_CATEGORIES, MAX_KNOWN
from driftline.core.intervals import ENOUGH, MAX_BLOCKS, MIN_BLOCKS, MIN_PANES, RESAMPLES
from driftline.spec.measures import MEASURE_TABLE
from driftline.spec.metrics import METRIC_TABLE, METRICS, TASKS

Table = Callable[[Iterable[str], Iterable[Iterable[str]]], list[str]]

_METRICS = ("metric", "what", "unit", "range", "better", "null where", "differs from rows by")
_MEASURES = ("measure", "what", "unit", "range", "null for", "differs from rows by", "rules")
_SCORES = ("scores", "AUC off by", "its `error_bound`", "average precision off by")
_BETTER = {True: "higher", False: "lower", None: "neither"}
_METHODS = {
    "block-bootstrap": f"{MIN_BLOCKS} panes with outcomes or more. Blocks of adjoining panes, as many as the root of "
    f"the panes, {MIN_BLOCKS} to {MAX_BLOCKS}, are drawn {RESAMPLES} times with replacement; the ends of the middle "
    "95 % are moved away from the value as Student's t asks for so few blocks.",
    "wilson": "Few panes or few rows: a share, by the score interval of its own denominator; average precision, as if "
    "it were a share of the positives.",
    "hanley-mcneil": "Few panes or few rows: AUC, by the score interval of Hanley and McNeil's variance.",
    "delta": "Few panes or few rows: other figures of the confusion matrix of two labels, `mcc`, `kappa` and "
    "`expected_cost`: the score interval of a share that varies as much by the delta method.",
    "jackknife": "Few panes: averages over many labels, by leaving out each row.",
    "t": "Few panes: means of errors or losses; the spread of losses is that of the score's bins.",
    "order-statistics": "Few panes or few rows: quantiles of the error. None where the largest of so few errors may "
    "lie below it: 99 % need 381 outcomes, 95 % need 74.",
    "jackknife-t": f"Fewer panes, {MIN_PANES} or more: all others, by leaving out each pane.",
}

SCORE_ERRORS = {
    "uniform, calibrated": (0.0001, 0.0007, 0.0001),
    "logistic, calibrated": (0.0001, 0.0008, 0.0001),
    "logistic, calibrated, 2 % positive": (0.0002, 0.003, 0.0003),
    "2 % positive, all scores below 0.1": (0.0004, 0.0065, 0.0007),
    "0.2 % positive, scores around 0.00001": (0.0005, 0.0095, 0.0015),
    "over-confident: log-odds four times too large": (0.0001, 0.001, 0.0001),
    "over-confident: log-odds eight times too large": (0.0002, 0.001, 0.0018),
    "all between 0.004 and 0.02": (0.003, 0.025, 0.006),
}
"""Without reference, by how scores lie: how far AUC is off at most, its bound, how far average precision is off."""


def measures(table: Table) -> list[str]:
    """The page; `table` makes a table of a head and rows."""
    lines = [
        "# What is measured",
        "",
        "Every figure comes from sums of panes, so it is the same live, replayed, and over any number of partitions.",
        "A figure that is not defined is null, never NaN. Each metric of a report carries its `n`, a 95 % interval and",
        "the `method` that made it, and an `error_bound`: how far it can be from the figure of the single rows.",
        "",
    ]
    for task in TASKS:
        lines += [f"## Metrics of a {task} model", "", *table(_METRICS, map(_metric, METRICS[task]))]
    return [
        *lines,
        "*Usual*: reported where a spec lists no `metrics`, and compared by the gate.",
        "",
        "## Intervals",
        "",
        "Neighbours in time are not independent, so panes are drawn in blocks. Only where they are too few is each",
        f"row taken for independent, and the method says so. *Few rows*: less than {ENOUGH} a block of those on which",
        "a figure hangs (the hits or the misses of a recall, the rarer class of an AUC, the errors of a very good",
        "model). Draws of so few would promise too much: then it is the closed form, widened to what the blocks show",
        "where they lie farther apart than independent rows would. `ece` has no interval, and a rule about it cannot",
        "be `certain`.",
        "",
        *table(("method", "when, and how"), ((f"`{name}`", said) for name, said in _METHODS.items())),
        "By simulation (every metric of binary models and regressions, some of many labels, the estimates; normal",
        "noise), intervals of independent rows hold the true figure 93 to 97 times in a hundred, in fewer than 10",
        "panes 93 to 98, and with few positives or few errors 93 to 100: a window with 5 positives does not tell",
        "more. One falls short: `brier` of a model that is hardly ever wrong, 90. Where an error rate goes up and",
        "down, correlated by 0.7 between neighbouring panes, blocks hold it 92 times in a hundred in a window of 100",
        "panes and 94 times in one of 400; the binomial interval of the same rows does so 16 times.",
        "",
        "## Scores in bins",
        "",
        "AUC and average precision come from 1,024 bins of the score. With reference data most lie at its quantiles:",
        "in all the cases below AUC then errs by less than 0.0005 and average precision by less than 0.002. Without,",
        "half of the bins are of equal width (1/512), half lie closer and closer to 0 and 1, down to odds of one in a",
        "billion. So far they are off at most in tests with 100,000 rows:",
        "",
        *table(_SCORES, ((what, *(f"{figure:g}" for figure in each)) for what, each in SCORE_ERRORS.items())),
        "Scores that crowd between few edges need reference data: a report's `error_bound` shows it, and the summary",
        "of a backtest where it is above 0.0005. The probability of each of many labels has 256 bins, made alike: its",
        "AUC errs several times as much.",
        "",
        "## Drift measures",
        "",
        "Of each feature, the score and the prediction, against the baseline of the version. Numbers are counted in",
        "bins at the quantiles of the reference, below, above and missing ones by themselves; categories by value, the",
        f"{MAX_CATEGORIES} most frequent by themselves and the other known ones together, unseen and missing ones by",
        "themselves. Known is what is `allowed`, else what is in the reference. Where there is neither, or more than",
        f"{MAX_KNOWN:,} different values in the reference, those without a cell are spread over {BUCKETS} buckets by",
        "their hash: two may share one, and none is called unseen.",
        "",
        "All are null where either side is empty (for `ks` and `wasserstein`: where all is missing), and 0 where both",
        "are the same constant. A rule judges an effect size over enough rows (`min_samples`), never a p-value: with",
        "enough rows everything has drifted.",
        "",
        *table(_MEASURES, map(_measure, MEASURE_TABLE)),
        "## Operation",
        "",
        "Rate, latency and delay of labels stand in [Operation](events.md#operation) of each segment, the share of",
        "labelled predictions in its `coverage`. A feature's missing, out-of-range and unseen shares stand beside its",
        "drift; orphans, duplicates, conflicts and corrections are counted in `counters` of the report.",
    ]


def _metric(name: str) -> tuple[str, ...]:
    m = METRIC_TABLE[name]
    return (
        f"`{name}`" + (" (usual)" if m.usual else ""),
        f"{m.sentence} ({m.source})",
        m.unit,
        _range(m.low, m.high),
        _BETTER[m.higher_is_better],
        m.undefined,
        m.bound or "1e-9",
    )


def _measure(name: str) -> tuple[str, ...]:
    m = MEASURE_TABLE[name]
    told = f"{m.sentence} ({m.source})"
    return f"`{name}`", told, m.unit, _range(0.0, m.high), m.undefined, m.bound, "yes" if m.judged else "no"


def _range(low: float, high: float) -> str:
    return f"{'(-inf' if low == -math.inf else f'[{low:g}'}, {'inf)' if high == math.inf else f'{high:g}]'}"
