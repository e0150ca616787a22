"""Metrics out of panes: what `spec.metrics` names, computed from sums that add.

Each has a form for one sum of panes, from integers, and one for many resampled sums at once, for intervals. A test
holds the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping

from driftline.core.metrics.confusion import CONFUSION, expected_cost, f_beta
from driftline.core.metrics.errors import ERRORS
from driftline.core.metrics.formula import Costs, Draws, FloatArray, Formula, ratio
from driftline.core.metrics.labels import MANY_LABELS, of_label
from driftline.core.metrics.scores import SCORES
from driftline.core.pane import Totals
from driftline.events.reports import MetricValue
from driftline.spec.metrics import beta_of

__all__ = ["FORMULAS", "Costs", "Draws", "FloatArray", "Formula", "compute", "formula_of", "ratio"]

FORMULAS: Mapping[str, Formula] = {
    **CONFUSION,
    **SCORES,
    **ERRORS,
    **MANY_LABELS,
    "expected_cost": expected_cost({}),
}
"""By the names of `spec.metrics.METRIC_TABLE`. The cost is another under each spec's `costs`: see `formula_of`."""


def formula_of(name: str, costs: Costs | None = None) -> Formula:
    """How the metric `name` is computed under a spec's `costs`; `recall:cat`: of one label; `f3`: of another beta."""
    of, _, label = name.partition(":")
    if label:
        return of_label(of, label)
    if name not in FORMULAS and (beta := beta_of(name)) is not None:
        return f_beta(beta)
    return expected_cost(costs) if costs and name == "expected_cost" else FORMULAS[name]


def compute(totals: Totals, name: str) -> MetricValue:
    """The metric `name` of a sum of panes; `value` is None where it is not defined (no labels, one class)."""
    return formula_of(name).point(totals)
