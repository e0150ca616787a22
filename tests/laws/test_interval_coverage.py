"""By simulation: how often the 95 % interval of a window contains the figure that the stream really has.

Blocks: the root of the panes, between 10 and 40, so 10 of 10 panes in 100 and 20 of 20 in 400. A window has 50 rows a
pane where rows are independent, 200 where the error rate of panes goes up and down, 0.7 of it from pane to pane.

What is counted has an error of its own. The standard error of a coverage of 95 % is 0.6 % in 1500 trials and 0.5 % in
2000, so 93 and 97 % are more than three of it away; that of one of 90 % is 0.9 % in 1000.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from driftline.core.intervals import metrics_of_window
from driftline.core.metrics import FORMULAS
from driftline.core.metrics.closed_forms import wilson
from driftline.core.pane import SCALE, Layout, Pane, Totals
from driftline.events.baselines import Bins, NumberBins

pytestmark = pytest.mark.slow

BINS = 32
SCORES = Layout(
    Bins(features={}, labels=("no", "yes"), positive="yes", score=tuple(np.arange(1, BINS) / BINS))  # few bins: quicker
)
NUMBERS = Layout(Bins(features={}, prediction=NumberBins(edges=(-1.0, 0.0, 1.0))))
BINARY = ("accuracy", "precision", "recall", "f1", "mcc", "auc", "average_precision", "log_loss", "brier")
REGRESSION = ("mae", "rmse", "bias", "r2", "absolute_error_p90")
ROWS = 50


def classified(chance, panes, rows):
    """(truth, score) of each row of each pane; scores are those of a model that is neither blind nor sure."""
    truth = chance.random((panes, rows)) < 0.4
    return truth, 1 / (1 + np.exp(-(1.5 * truth - 0.8 + chance.standard_normal((panes, rows)))))


def binary_panes(truth, score):
    cells = SCORES.cells
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    label = score > 0.5
    losses = {"log_loss": -np.log(np.where(truth, score, 1 - score)), "brier": (score - truth) ** 2}
    where = np.stack(
        [
            np.zeros(truth.shape, np.int64),
            np.ones(truth.shape, np.int64),
            np.where(truth, cells["score|pos"].start, cells["score|neg"].start) + bins,
            cells["confusion"].start + 2 * truth + label,
        ]
    )
    return counted(SCORES, where, losses)


def regression_panes(error, truth):
    sizes = NUMBERS.cells["absolute_error"].start + np.searchsorted(NUMBERS.error_edges, np.abs(error), side="right")
    where = np.stack([np.zeros(error.shape, np.int64), np.ones(error.shape, np.int64), sizes])
    terms = {"absolute_error": np.abs(error), "error": error, "squared_error": error * error}
    return counted(NUMBERS, where, terms | {"truth": truth, "squared_truth": truth * truth})


def counted(layout, where, terms):
    """Panes of rows of which each adds one to some cells, (cells, panes, rows), and its terms, (panes, rows)."""
    panes = where.shape[1]
    flat = (where + layout.size * np.arange(panes)[:, None]).ravel()
    counts = np.bincount(flat, minlength=panes * layout.size).reshape(panes, layout.size)
    return panes_of(counts, {name: each.sum(axis=1) for name, each in terms.items()})


def panes_of(counts, sums):
    """A pane a row: of `counts`, (panes, cells), and of each of the `sums`, (panes,)."""
    row, cells = np.nonzero(counts)
    numbers, ends = counts[row, cells], np.cumsum(np.count_nonzero(counts, axis=1)).tolist()
    fixed = np.array([np.rint(each * SCALE) for each in sums.values()], np.int64).reshape(len(sums), len(counts))
    return [
        Pane(cells[start:end], numbers[start:end], dict(zip(sums, of_pane, strict=True)))
        for (start, end), of_pane in zip(pairwise([0, *ends]), fixed.T.tolist(), strict=True)
    ]


@cache
def true_figures(task):
    """Of so many rows that they stand for all."""
    chance = np.random.default_rng(1)
    if task == "binary":
        layout, panes, names = SCORES, binary_panes(*classified(chance, 200, 10_000)), BINARY
    else:
        layout, panes, names = NUMBERS, regression_panes(*chance.standard_normal((2, 200, 10_000))), REGRESSION
    totals = Totals.of(layout, panes)
    return {name: FORMULAS[name].point(totals).value for name in names}


def coverage(task, panes, rows, trials):
    """How often each metric's interval holds the true figure, and the methods that made it."""
    chance = np.random.default_rng(panes * 1000 + rows)
    true, layout = true_figures(task), SCORES if task == "binary" else NUMBERS
    hits = dict.fromkeys(true, 0)
    methods = {name: set() for name in true}
    for trial in range(trials):
        found = (
            binary_panes(*classified(chance, panes, rows))
            if task == "binary"
            else regression_panes(*chance.standard_normal((2, panes, rows)))
        )
        formulas = {name: FORMULAS[name] for name in true}
        for name, value in metrics_of_window(Totals.of(layout, found), found, formulas, [trial]).items():
            hits[name] += value.low <= true[name] <= value.high
            methods[name].add(value.method)
    return {name: n / trials for name, n in hits.items()}, methods


@pytest.mark.parametrize(("panes", "trials"), [(10, 1500), (100, 1500)])
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_independent_rows_are_covered_as_promised_by_blocks(task, panes, trials):
    shares, methods = coverage(task, panes, ROWS, trials)
    assert set.union(*methods.values()) == {"block-bootstrap"}
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares


@pytest.mark.parametrize(("task", "panes"), [("binary", 1), ("binary", 4), ("regression", 3), ("regression", 6)])
def test_independent_rows_of_few_panes_are_covered_as_promised(task, panes):
    shares, methods = coverage(task, panes, 4 * ROWS, 2000)
    assert "block-bootstrap" not in set.union(*methods.values())
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares


def wandering(chance, trials, panes):
    """Standard normal, correlated by 0.7 between neighbours: (trials, panes)."""
    x = np.empty((trials, panes))
    x[:, 0] = chance.standard_normal(trials)
    for i in range(1, panes):
        x[:, i] = 0.7 * x[:, i - 1] + (1 - 0.7**2) ** 0.5 * chance.standard_normal(trials)
    return x


@pytest.mark.parametrize("panes", [100, 400])
def test_an_error_rate_that_wanders_is_covered_where_independent_rows_would_not_be(panes):
    chance = np.random.default_rng(panes)
    trials, rows, start = 1000, 200, SCORES.cells["confusion"].start
    rates = 0.4 * stats.norm.cdf(wandering(chance, trials, panes))  # even between 0 and 0.4, so 0.2 in the mean
    wrong = chance.binomial(rows, rates)
    counts = np.zeros((panes, start + 2), np.int64)
    counts[:, :2] = rows
    blocks = naive = 0
    for trial, errors in enumerate(wrong):
        counts[:, start], counts[:, start + 1] = rows - errors, errors
        found = panes_of(counts, {})
        totals = Totals.of(SCORES, found)
        value = metrics_of_window(totals, found, {"accuracy": FORMULAS["accuracy"]}, [trial])["accuracy"]
        blocks += value.low <= 0.8 <= value.high
        low, high = wilson(value.value, value.n)
        naive += low <= 0.8 <= high
    assert blocks / trials >= 0.9
    assert naive / trials < 0.5


def test_so_is_a_mean_error_that_wanders():
    panes, trials, rows = 100, 1000, 100
    chance = np.random.default_rng(panes)
    covered = 0
    for trial, means in enumerate(wandering(chance, trials, panes)):
        found = panes_of(np.full((panes, 2), rows), {"error": rows * means})
        value = metrics_of_window(Totals.of(NUMBERS, found), found, {"bias": FORMULAS["bias"]}, [trial])["bias"]
        covered += value.low <= 0 <= value.high
    assert covered / trials >= 0.9
