"""What became of a prediction, told as the ledger and the windows saw it."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from tests.timeline.shards import HOUR, QUARTER, Shard, ShardLog, catalog, delta, register, spec

from driftline.core.explaining import Arrival, Check, Fate, checks, explain, revision_in_force
from driftline.events.inputs import Outcome, Prediction
from driftline.events.reports import WindowReport
from driftline.events.topics import Topic
from driftline.spec.model import FeatureSpec, OutputSpec, WindowSpec

NOON = 2 * HOUR


def prediction(**changes):
    about = {"id": "p", "model": "m", "version": "1", "time": NOON, "prediction": "yes", "score": 0.7}
    return Prediction(**(about | {"features": {"x": 3.0}} | changes))


def outcome(answer="yes", time=NOON + QUARTER):
    return Outcome(id="p", model="m", time=time, outcome=answer)


def came(*events, every=QUARTER, dead=(), begin=NOON, partition=0):
    """Arrivals one behind the other."""
    return [
        Arrival((partition, i, 0), begin + i * every, event, "too-old" if i in dead else None)
        for i, event in enumerate(events)
    ]


def told(predictions, outcomes=(), reports=(), of=None):
    return explain(predictions, list(outcomes), of or spec(), "m@1", reports, QUARTER)


def fates(found):
    return [str(each.fate) for each in found]


def test_the_first_counts_an_exact_repeat_is_a_duplicate_and_another_content_a_conflict():
    found = told(came(prediction(), prediction(), prediction(score=0.1), prediction()))
    assert fates(found.predictions) == ["counts", "duplicate", "conflict", "duplicate"]
    assert found.counted.offset == 0


def test_a_dead_letter_counts_for_nothing_and_says_why():
    found = told(came(prediction(), prediction(), dead=(0,)))
    assert fates(found.predictions) == ["dead-letter", "counts"]
    assert found.predictions[0].why == "too-old"
    nothing = told(came(prediction(), dead=(0,)))
    assert (nothing.counted, nothing.windows) == (None, [])


def test_what_comes_when_the_first_is_forgotten_counts_again():
    """The ledger remembers for the horizon of two hours, and a little more."""
    assert fates(told(came(prediction(), prediction(), every=3 * HOUR)).predictions) == ["counts", "counts"]


def test_the_latest_outcome_by_its_own_time_holds_whenever_it_came():
    said = came(outcome("no"), outcome("yes", NOON + HOUR), outcome("no", NOON + 1), outcome("no"))
    assert fates(told(came(prediction()), said).outcomes) == ["corrected", "counts", "corrected", "duplicate"]


def test_an_outcome_beyond_reach_or_in_another_partition_is_told_as_such():
    late = came(outcome(), begin=NOON + 4 * HOUR)
    elsewhere = came(outcome(), partition=1)
    assert fates(told(came(prediction()), [*late, *elsewhere]).outcomes) == ["unreached", "unreached"]


def test_values_are_held_against_what_the_spec_allows():
    features = {
        "x": FeatureSpec(type="number", range=(0, 10)),
        "c": FeatureSpec(type="category", allowed=("a", "b")),
        "gone": FeatureSpec(type="number"),
        "may": FeatureSpec(type="number", missing="allowed"),
        "free": FeatureSpec(type="category"),
    }
    event = prediction(features={"x": 12, "c": "z", "free": 3}, score=1.5)
    found = list(checks(event, spec(features=features)))
    assert [(check.name, check.wrong) for check in found] == [
        ("x", "out-of-range"),
        ("c", "not-allowed"),
        ("gone", "missing"),
        ("may", None),
        ("free", None),
        ("score", "out-of-range"),
    ]
    assert found[0] == Check(name="x", value=12, declared="number; in [0, 10]", wrong="out-of-range")
    assert found[3].declared == "number; missing allowed"


@pytest.mark.parametrize(("scores", "wrong"), [({"a": 0.2, "b": 0.8}, None), ({"a": -0.3, "b": 1.1}, "out-of-range")])
def test_of_several_scores_the_worst_is_told(scores, wrong):
    (check,) = checks(prediction(features={}, score=None, scores=scores), spec(features={}))
    assert (check.value, check.wrong) == (-0.3 if wrong else check.value, wrong)


def test_of_a_regression_the_answer_is_an_output():
    of = spec(
        features={}, outputs={"prediction": OutputSpec(range=(0, 5))}, task="regression", labels=(), positive=None
    )
    (check,) = checks(prediction(prediction=7.5, score=None), of)
    assert (check.value, check.wrong) == (7.5, "out-of-range")


def test_the_spec_in_force_is_the_newest_whose_mark_stands_before():
    placed = {("m", 1): {0: 3, 1: 0}, ("m", 2): {0: 9}, ("other", 7): {0: 0}}
    assert [revision_in_force(placed, "m", 0, offset) for offset in (2, 3, 4, 9, 10)] == [None, None, 1, 1, 2]
    assert revision_in_force(placed, "m", 1, 5) == 1


def hours(*quarters):
    """What control reports of predictions in these quarters of an hour, with their outcomes an hour later."""
    log = ShardLog().slice(0, 0, marks=["spec m@1"]).slice(1, 0, marks=["spec m@1"])
    log.say(0.5, register())
    for quarter in range(1, 24):
        panes = [delta(quarter, right=10)] if quarter in quarters else []
        if panes:
            log.slice(0, quarter, *panes)
    return Shard(log.until(30), catalog()).run().events(Topic.METRICS, WindowReport)


def test_the_windows_of_a_prediction_are_those_that_hold_its_time_with_the_first_report_that_counts_it():
    windows = {
        "hour": WindowSpec(span=timedelta(hours=1), every=timedelta(hours=1)),
        "sliding": WindowSpec(span=timedelta(hours=1), every=timedelta(minutes=30)),
    }
    report = hours(9)[-1]
    assert (report.window.start, report.window.end, report.revision) == (NOON, NOON + HOUR, NOON + HOUR)
    again = msgspec.structs.replace(report, id="again", revision=NOON + 2 * HOUR)
    last = msgspec.structs.replace(report, id="last", revision=NOON + 3 * HOUR)
    late = came(prediction(time=NOON + QUARTER), begin=NOON + HOUR + 1)
    found = told(late, came(outcome(), begin=NOON + 2 * HOUR), [report, again, last], spec(windows=windows))
    first, *others = found.windows
    assert (first.window, first.start, first.reports) == ("hour", NOON, 3)
    assert (first.counted, first.labelled) == (again.revision, last.revision)
    assert (first.n, first.report) == (10, "last")
    assert [(w.window, w.start, w.end, w.counted) for w in others] == [
        ("sliding", NOON - HOUR // 2, NOON + HOUR // 2, None),
        ("sliding", NOON, NOON + HOUR, None),
    ]
    assert others[0].due == NOON + HOUR // 2


def test_windows_that_end_after_so_many_events_are_those_of_which_there_are_reports():
    windows = {"some": WindowSpec(span=timedelta(hours=1), every=timedelta(hours=1), events=100)}
    report = hours(9)[-1]
    mine = msgspec.structs.replace(report, window=msgspec.structs.replace(report.window, name="some"))
    others = [msgspec.structs.replace(mine, version="2"), msgspec.structs.replace(mine, role="shadow")]
    assert [w.window for w in told(came(prediction()), (), [mine, *others], spec(windows=windows)).windows] == ["some"]
    assert told(came(prediction()), (), others, spec(windows=windows)).windows == []


def test_without_a_spec_in_force_there_is_nothing_to_check_and_no_window():
    found = explain(came(prediction()), [], None, None, [], QUARTER)
    assert (found.spec, found.checks, found.windows, fates(found.predictions)) == (None, [], [], [Fate.COUNTS])
