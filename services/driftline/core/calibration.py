"""The threshold of a rule with a budget of false alarms, from a version's first days, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import msgspec
import numpy as np

from driftline.core.budget import Bar, Calibrated, Course, calibrate
from driftline.core.pane import Layout, Pane
from driftline.core.references import Span, reference_id
from driftline.core.replayed import figures_of, greater_is_worse
from driftline.core.reports import MOST, PanesOf, put_together
from driftline.core.segments import largest
from driftline.core.vigilance import calibrate_preset
from driftline.events.alerts import AlarmBudget
from driftline.events.base import Millis, digest_id
from driftline.events.baselines import Calibration
from driftline.events.reports import ALL
from driftline.spec.detectors import MAIN
from driftline.spec.measures import MEASURE_TABLE
from driftline.spec.metrics import metric_of
from driftline.spec.model import MonitorSpec, RuleSpec, millis

DAY_MS = 86_400_000
TIMES = (("day", 1), ("week", 7), ("month", 30), ("year", 365))


def calibrate_rule(
    spec: MonitorSpec,
    rule: RuleSpec,
    version: str,
    layout: Layout,
    panes: PanesOf,
    start: Millis,
    unit: Millis,
    at: Millis,
) -> Calibration:
    """Calibrate `rule` on the `panes`, each `unit` long, of a baseline that begins at `start`.

    What is drawn is seeded with model, version and rule: the same panes give the same threshold.
    """
    assert rule.false_alarms is not None, "asked only of rules with a budget"
    course = course_of(spec, rule, start, unit)
    first = start // unit
    figures = [
        figures_of(spec, rule, layout, [found.get(first + i, Pane()) for i in range(course.panes)])
        for found in _judged_in(rule, panes)
    ]
    alarms = rule.false_alarms.alarms * unit / millis(rule.false_alarms.per)
    seed = _seed(spec, rule, version)
    found = calibrate(figures, course, alarms, seed) if figures else Calibrated(0, reason="it has no predictions")
    if found.bar is not None and (reason := _unreachable(rule, found.bar)):
        found = found._replace(bar=None, reason=reason)
    sign = 1.0 if greater_is_worse(rule) else -1.0
    bar = None if found.bar is None else (sign * found.bar.threshold, sign * found.bar.clear)
    span = (start, start + course.panes * unit)
    return _told(spec, rule, version, found, bar, span, unit, at, above=sign > 0)


def calibrate_detector(
    spec: MonitorSpec, rule: RuleSpec, version: str, values: Sequence[float], began: Millis, at: Millis
) -> Calibration:
    """Calibrate the main argument of a preset on the `values` that the detector was fed from `began` until `at`."""
    assert rule.false_alarms is not None, "asked only of rules with a budget"
    each = (at - began) / max(1, len(values))
    alarms = rule.false_alarms.alarms * each / millis(rule.false_alarms.per)
    seed = _seed(spec, rule, version)
    found, main = calibrate_preset(rule.detector, np.array(values), (at - began) / DAY_MS, alarms, seed)
    bar = None if found.bar is None else (main, None)
    return _told(spec, rule, version, found, bar, (began, at), each, at, above=rule.detector == "page_hinkley")


def _seed(spec: MonitorSpec, rule: RuleSpec, version: str) -> int:
    return int(digest_id("false-alarms", spec.model, version, rule.name), 16)


def _told(
    spec: MonitorSpec,
    rule: RuleSpec,
    version: str,
    found: Calibrated,
    bar: tuple[float, float | None] | None,
    span: Span,
    each: float,
    at: Millis,
    *,
    above: bool,
) -> Calibration:
    """`bar`: the threshold with the one to clear; `each`: how long a pane is, or the time for a value."""
    assert rule.false_alarms is not None, "asked only of rules with a budget"
    threshold, clear = bar or (None, None)
    told = Calibration(
        id=digest_id("calibration", spec.model, version, msgspec.json.encode(rule).decode(), *span),
        model=spec.model,
        version=version,
        rule=rule.name,
        alarms=rule.false_alarms.alarms,
        per=rule.false_alarms.per,
        above=above,
        threshold=threshold,
        clear=clear,
        windows=found.windows,
        baseline=reference_id(spec.model, version, spec.baseline, [span]),
        at=at,
        summary="",
        reason=found.reason,
        beyond=found.bar is not None and found.bar.beyond,
        held_back=None if bar is None else found.held_back,
        held_back_time=timedelta(milliseconds=round(found.held_back_panes * each)),
        argument=MAIN[rule.detector] if rule.kind == "detector" else "",
    )
    return msgspec.structs.replace(told, summary=_sentence(told))


def course_of(spec: MonitorSpec, rule: RuleSpec, start: Millis, unit: Millis) -> Course:
    """How `rule` goes over a baseline that begins at `start` and consists of panes that are `unit` long."""
    window = spec.windows[rule.window or ""]
    span, every = millis(window.span), millis(window.every)
    return Course(
        panes=millis(spec.baseline.span) // unit,
        span=span // unit,
        every=every // unit,
        first=-(start + span) % every // unit,
        day=DAY_MS // unit if DAY_MS % unit == 0 else 0,
        k=rule.k,
        of=rule.of,
    )


def resolved(rule: RuleSpec, found: Calibration) -> RuleSpec:
    """The rule with its threshold, as it is judged."""
    if found.argument and found.threshold is not None:
        return msgspec.structs.replace(rule, params=rule.params | {found.argument: found.threshold})
    if found.above:
        return msgspec.structs.replace(rule, above=found.threshold, clear_below=found.clear)
    return msgspec.structs.replace(rule, below=found.threshold, clear_above=found.clear)


def about(spec: MonitorSpec, rule: RuleSpec) -> str:
    """All that a calibration depends on beside what was seen: what differs in it is calibrated anew."""
    of = (rule, spec.windows.get(rule.window or ""), spec.baseline, spec.costs)
    return msgspec.json.encode(of, order="sorted").decode()


def budget_of(found: Calibration) -> AlarmBudget:
    """What an alert carries of it."""
    return AlarmBudget(
        calibration=found.id,
        alarms=found.alarms,
        per=found.per,
        words=often(found.alarms, found.per),
        held_back=found.held_back,
        held_back_time=found.held_back_time,
    )


def often(alarms: float, per: timedelta) -> str:
    """`1 per 30d` in plain words: about 1 a month at your traffic."""
    a_day = alarms * timedelta(days=1) / per
    for name, days in TIMES:
        if a_day * days >= 0.95:
            return f"about {a_day * days:.2g} a {name} at your traffic"
    return f"about once in {1 / (a_day * 365):.2g} years at your traffic"


def _judged_in(rule: RuleSpec, panes: PanesOf) -> Sequence[Mapping[int, Pane]]:
    """Everybody, and the segments that the rule is judged in: those that are largest in the whole baseline."""
    everybody = panes.get(("", ALL))
    if not everybody:
        return []
    found: list[Mapping[int, Pane]] = [everybody]
    for cut in rule.segments:
        parts = {segment: each for (of, segment), each in panes.items() if of == cut}
        sizes = {segment: sum(pane.n for pane in each.values()) for segment, each in parts.items()}
        together = put_together(parts, largest(sizes, cut, MOST))
        found += [together[name] for name in sorted(together)]
    return found


def _unreachable(rule: RuleSpec, bar: Bar) -> str:
    """Why no figure can pass a bar; empty where one can."""
    if rule.kind == "drift":
        end = MEASURE_TABLE[rule.target].high
    else:
        metric = metric_of(rule.target)
        end = metric.high if greater_is_worse(rule) else -metric.low
    if bar.threshold < end:
        return ""
    return f"a threshold that rare lies at {abs(end):g} or beyond, which no {rule.target} passes"


def _sentence(found: Calibration) -> str:
    who = f"{found.rule} of {found.model} version {found.version}"
    if found.threshold is None:
        return f"{who} is not judged, as no threshold follows from its baseline: {found.reason}."
    side, end = ("above", "down to") if found.above else ("below", "up to")
    text = f"{who} fires {side} {found.threshold:.4g} and is over when back {end} {found.clear or 0.0:.4g}: "
    if found.argument:
        text = f"{who} finds changes with the {found.argument} {found.threshold:.4g}: "
    text += f"{often(found.alarms, found.per)}."
    if found.beyond:
        text += " That is rarer than what the baseline shows, and follows from how its extremes thin out."
    if found.held_back is None:
        return text + " The baseline is too short to hold a part of it back and try."
    times = "once" if found.held_back == 1 else f"{found.held_back} times"
    held = f"{found.held_back_time / timedelta(days=1):.2g} days"
    return f"{text} In the {held} held back, a threshold from the days before would have fired {times}."
