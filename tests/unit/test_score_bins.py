"""How far AUC and average precision from the bins of a score are from those of the rows: what the reference states."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from tests.cells import cells_of_scores

from driftline.core.binning import label_edges, score_edges
from driftline.core.metrics import compute
from driftline.core.pane import Layout, Totals
from driftline.events.baselines import Bins
from driftline.reference_measures import SCORE_ERRORS

ROWS = 100_000


def chance(odds):
    return 1 / (1 + np.exp(-odds))


def rows(what, rng):
    """Scores and outcomes."""
    z, u = rng.normal(size=ROWS), rng.random(ROWS)
    if what == "uniform, calibrated":
        return u, rng.random(ROWS) < u
    if what == "logistic, calibrated":
        return chance(1.5 * z), u < chance(1.5 * z)
    if what == "logistic, calibrated, 2 % positive":
        return chance(1.5 * z - 5), u < chance(1.5 * z - 5)
    if what == "2 % positive, all scores below 0.1":
        return chance(z + 1.5 * (u < 0.02) - 7), u < 0.02
    if what == "0.2 % positive, scores around 0.00001":
        return chance(z + 1.5 * (u < 0.002) - 11.5), u < 0.002
    if what == "over-confident: log-odds four times too large":
        return chance(4 * z), u < chance(z)
    if what == "over-confident: log-odds eight times too large":
        return chance(12 * z), u < chance(1.5 * z)
    crowd = rng.beta(20, 2000, ROWS)
    assert what == "all between 0.004 and 0.02", f"nothing is known of {what}"
    return crowd, u < chance(600 * crowd - 10)


def figures(edges, scores, truth):
    """How far AUC and average precision are off, and the bounds that they carry."""
    layout = Layout(Bins(features={}, labels=("no", "yes"), positive="yes", score=edges))
    totals = Totals(layout, np.zeros(layout.size, np.int64), {})
    for name, some in (("score|neg", ~truth), ("score|pos", truth)):
        cells = cells_of_scores(edges, scores[some])
        totals.histogram(name)[:] = np.bincount(cells, minlength=len(edges) + 2)
    auc, precision = compute(totals, "auc"), compute(totals, "average_precision")
    off = auc.value - roc_auc_score(truth, scores), precision.value - average_precision_score(truth, scores)
    return abs(off[0]), abs(off[1]), auc.error_bound, precision.error_bound


@pytest.mark.parametrize("what", SCORE_ERRORS)
def test_default_bins_err_by_no_more_than_the_reference_states(what):
    rng = np.random.default_rng(11)
    stated, bound, stated_precision = SCORE_ERRORS[what]
    for _ in range(3):
        auc, precision, auc_bound, precision_bound = figures(score_edges(None), *rows(what, rng))
        assert auc <= min(stated, auc_bound)
        assert precision <= min(stated_precision, precision_bound)
        assert auc_bound <= bound
    if what != "all between 0.004 and 0.02":
        assert (stated <= 0.0005, stated_precision <= 0.002) == (True, True), "what each such metric promises"


@pytest.mark.parametrize("what", SCORE_ERRORS)
def test_bins_of_a_reference_err_by_less_than_what_is_promised_however_scores_crowd(what):
    rng = np.random.default_rng(12)
    reference, _ = rows(what, rng)
    auc, precision, bound, _ = figures(score_edges(reference), *rows(what, rng))
    assert auc < 0.0005
    assert precision < 0.002
    assert bound < 0.002


def test_models_without_reference_share_the_edges_of_their_scores():
    assert score_edges(None) is score_edges(np.array([]))
    for edges, bins, widest in ((score_edges(None), 1024, 1 / 512), (label_edges(None), 256, 1 / 128)):
        assert len(edges) == bins - 1
        assert np.diff([0, *edges, 1]).max() == widest
        assert np.diff([0, *edges, 1]).min() > 0
