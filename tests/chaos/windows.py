"""The oracle's window reports: scikit-learn over the predictions and outcomes that had arrived by each report."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score
from tests.chaos.bookkeeping import Expected, Prediction, Raw
from tests.chaos.contract import Spec, milliseconds
from tests.chaos.reading import Deployment
from tests.chaos.verdict import Verdict

CLOSE = 1e-9
ROUNDING = 1e-12

Series = tuple[str, str, str]
"""(model, version, role)"""


def check_reports(
    deployment: Deployment, expected: Expected, partitions: Mapping[int, Sequence[Raw]], verdict: Verdict
) -> None:
    """Every report once, each with the figures of what had arrived by its revision, and none missing."""
    reports: dict[str, bytes] = {}
    for record in (r for records in partitions.values() for r in records):
        name = json.loads(record.value)["id"]
        if reports.setdefault(name, record.value) != record.value:
            verdict.differ(f"report {name} again", reports[name][:200], record.value[:200])
    series: dict[Series, dict[int, list[Prediction]]] = defaultdict(lambda: defaultdict(list))
    for prediction in expected.predictions:
        key = prediction.pane
        series[key.model, key.version, key.role][key.pane].append(prediction)
    told: dict[tuple[Series, str, int], int] = {}
    decided = 0
    for report in map(json.loads, reports.values()):
        name = (report["model"], report["version"], report["role"])
        place = (name, report["window"]["name"], report["window"]["end"])
        told[place] = min(told.get(place, report["revision"]), report["revision"])
        decided = max(decided, report["revision"])
        _check(report, _spec(deployment, name[0]), deployment.slice_ms, series[name], verdict)
    verdict.reports = len(reports)
    if reports:
        _check_none_missing(deployment, series, told, decided, verdict)


def _spec(deployment: Deployment, model: str) -> Spec:
    return max((revision, spec) for (name, revision), spec in deployment.specs.items() if name == model)[1]


def _check(
    report: Mapping[str, Any], spec: Spec, slice_ms: int, panes: Mapping[int, Sequence[Prediction]], verdict: Verdict
) -> None:
    window, revision = report["window"], report["revision"]
    name = f"{report['model']}/{report['version']}/{report['role']} {window['name']} {window['end']} at {revision}"
    if report["completeness"] != 1.0:
        verdict.differ(f"{name}: completeness", 1.0, report["completeness"])
    (everybody,) = (segment for segment in report["segments"] if segment["segment"] == "all")
    last = revision // slice_ms
    mine = [
        prediction
        for pane in range(window["start"] // spec.pane, window["end"] // spec.pane)
        for prediction in panes.get(pane, ())
        if prediction.slice < last
    ]
    known = [(p, [label for number, label in p.history if number < last]) for p in mine]
    labelled = [(p, labels[-1]) for p, labels in known if labels]
    counted = (everybody["n"], everybody["labelled"])
    if counted != (len(mine), len(labelled)):
        verdict.differ(f"{name}: n and labelled", (len(mine), len(labelled)), counted)
        return
    if labelled:
        _check_metrics(name, everybody["metrics"], spec, labelled, verdict)
    elif any(metric["value"] is not None for metric in everybody["metrics"].values()):
        verdict.differ(f"{name}: metrics without labels", None, everybody["metrics"])


def _check_metrics(
    name: str,
    found: Mapping[str, Mapping[str, Any]],
    spec: Spec,
    labelled: Sequence[tuple[Prediction, int]],
    verdict: Verdict,
) -> None:
    positive = list(spec.plain["labels"]).index(spec.plain["positive"])
    actual = np.array([label for _, label in labelled]) == positive
    predicted = np.array([p.label for p, _ in labelled]) == positive
    scored = np.array([p.event["score"] is not None for p, _ in labelled])
    scores = np.array([p.event["score"] for p, _ in labelled if p.event["score"] is not None], dtype=np.float64)
    wanted: dict[str, float] = {
        "accuracy": accuracy_score(actual, predicted),
        "f1": f1_score(actual, predicted, zero_division=0),
    }
    if scored.any():
        wanted["log_loss"] = log_loss(actual[scored], np.clip(scores, 0, 1), labels=[False, True])
    for metric, value in wanted.items():
        told = found[metric]["value"]
        if told is None or not abs(told - value) <= CLOSE:
            verdict.differ(f"{name}: {metric}", value, told)
    if 0 < actual[scored].sum() < scored.sum():
        exact = roc_auc_score(actual[scored], scores)
        told, bound = found["auc"]["value"], found["auc"]["error_bound"]
        if told is None or not abs(told - exact) <= bound + ROUNDING:
            verdict.differ(f"{name}: auc within {bound}", exact, told)


def _check_none_missing(
    deployment: Deployment,
    series: Mapping[Series, Mapping[int, Sequence[Prediction]]],
    told: Mapping[tuple[Series, str, int], int],
    decided: int,
    verdict: Verdict,
) -> None:
    """A window that held predictions when it was due, by the last decision that we know of, has been reported."""
    for name, panes in series.items():
        spec = _spec(deployment, name[0])
        lateness = milliseconds(spec.plain["lateness"])
        for window, lengths in spec.plain["windows"].items():
            span, every = milliseconds(lengths["span"]), milliseconds(lengths["every"])
            ends = set()
            for pane, predictions in panes.items():
                arrived = min(p.slice for p in predictions)
                first = pane * spec.pane // every * every + every
                for end in range(first, pane * spec.pane + span + 1, every):
                    if (arrived + 1) * deployment.slice_ms <= end + lateness < decided:
                        ends.add(end)
            for end in sorted(end for end in ends if (name, window, end) not in told):
                verdict.differ(f"report of {name} {window} {end}", "published", "missing")
