"""What detectors are fed: the mean of a figure over the values that a few slices brought."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from driftline.core.pane import Layout
from driftline.events.baselines import NumberBins
from driftline.spec.model import RuleSpec


def weights(rule: RuleSpec, layout: Layout) -> dict[int, float]:
    """What each cell of a pane that the rule is about stands for: 0 or 1 for an answer that was right or wrong, else
    the centre of the bin, as a share of the range. Empty where a pane cannot tell.
    """
    bins = layout.bins
    if rule.target == "error":
        return _right_or_wrong(layout)
    if rule.target == "score" and bins.score is not None:
        edges = [0.0, *bins.score, 1.0]
        return _centres(layout.cells["score"].start, np.array(edges))
    numbers = bins.prediction if rule.target == "prediction" else bins.features.get(rule.target)
    name = "prediction" if rule.target == "prediction" else f"feature:{rule.target}"
    if not isinstance(numbers, NumberBins) or not numbers.edges:
        return {}
    low = numbers.edges[0] if numbers.low is None else numbers.low
    high = numbers.edges[-1] if numbers.high is None else numbers.high
    found = _centres(layout.cells[name].start, np.clip([low, *numbers.edges, high], low, high))
    below = layout.cells[name].start + len(numbers.edges) + 1
    return found | {below: 0.0, below + 1: 1.0}


def _right_or_wrong(layout: Layout) -> dict[int, float]:
    if "confusion" in layout.cells:
        start, size = layout.cells["confusion"].start, len(layout.bins.labels)
        return {start + i: float(i // size != i % size) for i in range(size * size)}
    for name in layout.bins.features:
        if f"wrong:{name}" in layout.cells:
            right, wrong = layout.cells[f"right:{name}"], layout.cells[f"wrong:{name}"]
            return dict.fromkeys(range(right.start, right.stop), 0.0) | dict.fromkeys(
                range(wrong.start, wrong.stop), 1.0
            )
    return {}


def _centres(start: int, edges: np.ndarray[tuple[int], np.dtype[np.float64]]) -> dict[int, float]:
    low, high = float(edges[0]), float(edges[-1])
    span = high - low or 1.0
    centres = (edges[:-1] + edges[1:]) / 2
    return {start + i: (float(centre) - low) / span for i, centre in enumerate(centres.tolist())}


def mean(cells: Mapping[int, int], weight: Mapping[int, float]) -> float:
    """The mean of what `cells` count, NaN for nothing. It does not depend on the order in which they were counted."""
    n = sum(cells.values())
    return math.fsum(count * weight[cell] for cell, count in sorted(cells.items())) / n if n > 0 else math.nan
