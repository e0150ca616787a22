"""Window reports out of panes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from driftline.core.drift import drift_of, held_together
from driftline.core.estimation import calibration, estimates
from driftline.core.intervals import metrics_of_window
from driftline.core.metrics import Formula, formula_of
from driftline.core.metrics.confusion import matrix_of
from driftline.core.metrics.scores import calibration_of
from driftline.core.operation import operation_of
from driftline.core.pane import Layout, Pane, Totals
from driftline.core.ranking import error_effects
from driftline.core.segments import largest
from driftline.events.base import Millis, digest_id
from driftline.events.baselines import Baseline
from driftline.events.reports import ALL, Drift, MetricValue, Segment, Window, WindowReport
from driftline.spec.model import MOST_LABELS, MonitorSpec, millis

MOST = 50
"""Segments of one way to cut that are told by themselves, the largest of the window; the rest is told as one."""

LABELS = "(labels)"
"""Under this word a report says how many labels are told as one."""
FEWEST = 30
"""Predictions of a segment from which on it is told with intervals, drift and so on: fewer say nothing."""

BaselineOf = Callable[[str, Collection[str]], Baseline | None]
"""What segments of a way to cut, put together, are compared with."""

PanesOf = Mapping[tuple[str, str], Mapping[int, Pane]]
"""Panes by number, by what they are cut by and segment; those of everybody are among them."""


@dataclass(frozen=True)
class Circumstances:
    """What a report says beside what its panes say. See `WindowReport` and `Segment` for the meanings."""

    completeness: float = 1.0
    evicted: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)
    estimates_withdrawn: bool = False


def report(
    spec: MonitorSpec,
    version: str,
    role: str,
    window: Window,
    revision: Millis,
    bins_id: str,
    layout: Layout,
    panes: PanesOf,
    baselines: BaselineOf,
    circumstances: Circumstances,
) -> WindowReport:
    """What is known at decision time `revision` of one model version in one window; `panes` in time order."""
    seed = (spec.model, version, window.name, window.end)
    formulas = {name: formula_of(name, spec.costs) for name in spec.metrics}

    def told(cut: str, segment: str, found: Sequence[Pane], baseline: Baseline | None, evicted: int = 0) -> Segment:
        totals, known = Totals.of(layout, found), _known(layout, baseline)
        few = bool(cut) and totals.n < FEWEST
        metrics = (
            {name: formula.point(totals) for name, formula in formulas.items()}
            if few
            else metrics_of_window(totals, found, formulas, seed)
        )
        return Segment(
            cut=cut,
            segment=segment,
            n=totals.n,
            labelled=totals.labelled,
            coverage=totals.labelled / totals.n if totals.n else 0.0,
            metrics=_compared(metrics, formulas, known),
            calibration=() if cut else calibration_of(totals),
            estimates={} if few else _estimated(totals, found, known, seed),
            operation=None if few else operation_of(totals, window.end - window.start, millis(spec.pane)),
            confusion=matrix_of(totals) if "confusion" in layout.cells else {},
            drift={} if few else _drift(totals, baseline),
            evicted=evicted,
        )

    everybody = baselines("", (ALL,))
    segments = [told("", ALL, list(panes["", ALL].values()), everybody, circumstances.evicted)]
    together = {LABELS: len(spec.labels) - MOST_LABELS} if len(spec.labels) > MOST_LABELS else {}
    for cut in sorted({cut for cut, _ in panes if cut}):
        parts = {segment: found for (of, segment), found in panes.items() if of == cut}
        sizes = {segment: sum(pane.n for pane in found.values()) for segment, found in parts.items()}
        named = largest(sizes, cut, MOST)
        if len(parts) > MOST + 1:
            together[cut] = sum(name != segment for segment, name in named.items())
        for name, found in put_together(parts, named).items():
            own = [segment for segment, told_as in named.items() if told_as == name]
            segments.append(told(cut, name, list(found.values()), baselines(cut, own)))
    return WindowReport(
        id=digest_id("metrics", spec.model, version, role, window.name, window.end, revision),
        model=spec.model,
        version=version,
        role=role,
        window=window,
        revision=revision,
        completeness=circumstances.completeness,
        baseline=bins_id if everybody is None else everybody.id,
        segments=tuple(
            msgspec.structs.replace(segment, drift=drift)
            for segment, drift in zip(segments, held_together([s.drift for s in segments]), strict=True)
        ),
        together=together,
        estimates_withdrawn=circumstances.estimates_withdrawn,
        counters=dict(sorted(circumstances.counters.items())),
    )


def _known(layout: Layout, baseline: Baseline | None) -> Totals | None:
    """The baseline's counts, if its outcomes are known too."""
    if baseline is None or "labelled" not in baseline.counts:
        return None
    return Totals(layout, np.concatenate([baseline.counts[name] for name in layout.cells]), dict(baseline.sums))


def _compared(
    metrics: dict[str, MetricValue], formulas: Mapping[str, Formula], known: Totals | None
) -> dict[str, MetricValue]:
    """With the figures of the baseline."""
    if known is None:
        return metrics
    return {
        name: msgspec.structs.replace(found, baseline=formulas[name].point(known).value)
        for name, found in metrics.items()
    }


def _estimated(
    totals: Totals, panes: Sequence[Pane], known: Totals | None, seed: Sequence[object]
) -> dict[str, MetricValue]:
    meaning = None if known is None else calibration(known)
    if meaning is None:
        return {}
    return metrics_of_window(totals, panes, estimates(meaning), seed, need_labels=False)


def _drift(totals: Totals, baseline: Baseline | None) -> dict[str, Drift]:
    effects = error_effects(totals, baseline)
    return {
        name: msgspec.structs.replace(found, error_effect=effects.get(name))
        for name, found in drift_of(totals, baseline).items()
    }


def put_together(parts: Mapping[str, Mapping[int, Pane]], named: Mapping[str, str]) -> dict[str, dict[int, Pane]]:
    """The panes of each name by number, in time order, those of several segments of one name added up."""
    found: dict[str, dict[int, Pane]] = {}
    for segment in sorted(parts, key=lambda segment: (named[segment], segment)):
        known = found.setdefault(named[segment], {})
        for number, pane in parts[segment].items():
            known[number] = known[number] + pane if number in known else pane
    return {name: dict(sorted(known.items())) for name, known in found.items()}
