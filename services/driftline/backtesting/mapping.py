"""Which column holds what: what the user said, else a guess by the usual names, told aloud."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace

from driftline.backtesting.tables import Data
from driftline.errors import DriftlineError
from driftline.spec.model import MonitorSpec


@dataclass(frozen=True)
class Columns:
    """Names of columns; None: guess. `outcome` and `outcome_time` may stand in the predictions too."""

    id: str | None = None
    time: str | None = None
    prediction: str | None = None
    score: str | None = None
    outcome: str | None = None
    outcome_time: str | None = None
    version: str | None = None
    model: str | None = None


USUAL: dict[str, tuple[str, ...]] = {
    "id": ("id", "prediction_id", "request_id", "event_id", "uuid"),
    "time": ("time", "timestamp", "ts", "event_time", "predicted_at", "datetime", "date"),
    "prediction": ("prediction", "predicted", "pred", "y_pred"),
    "score": ("score", "probability", "proba", "prob", "y_score", "y_proba"),
    "outcome": ("outcome", "label", "actual", "target", "truth", "y_true"),
    "outcome_time": ("outcome_time", "observed_at", "known_at", "labelled_at", "label_time"),
    "version": ("version", "model_version"),
    "model": ("model", "model_name"),
    "role": ("role",),
    "latency_ms": ("latency_ms",),
}
"""What columns are usually called, in the order in which they are looked for."""
WHAT = {"id": "an id", "time": "a time", "prediction": "a prediction", "outcome": "an outcome"}
WHAT |= {"outcome_time": "an outcome's time"}
"""Columns that somebody can be asked for."""
OF_LABEL = ("score_", "score:", "scores.", "proba_", "probability_", "prob_", "p_")
"""How columns may begin that hold the probability of a label, and end with its name."""
BEGINNINGS = {"prediction": ("pred_", "prediction_"), "score": ("proba_", "score_", "prob_")}
"""How a name may begin, if only one does."""


@dataclass(frozen=True)
class Mapped:
    """Of one file: its columns by what they hold, features as `feature:NAME`, attributes
    as `attribute:NAME`. `guessed`: what was not told.

    `told`: what another reader of the same file tells of, so that a bad value is one dead letter.
    """

    data: Data
    columns: dict[str, str]
    guessed: dict[str, str]
    told: Collection[str] = ()

    def said(self) -> str | None:
        """A sentence about what was guessed."""
        if not self.guessed:
            return None
        pairs = ", ".join(f"{what.replace('_', '-')} = {name}" for what, name in self.guessed.items())
        return f"{self.data.name}: columns by their names: {pairs}"

    def name_of(self, what: str) -> str:
        """What the file calls a column."""
        return self.columns.get(what, what.rpartition(":")[2])


def map_predictions(data: Data, spec: MonitorSpec, asked: Columns, *, outcomes_too: bool) -> Mapped:
    """The columns of predictions. `outcomes_too`: their outcomes stand beside them."""
    finder = Finder(
        data, tuple(spec.features), asked if outcomes_too else replace(asked, outcome=None, outcome_time=None)
    )
    finder.find("id", required=not outcomes_too)
    for what in ("time", "prediction"):
        finder.find(what)
    scores = _scores(finder, spec, asked)
    for what in ("version", "model", "role", "latency_ms"):
        finder.find(what, required=False)
    if outcomes_too:
        finder.find("outcome", hint="; or name the file of outcomes with --outcomes")
        finder.find("outcome_time", required=False)
    missing = [name for name in spec.features if name not in data.columns]
    if missing:
        there = ", ".join(data.columns)
        raise DriftlineError(
            f"{data.name}: has no column for the feature{'s' if len(missing) > 1 else ''} {', '.join(missing)} of the "
            f"spec; rename a column, or take the feature out of the spec. It has: {there}"
        )
    features = {f"feature:{name}": name for name in spec.features}
    attributes = {f"attribute:{name}": name for name in attributes_of(spec)}
    missing = [name for name in attributes.values() if name not in data.columns]
    if missing:
        raise DriftlineError(
            f"{data.name}: has no column {', '.join(missing)}, which the spec cuts segments by. "
            f"It has: {', '.join(data.columns)}"
        )
    return Mapped(data, finder.found | scores | features | attributes, finder.guessed)


def _scores(finder: Finder, spec: MonitorSpec, asked: Columns) -> dict[str, str]:
    """Finds the column of scores of a binary model; of a multiclass model returns those of its labels, if there are
    any: `asked.score` is what all of their names begin with. Raises `DriftlineError` where it begins none.
    """
    if spec.task == "binary":
        finder.find("score", required=False)
    if spec.task != "multiclass":
        return {}
    data = finder.data
    for begin in OF_LABEL if asked.score is None else (asked.score,):
        found = {f"score:{label}": f"{begin}{label}" for label in spec.labels if f"{begin}{label}" in data.columns}
        if found and (asked.score is not None or len(found) == len(spec.labels)):
            if asked.score is None:
                finder.guessed["score"] = f"{begin}..."
            return found
    if asked.score is not None and not finder.lenient:
        raise DriftlineError(
            f"{data.name}: has no column `{asked.score}{spec.labels[0]}` (--score is what the columns of a multiclass "
            f"model's labels begin with). It has: {', '.join(data.columns)}"
        )
    return {}


def attributes_of(spec: MonitorSpec) -> dict[str, bool]:
    """The attributes that segments are cut by, and whether as numbers."""
    cuts = [cut for segment in spec.segments for cut in segment.cuts if cut.source == "attribute"]
    return {cut.name: bool(cut.edges) for cut in cuts}


def map_outcomes(data: Data, spec: MonitorSpec, asked: Columns) -> Mapped:
    """The columns of a file of outcomes. Its time is when the truth became known."""
    finder = Finder(data, tuple(spec.features), replace(asked, time=None, prediction=None, score=None, version=None))
    finder.find("id")
    finder.find("outcome")
    finder.find("outcome_time", also=USUAL["time"])
    finder.find("model", required=False)
    return Mapped(data, finder.found, finder.guessed)


def map_reference(data: Data, spec: MonitorSpec, asked: Columns) -> Mapped:
    """The columns of reference rows: features, and the model's own answers where they are there."""
    missing = [name for name in spec.features if name not in data.columns]
    if missing:
        raise DriftlineError(
            f"{data.name}: has no column for {', '.join(missing)}; a reference has one for each feature"
        )
    finder = Finder(data, tuple(spec.features), asked, lenient=True)
    scores = _scores(finder, spec, asked)
    if spec.task != "binary":
        finder.find("prediction", required=False)
    return Mapped(data, finder.found | scores | {f"feature:{name}": name for name in spec.features}, finder.guessed)


def _named(asked: Columns) -> Collection[str]:
    return {getattr(asked, field.name) for field in fields(asked)} - {None}


class Finder:
    """Finds columns one after the other, never one that is a feature. `lenient`: one that was named may be missing."""

    def __init__(self, data: Data, features: Sequence[str], asked: Columns, *, lenient: bool = False) -> None:
        self.data, self._features, self._asked, self.lenient = data, features, asked, lenient
        self.found: dict[str, str] = {}
        self.guessed: dict[str, str] = {}

    def find(self, what: str, *, required: bool = True, also: Sequence[str] = (), hint: str = "") -> None:
        """Note the column that holds `what`; `also`: further usual names. Raises `DriftlineError` if there is none."""
        named = getattr(self._asked, what, None)
        option = f"--{what.replace('_', '-')}"
        if named is not None and (named in self.data.columns or not self.lenient):
            if named not in self.data.columns:
                there = ", ".join(self.data.columns)
                raise DriftlineError(f"{self.data.name}: has no column `{named}` ({option}). It has: {there}")
            self.found[what] = named
            return
        guess = self._guess(what, (*USUAL[what], *also))
        if guess is not None:
            self.found[what] = self.guessed[what] = guess
        elif required:
            raise DriftlineError(
                f"{self.data.name}: no column is called as {WHAT[what]} usually is; name it with "
                f"{option} COLUMN{hint}. It has: {', '.join(self.data.columns)}"
            )

    def _guess(self, what: str, usual: Sequence[str]) -> str | None:
        taken = {*self._features, *self.found.values(), *_named(self._asked)}
        free = {name.lower().strip(): name for name in self.data.columns if name not in taken}
        for name in usual:
            if name in free:
                return free[name]
        begin = [name for low, name in free.items() if low.startswith(BEGINNINGS.get(what, ("\0",)))]
        return begin[0] if len(begin) == 1 else None
