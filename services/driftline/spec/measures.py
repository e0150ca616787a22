"""Every drift measure by name: the one table from which rules, reports and the reference follow.

What computes them stands in `core.distances`, by the same names.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Measure(NamedTuple):
    """How far one feature, the score or the prediction is from the baseline, from counts in bins that both share.

    `high` is infinite where the range has no end; it begins at 0. `undefined`: when the value is null, beside an empty
    side. `bound`: how far it can be from the figure of the single values. `judged`: whether a rule may ask for it.
    """

    name: str
    unit: str
    high: float
    sentence: str
    source: str
    undefined: str = ""
    bound: str = "it is that of the bins"
    judged: bool = True


_TABLE = (
    Measure(
        "psi",
        "nats",
        math.inf,
        "Population stability index, the symmetric Kullback-Leibler divergence; half a row is added to each cell.",
        "Jeffreys 1946",
    ),
    Measure(
        "jensen_shannon", "1", 1.0, "Root of the Jensen-Shannon divergence to base 2.", "Endres and Schindelin 2003"
    ),
    Measure("hellinger", "1", 1.0, "Distance of the roots of the shares, divided by the root of 2.", "Hellinger 1909"),
    Measure("total_variation", "share", 1.0, "Share of the rows that would have to move.", "by definition"),
    Measure(
        "wasserstein",
        "the unit of the feature",
        math.inf,
        "Mean way that a row would have to move; values beyond the reference's least and most count as these.",
        "Vallender 1974",
        "a category, or bins without reference",
        "the report's `error_bounds`: rows may lie anywhere within their bin",
    ),
    Measure(
        "ks",
        "share",
        1.0,
        "Largest difference of the shares below any edge of a bin.",
        "Smirnov 1939",
        "a category",
        "the report's `error_bounds`: that of the values may be so much greater",
    ),
    Measure(
        "cramers_v",
        "1",
        1.0,
        "Effect size of the chi-squared test: root of the statistic by the rows of both sides.",
        "Cramer 1946",
    ),
    Measure(
        "chi_squared",
        "1",
        math.inf,
        "Statistic of the test that both sides are alike. It grows with the rows: a rule judges `cramers_v`.",
        "Pearson 1900",
        judged=False,
    ),
    Measure(
        "p_value",
        "chance",
        1.0,
        "Of the chi-squared test, held to the false discovery rate over all that the report tests.",
        "Benjamini and Hochberg 1995",
        judged=False,
    ),
)

MEASURE_TABLE: dict[str, Measure] = {measure.name: measure for measure in _TABLE}
"""By name, in the order in which they are told."""

DRIFT_MEASURES: tuple[str, ...] = tuple(measure.name for measure in _TABLE if measure.judged)
"""What a rule may judge."""
