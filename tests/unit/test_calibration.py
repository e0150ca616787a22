"""What is said of a calibrated threshold."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np
import pytest
from tests.timeline.shards import HOUR, delta, spec

from driftline.core.binning import default_bins
from driftline.core.calibration import budget_of, calibrate_rule, course_of, often, resolved
from driftline.core.pane import Layout, Pane
from driftline.spec.model import BaselineSpec, FalseAlarms, RuleSpec, WindowSpec

DAYS = 7
RULE = RuleSpec(
    name="low",
    kind="metric",
    target="accuracy",
    window="hour",
    min_samples=40,
    segments=("origin",),
    false_alarms=FalseAlarms(alarms=1, per=timedelta(days=7)),
)
SPEC = spec(baseline=BaselineSpec(kind="first", span=timedelta(days=DAYS)), rules=(RULE,))
LAYOUT = Layout(default_bins(SPEC))


def panes(share, seed=1):
    chance = np.random.default_rng(seed)
    found = {}
    for hour in range(24 * DAYS):
        told = delta(hour, right=(right := int(chance.binomial(100, share))), wrong=100 - right)
        found[hour] = Pane.of(np.array(told.cells), np.array(told.counts), told.sums)
    return found


def calibrated(rule, of):
    return calibrate_rule(SPEC, rule, "1", LAYOUT, of, 0, HOUR, 9)


@pytest.mark.parametrize(
    ("alarms", "days", "words"),
    [
        (1, 30, "about 1 a month"),
        (2, 1, "about 2 a day"),
        (0.25, 30, "about 3 a year"),
        (1, 730, "about once in 2 years"),
    ],
)
def test_a_budget_in_plain_words(alarms, days, words):
    assert often(alarms, timedelta(days=days)) == f"{words} at your traffic"


def test_a_threshold_is_judged_on_the_bad_side():
    found = calibrated(RULE, {("", "all"): panes(0.8)})
    rule = resolved(RULE, found)
    assert (rule.below, rule.clear_above, rule.above) == (found.threshold, found.clear, None)
    assert found.summary.startswith(f"low of m version 1 fires below {found.threshold:.4g} and is over when back up to")
    assert budget_of(found).words == "about 1 a week at your traffic"


def test_the_segments_that_a_rule_is_judged_in_are_calibrated_with_it():
    everybody = {("", "all"): panes(0.8)}
    parts = {("origin", f"origin={name}"): panes(0.8, seed) for seed, name in enumerate("abc", 2)}
    alone, together = calibrated(RULE, everybody), calibrated(RULE, everybody | parts)
    assert together.threshold != alone.threshold
    unasked = msgspec.structs.replace(RULE, segments=())
    assert calibrated(unasked, everybody | parts).threshold == alone.threshold


def test_a_threshold_that_no_figure_passes_is_none():
    never = msgspec.structs.replace(RULE, false_alarms=FalseAlarms(alarms=1, per=timedelta(days=36_500)))
    found = calibrated(never, {("", "all"): panes(0.1)})
    assert found.threshold is None
    assert "a threshold that rare lies at 0 or beyond, which no accuracy passes" in found.summary


def test_without_predictions_there_is_none():
    assert "it has no predictions" in calibrated(RULE, {}).summary


def test_windows_of_the_baseline_end_where_those_of_reports_do():
    windows = {"hour": WindowSpec(span=timedelta(hours=6), every=timedelta(hours=4))}
    course = course_of(msgspec.structs.replace(SPEC, windows=windows), RULE, 3 * HOUR, 2 * HOUR // 2)
    assert (course.panes, course.span, course.every, course.day) == (24 * DAYS, 6, 4, 24)
    assert (3 + course.first + course.span) % 4 == 0
