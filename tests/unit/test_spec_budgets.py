"""Budgets of false alarms in a spec: who has one, who shares one, and what is wrong with others."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from click.testing import CliRunner
from tests.unit.test_spec_reader import HEAD, mistakes

from driftline.cli import spec as spec_commands
from driftline.cli.main import cli
from driftline.events.examples import GOOD
from driftline.spec.model import FalseAlarms
from driftline.spec.plain import from_plain, to_plain
from driftline.spec.reader import parse_spec

FIRST = HEAD + "baseline: {first: 28d}\n"
RULES = "rules:\n"
LOW = "  - {{name: low, metric: auc, window: day, {rest}}}\n"
MOVED = "  - {name: moved, drift: psi, window: day}\n"


def test_a_rule_has_a_budget_in_place_of_a_threshold():
    spec = parse_spec(FIRST + RULES + LOW.format(rest="false_alarms: 2 per 30d, for: 2 of 3"), "m.yaml")
    (rule,) = spec.rules
    assert rule.false_alarms == FalseAlarms(alarms=2, per=timedelta(days=30))
    assert (rule.above, rule.below, rule.k, rule.of) == (None, None, 2, 3)
    assert from_plain(to_plain(spec)) == spec


def test_the_budget_of_a_model_is_shared_by_the_rules_without_a_threshold():
    rules = LOW.format(rest="below: 0.6") + LOW.format(rest="for: 1 of 1").replace("low", "lower") + MOVED
    own = LOW.format(rest="false_alarms: 1 per 30d").replace("low", "own")
    found = parse_spec(FIRST + "false_alarms: 1 per 30d\n" + RULES + rules + own, "m.yaml").rules
    assert {rule.name: rule.false_alarms and rule.false_alarms.alarms for rule in found} == {
        "low": None,
        "lower": 0.5,
        "moved": 0.5,
        "own": 1,
    }


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("false_alarms: often", "'often' is no budget; write for example `1 per 30d`"),
        ("false_alarms: 1 per 0s", "'1 per 0s': a budget is for a time longer than zero"),
        ("false_alarms: 0 per 30d", "'0 per 30d': a rule that never fires for nothing never fires"),
        ("false_alarms: 1 per 30d, below: 0.5", "`below` follows from `false_alarms`: write one of the two"),
        ("false_alarms: 1 per 30d, clear_above: 0.5", "`clear_above` follows from `false_alarms`"),
        ("false_alarm: 1 per 30d, below: 0.5", "unknown word `false_alarm`; did you mean `false_alarms`?"),
        ("severity: critical", "rule `low` needs either `above` or `below`, or `false_alarms`"),
    ],
)
def test_a_wrong_budget_is_told_at_its_line(rest, said):
    found = mistakes(FIRST + RULES + LOW.format(rest=rest))
    assert len(found) == 1
    assert found[0].startswith("m.yaml:12: ")
    assert said in found[0]


@pytest.mark.parametrize(
    ("baseline", "why"),
    [("", "the reference rows have no time"), ("baseline: {previous: day}\n", "this baseline moves on with time")],
)
@pytest.mark.parametrize("rule", [LOW.format(rest="{}"), "  - {{name: r, detector: adwin, on: error, {}}}\n"])
def test_a_budget_needs_the_first_days_of_a_version_as_baseline(baseline, why, rule):
    (found,) = mistakes(
        HEAD + baseline + RULES + rule.replace("{}", "false_alarms: 1 per 30d").replace("{{", "{").replace("}}", "}")
    )
    assert f"and {why}: write `baseline: {{first: 28d}}` at the top" in found


def test_a_budget_needs_a_bad_side_and_windows_at_fixed_times():
    rate = LOW.format(rest="false_alarms: 1 per 30d").replace("auc", "predicted_positive_rate")
    (found,) = mistakes(FIRST + RULES + rate)
    assert "neither end of `predicted_positive_rate` is bad" in found
    counted = (FIRST + RULES + LOW.format(rest="false_alarms: 1 per 30d")).replace("every: 1h", "events: 500")
    (found,) = mistakes(counted)
    assert "needs a window that ends at fixed times" in found


def test_a_budget_that_nobody_shares_is_a_mistake():
    (found,) = mistakes(FIRST + "false_alarms: 1 per 30d\n" + RULES + LOW.format(rest="below: 0.5"))
    assert found.startswith("m.yaml:11: no rule is without a threshold of its own")


def test_a_range_has_no_budget():
    (found,) = mistakes(FIRST + RULES + "  - {name: r, range: distance, false_alarms: 1 per 30d}\n")
    assert "a range rule has no `false_alarms`" in found


def test_a_preset_has_a_budget_of_its_own_or_shares_the_models():
    rules = "  - {name: own, detector: adwin, on: error, false_alarms: 1 per 30d}\n"
    rules += "  - {name: shares, detector: kswin, on: error}\n" + MOVED
    rules += "  - {name: set, detector: page_hinkley, on: error, params: {threshold: 30}}\n"
    rules += "  - {name: rivers, detector: DDM, on: error}\n"
    found = parse_spec(FIRST + "false_alarms: 1 per 30d\n" + RULES + rules, "m.yaml").rules
    assert {rule.name: rule.false_alarms and rule.false_alarms.alarms for rule in found} == {
        "own": 1,
        "shares": 0.5,
        "moved": 0.5,
        "set": None,
        "rivers": None,
    }


@pytest.mark.parametrize(
    ("detector", "said"),
    [
        ("ADWIN", "`false_alarms` is for adwin, page_hinkley, kswin"),
        ("adwin, params: {delta: 0.1}", "`delta` follows from `false_alarms`"),
    ],
)
def test_a_budget_that_does_not_fit_a_detector_is_told(detector, said):
    (found,) = mistakes(FIRST + RULES + f"  - {{name: r, detector: {detector}, on: error, false_alarms: 1 per 30d}}\n")
    assert said in found


def test_a_model_is_shown_with_the_thresholds_that_its_budgets_came_to(monkeypatch):
    told = GOOD["calibration"]
    rules = LOW.format(rest="false_alarms: 1 per 30d").replace("low", told.rule) + MOVED.replace("}", ", above: 1}")
    later = LOW.format(rest="false_alarms: 3 per 30d").replace("low", "later")
    spec = parse_spec(FIRST + RULES + rules + later, "m.yaml")
    monkeypatch.setattr(spec_commands.settings_module, "load", lambda: None)
    monkeypatch.setattr(spec_commands, "latest_spec", lambda *_: (1, spec))
    monkeypatch.setattr(spec_commands, "latest_calibrations", lambda *_: {told.rule: told})
    first, plain, waiting = json.loads(CliRunner().invoke(cli, ["spec", "show", "flight-delay"]).output)["rules"]
    assert first["calibrated"]["threshold"] == told.threshold
    assert first["calibrated"]["held_back"] == 1
    assert "about 1 a month at your traffic" in first["calibrated"]["summary"]
    assert "calibrated" not in plain
    assert waiting["calibrated"]["threshold"] is None
