"""Reading what a rule's figure is judged against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from driftline.events.alerts import Severity
from driftline.spec.budgets import BUDGET, read_budget
from driftline.spec.measures import MEASURE_TABLE
from driftline.spec.metrics import metric_of
from driftline.spec.model import FalseAlarms
from driftline.spec.yaml_nodes import Node

THRESHOLDS = ("above", "below", "clear_above", "clear_below")
RELATIVE = ("above_baseline", "below_baseline")


class Thresholds(NamedTuple):
    """The words of `RuleSpec` by the same names."""

    above: float | None = None
    below: float | None = None
    clear_above: float | None = None
    clear_below: float | None = None
    critical: float | None = None
    relative: bool = False
    certain: bool = False
    false_alarms: FalseAlarms | None = None


def read_thresholds(
    each: Node, fields: Mapping[str, Node], name: str, kind: str, whole: FalseAlarms | None
) -> Thresholds:
    """Of a rule that judges a figure; `whole`: the budget of the whole model, for a rule without any of them."""
    side = next((word for word in RELATIVE if word in fields), None)
    words = (*THRESHOLDS, "critical") if side is None else ("clear_above", "clear_below", "critical")
    figures = {word: _figure(fields, word, side) for word in words}
    budget = read_budget(fields[BUDGET]) if BUDGET in fields else None
    if side is not None:
        figures[side.removesuffix("_baseline")] = _figure(fields, side, side)
        if kind != "metric":
            fields[side].mistake(f"`{side}` is for metrics, which a baseline has too")
        _refuse(fields, ("above", "below", BUDGET, *(word for word in RELATIVE if word != side)), side)
    elif BUDGET in fields:
        for word in THRESHOLDS:
            if word in fields:
                fields[word].mistake(f"`{word}` follows from `{BUDGET}`: write one of the two")
    elif ("above" in fields) == ("below" in fields):
        if whole is not None and not any(word in fields for word in THRESHOLDS):
            budget = whole
        else:
            each.mistake(f"rule `{name}` needs either `above` or `below`, or `{BUDGET}`")
    certain = bool(fields["certain"].flag()) if "certain" in fields else False
    return Thresholds(**figures, relative=side is not None, certain=certain, false_alarms=budget)


def _figure(fields: Mapping[str, Node], word: str, side: str | None) -> float | None:
    """A number, or beside a threshold that follows the baseline a part of it."""
    if word not in fields:
        return None
    return fields[word].number() if side is None else fields[word].parsed(_percent, None)


def _percent(text: str) -> float | None:
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not text.endswith("%") or not 0 <= share < math.inf:
        raise ValueError(f"{text!r} is no part of the baseline; write for example `5%`")
    return share


def _refuse(fields: Mapping[str, Node], words: tuple[str, ...], side: str) -> None:
    for word in words:
        if word in fields:
            fields[word].mistake(f"`{word}` does not fit beside `{side}`")


def check_thresholds(fields: Mapping[str, Node], of: Thresholds, kind: str, target: str, level: Severity) -> None:
    """Note what contradicts itself, and what could never fire. `target`: the figure, empty where it is not known."""
    side, fire, clear = ("above", of.above, of.clear_below) if of.below is None else ("below", of.below, of.clear_above)
    bad = -1.0 if side == "below" and not of.relative else 1.0  # the sign of the way from clear to critical
    if of.critical is not None and fire is not None and bad * of.critical < bad * fire:
        fields["critical"].mistake("`critical` lies beyond the threshold, on its bad side")
    if "critical" in fields and level is Severity.CRITICAL:
        fields["critical"].mistake("the rule is critical already: a second threshold is for one that warns first")
    without = "drift" if kind == "drift" else f"`{target}`" if target and not _has_interval(kind, target) else ""
    if of.certain and without:
        fields["certain"].mistake(
            f"{without} has no interval, so `certain` would never fire: write `min_samples`, or `for: 2 of 3`"
        )
    if BUDGET not in fields:
        for word, own, than in (("clear_above", "below", "lower"), ("clear_below", "above", "higher")):
            crossed = fire is not None and clear is not None and bad * clear > bad * fire
            if word in fields and (fire is None or own != side or crossed):
                own, than = (f"{own}_baseline", "farther from the baseline") if of.relative else (own, than)
                fields[word].mistake(f"`{word}` belongs to `{own}` and is not {than} than it")
    low, high = _reach(kind, target)
    for word, limit in ((f"{side}_baseline" if of.relative else side, fire), ("critical", of.critical)):
        if limit is not None and word in fields and _is_beyond(of, limit, low, high):
            fields[word].mistake(f"`{target}` never lies {side} that, so this could never fire")


def _has_interval(kind: str, target: str) -> bool:
    return kind not in ("metric", "estimate") or metric_of(target).interval


def _reach(kind: str, target: str) -> tuple[float, float]:
    """Between which values a figure lies."""
    if kind in ("data", "coverage"):
        return 0.0, 1.0
    if not target:
        return -math.inf, math.inf
    if kind == "drift":
        return 0.0, MEASURE_TABLE[target].high
    return metric_of(target).low, metric_of(target).high


def _is_beyond(of: Thresholds, limit: float, low: float, high: float) -> bool:
    if of.relative:
        return of.below is not None and low >= 0 and limit >= 1
    return limit <= low if of.above is None else limit >= high
