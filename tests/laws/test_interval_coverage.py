"""By simulation: how often the 95 % interval of a window contains the figure that the stream really has.

Blocks: the root of the panes, between 10 and 40, so 10 of 10 panes in 100 and 20 of 20 in 400. A window has 100 or 50
rows a pane where rows are independent, 200 where the error rate of panes goes up and down, 0.7 of it from pane to pane.

What is counted has an error of its own. The standard error of a coverage of 95 % is 0.6 % in 1500 trials, 0.7 % in
1000 and 1 % in 500; that of one of 90 % is 0.9 % in 1000.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from driftline.core.estimation import estimates
from driftline.core.intervals import metrics_of_window
from driftline.core.metrics import FORMULAS, formula_of
from driftline.core.metrics.closed_forms import wilson
from driftline.core.pane import SCALE, Layout, Pane, Totals
from driftline.events.baselines import Bins, NumberBins
from driftline.spec.metrics import METRICS, metric_of

pytestmark = pytest.mark.slow

BINS = 32  # few: quicker
EDGES = tuple(np.arange(1, BINS) / BINS)
SCORES = Layout(Bins(features={}, labels=("no", "yes"), positive="yes", score=EDGES))
NUMBERS = Layout(Bins(features={}, prediction=NumberBins(edges=(-1.0, 0.0, 1.0))))
ANIMALS = ("ant", "bee", "cat")
LABELS = Layout(Bins(features={}, labels=ANIMALS, score=EDGES, scores=(EDGES,) * 3))
COSTS = {"yes": {"no": 5.0}, "no": {"yes": 1.0}}
MEANING = (np.arange(BINS) + 0.5) / BINS
"""What a score of each bin means: estimates take it for the chance of a positive."""
ROWS = 50


class Stream(NamedTuple):
    """Rows as panes; `of`: random numbers, panes, rows a pane -> panes. `need_labels`: see `metrics_of_window`."""

    layout: Layout
    formulas: dict
    of: object
    need_labels: bool = True


def classified(share, skill, start):
    """(truth, score) of each row of each pane, scores being `skill` higher of positives."""

    def of(chance, panes, rows):
        truth = chance.random((panes, rows)) < share
        score = 1 / (1 + np.exp(-(skill * truth + start + chance.standard_normal((panes, rows)))))
        return binary_panes(truth, score)

    return of


def binary_panes(truth, score):
    cells, zero = SCORES.cells, np.zeros(truth.shape, np.int64)
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    label = score > 0.5
    held = np.clip(score, 1e-15, 1 - 1e-15)
    losses = {"log_loss": -np.log(np.where(truth, held, 1 - held)), "brier": (score - truth) ** 2}
    nowhere = cells["latency"].start
    where = np.stack(
        [
            zero,
            zero + 1,
            cells["score"].start + bins,
            np.where(label, cells["score|said"].start + bins, nowhere),
            np.where(truth, cells["score|pos"].start, cells["score|neg"].start) + bins,
            cells["confusion"].start + 2 * truth + label,
            cells["prediction"].start + label,
        ]
    )
    return counted(SCORES, where, losses)


def regressed(chance, panes, rows):
    truth, error = 10 + chance.standard_normal((panes, rows)), chance.standard_normal((panes, rows))
    answer = truth + error
    cells, zero = NUMBERS.cells, np.zeros(truth.shape, np.int64)
    sizes = cells["absolute_error"].start + np.searchsorted(NUMBERS.error_edges, np.abs(error), side="right")
    where = np.stack([zero, zero + 1, zero + cells["not_negative"].start, zero + cells["nonzero_truth"].start, sizes])
    terms = {
        "absolute_error": np.abs(error),
        "error": error,
        "squared_error": error * error,
        "truth": truth,
        "squared_truth": truth * truth,
        "squared_log_error": (np.log1p(answer) - np.log1p(truth)) ** 2,
        "relative_error": np.abs(error) / truth,
        "symmetric_error": 2 * np.abs(error) / (answer + truth),
    }
    return counted(NUMBERS, where, terms)


def labelled(chance, panes, rows):
    """Of three labels, the last being the rarest."""
    truth = chance.choice(3, (panes, rows), p=[0.5, 0.3, 0.2])
    sizes = np.exp(1.5 * (np.arange(3) == truth[..., None]) + chance.standard_normal((panes, rows, 3)))
    shares = sizes / sizes.sum(axis=2, keepdims=True)
    said, cells, zero = shares.argmax(axis=2), LABELS.cells, np.zeros(truth.shape, np.int64)
    each = [
        np.where(truth == i, cells["scores|pos"].start, cells["scores|neg"].start)
        + i * LABELS.label_bins
        + (shares[..., i] * BINS).astype(int)
        for i in range(3)
    ]
    return counted(LABELS, np.stack([zero, zero + 1, cells["confusion"].start + 3 * truth + said, *each]), {})


def of_task(task):
    return {name: formula_of(name, COSTS) for name in METRICS[task] if metric_of(name).interval}


STREAMS = {
    "binary": Stream(SCORES, of_task("binary"), classified(0.4, 1.5, -0.8)),  # neither blind nor sure
    "rare": Stream(SCORES, of_task("binary"), classified(0.01, 2.5, -2.0)),
    "sure": Stream(SCORES, of_task("binary"), classified(0.4, 8.0, -4.0)),
    "regression": Stream(NUMBERS, of_task("regression"), regressed),
    "multiclass": Stream(
        LABELS, {name: formula_of(name) for name in ("f1_macro", "kappa", "auc_ovr", "recall:cat", "f1:cat")}, labelled
    ),
    "estimates": Stream(SCORES, estimates(MEANING), classified(0.4, 1.5, -0.8), need_labels=False),
}


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
def true_figures(name):
    """Of so many rows that they stand for all."""
    stream, chance = STREAMS[name], np.random.default_rng(1)
    panes = [pane for _ in range(10) for pane in stream.of(chance, 20, 20_000)]
    totals = Totals.of(stream.layout, panes)
    return {name: formula.point(totals).value for name, formula in stream.formulas.items()}


def coverage(name, panes, rows, trials):
    """How often each metric's interval holds the true figure, where there is one, and the methods that made it."""
    stream, true = STREAMS[name], true_figures(name)
    chance = np.random.default_rng(panes * 1000 + rows)
    held, methods = {name: [] for name in true}, {name: set() for name in true}
    for trial in range(trials):
        found = stream.of(chance, panes, rows)
        totals = Totals.of(stream.layout, found)
        told = metrics_of_window(totals, found, stream.formulas, [trial], need_labels=stream.need_labels)
        for name, value in told.items():
            if value.low is not None:
                held[name].append(value.low <= true[name] <= value.high)
                methods[name].add(value.method)
    assert all(len(each) > 0.9 * trials for each in held.values()), {name: len(each) for name, each in held.items()}
    return {name: np.mean(each) for name, each in held.items()}, methods


@pytest.mark.parametrize(
    ("name", "panes", "trials"),
    [
        ("binary", 10, 1500),
        ("binary", 100, 1500),
        ("regression", 10, 1000),
        ("regression", 100, 1000),
        ("multiclass", 20, 500),
        ("estimates", 20, 500),
    ],
)
def test_independent_rows_are_covered_as_promised_by_blocks(name, panes, trials):
    shares, methods = coverage(name, panes, 2 * ROWS if panes < 100 else ROWS, trials)
    assert all("block-bootstrap" in each for name, each in methods.items() if name not in TAILS), methods
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares


TAILS = ("absolute_error_p95", "absolute_error_p99")


@pytest.mark.parametrize(
    ("name", "panes"), [("binary", 1), ("binary", 4), ("regression", 3), ("regression", 6), ("multiclass", 4)]
)
def test_independent_rows_of_few_panes_are_covered_as_promised(name, panes):
    shares, methods = coverage(name, panes, 8 * ROWS, 1000)
    assert "block-bootstrap" not in set.union(*methods.values())
    assert all(0.93 <= share <= 0.98 for share in shares.values()), shares


@pytest.mark.parametrize(
    ("name", "panes", "rows"),
    [("rare", 10, 50), ("rare", 100, 50), ("rare", 1, 500), ("sure", 10, 50), ("sure", 1, 500)],
)
def test_few_positives_and_few_errors_are_covered_at_least_as_promised(name, panes, rows):
    shares, methods = coverage(name, panes, rows, 500)
    if name == "rare":  # 1 % are positive
        assert methods["recall"] == {"wilson"}
    assert all(share >= 0.93 for name, share in shares.items() if name != "brier"), shares
    assert shares["brier"] >= 0.9, shares


def wandering(chance, trials, panes):
    """Standard normal, correlated by 0.7 between neighbours: (trials, panes)."""
    x = np.empty((trials, panes))
    x[:, 0] = chance.standard_normal(trials)
    for i in range(1, panes):
        x[:, i] = 0.7 * x[:, i - 1] + (1 - 0.7**2) ** 0.5 * chance.standard_normal(trials)
    return x


@pytest.mark.parametrize(("panes", "rows", "most"), [(100, 200, 0.4), (400, 200, 0.4), (100, 50, 0.01)])
def test_an_error_rate_that_wanders_is_covered_where_independent_rows_would_not_be(panes, rows, most):
    chance = np.random.default_rng(panes)
    trials, start = 1000, SCORES.cells["confusion"].start
    rates = most * stats.norm.cdf(wandering(chance, trials, panes))  # even between 0 and `most`
    wrong = chance.binomial(rows, rates)
    counts = np.zeros((panes, start + 2), np.int64)
    counts[:, :2] = rows
    blocks = naive = 0
    for trial, errors in enumerate(wrong):
        counts[:, start], counts[:, start + 1] = rows - errors, errors
        found = panes_of(counts, {})
        totals = Totals.of(SCORES, found)
        value = metrics_of_window(totals, found, {"accuracy": FORMULAS["accuracy"]}, [trial])["accuracy"]
        blocks += value.low <= 1 - most / 2 <= value.high
        low, high = wilson(value.value, value.n)
        naive += low <= 1 - most / 2 <= high
    assert blocks / trials >= 0.9
    assert naive / trials < 0.5 or most < 0.1  # where a pane has an error at most, they hardly come together


def test_so_is_a_mean_error_that_wanders():
    panes, trials, rows = 100, 1000, 100
    chance = np.random.default_rng(panes)
    covered = 0
    for trial, means in enumerate(wandering(chance, trials, panes)):
        found = panes_of(np.full((panes, 2), rows), {"error": rows * means})
        value = metrics_of_window(Totals.of(NUMBERS, found), found, {"bias": FORMULAS["bias"]}, [trial])["bias"]
        covered += value.low <= 0 <= value.high
    assert covered / trials >= 0.9
