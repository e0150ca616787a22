"""What the trainer and the training say of a candidate is found again, or not, or cannot be."""

from __future__ import annotations

import json

import msgspec
import pytest
from sklearn.metrics import log_loss
from sklearn.preprocessing import FunctionTransformer
from tests.gate_stage import DAY, HOLDOUT_SPAN, TRAINING, Stage, fitted, proof, rows

from driftline.cli.gate_words import explanation
from driftline.core.gate import Reason
from driftline.events.retraining import Span, TrainedOn
from driftline.platform.comparing import NotCompared
from driftline.platform.formats import SKOPS
from driftline.platform.kept_rows import TRIAL, VALIDATED, KeptRows
from driftline.platform.lookups import rows_digest
from driftline.platform.settings import Settings
from driftline.spec.model import FeatureSpec


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings("nowhere:1", "redis://nowhere", "test.", tmp_path, tmp_path / "archive", tmp_path / "artifacts")


def test_a_candidate_that_does_not_score_what_the_trainer_said_is_refused(settings):
    stage = Stage(settings)
    told = [msgspec.structs.replace(f, low=f.low + 0.2, high=f.high + 0.2) for f in stage.candidate.checks]
    stage.changed(checks=tuple(told))
    verdict = stage.verdict()
    assert (verdict.decision, verdict.reason) == ("refuse", Reason.RETRAIN_NOT_REPRODUCED)
    assert verdict.metrics == ()
    assert not proof(verdict, "figure").holds


def test_figures_that_a_training_reports_and_its_model_does_not_have_refuse_it(settings):
    stage = Stage(settings)
    (auc,) = [figure.value for figure in stage.candidate.checks if figure.name == "auc"]
    stage.changed(validation={"auc": round(auc, 2), "log_loss": 0.01, "rows": 400.0})
    verdict = stage.verdict()
    assert (verdict.decision, verdict.reason) == ("refuse", Reason.RETRAIN_NOT_REPRODUCED)
    told = {each.name: each for each in verdict.proofs if each.kind == "validation"}
    assert {name: each.holds for name, each in told.items()} == {"auc": True, "log_loss": False, "rows": None}
    assert told["log_loss"].low < 0.01 < told["log_loss"].high < told["log_loss"].found
    assert "FAILS: the log_loss that the training reports: told 0.0100" in explanation(verdict)


def test_what_a_training_reports_is_found_again_on_the_rows_and_of_the_model_that_it_is_of(settings):
    stage = Stage(settings)
    trial = fitted("binary", stage.new.at(range(320)), knows_distance=False)
    late = range(320, 400)
    shares = trial.predict_proba(stage.frame(stage.new).iloc[320:])[:, list(trial.classes_).index("late")]
    told = log_loss([outcome == "late" for outcome in stage.new.outcomes[320:]], shares)
    of_trial = {VALIDATED: json.dumps([*late]).encode(), TRIAL: SKOPS.dump(trial)}
    keen = fitted("binary", stage.new, knows_distance=True)
    stage.changed(artifact=stage.stored(keen, stage.new, "2", extra=of_trial))
    stage.changed(validation={"log_loss": (told, told - 1e-9, told + 1e-9)})
    verdict = stage.verdict()
    assert (verdict.reason, proof(verdict, "validation").holds) == ("better", True)
    without = Stage(settings)  # of the model itself, on all rows, it is another figure
    without.changed(validation=stage.candidate.validation)
    assert without.verdict().reason == Reason.RETRAIN_NOT_REPRODUCED


def test_a_trial_that_would_run_code_is_not_loaded(settings):
    stage = Stage(settings)
    keen = fitted("binary", stage.new, knows_distance=True)
    trial = {TRIAL: SKOPS.dump(FunctionTransformer(rows))}
    stage.changed(artifact=stage.stored(keen, stage.new, "2", extra=trial), validation={"auc": 0.7})
    with pytest.raises(
        NotCompared, match=r"^candidate-unusable: forbidden-type: trial.skops holds types that are not allowed"
    ):
        stage.verdict()


@pytest.mark.parametrize("validation", [{}, {"rows": 400.0}])
def test_a_candidate_of_which_no_figure_can_be_found_again_is_held(settings, validation):
    stage = Stage(settings)
    stage.changed(checks=(), validation=validation)
    verdict = stage.verdict()
    assert (verdict.decision, verdict.reason) == ("hold", Reason.RETRAIN_NOT_PROVEN)
    assert verdict.metrics[0].low > 0.01  # a human who decides sees what it gains


def test_a_candidate_that_does_not_say_what_it_has_learnt_from_is_held(settings):
    stage = Stage(settings)
    stage.changed(trained_on=None)
    verdict = stage.verdict()
    assert (verdict.decision, verdict.reason) == ("hold", Reason.RETRAIN_NOT_PROVEN)
    assert proof(verdict, "rows").detail == "the trainer does not say which rows it has learnt from"


def test_a_candidate_some_of_whose_rows_have_no_time_is_held(settings):
    stage = Stage(settings)
    undated = KeptRows(stage.new.ids, [None, *stage.new.times[1:]], stage.new.outcomes, stage.new.features)
    keen = fitted("binary", stage.new, knows_distance=True)
    stage.changed(artifact=stage.stored(keen, stage.new, "2", undated))
    verdict = stage.verdict()
    assert (verdict.decision, verdict.reason) == ("hold", Reason.HOLDOUT_PERHAPS_SEEN)
    assert proof(verdict, "unseen").detail == "0 of its rows have no id, 1 no time"


def test_rows_other_than_those_that_were_learnt_from_are_not_its_rows(settings):
    stage = Stage(settings)
    others = KeptRows(stage.new.ids, stage.new.times, stage.new.outcomes[::-1], stage.new.features)
    keen = fitted("binary", stage.new, knows_distance=True)
    stage.changed(artifact=stage.stored(keen, stage.new, "2", others))
    verdict = stage.verdict()
    assert verdict.reason == Reason.RETRAIN_NOT_REPRODUCED
    assert proof(verdict, "rows").detail == "the 400 rows kept with it have another digest than its training rows"


def test_a_champion_whose_rows_do_not_give_its_baseline_refuses(settings):
    stage = Stage(settings)
    moved = {**stage.old.features, "distance": [x / 2 for x in stage.old.features["distance"]]}
    others = KeptRows(stage.old.ids, stage.old.times, stage.old.outcomes, moved)
    stage.champion = stage.stored(fitted("binary", stage.old, knows_distance=False), stage.old, "1", others)
    verdict = stage.verdict()
    assert (verdict.decision, verdict.reason) == ("refuse", Reason.BASELINE_NOT_REPRODUCED)
    assert "rows fall into another bin of feature:distance" in proof(verdict, "baseline", "champion").detail


def test_a_champions_baseline_is_found_again_under_a_spec_that_has_changed_since(settings):
    stage = Stage(settings)
    narrow = {
        **stage.spec.features,
        "distance": FeatureSpec(type="number", range=(0.0, 0.5)),
        "new": FeatureSpec(type="number"),
    }
    stage.spec = msgspec.structs.replace(stage.spec, features=narrow)
    assert proof(stage.verdict(), "baseline", "champion").holds


@pytest.mark.parametrize(("day", "ids"), [(1, "3"), (0, "2")])
def test_a_candidate_that_has_seen_the_holdout_is_refused(settings, day, ids):
    """By the time of its rows, or by their ids, whatever time they claim."""
    stage = Stage(settings)
    times = [time + day * DAY for time in stage.new.times]
    names = [*stage.new.ids[:-1], stage.held.ids[0]] if day == 0 else stage.new.ids
    kept = KeptRows(names, times, stage.new.outcomes, stage.new.features)
    artifact = stage.stored(fitted("binary", stage.new, knows_distance=True), stage.new, "2", kept)
    digest = rows_digest(names, stage.new.outcomes)
    stage.changed(artifact=artifact, trained_on=TrainedOn(n=400, span=TRAINING, digest=digest))
    verdict = stage.verdict()
    assert (verdict.decision, verdict.reason) == ("refuse", Reason.HOLDOUT_SEEN)
    seen = "0 of its rows are held out, 40 are not" if day else "1 of its rows are held out, 0 are not"
    assert proof(verdict, "unseen").detail.startswith(seen)


def test_a_candidate_that_keeps_no_rows_is_compared_and_held_and_the_verdict_says_what_could_not_be_tried(settings):
    stage = Stage(settings)
    keen = fitted("binary", stage.new, knows_distance=True)
    stage.changed(artifact=stage.stored(keen, stage.new, "2", keeps_rows=False))
    verdict = stage.verdict()
    assert (verdict.decision, verdict.reason) == ("hold", Reason.RETRAIN_NOT_PROVEN)
    assert verdict.metrics[0].low > 0.01
    told = [(each.kind, each.holds, each.detail) for each in verdict.proofs]
    without = "its artifact keeps no rows"
    assert told == [("unseen", None, without), ("rows", None, without), ("baseline", True, "")]
    assert "was held (retrain-not-proven): it is better, but nobody can find out whether" in explanation(verdict)
    late = Span(start=TRAINING.start, end=HOLDOUT_SPAN.start + 1)
    stage.changed(trained_on=msgspec.structs.replace(stage.candidate.trained_on, span=late))
    assert stage.verdict().reason == Reason.HOLDOUT_SEEN


def test_a_champion_whose_artifact_keeps_no_rows_holds_what_is_better(settings):
    stage = Stage(settings)
    dull = fitted("binary", stage.old, knows_distance=False)
    stage.champion = stage.stored(dull, stage.old, "1", keeps_rows=False)
    verdict = stage.verdict()
    assert (verdict.decision, verdict.reason) == ("hold", Reason.BASELINE_NOT_PROVEN)
    assert proof(verdict, "baseline", "champion").detail == "its artifact keeps no rows"
