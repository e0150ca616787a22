"""How a model was served and how its outcomes came, out of panes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftline.core.binning import DELAY_EDGES, LATENCY_EDGES
from driftline.core.metrics.quantiles import quantiles
from driftline.core.pane import Totals
from driftline.events.base import Millis
from driftline.events.reports import MetricValue, Operation

LATENCIES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
DELAYS = {"p50": 0.50, "p95": 0.95}


def operation_of(totals: Totals, span: Millis, pane: Millis) -> Operation:
    """Figures of a window of length `span`, whose panes are `pane` long.

    A prediction stands anywhere in its pane: so half a pane is taken off the delay from the pane's start, and as much
    is added to the bound.
    """
    latencies, delays = totals.histogram("latency"), totals.histogram("label_delay")
    return Operation(
        predictions_per_second=totals.n / (span / 1000),
        latency_ms={name: _quantile(latencies, LATENCY_EDGES, share) for name, share in LATENCIES.items()},
        label_delay_s={
            name: _quantile(delays, DELAY_EDGES / 1000, share, pane / 2000) for name, share in DELAYS.items()
        },
    )


def _quantile(counts: NDArray[np.int64], edges: NDArray[np.float64], share: float, less: float = 0.0) -> MetricValue:
    n = int(counts.sum())
    if not n:
        return MetricValue(value=None)
    (value,), (bound,) = quantiles(counts[None].astype(np.float64), edges, share)
    if np.isnan(value):
        return MetricValue(value=None, n=n)
    return MetricValue(value=max(0.0, float(value) - less), n=n, error_bound=float(bound) + less)
