"""Window reports out of panes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from driftline.core.drift import drift_of
from driftline.core.intervals import metrics_of_window
from driftline.core.metrics import formula_of
from driftline.core.metrics.confusion import matrix_of
from driftline.core.operation import operation_of
from driftline.core.pane import Layout, Pane, Totals
from driftline.events.base import Millis, digest_id
from driftline.events.baselines import Baseline
from driftline.events.reports import Segment, Window, WindowReport
from driftline.spec.model import MonitorSpec, millis

ALL = "all"


@dataclass(frozen=True)
class Circumstances:
    """What a report says beside what its panes say. See `WindowReport` and `Segment` for the meanings."""

    completeness: float = 1.0
    evicted: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)


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
    circumstances: Circumstances,
) -> WindowReport:
    """What is known at decision time `revision` of one model version in one window; `panes` in time order."""
    totals = Totals.of(layout, panes)
    seed = (spec.model, version, window.name, window.end)
    everybody = Segment(
        segment=ALL,
        n=totals.n,
        labelled=totals.labelled,
        coverage=totals.labelled / totals.n if totals.n else 0.0,
        metrics=metrics_of_window(totals, panes, {name: formula_of(name, spec.costs) for name in spec.metrics}, seed),
        operation=operation_of(totals, window.end - window.start, millis(spec.pane)),
        confusion=matrix_of(totals) if spec.task == "binary" else {},
        drift=drift_of(totals, baseline),
        evicted=circumstances.evicted,
    )
    return WindowReport(
        id=digest_id("metrics", spec.model, version, role, window.name, window.end, revision),
        model=spec.model,
        version=version,
        role=role,
        window=window,
        revision=revision,
        completeness=circumstances.completeness,
        baseline=bins_id,
        segments=(everybody,),
        counters=dict(sorted(circumstances.counters.items())),
    )
