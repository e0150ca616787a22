"""One good example of every event, and bad ones with what is wrong; `schemas/examples` is made from them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from driftline.events import admin, alerts, base, baselines, columns, inputs, reports, retraining, slices, verdicts

NOON = 1_364_904_900_000
WINDOW = reports.Window(name="day", start=NOON - 86_400_000, end=NOON)
SPAN = retraining.Span(start=NOON - 86_400_000, end=NOON)
RECIPE = retraining.Recipe(training=SPAN, holdout=SPAN, known_by=NOON)
ARTIFACT = retraining.Artifact(
    uri="flight-delay/2/0a1b", sha256="ab" * 32, format="skops", signature=f"{'c1' * 16}:{'5e' * 64}"
)
CHAMPION = retraining.Champion(version="2", artifact=ARTIFACT, baseline="b1", since=NOON)
BINS = baselines.Bins(
    features={
        "temp": baselines.NumberBins(edges=(30.0, 60.0), low=-60.0, high=130.0),
        "carrier": baselines.CategoryBins(values=("UA", "B6")),
    },
    labels=("on-time", "late"),
    positive="late",
    score=(0.25, 0.5, 0.75),
)

GOOD: dict[str, msgspec.Struct] = {
    "prediction": inputs.Prediction(
        id="2013-04-02T09:15/EWR/UA1545",
        model="flight-delay",
        version="2",
        time=NOON,
        features={"carrier": "UA", "distance": 1400, "temp": 41.0, "precip": None},
        prediction="late",
        score=0.71,
        latency_ms=2.4,
    ),
    "prediction-batch": columns.PredictionBatch(
        model="flight-delay",
        version="2",
        id=["2013-04-02T09:15/EWR/UA1545", "2013-04-02T09:29/LGA/UA1714"],
        time=[NOON, NOON + 840_000],
        features={"carrier": ["UA", "UA"], "distance": [1400, 1416], "temp": [41.0, None]},
        prediction=["late", "on-time"],
        score=[0.71, 0.18],
    ),
    "outcome": inputs.Outcome(
        id="2013-04-02T09:15/EWR/UA1545", model="flight-delay", time=NOON + 9_000_000, outcome="on-time"
    ),
    "slice": slices.Slice(
        partition=0,
        slice=1516561,
        previous=1516560,
        shard=0,
        panes=(
            slices.PaneDelta(
                model="flight-delay",
                version="2",
                role="champion",
                pane=1516561,
                bins="b1",
                cells=(0, 1, 4),
                counts=(2, 1, 2),
                sums={"log_loss": 376_000_000_000},
            ),
        ),
    ),
    "read-up-to": slices.ReadUpTo(partition=0, slice=1516561),
    "notice": slices.notice(
        slices.NoticeKind.GAP,
        0,
        1516561,
        NOON,
        detail="records 1200 to 1733 of predictions are gone from Kafka unread; to go on without them run `...`",
        gap=slices.Gap(topic="predictions", first=1200, last=1733),
    ),
    "window-report": reports.WindowReport(
        id="r1",
        model="flight-delay",
        version="2",
        role="champion",
        window=WINDOW,
        revision=NOON + 600_000,
        completeness=1.0,
        baseline="b1",
        segments=(
            reports.Segment(
                segment="all",
                n=930,
                labelled=905,
                coverage=0.973,
                metrics={"auc": reports.MetricValue(value=0.66, low=0.62, high=0.7, n=905, method="block-bootstrap")},
                drift={
                    "temp": reports.Drift(
                        psi=0.31,
                        n=930,
                        missing=0.01,
                        out_of_range=0.0,
                        unseen=0.0,
                        jensen_shannon=0.23,
                        hellinger=0.2,
                        total_variation=0.21,
                        wasserstein=4.4,
                        ks=0.2,
                        cramers_v=0.22,
                        chi_squared=93.0,
                        p_value=2e-17,
                        error_bounds={"ks": 0.05, "wasserstein": 2.1},
                    )
                },
                confusion={"on-time": {"on-time": 520, "late": 105}, "late": {"on-time": 130, "late": 150}},
                operation=reports.Operation(
                    predictions_per_second=0.011,
                    latency_ms={"p50": reports.MetricValue(value=2.3, n=930, error_bound=0.4)},
                    label_delay_s={"p50": reports.MetricValue(value=9300.0, n=905, error_bound=1500.0)},
                ),
            ),
        ),
    ),
    "alert": alerts.Alert(
        id="a1",
        caused_by=("r1",),
        fingerprint="f1",
        episode=1,
        model="flight-delay",
        version="2",
        segment="all",
        rule="auc-low",
        kind=alerts.AlertKind.METRIC,
        severity=alerts.Severity.CRITICAL,
        state=alerts.AlertState.FIRING,
        reason="breach-certain",
        since=NOON,
        at=NOON + 600_000,
        summary="auc of flight-delay version 2 is 0.6 in the day up to 2013-04-02T12:15:00Z: below the threshold 0.64.",
        value=0.6,
        threshold=0.64,
        n=905,
        window=WINDOW,
        terms=alerts.Terms(below=0.64, clear_above=0.66, k=2, of=3, min_samples=500, min_coverage=0.9),
        spec="flight-delay@2",
        code="0.1.0",
        link=base.Link(number=7, previous="9f" * 32),
    ),
    "retrain-request": retraining.RetrainRequest(
        id="q1",
        caused_by=("a1",),
        case="c1",
        model="flight-delay",
        champion="2",
        trigger=retraining.Trigger.RULE,
        attempt=1,
        requested_at=NOON,
        deadline=NOON + 86_400_000,
        recipe=RECIPE,
        spec="flight-delay@2",
        reason="auc-low",
    ),
    "candidate": retraining.Candidate(
        id="k1",
        caused_by=("q1",),
        case="c1",
        request="q1",
        model="flight-delay",
        attempt=1,
        version="3",
        artifact=ARTIFACT,
        baseline="b2",
        trained_on=retraining.TrainedOn(n=51_000, span=SPAN, digest="cd" * 32),
        validation={"auc": (0.7, 0.68, 0.72), "log_loss": 0.55},
        recipe=RECIPE,
    ),
    "verdict": retraining.Verdict(
        id="v1",
        caused_by=("k1",),
        case="c1",
        candidate="k1",
        model="flight-delay",
        version="3",
        champion="2",
        artifact_sha256="ab" * 32,
        decision="promote",
        reason="better",
        rows=retraining.Rows(span=SPAN, n=6100, blocks=7, digest="ef" * 32),
        metrics=(
            retraining.Comparison(name="log_loss", champion=0.58, candidate=0.55, difference=0.03, low=0.01, high=0.05),
        ),
        method="jackknife-t",
        spec="flight-delay@2",
        min_effect=0.005,
        confidence=0.95,
        block_ms=86_400_000,
        tests=(verdicts.PairedTest(name="delong", difference=0.02, statistic=2.6, p_value=0.009),),
        not_worse=(verdicts.NotWorse(name="auc", margin=0.01, difference=0.02, low=0.004, holds=True),),
        worse_by=0.02,
        segments=(
            verdicts.SegmentGain(
                segment="origin=EWR", n=2100, champion=0.59, candidate=0.57, difference=0.02, high=0.06
            ),
        ),
        latency=verdicts.Latency(champion_ms=4.1, candidate_ms=4.4, ratio=1.073, limit=2.0),
        size=verdicts.Size(size_bytes=310_000, limit=None),
        proofs=(
            verdicts.Proof(of="candidate", kind="unseen", holds=True),
            verdicts.Proof(
                of="candidate",
                kind="figure",
                holds=True,
                name="log_loss",
                told=0.52,
                low=0.5,
                high=0.54,
                found=0.52,
            ),
        ),
        kept=verdicts.Kept(
            uri="flight-delay/3/abababababababab.verdict",
            files={"holdout.parquet": "12" * 32, "beside.json": "34" * 32, "question.json": "56" * 32},
            answers={"champion": "78" * 32, "candidate": "9a" * 32},
        ),
    ),
    "case": retraining.Case(
        id="s1",
        caused_by=("v1",),
        case="c1",
        model="flight-delay",
        state=retraining.CaseState.WATCHING,
        trigger=retraining.Trigger.RULE,
        rule="auc-low",
        attempts=(
            retraining.Attempt(
                n=1,
                state=retraining.AttemptState.PROMOTED,
                request="q1",
                requested_at=NOON,
                deadline=NOON + 86_400_000,
                trigger=retraining.Trigger.RULE,
            ),
        ),
        opened_at=NOON,
        at=NOON,
        deadline=NOON + 14 * 86_400_000,
        reason="attempt-1-promoted",
    ),
    "model-state": retraining.ModelState(
        id="m1",
        caused_by=("v1", "k1"),
        model="flight-delay",
        champion=CHAMPION,
        previous=None,
        reason="registered",
        at=NOON,
    ),
    "deployment": admin.Deployment(
        id="d1",
        clock="live",
        slice=timedelta(seconds=1),
        max_stall=timedelta(minutes=1),
        partitions=12,
        shards=4,
    ),
    "spec-revision": admin.SpecRevision(
        id="p1", model="flight-delay", revision=2, author="ada", written_at=NOON, spec={"model": "flight-delay"}
    ),
    "placed": admin.Placed(id="p2", caused_by=("p1",), model="flight-delay", revision=2, offsets={0: 17, 1: 12}),
    "baseline": baselines.Baseline(
        id="b1",
        model="flight-delay",
        version="2",
        bins=BINS,
        n=100,
        counts={"feature:temp": (20, 50, 28, 0, 0, 2), "feature:carrier": (60, 39, 1, 0)},
        source="training data of request q1",
    ),
    "calibration": baselines.Calibration(
        id="l1",
        model="flight-delay",
        version="2",
        rule="auc-low",
        alarms=1.0,
        per=timedelta(days=30),
        above=False,
        threshold=0.61,
        clear=0.64,
        windows=649,
        baseline="first flight-delay/2 2013-03-01T00:00:00Z/2013-03-29T00:00:00Z",
        at=NOON,
        summary="auc-low of flight-delay version 2 fires below 0.61 and is over from 0.64 on: about 1 a month at your "
        "traffic. In the 9.3 days held back it would have fired once.",
        held_back=1,
        held_back_time=timedelta(days=9, hours=8),
    ),
    "command": admin.Command(id="x1", model="flight-delay", action="retrain", author="ada", written_at=NOON),
    "command-result": admin.CommandResult(
        id="x2", caused_by=("x1",), command="x1", model="flight-delay", accepted=True, reason="requested", at=NOON
    ),
    "progress": admin.Progress(shard=0, decision_time=NOON, open_attempts=("q1",)),
}
"""By the name of the schema."""

BAD: dict[str, dict[str, tuple[dict[str, Any], tuple[str, ...]]]] = {
    "prediction": {
        "empty-id": ({"id": ""}, ()),
        "without-version": ({}, ("version",)),
        "time-as-words": ({"time": "yesterday"}, ()),
        "score-as-text": ({"score": "high"}, ()),
        "unknown-role": ({"role": "challenger"}, ()),
    },
    "prediction-batch": {"ids-as-text": ({"id": "a"}, ()), "without-ids": ({}, ("id",))},
    "outcome": {"without-outcome": ({}, ("outcome",)), "id-as-number": ({"id": 7}, ())},
    "verdict": {"undecided": ({"decision": "maybe"}, ())},
    "command": {"unknown-action": ({"action": "dismiss"}, ())},
    "slice": {"without-partition": ({}, ("partition",))},
    "notice": {"unknown-kind": ({"kind": "tired"}, ())},
}
"""By schema and by what is wrong: fields of the good example that are changed, and fields that are left out."""


def bad_example(schema: str, what: str) -> dict[str, Any]:
    """The good example of `schema`, spoilt as `what` says."""
    changed, left_out = BAD[schema][what]
    plain: dict[str, Any] = msgspec.to_builtins(GOOD[schema]) | changed
    return {name: value for name, value in plain.items() if name not in left_out}
