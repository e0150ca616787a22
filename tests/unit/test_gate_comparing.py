"""Two stored models on the same rows: the verdict, what is kept of it, and the same numbers from what is kept."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace

import msgspec
import pytest
from click.testing import CliRunner
from tests.gate_stage import DAY, TASKS, Stage, fitted, spec

from driftline.cli import gate as gate_cli
from driftline.cli.gate_words import _SAID, explanation
from driftline.cli.main import cli
from driftline.core.gate import Reason
from driftline.errors import ArtifactError
from driftline.events.base import encode
from driftline.platform import proving
from driftline.platform.comparing import NotCompared, again, compared, verdict_on
from driftline.platform.held_out import HOLDOUT, HeldOutRows, fetch
from driftline.platform.registering import manifest_of
from driftline.platform.settings import Settings
from driftline.spec.model import VetoSpec


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings("nowhere:1", "redis://nowhere", "test.", tmp_path, tmp_path / "archive", tmp_path / "artifacts")


@pytest.mark.parametrize("task", list(TASKS))
@pytest.mark.parametrize("champion", [True, False])
def test_a_better_candidate_whose_story_is_found_again_is_promoted(settings, task, champion):
    verdict = Stage(settings, task, champion=champion).verdict()
    assert (verdict.decision, verdict.reason) == ("promote", "better")
    told = {(each.of, each.kind): each.holds for each in verdict.proofs}
    expected = {("candidate", kind): True for kind in ("unseen", "rows", "figure")}
    assert told == expected | ({("champion", "baseline"): True} if champion else {})
    assert all(each.found == pytest.approx(each.told, abs=1e-6) for each in verdict.proofs if each.kind == "figure")
    assert [test.name for test in verdict.tests] == {
        "binary": ["mcnemar", "delong"], "multiclass": ["mcnemar"], "regression": []
    }[task]  # fmt: skip
    assert (verdict.spec, verdict.min_effect, verdict.confidence, verdict.block_ms) == ("m@1", 0.01, 0.95, DAY)
    assert verdict.size.size_bytes > 1000
    assert (verdict.latency.ratio is None) == (not champion)


def test_a_segment_of_an_attribute_can_veto(settings):
    stage = Stage(settings, veto=VetoSpec(segments=("origin",), worse_by=0.02))
    assert [segment.segment for segment in stage.verdict().segments] == ["origin=EWR", "origin=JFK"]
    held, times = stage.held_out, 4  # each row four times, or there are too few at LGA
    at_lga = [i % 8 == 1 for i in range(len(held.ids))]
    turned = [
        ("on-time" if outcome == "late" else "late") if lga else outcome
        for outcome, lga in zip(held.outcomes, at_lga, strict=True)
    ]
    stage.held_out = HeldOutRows(
        ids=[f"{row_id}/{copy}" for copy in range(times) for row_id in held.ids],
        times=[*held.times] * times,
        outcomes=turned * times,
        features={name: [*values] * times for name, values in held.features.items()},
        attributes=[{"origin": "LGA" if lga else "JFK"} for lga in at_lga] * times,
        said=None,
    )
    verdict = stage.verdict()
    assert (verdict.decision, verdict.reason) == ("refuse", Reason.SEGMENT_WORSE)
    assert [segment.segment for segment in verdict.segments if segment.vetoes] == ["origin=LGA"]


def test_a_block_may_have_another_length(settings):
    verdict = Stage(settings, block=timedelta(hours=12)).verdict()
    assert (verdict.rows.blocks, verdict.method, verdict.block_ms) == (14, "block-bootstrap", DAY // 2)


def test_latency_and_size_are_measured_and_judged(settings):
    assert Stage(settings, max_size=1000).verdict().reason == Reason.TOO_LARGE
    assert Stage(settings, max_latency_ratio=0.01).verdict().reason == Reason.TOO_SLOW
    assert Stage(settings, max_latency_ratio=10_000.0, max_size=10**7).verdict().reason == Reason.BETTER


def test_the_size_is_of_the_model_not_of_the_rows_kept_with_it(settings):
    stage = Stage(settings)
    keen = fitted("binary", stage.new, knows_distance=True)
    bare = stage.stored(keen, stage.new, "2", keeps_rows=False)
    of_both = stage.verdict().size.size_bytes
    stage.changed(artifact=bare)
    assert of_both - stage.verdict().size.size_bytes < 200  # a line of the manifest


def test_the_latency_is_the_median_of_single_rows_in_turn(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(proving, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    manifest = manifest_of(spec(), "1")

    def takes(ms):
        def answer(frame):
            assert len(frame) == 1
            clock.now += ms / 1000

        return SimpleNamespace(manifest=manifest, answers_to=answer)  # fmt: skip

    features = {"distance": [1.0, 2.0], "carrier": ["A", "B"]}
    found = proving.latency(2.0, takes(4), takes(6), features)
    assert (found.champion_ms, found.candidate_ms, found.ratio, found.limit) == (4.0, 6.0, 1.5, 2.0)
    assert proving.latency(2.0, None, takes(6), features).ratio is None


def test_no_rows_hold_and_a_broken_artifact_refuses(settings):
    stage = Stage(settings)
    nothing = HeldOutRows([], [], [], {"distance": [], "carrier": []}, [], None)
    with pytest.raises(NotCompared) as caught:
        compared(settings, stage.question, nothing)
    assert verdict_on(stage.candidate, "1", str(caught.value)).decision == "hold"
    assert str(caught.value).partition(":")[0] == "no-rows"
    for artifact, reason in ((stage.champion, "champion-unusable"), (stage.candidate.artifact, "candidate-unusable")):
        (settings.artifact_dir / artifact.uri / "model.skops").write_bytes(b"x")
        with pytest.raises(NotCompared, match="does not match the checksum") as caught:
            stage.verdict()
        assert str(caught.value).partition(":")[0] == reason
    stage.changed(artifact=None)
    with pytest.raises(NotCompared, match=r"^candidate-unusable: it has no artifact"):
        stage.verdict()
    assert verdict_on(stage.candidate, "", f"{Reason.NOT_COMPARED}: whatever").decision == "refuse"


@pytest.mark.parametrize("task", list(TASKS))
@pytest.mark.parametrize("champion", [True, False])
def test_a_verdict_comes_out_the_same_from_what_was_kept(settings, task, champion):
    verdict = Stage(
        settings, task, champion=champion, veto=VetoSpec(segments=("origin",), worse_by=0.02), block=timedelta(hours=12)
    ).kept_verdict()
    assert again(settings, verdict, verdict.kept) == []


def test_what_was_kept_stands_beside_the_artifact_which_stays_as_it_was_signed(settings):
    stage = Stage(settings)
    place = settings.artifact_dir / stage.candidate.artifact.uri
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    verdict = stage.kept_verdict()
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    assert verdict.kept.uri == f"{stage.candidate.artifact.uri}.verdict"
    beside = settings.artifact_dir / verdict.kept.uri
    assert {path.name for path in beside.iterdir()} == set(verdict.kept.files)
    assert stage.kept_verdict().kept == verdict.kept  # a gate that was killed comes to the same
    question, held_out = fetch(settings, verdict.kept)
    assert encode(question) == encode(stage.question)
    assert held_out == stage.held_out


def test_kept_rows_that_were_changed_or_are_gone_are_not_computed_from(settings):
    verdict = Stage(settings).kept_verdict()
    path = settings.artifact_dir / verdict.kept.uri / HOLDOUT
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="is not what the verdict was made from"):
        again(settings, verdict, verdict.kept)
    path.unlink()
    with pytest.raises(ArtifactError, match="cannot be read"):
        again(settings, verdict, verdict.kept)
    with pytest.raises(ArtifactError, match="leads out of"):
        fetch(settings, msgspec.structs.replace(verdict.kept, uri="../.."))


@pytest.fixture
def told(settings, monkeypatch):
    """`driftline gate` where topic `verdicts` holds one verdict."""
    verdict = Stage(
        settings, veto=VetoSpec(segments=("origin",), worse_by=0.02), max_latency_ratio=10_000.0
    ).kept_verdict()
    record = SimpleNamespace(value=encode(verdict), header=lambda name: None)
    records = [record]
    monkeypatch.setattr(gate_cli.settings_module, "load", lambda: settings)
    monkeypatch.setattr(gate_cli, "read_all", lambda *_: records)

    def run(*arguments: str):
        return CliRunner().invoke(cli, ["gate", "explain", *arguments])

    return SimpleNamespace(settings=settings, verdict=verdict, record=record, run=run)


def test_explain_says_it_in_plain_words_with_every_figure(told):
    text = told.run(told.verdict.id[:8]).output
    assert text.startswith(
        "m version 2 was promoted (better): it gains enough, certainly, and nothing stands against it."
    )
    metric = told.verdict.metrics[0]
    for part in (
        f"log_loss: {metric.champion:.4f} -> {metric.candidate:.4f}, gain {metric.difference:+.4f}",
        "280 rows, 7 blocks of a day",
        told.verdict.rows.digest[:16],
        "intervals: jackknife-t, 95%",
        "origin=EWR",
        "mcnemar",
        "delong",
        "holds: the candidate has not seen the held-out rows",
        "holds: the candidate's auc on its own rows: told",
        "holds: the champion's baseline on its own rows",
        "latency of one row",
        "bytes",
        told.verdict.kept.uri,
    ):
        assert part in text
    assert told.run("m/2").output == text  # by the candidate's version


def test_explain_as_json_is_the_event(told):
    assert json.loads(told.run("m/2", "--json").output) == json.loads(encode(told.verdict))


def test_rerun_says_that_all_numbers_are_the_same(told):
    result = told.run("m/2", "--rerun")
    assert result.exit_code == 0
    assert "every number is the same" in result.output
    found = json.loads(told.run("m/2", "--rerun", "--json").output)
    assert (found["same"], found["different"], found["verdict"]["id"]) == (True, [], told.verdict.id)


def test_rerun_says_which_number_is_not_the_same_and_exits_with_1(told):
    first, *rest = told.verdict.metrics
    forged = (msgspec.structs.replace(first, low=0.5), *rest)
    told.record.value = encode(msgspec.structs.replace(told.verdict, metrics=forged))
    result = told.run("m/2", "--rerun")
    assert result.exit_code == 1
    assert f"metrics[0].low: 0.5 then, {first.low} now" in result.output


def test_a_verdict_that_is_none_is_told_with_those_that_there_are(told):
    error = told.run("nonsense").exception
    assert "no verdict nonsense; the newest: m/2 (" in str(error)


def test_a_refusal_before_any_comparison_is_explained_and_cannot_be_computed_again(told):
    text = "candidate-unusable: its file is gone"
    question, _ = fetch(told.settings, told.verdict.kept)
    told.record.value = encode(verdict_on(question.candidate, "1", text))
    output = told.run("m/2").output
    assert output.startswith("m version 2 was refused (candidate-unusable): the candidate's model cannot be used.")
    assert "its file is gone" in output
    assert "kept no rows" in str(told.run("m/2", "--rerun").exception)


def test_every_reason_has_its_words():
    assert set(_SAID) == set(Reason)


def test_a_held_candidate_and_a_failed_proof_are_told_as_such(settings):
    stage = Stage(settings)
    few = {name: values[:60] for name, values in stage.held_out.features.items()}
    held = stage.held_out
    stage.held_out = HeldOutRows(held.ids[:60], held.times[:60], held.outcomes[:60], few, held.attributes[:60], None)
    assert "was held (too-few-rows): there were too few held-out rows." in explanation(stage.verdict())
    stage.changed(checks=tuple(msgspec.structs.replace(f, low=0.0, high=0.0) for f in stage.candidate.checks))
    text = explanation(stage.verdict())
    assert "was refused (retrain-not-reproduced)" in text
    assert "FAILS: the candidate's log_loss on its own rows: told" in text
