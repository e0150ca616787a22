"""Which feature's drift goes with the errors: a feature may drift far and do no harm."""

from __future__ import annotations

import numpy as np

from driftline.core.pane import Totals
from driftline.events.alerts import FeatureEffect
from driftline.events.baselines import Baseline
from driftline.events.reports import Drift

TOLD = 5
PRIOR = 10
"""Labelled rows with everybody's share of errors that are added to each bin, so that a few rows prove nothing."""


def error_effects(totals: Totals, baseline: Baseline | None) -> dict[str, float]:
    """By how much the share of errors is higher because a feature's values moved between its bins, by feature.

    The sum over bins of (share of predictions now - in the baseline) x share of errors now: the term of composition in
    Kitagawa's decomposition (JASA 50, 1955), at the error shares of the window. Features whose errors or baseline are
    not known have none.
    """
    found = {}
    for name in totals.layout.bins.features:
        known = None if baseline is None else baseline.counts.get(f"feature:{name}")
        if known is None or f"wrong:{name}" not in totals.layout.cells or not totals.labelled:
            continue
        now, then = totals.histogram(f"feature:{name}"), np.array(known)
        wrong, right = totals.histogram(f"wrong:{name}"), totals.histogram(f"right:{name}")
        labelled = int(wrong.sum() + right.sum())
        if not labelled or not then.sum() or not now.sum():
            continue
        errors = (wrong + PRIOR * wrong.sum() / labelled) / (wrong + right + PRIOR)
        found[name] = float(((now / now.sum() - then / then.sum()) * errors).sum())
    return found


def ranked(drift: dict[str, Drift]) -> tuple[FeatureEffect, ...]:
    """The features to look at first, `TOLD` at most: by their effect on errors where known, then by distance."""
    known = [
        FeatureEffect(feature=name, psi=each.psi, error_effect=each.error_effect)
        for name, each in drift.items()
        if each.psi is not None
    ]
    return tuple(sorted(known, key=_order)[:TOLD])


def _order(effect: FeatureEffect) -> tuple[float, float, str]:
    return -max(0.0, effect.error_effect or 0.0), -effect.psi, effect.feature
