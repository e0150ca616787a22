"""Window reports out of panes."""

from __future__ import annotations

from collections.abc import Sequence

from driftline.core.drift import drift_of
from driftline.core.intervals import metrics_of_window
from driftline.core.pane import Layout, Pane, Totals
from driftline.events.base import Millis, digest_id
from driftline.events.baselines import Baseline
from driftline.events.reports import Segment, Window, WindowReport
from driftline.spec.model import MonitorSpec

ALL = "all"


def report(
    spec: MonitorSpec,
    version: str,
    role: str,
    window: Window,
    revision: Millis,
    bins_id: str,
    layout: Layout,
    panes: Sequence[Pane],
    baseline: Baseline | None,
    caused_by: tuple[str, ...] = (),
) -> WindowReport:
    """What is known at decision time `revision` of one model version in one window; `panes` in time order."""
    totals = Totals.of(layout, panes)
    seed = (spec.model, version, window.name, window.end)
    everybody = Segment(
        segment=ALL,
        n=totals.n,
        labelled=totals.labelled,
        coverage=totals.labelled / totals.n if totals.n else 0.0,
        metrics=metrics_of_window(layout, panes, spec.metrics, seed),
        drift=drift_of(totals, baseline),
    )
    return WindowReport(
        id=digest_id("metrics", spec.model, version, role, window.name, window.end, revision),
        caused_by=caused_by,
        model=spec.model,
        version=version,
        role=role,
        window=window,
        revision=revision,
        completeness=1.0,
        baseline=bins_id,
        segments=(everybody,),
    )
