"""A first monitor spec out of a look at a file: commented, valid, and meant to be changed."""

from __future__ import annotations

import json
import math
import re
from datetime import timedelta
from typing import NamedTuple

import numpy as np

from driftline.backtesting.figures import Line
from driftline.backtesting.first_look import Look, Seen
from driftline.backtesting.first_task import guess_task
from driftline.errors import DriftlineError
from driftline.spec.durations import show_duration
from driftline.spec.metrics import higher_is_better, metric_of
from driftline.spec.model import LARGEST

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MOST_ALLOWED = 20
"""A category with more values gets no list of those allowed."""
ROWS_A_WINDOW = 300
"""So many rows a window, on average, make its figures steady enough to judge."""
LEFT_OUT = "ids, times, other answers, or empty"
"""What columns are that are no features."""
K, OF = 2, 3
"""So many of so many windows in a row must be bad before the first rule fires."""
ROOM = 0.1
"""Ranges reach a tenth of their span beyond what was seen."""
LENGTHS = (
    ("hour", HOUR, timedelta(minutes=5)),
    ("day", DAY, HOUR),
    ("week", 7 * DAY, 6 * HOUR),
    ("month", 28 * DAY, DAY),
)
"""Windows to choose from, each with its pane."""
_SAFE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"}


class Windows(NamedTuple):
    """The shorter window that holds enough rows, and the one after it; `pane` belongs to the shorter."""

    short: str
    long: str
    pane: timedelta


class Threshold(NamedTuple):
    """Where a metric's rule fires: a little beyond what the windows of the file show."""

    line: Line
    value: float
    usual: float


def windows_for(look: Look) -> Windows:
    """By how many rows come in a day."""
    days = max((look.last - (look.first or 0)) / 86_400_000, 1e-3)
    a_day = look.rows / days
    lengths = [name for name, span, _ in LENGTHS if a_day * (span / DAY) >= ROWS_A_WINDOW]
    place = [name for name, _, _ in LENGTHS].index(lengths[0]) if lengths else len(LENGTHS) - 2
    place = min(place, len(LENGTHS) - 2)
    return Windows(LENGTHS[place][0], LENGTHS[place + 1][0], LENGTHS[place][2])


def write_spec(look: Look, model: str, threshold: Threshold | None = None) -> str:
    """The text of the spec. Raises `DriftlineError` where the predictions are of no task that there is."""
    task, labels, positive, said = guess_task(look)
    windows = windows_for(look)
    parts = [
        f"# Written by `driftline init` from {look.data.name}. Read it through: what it says is a guess from the data.",
        f"model: {plain(model)}",
        *(f"# {text}" for text in said),
        f"task: {task}",
    ]
    if labels:
        parts.append(f"labels: [{', '.join(map(plain, labels))}]")
    if task == "binary":
        parts.append(f"positive: {plain(positive)}{_why_positive(look)}")
    parts += ["", "# Ranges reach a little beyond what was seen; a value outside raises a warning.", "features:"]
    features = {plain(name): _feature(look.seen[name]) for name in look.features()}
    if not features:
        raise DriftlineError(f"{look.data.name}: has no column that could be a feature; it needs one at least")
    width = max(map(len, features)) + 1
    parts += [f"  {f'{name}:':{width}} {text}" for name, text in features.items()]
    if left := look.left_out():
        parts.append(f"  # left out ({LEFT_OUT}): {', '.join(map(plain, left))}")
    parts += ["", *_output(look, task), *_times(look, windows), "", *_rules(look, windows, threshold)]
    return "\n".join(parts) + "\n"


def threshold_of(line: Line | None) -> Threshold | None:
    """Three usual deviations (of the median) beyond the median of the windows, and beyond what two of three in a row
    show: the rule would not have fired here. None where there are too few, or no figure lies beyond.
    """
    if line is None or len(line.usual) < 4:
        return None
    values = np.array([point.figure.value for point in line.usual], np.float64)
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle))) or 0.05 * abs(middle)
    sign = -1 if higher_is_better(line.metric) else 1
    judged = [sign * (p.figure.value or 0.0) for p in line.points if p.figure.n >= ROWS_A_WINDOW]
    lasting = [sorted(judged[i : i + OF])[-K] for i in range(len(judged) - K + 1)]
    value = sign * _rounded_up(max([sign * middle + 3 * spread, *lasting]))
    metric = metric_of(line.metric)
    return Threshold(line, value, middle) if metric.low < value < metric.high else None


def main_metric(look: Look) -> str:
    """What the first rule judges."""
    task = guess_task(look).task
    if task == "binary":
        return "auc" if "score" in look.columns else "accuracy"
    return "mae" if task == "regression" else "f1_macro"


def plain(text: str) -> str:
    """A text as YAML has it, quoted where it could be taken for something else."""
    safe = _SAFE.fullmatch(text) is not None and text.lower() not in _WORDS
    return text if safe else json.dumps(text, ensure_ascii=False)


def _why_positive(look: Look) -> str:
    return "   # its predictions have the higher scores" if len(look.scores) == 2 else "   # a guess"


def _feature(seen: Seen) -> str:
    missing = ", missing: allowed" if seen.missing else ""
    if seen.is_number:
        return f"{{type: number{_range(seen)}{missing}}}"
    if not seen.overflown and len(seen.values) <= MOST_ALLOWED:
        return f"{{type: category, allowed: [{', '.join(map(plain, sorted(seen.values)))}]{missing}}}"
    return f"{{type: category{missing}}}"


def _range(seen: Seen) -> str:
    """None where a value is beyond all reason: a range that holds it says nothing."""
    if max(abs(seen.low), abs(seen.high)) > LARGEST:
        return ""
    low, high = widened(seen.low, seen.high, whole=seen.whole)
    return f", range: [{low:.15g}, {high:.15g}]"


def widened(low: float, high: float, *, whole: bool = False) -> tuple[float, float]:
    """A range a little beyond what was seen, in round numbers, whole ones where all were.

    It does not cross 0, and a share stays within [0, 1].
    """
    if low >= 0 and 0.5 < high <= 1:
        return 0.0, 1.0
    room = (high - low) * ROOM or abs(high) * ROOM or 1.0
    step = 10.0 ** math.floor(math.log10(room))
    # rounded first: 0.6 / 0.1 is a little less than 6
    bottom = math.floor(round((low - room) / step, 6)) * step
    top = math.ceil(round((high + room) / step, 6)) * step
    if whole:
        bottom, top = math.floor(bottom), math.ceil(top)
    if low >= 0 > bottom:
        bottom = 0.0
    if low < high <= 0 < top:
        top = 0.0
    return bottom, top


def _output(look: Look, task: str) -> list[str]:
    if task != "regression":
        return []
    text = _range(look.seen[look.columns["prediction"]]).removeprefix(", ")
    return [f"outputs:\n  prediction: {{{text}}}", ""] if text else []


def _times(look: Look, windows: Windows) -> list[str]:
    """Horizon and lateness follow from how long outcomes took; pane and windows from how many rows there are."""
    spans = {name: span for name, span, _ in LENGTHS}
    if look.delays:
        usual, longest = (timedelta(milliseconds=float(np.quantile(look.delays, q))) for q in (0.95, 1.0))
        lateness, horizon = _ceiled(usual), max(_ceiled(longest), DAY)
        why = f"95 % of the outcomes came within {show_duration(_ceiled(usual))}"
    elif "outcome" in look.columns:
        lateness, horizon, why = timedelta(0), DAY, "outcomes stand beside their predictions"
    else:
        lateness, horizon, why = HOUR, 2 * DAY, "no outcomes were looked at: how long do yours take?"
    short, long = spans[windows.short], spans[windows.long]
    return [
        f"horizon: {show_duration(horizon)}   # an outcome that comes later does not count any more",
        f"lateness: {show_duration(lateness) if lateness else '0s'}   # a window is first judged so much later; {why}",
        f"pane: {show_duration(windows.pane)}",
        "windows:",
        f"  {windows.short}: {{span: {show_duration(short)}}}",
        f"  {windows.long}: {{span: {show_duration(long)}, every: {show_duration(short)}}}",
    ]


def _rules(look: Look, windows: Windows, threshold: Threshold | None) -> list[str]:
    metric, better = main_metric(look), higher_is_better(main_metric(look))
    side, word = ("below", "low") if better else ("above", "high")
    rule = f"- {{name: {metric}-{word}, metric: {metric}, window: {windows.long}"
    rest = f"for: {K} of {OF}, min_samples: {ROWS_A_WINDOW}, severity: critical}}"
    if threshold is not None:
        worst = threshold.line.worst.figure.value
        usual = f"usually {threshold.usual:.3g} in this file, {worst:.3g} at its worst"
        lines = [
            f"  # {metric} over a {windows.long} is {usual}",
            f"  {rule}, {side}: {threshold.value:g}, {rest}",
        ]
    else:
        lines = [
            f"  # which {metric} is too {word}? `driftline backtest` shows what is usual",
            f"  # {rule}, {side}: ..., {rest}",
        ]
    judged = f"window: {windows.long}, above: 0.25, min_samples: {ROWS_A_WINDOW}"
    drift = f"  - {{name: input-drift, drift: psi, features: all, {judged}}}"
    return ["rules:", *lines, "  # needs a baseline: --reference, or that of `driftline models register`", drift]


def _rounded_up(value: float) -> float:
    """To three digits."""
    if not value:
        return 0.0
    rounded, step = float(f"{value:.3g}"), 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    return rounded if rounded >= value else float(f"{rounded + step:.3g}")


def _ceiled(duration: timedelta) -> timedelta:
    """Up to a duration that people write."""
    steps = (1, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880)
    minutes = duration / timedelta(minutes=1)
    found = next((step for step in steps if step >= minutes), None)
    return timedelta(minutes=found) if found is not None else timedelta(days=math.ceil(minutes / 1440))
