"""Reading the rules of a monitor spec."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Literal, NamedTuple

from driftline.events.alerts import Severity
from driftline.spec.budgets import BUDGET, detector_budget, read_budget, share, unfit
from driftline.spec.detectors import make_detector
from driftline.spec.durations import parse_duration
from driftline.spec.measures import DRIFT_MEASURES
from driftline.spec.model import BaselineSpec, FalseAlarms, RuleSpec, WindowSpec
from driftline.spec.thresholds import RELATIVE, THRESHOLDS, Thresholds, check_thresholds, read_thresholds
from driftline.spec.yaml_nodes import Node, nearest

JUDGED_KINDS: tuple[Literal["metric", "estimate", "drift", "data"], ...] = ("metric", "estimate", "drift", "data")
KINDS = ("range", *JUDGED_KINDS, "detector", "coverage", "no_predictions_for")
DATA_SHARES = ("missing", "out_of_range", "unseen")
COMMON = ("name", "severity")
JUDGED = (
    "window",
    *THRESHOLDS,
    *RELATIVE,
    BUDGET,
    "for",
    "min_samples",
    "min_coverage",
    "retrain",
    "certain",
    "critical",
)
OF_COVERAGE = ("below", "clear_above", "for", "min_samples", "critical", "certain")
"""Words that fit beside `coverage`."""
OF_WINDOWS = ("features", "segments")
"""Words of judged rules that need to know what there is."""
DETECTING = ("on", "params")
ON = ("error", "score", "prediction")
DETECTOR_SAMPLES = 30


class Known(NamedTuple):
    """The names that rules may use. `numbers`: the numeric ones of `features`; `segments`: ways to cut.

    `answers`: what a drift rule may name beside features.
    """

    metrics: Sequence[str]
    estimated: Sequence[str]
    features: Sequence[str]
    numbers: Sequence[str]
    outputs: Sequence[str]
    answers: Sequence[str]
    windows: Mapping[str, WindowSpec]
    baseline: BaselineSpec
    segments: Sequence[str]


def read_rules(node: Node | None, budget: Node | None, known: Known) -> tuple[RuleSpec, ...]:
    """All rules; mistakes are noted at their lines. `budget`: that of the whole model."""
    rules: list[RuleSpec] = []
    whole = None if budget is None else read_budget(budget)
    for each in node.items() if node else []:
        fields = each.fields(required=("name",), optional=(*KINDS, *JUDGED, *OF_WINDOWS, *DETECTING, "severity"))
        kinds = [kind for kind in KINDS if kind in fields]
        name = fields["name"].text() if "name" in fields else None
        if name is None:
            continue
        if any(rule.name == name for rule in rules):
            each.mistake(f"a rule named `{name}` stands above already")
        if len(kinds) != 1:
            each.mistake(f"rule `{name}` needs exactly one of {', '.join(KINDS)}")
            continue
        severity = fields["severity"].choice([s.value for s in Severity]) if "severity" in fields else None
        level = Severity(severity) if severity else Severity.WARNING
        if kinds[0] != "detector":
            _refuse(fields, DETECTING, "is for detectors")
        if kinds[0] == "range":
            rules += _range(fields, name, level, (*known.features, *known.outputs))
        elif kinds[0] == "detector":
            rules += _detector(each, fields, name, level, known, whole)
        elif kinds[0] == "coverage":
            rules += _labels_missing(each, fields, name, level, known)
        elif kinds[0] == "no_predictions_for":
            _refuse(fields, (*JUDGED, *OF_WINDOWS), "is not for silence: only `severity` fits beside it")
            quiet = fields["no_predictions_for"].parsed(parse_duration, timedelta(0))
            rules.append(RuleSpec(name=name, kind="silence", target="predictions", severity=level, quiet=quiet))
        for kind in JUDGED_KINDS:
            if kinds[0] == kind:
                rules += _judged(each, fields, name, level, kind, known, whole)
    if budget is not None and whole is not None and not any(rule.false_alarms is whole for rule in rules):
        budget.mistake("no rule is without a threshold of its own, so none is calibrated for these `false_alarms`")
    return share(whole, rules)


def _refuse(fields: dict[str, Node], words: Sequence[str], why: str) -> None:
    for word in words:
        if word in fields:
            fields[word].mistake(f"`{word}` {why}")


def _detector(
    each: Node, fields: dict[str, Node], name: str, level: Severity, known: Known, whole: FalseAlarms | None
) -> list[RuleSpec]:
    allowed = ("retrain", "min_samples", "window", "min_coverage", BUDGET)
    _refuse(fields, [word for word in (*JUDGED, *OF_WINDOWS) if word not in allowed], "is not for detectors")
    detector = fields["detector"].text()
    params = {key: node.number() for key, node in fields["params"].mapping().items()} if "params" in fields else {}
    settings = {key: value for key, value in params.items() if value is not None}
    if detector is not None:
        try:
            make_detector(detector, settings)
        except ValueError as error:
            fields["detector"].mistake(str(error))
    # with a window it watches a metric of it, else what each slice brings
    window = _window(fields, known.windows)
    figures = known.metrics if "window" in fields else (*ON, *known.numbers)
    if "on" not in fields:
        each.mistake(f"rule `{name}` needs `on`: {', '.join(ON)}, a numeric feature, or with `window` a metric")
    target = fields["on"].text() if "on" in fields else None
    if target is not None and target not in figures:
        fields["on"].mistake(f"`{target}` is no figure to watch{nearest(target, figures)}")
    if "min_coverage" in fields and "window" not in fields:
        fields["min_coverage"].mistake("`min_coverage` is for a detector on a metric of a `window`")
    budget = detector_budget(fields, detector or "", settings, whole)
    if budget is not None and (why := unfit("detector", target or "", None, known.baseline)):
        fields.get(BUDGET, each).mistake(why)
    samples = fields["min_samples"].count() if "min_samples" in fields else DETECTOR_SAMPLES
    return [
        RuleSpec(
            name=name,
            kind="detector",
            target=target or "",
            detector=detector or "",
            params=settings,
            window=window,
            min_samples=samples or 1,
            min_coverage=_coverage(fields),
            severity=level,
            retrain=bool(fields["retrain"].flag()) if "retrain" in fields else False,
            false_alarms=budget,
        )
    ]


def _window(fields: dict[str, Node], windows: Collection[str]) -> str | None:
    window = fields["window"].text() if "window" in fields else None
    if window is not None and window not in windows:
        fields["window"].mistake(f"unknown window `{window}`{nearest(window, windows)}")
    return window


def _coverage(fields: dict[str, Node]) -> float:
    coverage = fields["min_coverage"].number() if "min_coverage" in fields else 0.9
    if coverage is not None and not 0 <= coverage <= 1:
        fields["min_coverage"].mistake("coverage lies between 0 and 1")
    return coverage or 0.0


def _range(fields: dict[str, Node], name: str, level: Severity, targets: Sequence[str]) -> list[RuleSpec]:
    for word in (*JUDGED, *OF_WINDOWS):
        if word in fields:
            fields[word].mistake(f"a range rule has no `{word}`: its range is declared with the feature")
    target = fields["range"].text()
    if target is None:
        return []
    if target not in targets:
        fields["range"].mistake(f"unknown feature or output `{target}`{nearest(target, targets)}")
    return [RuleSpec(name=name, kind="range", target=target, severity=level)]


def _labels_missing(each: Node, fields: dict[str, Node], name: str, level: Severity, known: Known) -> list[RuleSpec]:
    """`coverage: day, below: 0.5`: what a window's first report must have."""
    _refuse(fields, [word for word in (*JUDGED, *OF_WINDOWS) if word not in OF_COVERAGE], "is not for coverage")
    window = fields["coverage"].text()
    if window is not None and window not in known.windows:
        fields["coverage"].mistake(f"unknown window `{window}`{nearest(window, known.windows)}")
    if "below" not in fields:
        each.mistake(f"rule `{name}` needs `below`")
    below, clear, critical = (
        fields[word].number() if word in fields else None for word in ("below", "clear_above", "critical")
    )
    for word, value in (("below", below), ("clear_above", clear), ("critical", critical)):
        if value is not None and not 0 <= value <= 1:
            fields[word].mistake("coverage lies between 0 and 1")
    certain = bool(fields["certain"].flag()) if "certain" in fields else False
    thresholds = Thresholds(below=below, clear_above=clear, critical=critical, certain=certain)
    check_thresholds(fields, thresholds, "coverage", "coverage", level)
    k, of = fields["for"].parsed(_k_of_n, (1, 1)) if "for" in fields else (1, 1)
    samples = fields["min_samples"].count() if "min_samples" in fields else 1
    return [
        RuleSpec(
            name=name,
            kind="coverage",
            target="coverage",
            window=window,
            k=k,
            of=of,
            min_samples=samples or 1,
            min_coverage=0.0,
            severity=level,
            **thresholds._asdict(),
        )
    ]


def _judged(
    each: Node,
    fields: dict[str, Node],
    name: str,
    level: Severity,
    kind: Literal["metric", "estimate", "drift", "data"],
    known: Known,
    whole: FalseAlarms | None,
) -> list[RuleSpec]:
    figures = {"metric": known.metrics, "estimate": known.estimated, "data": DATA_SHARES}.get(kind, DRIFT_MEASURES)
    target = fields[kind].text()
    if target is not None and target not in figures:
        words = {"metric": "metric", "estimate": "metric that can be estimated", "data": "share of values"}
        what = words.get(kind, "drift measure")
        fields[kind].mistake(f"unknown {what} `{target}`{nearest(target, figures)}")
    window = _window(fields, known.windows)
    if "window" not in fields:
        each.mistake(f"rule `{name}` needs a `window`")
    thresholds = read_thresholds(each, fields, name, kind, whole)
    check_thresholds(fields, thresholds, kind, target if target and target in figures else "", level)
    calibrated = thresholds.false_alarms is not None
    if calibrated and (why := unfit(kind, target or "", known.windows.get(window or ""), known.baseline)):
        fields.get(BUDGET, each).mistake(why)
    k, of = fields["for"].parsed(_k_of_n, (1, 1)) if "for" in fields else (1, 1)
    samples = fields["min_samples"].count() if "min_samples" in fields else 100
    return [
        RuleSpec(
            name=name,
            kind=kind,
            target=target or "",
            features=_features(fields.get("features"), kind, known.features, known.answers),
            window=window,
            k=k,
            of=of,
            min_samples=samples or 0,
            min_coverage=_coverage(fields),
            severity=level,
            retrain=bool(fields["retrain"].flag()) if "retrain" in fields else False,
            segments=_segments(fields.get("segments"), known.segments),
            **thresholds._asdict(),
        )
    ]


def _features(node: Node | None, kind: str, features: Sequence[str], answers: Sequence[str]) -> tuple[str, ...]:
    if kind not in ("drift", "data"):
        if node is not None:
            node.mistake("`features` belongs to a rule about drift or data")
        return ()
    if node is None or node.is_text("all"):
        return tuple(features)
    return node.words((*features, *(answers if kind == "drift" else ())), "feature")


def _segments(node: Node | None, segments: Sequence[str]) -> tuple[str, ...]:
    if node is None:
        return ()
    return tuple(segments) if node.is_text("all") else node.words(segments, "way to cut into segments")


def _k_of_n(text: str) -> tuple[int, int]:
    parts = text.split()
    if len(parts) != 3 or parts[1] != "of" or not (parts[0].isdecimal() and parts[2].isdecimal()):
        raise ValueError(f"{text!r} is not understood; write for example `2 of 3`")
    k, of = int(parts[0]), int(parts[2])
    if not 1 <= k <= of:
        raise ValueError(f"{text!r} asks for {k} of {of} windows")
    return k, of
