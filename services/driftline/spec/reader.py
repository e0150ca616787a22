"""Reading a monitor spec: all mistakes at once, each with its line and the nearest valid word."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from driftline.errors import SpecError
from driftline.spec.metrics import ESTIMATED, METRICS, OF_LABEL, TASKS, USUAL, MetricNames, Task, of_labels
from driftline.spec.model import (
    LARGEST,
    MOST_LABELS,
    OTHER,
    BaselineSpec,
    FeatureSpec,
    MonitorSpec,
    OutputSpec,
    WindowSpec,
    millis,
    told,
)
from driftline.spec.promotion import read_promotion
from driftline.spec.retraining import read_retrain
from driftline.spec.rules import Known, read_rules
from driftline.spec.segments import read_segments
from driftline.spec.yaml_nodes import Mistakes, Node, load, read_duration

DAY = timedelta(days=1)
MOST_WEEKS = 12
MAX_KEPT = 50_000_000


def read_spec(path: Path) -> MonitorSpec:
    """The spec in the file. Raises `SpecError` with every mistake."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise SpecError([f"{path}: is not UTF-8 text"]) from error
    return parse_spec(text, str(path))


def parse_spec(text: str, name: str) -> MonitorSpec:
    """The spec in `text`; `name` stands before each line number. Raises `SpecError` with every mistake."""
    mistakes = Mistakes(name)
    root = load(text, mistakes)
    spec = None if root is None else _Reader(root, mistakes).read()
    if mistakes.found or spec is None:
        raise SpecError(mistakes.sorted())
    return spec


class _Reader:
    def __init__(self, root: Node, mistakes: Mistakes) -> None:
        self._root = root
        self._mistakes = mistakes

    def read(self) -> MonitorSpec | None:
        root = self._root
        fields = root.fields(
            required=("model", "task", "features", "windows"),
            optional=(
                *("labels", "positive", "outputs", "horizon", "lateness", "pane", "limits", "metrics", "rules"),
                *("segments", "baseline", "retrain", "promotion", "retention", "costs", "false_alarms", "repeat"),
            ),
        )
        model = self._model_name(fields.get("model"))
        task = self._task(fields.get("task"))
        features = self._features(fields.get("features"))
        segments = read_segments(fields.get("segments"), features)
        outputs = self._outputs(fields.get("outputs"), task)
        labels, positive = self._labels(fields, task)
        pane = read_duration(fields.get("pane"), timedelta(minutes=1))
        if "pane" in fields and pane < timedelta(seconds=1):
            fields["pane"].mistake("a pane is a second at least")
        horizon = read_duration(fields.get("horizon"), timedelta(hours=48))
        lateness = read_duration(fields.get("lateness"), timedelta(minutes=10), zero=True)
        windows = self._windows(fields.get("windows"), pane)
        baseline = self._baseline(fields.get("baseline"), windows)
        # where the task is unknown, words that some task has are not mistakes of their own
        known, usual = (
            names[task] if task else tuple(dict.fromkeys(name for each in names.values() for name in each))
            for names in (METRICS, USUAL)
        )
        of_each = {name: of_labels(name, told(labels)) for name in OF_LABEL} if task == "multiclass" else {}
        known = MetricNames((*known, *(name for each in of_each.values() for name in each)))
        limits = fields["limits"].fields(optional=("max_kept", "max_ahead")) if "limits" in fields else {}
        max_ahead = read_duration(limits.get("max_ahead"), timedelta(minutes=5))
        max_kept = limits["max_kept"].count() if "max_kept" in limits else MAX_KEPT
        words = fields["metrics"].words(MetricNames((*known, *of_each)), "metric") if "metrics" in fields else usual
        metrics = tuple(name for word in words for name in of_each.get(word, (word,)))
        named = tuple(fields["features"].keys()) if "features" in fields else ()
        rules = read_rules(
            fields.get("rules"),
            fields.get("false_alarms"),
            Known(
                metrics=known,
                estimated=ESTIMATED[task] if task else (),
                features=named,
                numbers=[name for name, feature in features.items() if feature.type == "number"],
                outputs=tuple(outputs),
                answers=("prediction",) if task == "regression" else ("score", "prediction"),
                windows=windows,
                baseline=baseline,
                segments=[segment.name for segment in segments],
            ),
        )
        retrain = read_retrain(fields.get("retrain"), horizon)
        ways = [segment.name for segment in segments]
        promotion = read_promotion(fields.get("promotion"), usual, windows, ways, retrain)
        repeat = read_duration(fields.get("repeat"), timedelta(0))
        needed = horizon if retrain is None else retrain.span + retrain.holdout + horizon
        retain = self._retention(fields.get("retention"), needed)
        costs = self._costs(fields.get("costs"), task, labels)
        judged = (r.target for r in rules if r.kind in ("metric", "estimate") or (r.kind == "detector" and r.window))
        used = tuple(dict.fromkeys((*metrics, promotion.metric, *judged)))
        if "expected_cost" in used and "costs" not in fields:
            root.mistake("metric `expected_cost` needs `costs`: outcome -> prediction -> cost")
        if self._mistakes.found or model is None or task is None:
            return None
        return MonitorSpec(
            model=model,
            task=task,
            labels=labels,
            positive=positive,
            features=features,
            outputs=outputs,
            horizon=horizon,
            lateness=lateness,
            pane=pane,
            max_ahead=max_ahead,
            max_kept=max_kept or MAX_KEPT,
            windows=windows,
            metrics=used,
            costs=costs,
            rules=rules,
            retrain=retrain,
            promotion=promotion,
            retain_raw=retain,
            segments=segments,
            baseline=baseline,
            repeat=repeat,
        )

    def _task(self, node: Node | None) -> Task | None:
        text = None if node is None else node.choice(TASKS)
        return next((task for task in TASKS if task == text), None)

    def _model_name(self, node: Node | None) -> str | None:
        if node is None:
            return None
        name = node.text()
        if name is not None and (not 0 < len(name) <= 200 or any(c in "/@\0" or not c.isprintable() for c in name)):
            node.mistake("a model's name has 1 to 200 printable characters, none of them / or @")
        return name

    def _features(self, node: Node | None) -> dict[str, FeatureSpec]:
        found = {}
        for name, each in (node.mapping() if node else {}).items():
            fields = each.fields(required=("type",), optional=("range", "allowed", "missing"))
            kind = fields["type"].choice(("number", "category")) if "type" in fields else None
            declared = fields["range"].range() if "range" in fields else None
            allowed = fields["allowed"].texts() if "allowed" in fields else None
            missing = fields["missing"].choice(("allowed", "forbidden")) if "missing" in fields else None
            if kind == "category" and declared is not None:
                fields["range"].mistake("a category has no range; did you mean `allowed`?")
            if kind == "number" and allowed is not None:
                fields["allowed"].mistake("a number has no allowed values; did you mean `range`?")
            if kind is not None:
                found[name] = FeatureSpec(
                    type="number" if kind == "number" else "category",
                    range=declared,
                    allowed=allowed,
                    missing="allowed" if missing == "allowed" else "forbidden",
                )
        return found

    def _outputs(self, node: Node | None, task: Task | None) -> dict[str, OutputSpec]:
        valid = "prediction" if task == "regression" else "score"
        found = {} if task == "regression" else {"score": OutputSpec(range=(0.0, 1.0))}
        for name, each in (node.mapping() if node else {}).items():
            fields = each.fields(required=("range",))
            declared = fields["range"].range() if "range" in fields else None
            if task is None:
                continue
            if name != valid:
                each.mistake(f"unknown output `{name}` of a {task} model; it has `{valid}`")
            elif task == "regression" and declared is not None and max(map(abs, declared)) > LARGEST:
                fields["range"].mistake(
                    f"a number beyond {LARGEST:g} is refused where it comes, so no range reaches it"
                )
            elif declared is not None:
                found[name] = OutputSpec(range=declared)
        return found

    def _labels(self, fields: dict[str, Node], task: str | None) -> tuple[tuple[str, ...], str | None]:
        if task is None:
            return (), None
        if task == "regression":
            for name in ("labels", "positive"):
                if name in fields:
                    fields[name].mistake(f"`{name}` is for classification")
            return (), None
        labels = (fields["labels"].texts() or ()) if "labels" in fields else ()
        if task == "multiclass":
            self._check_many(fields, labels)
            return labels, None
        for name in ("labels", "positive"):
            if name not in fields:
                self._root.mistake(f"`{name}` is missing: a binary model needs its two labels and the positive one")
        positive = fields["positive"].text() if "positive" in fields else None
        if labels and len(set(labels)) != 2:
            fields["labels"].mistake("a binary model has two different labels")
        if labels and positive is not None and positive not in labels:
            fields["positive"].mistake(f"`{positive}` is none of the labels {', '.join(labels)}")
        return labels, positive

    def _check_many(self, fields: dict[str, Node], labels: tuple[str, ...]) -> None:
        """The labels of a multiclass model."""
        if "labels" not in fields:
            self._root.mistake("`labels` is missing: a multiclass model needs the labels that it may answer with")
        elif len(labels) < 3:
            fields["labels"].mistake("a multiclass model has three labels or more; one of two is `task: binary`")
        elif OTHER in labels:
            fields["labels"].mistake(f"`{OTHER}` is what the labels beyond the first {MOST_LABELS} are told as")
        if "positive" in fields:
            fields["positive"].mistake("`positive` is for a binary model")

    def _costs(self, node: Node | None, task: str | None, labels: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """Outcome -> prediction -> cost."""
        if node is None or task is None:
            return {}
        if task == "regression":
            node.mistake("`costs` is for classification")
            return {}
        found: dict[str, dict[str, float]] = {}
        for outcome, row in node.fields(optional=told(labels)).items():
            costs = {label: each.number() for label, each in row.fields(optional=told(labels)).items()}
            found[outcome] = {label: cost for label, cost in costs.items() if cost is not None}
        return found

    def _windows(self, node: Node | None, pane: timedelta) -> dict[str, WindowSpec]:
        found = {}
        for name, each in (node.mapping() if node else {}).items():
            fields = each.fields(required=("span",), optional=("every", "events"))
            span = read_duration(fields.get("span"), DAY)
            every = read_duration(fields.get("every"), span)
            for label, length in (("span", span), ("every", every)):
                if label in fields and millis(length) % millis(pane):
                    fields[label].mistake(f"`{label}` must be a multiple of `pane`")
            events = fields["events"].count() if "events" in fields else None
            if "events" in fields and "every" in fields:
                fields["every"].mistake("a window that ends after so many `events` has no `every`")
            if events == 0:
                fields["events"].mistake("a window ends after one event at least")
            found[name] = WindowSpec(span=span, every=every, events=events)
        if node is not None and not found:
            node.mistake("at least one window is needed")
        return found

    def _baseline(self, node: Node | None, windows: dict[str, WindowSpec]) -> BaselineSpec:
        if node is None or node.is_text("training"):
            return BaselineSpec()
        said = "`training`, `{first: 28d}`, `{previous: week}` or `{hour_of_week: 4}`"
        if not node.is_mapping():
            node.mistake(f"a baseline is {said}")
            return BaselineSpec()
        fields = node.fields(optional=("first", "previous", "hour_of_week", "file"))
        if "file" in fields:
            fields["file"].mistake(
                "reference rows come with the version that answered them: write `baseline: training` and give the file "
                "to `driftline models register --reference` or `driftline backtest --reference`"
            )
        elif len(fields) != 1:
            node.mistake(f"a baseline is one of {said}")
        elif "first" in fields:
            span = read_duration(fields["first"], 28 * DAY)
            return BaselineSpec(kind="first", span=span)
        elif "previous" in fields:
            name = fields["previous"].choice(tuple(n for n, window in windows.items() if window.events is None))
            return BaselineSpec(kind="previous", window=name) if name else BaselineSpec()
        else:
            weeks = fields["hour_of_week"].count() or 0
            if not 1 <= weeks <= MOST_WEEKS:
                fields["hour_of_week"].mistake(f"the same hour of the last 1 to {MOST_WEEKS} weeks")
            elif any(window.events is not None or 7 * DAY % window.every for window in windows.values()):
                node.mistake("every window needs an `every` that divides a week, or no hour of a week comes again")
            else:
                return BaselineSpec(kind="hour_of_week", weeks=weeks)
        return BaselineSpec()

    def _retention(self, node: Node | None, needed: timedelta) -> timedelta:
        least = timedelta(days=-(-needed // DAY))
        if node is None:
            return least
        fields = node.fields(optional=("raw", "decisions"))
        if "decisions" in fields:
            fields["decisions"].choice(("forever",))
        raw = read_duration(fields.get("raw"), least)
        if raw < needed:
            fields["raw"].mistake("raw data must be kept for data.span + data.holdout + horizon at least")
        return raw
