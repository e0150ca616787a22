"""A store with two models, for tests of what the gate makes of them."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from tests.specs import bare_spec

from driftline.core.baseline import make_baseline
from driftline.core.checks import figures_of, side_of, truth_of
from driftline.core.columns import scores_of
from driftline.core.comparison import blocks_of
from driftline.events.retraining import Candidate, Recipe, RetrainRequest, Span, TrainedOn, Trigger
from driftline.platform.artifacts import StoredModel, frame_of, store
from driftline.platform.comparing import compared
from driftline.platform.held_out import HeldOutRows, Question, keep
from driftline.platform.kept_rows import ROWS, KeptRows, pack_rows
from driftline.platform.lookups import rows_digest
from driftline.platform.registering import manifest_of
from driftline.platform.settings import Settings
from driftline.spec.model import Cut, FeatureSpec, MonitorSpec, PromotionSpec, SegmentSpec
from driftline.spec.plain import to_plain

DAY = 86_400_000
START = 15_765 * DAY
TRAINING, HOLDOUT_SPAN = Span(start=START, end=START + 10 * DAY), Span(start=START + 10 * DAY, end=START + 17 * DAY)
RECIPE = Recipe(training=TRAINING, holdout=HOLDOUT_SPAN, known_by=START + 18 * DAY)
TASKS = {"binary": ("on-time", "late"), "multiclass": ("early", "on-time", "late"), "regression": ()}


def spec(task="binary", **promotion) -> MonitorSpec:
    metric = "mae" if task == "regression" else "log_loss"
    return bare_spec(
        task=task,
        labels=TASKS[task],
        positive="late" if task == "binary" else None,
        features={"distance": FeatureSpec(type="number"), "carrier": FeatureSpec(type="category")},
        pane=timedelta(minutes=15),
        promotion=PromotionSpec(**{"metric": metric, "min_effect": 0.01} | promotion),
        retain_raw=timedelta(days=90),
        segments=(SegmentSpec(cuts=(Cut(name="origin", source="attribute"),)),),
    )


def rows(task: str, start: int, days: int, seed: int) -> KeptRows:
    """Forty flights a day; the further they go, the later they are."""
    chance = np.random.default_rng(seed)
    n = 40 * days
    distance = chance.random(n)
    late = distance + 0.3 * chance.standard_normal(n)
    if task == "regression":
        outcomes = late.tolist()
    elif task == "binary":
        outcomes = ["late" if x > 0.5 else "on-time" for x in late]
    else:
        outcomes = ["late" if x > 0.7 else "on-time" if x > 0.3 else "early" for x in late]
    times = [start + i * DAY // 40 for i in range(n)]
    features = {"distance": distance.tolist(), "carrier": [["A", "B", None][i % 3] for i in range(n)]}
    return KeptRows([f"{seed}/{i}" for i in range(n)], times, outcomes, features)


def fitted(task: str, on: KeptRows, *, knows_distance: bool):
    """A model of distance and carrier, or of the carrier alone, which says nothing."""
    frame = frame_of(manifest_of(spec(task), "x"), on.features)
    kept = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["carrier"]),
        *((("passthrough", ["distance"]),) if knows_distance else ()),
    )
    model = LinearRegression() if task == "regression" else LogisticRegression()
    return make_pipeline(kept, model).fit(frame, on.outcomes)


class Stage:
    """A store with a champion that knows nothing and a candidate that knows, both with the rows they were made from."""

    def __init__(self, settings: Settings, task="binary", *, champion=True, trained=TRAINING, **promotion) -> None:
        self.settings, self.spec = settings, spec(task, **promotion)
        self.old, self.new = rows(task, START - 30 * DAY, 10, 1), rows(task, trained.start, 10, 2)
        self.held = rows(task, HOLDOUT_SPAN.start, 7, 3)
        dull = fitted(task, self.old, knows_distance=False)
        self.champion = self.stored(dull, self.old, "1") if champion else None
        keen = fitted(task, self.new, knows_distance=True)
        artifact = self.stored(keen, self.new, "2")
        said = StoredModel(manifest_of(self.spec, "2"), keen, None).answers_to(self.frame(self.new))
        self.candidate = Candidate(
            id="candidate",
            case="case",
            request="request",
            model="m",
            attempt=1,
            version="2",
            artifact=artifact,
            baseline=None,
            trained_on=TrainedOn(n=400, span=TRAINING, digest=rows_digest(self.new.ids, self.new.outcomes)),
            validation={},
            recipe=RECIPE,
            checks=figures_of(
                self.spec,
                truth_of(self.spec, self.new.outcomes),
                side_of(self.spec, said),
                blocks_of(self.new.times, TRAINING.start, DAY),
                "candidate",
            ),
        )
        dull_said = StoredModel(manifest_of(self.spec, "1"), dull, None).answers_to(self.frame(self.held))
        self.held_out = HeldOutRows(
            ids=self.held.ids,
            times=self.held.times,
            outcomes=self.held.outcomes,
            features=self.held.features,
            attributes=[{"origin": "EWR" if i % 2 else "JFK"} for i in range(len(self.held.ids))],
            said=None if champion else dull_said,
        )

    def frame(self, of: KeptRows) -> pd.DataFrame:
        return frame_of(manifest_of(self.spec, "x"), of.features)

    def stored(
        self,
        estimator,
        on: KeptRows,
        version: str,
        kept: KeptRows | None = None,
        *,
        keeps_rows: bool = True,
        extra=None,
    ):
        manifest = manifest_of(self.spec, version)
        answers = StoredModel(manifest, estimator, None).answers_to(self.frame(on))
        scores, told = scores_of(self.spec, [s for _, s in answers]), [label for label, _ in answers]
        trained_on = version != "1"  # the first champion was registered with rows that it was not made from
        baseline = make_baseline(self.spec, on.features, scores, told, version, "t", on.outcomes, trained_on=trained_on)
        rows = {ROWS: pack_rows(self.spec, kept or on)} if keeps_rows else {}
        return store(self.settings, manifest, estimator, baseline, rows | (extra or {}))

    @property
    def question(self) -> Question:
        request = RetrainRequest(
            id="request",
            case="case",
            model="m",
            champion="1",
            trigger=Trigger.COMMAND,
            attempt=1,
            requested_at=RECIPE.known_by,
            deadline=RECIPE.known_by + DAY,
            recipe=RECIPE,
            spec="m@1",
            reason="command",
        )
        return Question(candidate=self.candidate, request=request, spec=to_plain(self.spec), champion=self.champion)

    def changed(self, **fields) -> None:
        self.candidate = msgspec.structs.replace(self.candidate, **fields)

    def verdict(self):
        return compared(self.settings, self.question, self.held_out).verdict

    def kept_verdict(self):
        found = compared(self.settings, self.question, self.held_out)
        return msgspec.structs.replace(
            found.verdict, kept=keep(self.settings, self.question, self.held_out, found.answers)
        )


def proof(verdict, kind: str, of="candidate"):
    return next(each for each in verdict.proofs if (each.kind, each.of) == (kind, of))
