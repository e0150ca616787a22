"""The terms that an alert carries are those on which its rule is judged."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from tests.timeline.shards import LOW_ACCURACY, spec

from driftline.core.terms import terms_of
from driftline.events.examples import GOOD
from driftline.spec.model import FalseAlarms, RuleSpec

ALERT = msgspec.structs.replace(GOOD["alert"], model="m", version="2", rule="accuracy-low")


def test_a_rule_without_a_threshold_of_its_own_to_clear_clears_where_it_fires():
    bare = msgspec.structs.replace(LOW_ACCURACY, clear_above=None)
    terms = terms_of(ALERT, spec(rules=(bare,)), ())
    assert (terms.below, terms.clear_above, terms.above, terms.clear_below) == (0.7, 0.7, None, None)


def test_a_calibrated_threshold_is_told_of_the_alerts_version_alone():
    rare = msgspec.structs.replace(
        LOW_ACCURACY, below=None, clear_above=None, false_alarms=FalseAlarms(alarms=1, per=timedelta(days=30))
    )
    calibration = msgspec.structs.replace(GOOD["calibration"], rule="accuracy-low", version="2")
    other = msgspec.structs.replace(calibration, version="1", threshold=0.1)
    terms = terms_of(ALERT, spec(rules=(rare,)), (other, calibration))
    assert (terms.below, terms.clear_above) == (0.61, 0.64)


def test_a_detector_tells_what_it_was_given():
    rule = RuleSpec(name="shifted", kind="detector", target="error", detector="adwin", params={"delta": 0.01})
    terms = terms_of(msgspec.structs.replace(ALERT, rule="shifted"), spec(rules=(rule,)), ())
    assert (terms.detector, terms.params) == ("adwin", {"delta": 0.01})


@pytest.mark.parametrize("rules", [(), (RuleSpec(name="accuracy-low", kind="range", target="x"),)])
def test_there_are_none_where_no_rule_in_force_is_behind_it_and_of_a_range_which_the_alert_has_itself(rules):
    assert terms_of(ALERT, spec(rules=rules), ()) is None
    assert terms_of(ALERT, None, ()) is None
