"""The spec reader: every kind of mistake is told at its line, with the nearest valid word, and all of them at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from driftline.errors import SpecError
from driftline.events.alerts import Severity
from driftline.spec.measures import DRIFT_MEASURES
from driftline.spec.model import MonitorSpec
from driftline.spec.plain import from_plain, to_plain
from driftline.spec.reader import parse_spec, read_spec

HEAD = """\
model: flight-delay
task: binary
labels: [on-time, late]
positive: late
features:
  distance: {type: number, range: [0, 6000]}
  carrier: {type: category, allowed: [AA, B6]}
windows:
  day: {span: 1d, every: 1h}
"""
RULE = "rules: [{{name: low, metric: auc, window: day, {rest}}}]\n"
RETRAIN = "retrain: {{trainer: 'a.b:train', data: {{span: 7d, holdout: 1d}}, {rest}}}\n"
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.yaml"))


def mistakes(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "m.yaml")
    assert str(caught.value) == "\n".join(caught.value.mistakes)
    return caught.value.mistakes


def test_defaults_are_those_of_the_contract():
    spec = parse_spec(HEAD, "m.yaml")
    assert (spec.horizon, spec.lateness, spec.pane) == (
        timedelta(hours=48),
        timedelta(minutes=10),
        timedelta(minutes=1),
    )
    assert spec.max_ahead == timedelta(minutes=5)
    assert spec.metrics == ("accuracy", "f1", "auc", "log_loss")
    assert spec.outputs["score"].range == (0.0, 1.0)
    assert (spec.promotion.metric, spec.promotion.confidence) == ("log_loss", 0.95)
    assert spec.retain_raw == timedelta(days=2)


def test_a_promotion_is_read_word_for_word():
    text = """
segments: [origin, {distance: [500]}]
promotion:
  metric: auc
  min_effect: 0.005
  block: 12h
  not_worse: {log_loss: 0.01, f1: 0}
  veto: {segments: [origin], worse_by: 0.02}
  max_latency_ratio: 2
  max_size: 150MB
"""
    promotion = parse_spec(HEAD + text, "m.yaml").promotion
    assert (promotion.metric, promotion.min_effect, promotion.block) == ("auc", 0.005, timedelta(hours=12))
    assert promotion.not_worse == {"log_loss": 0.01, "f1": 0.0}
    assert (promotion.veto.segments, promotion.veto.worse_by) == (("origin",), 0.02)
    assert (promotion.max_latency_ratio, promotion.max_size) == (2.0, 150_000_000)
    everything = parse_spec(HEAD + text.replace("[origin], w", "all, w"), "m.yaml").promotion
    assert everything.veto.segments == ("origin", "distance")
    nothing = parse_spec(HEAD, "m.yaml").promotion
    assert (nothing.block, nothing.not_worse, nothing.veto) == (timedelta(days=1), {}, None)


def test_a_veto_over_a_way_to_cut_that_is_none_is_told_with_the_nearest():
    text = "segments: [origin]\npromotion: {veto: {segments: [orign], worse_by: 0.02}}\n"
    assert mistakes(HEAD + text) == ["m.yaml:11: unknown way to cut into segments `orign`; did you mean `origin`?"]


def test_a_holdout_of_fewer_than_three_blocks_is_told_before_a_candidate_waits_for_them():
    text = HEAD + "retrain: {trainer: 'a.b:train', data: {span: 7d, holdout: 1d}}\n"
    assert parse_spec(text + "promotion: {block: 8h}\n", "m.yaml").promotion.block == timedelta(hours=8)
    assert mistakes(text + "promotion: {block: 9h}\n") == [
        "m.yaml:11: a candidate is judged on three blocks at least: `data.holdout` is too short for it"
    ]


def test_a_rule_is_read_word_for_word():
    rest = "below: 0.64, clear_above: 0.66, for: 2 of 3, min_samples: 5_000, severity: critical, retrain: true"
    (rule,) = parse_spec(HEAD + RULE.format(rest=rest), "m.yaml").rules
    assert (rule.kind, rule.target, rule.window, rule.below, rule.clear_above) == ("metric", "auc", "day", 0.64, 0.66)
    assert (rule.k, rule.of, rule.min_samples, rule.min_coverage) == (2, 3, 5000, 0.9)
    assert (rule.severity, rule.retrain) == (Severity.CRITICAL, True)


def test_raw_data_is_kept_for_what_a_retrain_needs_unless_said_otherwise():
    spec = parse_spec(HEAD + RETRAIN.format(rest="schedule: '0 0 29 2 *'"), "m.yaml")
    assert spec.retain_raw == timedelta(days=7 + 1 + 2)
    assert spec.retrain is not None
    assert spec.retrain.schedule == "0 0 29 2 *"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_specs_of_the_examples_are_fine_and_travel_as_json_unchanged(path: Path):
    spec = read_spec(path)
    assert isinstance(spec, MonitorSpec)
    assert from_plain(to_plain(spec)) == spec


def test_all_mistakes_are_told_at_once_by_line():
    text = """\
modle: m
task: binary
labels: [a, b]
positive: c
features:
  x: {type: numbr}
windows:
  day: {span: 1 day}
limits: {max_ahead: soon}
metrics: [acuracy]
rules:
  - {name: low, metric: auk, window: dya, below: 0.5, severty: critical}
"""
    assert mistakes(text) == [
        "m.yaml:1: `model` is missing",
        "m.yaml:1: unknown word `modle`; did you mean `model`?",
        "m.yaml:4: `c` is none of the labels a, b",
        "m.yaml:6: unknown word `numbr`; did you mean `number`?",
        "m.yaml:8: '1 day' is no duration; write a whole number and ms, s, m, h or d, such as 15m or 48h",
        "m.yaml:9: 'soon' is no duration; write a whole number and ms, s, m, h or d, such as 15m or 48h",
        "m.yaml:10: unknown metric `acuracy`; did you mean `accuracy`?",
        "m.yaml:12: unknown metric `auk`; did you mean `auc`?",
        "m.yaml:12: unknown window `dya`; did you mean `day`?",
        "m.yaml:12: unknown word `severty`; did you mean `severity`?",
    ]


def test_a_cost_is_asked_for_only_where_the_spec_says_it():
    assert mistakes(HEAD + "metrics: [expected_cost]\n") == [
        "m.yaml:1: metric `expected_cost` needs `costs`: outcome -> prediction -> cost"
    ]
    spec = parse_spec(HEAD + "metrics: [expected_cost, f0.5]\ncosts: {late: {on-time: 5}}\n", "m.yaml")
    assert spec.costs == {"late": {"on-time": 5.0}}
    assert spec.metrics == ("expected_cost", "f0.5", "log_loss")
    assert from_plain(to_plain(spec)) == spec
    regression = HEAD.replace("task: binary\nlabels: [on-time, late]\npositive: late", "task: regression")
    assert mistakes(regression + "costs: {late: {on-time: 5}}\n") == ["m.yaml:8: `costs` is for classification"]


def test_f_of_any_beta_may_be_told_and_judged():
    rule = "rules: [{name: low, metric: f0.7, window: day, below: 0.5}]\n"
    assert parse_spec(HEAD + "metrics: [f3, f1.5]\n" + rule, "m.yaml").metrics == ("f3", "f1.5", "log_loss", "f0.7")


@pytest.mark.parametrize("name", ["f11", "f0.05", "f1.0", "f2.0", "f1e1", "fnan", "f", "3"])
def test_an_f_has_a_beta_from_a_tenth_to_ten_written_as_short_as_can_be(name):
    (said,) = mistakes(HEAD + f"metrics: [{name}]\n")
    assert f"unknown metric `{name}`" in said


def test_a_regression_has_no_f():
    regression = HEAD.replace("task: binary\nlabels: [on-time, late]\npositive: late", "task: regression")
    assert "unknown metric `f3`" in mistakes(regression + "metrics: [f3]\n")[0]


def test_no_range_of_a_regression_reaches_beyond_the_numbers_that_are_taken():
    regression = HEAD.replace("task: binary\nlabels: [on-time, late]\npositive: late", "task: regression")
    assert mistakes(regression + "outputs: {prediction: {range: [0, 1e200]}}\n") == [
        "m.yaml:8: a number beyond 1e+140 is refused where it comes, so no range reaches it"
    ]


LABELS = ", ".join(f"l{i}" for i in range(120))
MANY = HEAD.replace(
    "task: binary\nlabels: [on-time, late]\npositive: late", "task: multiclass\nlabels: [ant, bee, cat]"
)


def test_a_metric_of_many_labels_is_of_all_of_them_of_one_or_of_each():
    spec = parse_spec(MANY + "metrics: [f1_macro, recall, 'auc:bee']\n", "m.yaml")
    assert spec.metrics == ("f1_macro", "recall:ant", "recall:bee", "recall:cat", "auc:bee", "log_loss")
    assert parse_spec(MANY, "m.yaml").metrics == ("accuracy", "f1_macro", "auc_ovr", "log_loss")
    assert from_plain(to_plain(spec)) == spec
    for name in ("recall", "recall:dog"):
        rule = f"rules: [{{name: a, metric: '{name}', window: day, below: 1}}]\n"
        assert mistakes(MANY + rule) == [f"m.yaml:9: unknown metric `{name}`; did you mean `recall:cat`?"]


def test_labels_beyond_the_hundredth_have_metrics_as_one():
    spec = parse_spec(MANY.replace("ant, bee, cat", LABELS) + "metrics: ['recall:l99', 'recall:(other)']\n", "m.yaml")
    assert len(spec.labels) == 120
    found = mistakes(MANY.replace("ant, bee, cat", LABELS) + "metrics: ['recall:l100']\n")
    assert found[0].startswith("m.yaml:9: unknown metric `recall:l100`; did you mean")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("labels: [ant, bee]", "m.yaml:3: a multiclass model has three labels or more; one of two is `task: binary`"),
        ("labels: [ant, bee, (other)]", "m.yaml:3: `(other)` is what the labels beyond the first 100 are told as"),
        ("labels: [ant, bee, cat]\npositive: ant", "m.yaml:4: `positive` is for a binary model"),
        ("horizon: 2d", "m.yaml:1: `labels` is missing: a multiclass model needs the labels that it may answer with"),
    ],
)
def test_wrong_labels_of_a_multiclass_model_are_told(changed, said):
    assert said in mistakes(MANY.replace("labels: [ant, bee, cat]", changed))


def test_one_mistake_does_not_become_others_elsewhere():
    rules = "metrics: [auc]\nrules: [{name: a, metric: auc, window: day, below: 0.5}, {name: b, range: distance}]\n"
    assert mistakes(HEAD.replace("binary", "binry") + "outputs: {score: {range: [0, 1]}}\n" + rules) == [
        "m.yaml:2: unknown word `binry`; did you mean `binary`?"
    ]
    assert mistakes(HEAD.replace("type: number", "type: numbr") + rules) == [
        "m.yaml:6: unknown word `numbr`; did you mean `number`?"
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pane: 0s", "this duration must be longer than zero"),
        ("horizon: 1.5h", "'1.5h' is no duration"),
        ("horizon: -1h", "'-1h' is no duration"),
        ("horizon: 40000d", "'40000d' is longer than 36500d, the longest duration"),
        ("horizon: 999999999999999999999d", "is longer than 36500d"),
        ("horizon:", "expected a value"),
        ("segments: [distance]", "`distance` is a number: say at which values to cut, as in `distance: [0, 100]`"),
        ("segments: [{distance: [5, 5]}]", "buckets are cut at increasing numbers, as in `[0, 100, 1000]`"),
        ("segments: [{carrier: [1]}]", "`carrier` is a category: each of its values is a segment"),
        ("segments: [[origin, origin]]", "`origin, origin` cuts by the same thing twice"),
        ("segments: [origin, carrier, origin]", "`origin` cuts by the same thing twice"),
        ("baseline: {first: 28d, first: 1d}", "`first` appears twice"),
        ("baseline: yesterday", "a baseline is `training`, `{first: 28d}`, `{previous: week}` or `{hour_of_week: 4}`"),
        ("baseline: {first: 28d, previous: day}", "a baseline is one of `training`, `{first: 28d}`"),
        (
            "baseline: {file: reference.parquet}",
            "write `baseline: training` and give the file to `driftline models register",
        ),
        ("baseline: {previous: dya}", "unknown word `dya`; did you mean `day`?"),
        ("baseline: {hour_of_week: 0}", "the same hour of the last 1 to 12 weeks"),
        ("baseline: {first: 0d}", "this duration must be longer than zero"),
        ("segments: [[a, b, c]]", "a segment is cut by one thing or by a pair of them"),
        ("segments: [{distance: [1], carrier: [2]}]", "one thing and where to cut it, as in `amount: [0, 100]`"),
        ("outputs: {scor: {range: [0, 1]}}", "unknown output `scor` of a binary model; it has `score`"),
        ("outputs: {score: {range: [1, 0]}}", "the range is empty: 1 is not below 0"),
        ("outputs: {score: {range: [0, 1, 2]}}", "a range is `[low, high]`"),
        ("outputs: {score: {range: [0, .inf]}}", "`.inf` is no number"),
        ("outputs: {score: {range: [0, inf]}}", "`inf` is not finite"),
        ("costs: {late: {on-tim: 5}}", "unknown word `on-tim`; did you mean `on-time`?"),
        ("costs: {lat: {on-time: 5}}", "unknown word `lat`; did you mean `late`?"),
        ("costs: {late: {on-time: much}}", "`much` is no number"),
        ("metrics: [acuracy]", "unknown metric `acuracy`; did you mean `accuracy`?"),
        ("promotion: {metric: mae}", "unknown word `mae`; known: accuracy, f1, auc, log_loss"),
        ("promotion: {min_effect: -1}", "a minimum effect is not negative"),
        ("promotion: {confidence: 95}", "a confidence lies between 0.5 and 1"),
        ("promotion: {block: 0d}", "this duration must be longer than zero"),
        ("promotion: {not_worse: {acc: 0.1}}", "unknown metric `acc`; did you mean `auc`?"),
        ("promotion: {not_worse: {log_loss: 0.1}}", "`log_loss` is the metric that must get better"),
        ("promotion: {not_worse: {auc: -0.1}}", "how much worse a metric may get is not negative"),
        ("promotion: {not_worse: {auc: much}}", "`much` is no number"),
        ("promotion: {veto: {segments: [origin], worse_by: 0.1}}", "a veto needs `segments` at the top"),
        ("promotion: {veto: {worse_by: 0.1}}", "`segments` is missing"),
        ("promotion: {veto: {segments: all, worse_by: -1}}", "how much worse a segment must be for a veto is not neg"),
        ("promotion: {max_latency_ratio: 0}", "a ratio of latencies is above 0"),
        ("promotion: {max_size: big}", "'big' is no amount of memory; write a whole number and MB or GB"),
        ("promotion: {max_size: 0MB}", "no model is so small"),
        ("retention: {raw: 1d}", "raw data must be kept for data.span + data.holdout + horizon at least"),
        ("metrics: auc", "expected a list"),
        ("metrics: [auc, auc]", "a value appears twice"),
        ("? [a, b]\n: c", "expected a value"),
        ("model: n", "`model` appears twice"),
        ("<<: {pane: 1m}", "unknown word `<<`"),
    ],
)
def test_a_wrong_line_is_told_with_its_number(line, said):
    found = mistakes(HEAD + line + "\n")
    assert any(each.startswith("m.yaml:10: ") and said in each for each in found), found


def test_a_mistake_stands_at_the_line_that_has_to_be_changed():
    assert mistakes(HEAD + "pane: 7m\n") == [
        "m.yaml:9: `every` must be a multiple of `pane`",
        "m.yaml:9: `span` must be a multiple of `pane`",
    ]
    assert mistakes(HEAD + "pane: 1m\npane: 2m\n") == ["m.yaml:11: `pane` appears twice"]


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("above: 0.5, below: 0.4", "rule `low` needs either `above` or `below`, or `false_alarms`"),
        ("severity: critical", "rule `low` needs either `above` or `below`"),
        ("below: 0.5, clear_above: 0.4", "`clear_above` belongs to `below` and is not lower than it"),
        ("below: 0.5, clear_below: 0.4", "`clear_below` belongs to `above` and is not higher than it"),
        ("below: x", "`x` is no number"),
        ("below: 0.5, for: 3 of 2", "'3 of 2' asks for 3 of 2 windows"),
        ("below: 0.5, for: twice", "'twice' is not understood; write for example `2 of 3`"),
        ("below: 0.5, min_samples: -1", "-1 is no count"),
        ("below: 0.5, min_samples: 1.5", "1.5 is no count"),
        ("below: 0.5, min_coverage: 90", "coverage lies between 0 and 1"),
        ("below: 0.5, severity: critcal", "unknown word `critcal`; did you mean `critical`?"),
        ("below: 0.5, retrain: maybe", "unknown word `maybe`; known: true, false"),
        ("below: 0.5, features: all", "`features` belongs to a rule about drift or data"),
        ("below: 0.5, drift: psi", "rule `low` needs exactly one of range, metric, estimate, drift, data, detector"),
    ],
)
def test_a_wrong_rule_is_told(rest, said):
    found = mistakes(HEAD + RULE.format(rest=rest))
    assert len(found) == 1
    assert found[0].startswith("m.yaml:10: ")
    assert said in found[0]


def test_a_rule_on_an_unknown_feature_names_the_nearest_one():
    assert mistakes(HEAD + "rules: [{name: far, range: distanse}]\n") == [
        "m.yaml:10: unknown feature or output `distanse`; did you mean `distance`?"
    ]
    drift = "rules: [{name: d, drift: psi, features: [carier], window: day, above: 0.2}]\n"
    assert mistakes(HEAD + drift) == ["m.yaml:10: unknown feature `carier`; did you mean `carrier`?"]


def test_a_drift_rule_judges_an_effect_of_a_feature_the_score_or_the_prediction():
    rule = "rules: [{{name: d, drift: {measure}, features: [score, prediction, carrier], window: day, above: 0.2}}]\n"
    for measure in DRIFT_MEASURES:
        (found,) = parse_spec(HEAD + rule.format(measure=measure), "m.yaml").rules
        assert (found.target, found.features) == (measure, ("score", "prediction", "carrier"))
    assert "p_value" not in DRIFT_MEASURES
    (found,) = mistakes(HEAD + rule.format(measure="p_value"))
    assert found.startswith("m.yaml:10: unknown drift measure `p_value`")


def test_a_second_rule_of_the_same_name_is_refused():
    rules = "rules:\n  - {name: a, range: distance}\n  - {name: a, range: carrier}\n"
    assert mistakes(HEAD + rules) == ["m.yaml:12: a rule named `a` stands above already"]


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("schedule: '0 0 30 2 *'", "'0 0 30 2 *' never comes: no month that it names has such a day"),
        ("schedule: '0 0 31 4,6,9 *'", "never comes: no month that it names has such a day"),
        ("schedule: '0 0 32 1 *'", "is no cron schedule (Bad day-of-month); write for example `0 4 1,15 * *`"),
        ("schedule: '0 25 * * *'", "is no cron schedule (Bad hour)"),
        ("schedule: daily", "is no cron schedule (Wrong number of fields)"),
        ("schedule: ''", "is no cron schedule (Wrong number of fields)"),
        ("budget: 8", "'8' is no budget; write for example `8 per 60d`"),
        ("budget: 8 per 60d or so", "is no budget"),
        ("budget: 8 per 0d", "a budget is for a time longer than zero"),
        ("budget: 8 per week", "'week' is no duration"),
        ("cooldwon: 1d", "unknown word `cooldwon`; did you mean `cooldown`?"),
        ("deadline: 0s", "this duration must be longer than zero"),
    ],
)
def test_a_wrong_retrain_is_told(rest, said):
    found = mistakes(HEAD + RETRAIN.format(rest=rest))
    assert len(found) == 1
    assert found[0].startswith("m.yaml:10: ")
    assert said in found[0]


COMMAND = "retrain: {{{how}, data: {{span: 7d, holdout: 1d}}}}\n"


def test_a_command_in_place_of_a_function_keeps_every_word():
    spec = parse_spec(HEAD + COMMAND.format(how="command: [./train.sh, --n, 2, --n, 2], memory_limit: 2GB"), "m.yaml")
    assert spec.retrain is not None
    assert spec.retrain.trainer is None
    assert spec.retrain.command == ("./train.sh", "--n", "2", "--n", "2")
    assert spec.retrain.memory_limit == 2_000_000_000


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("schedule: 0 4 * * *", "name either a `trainer`, which is a Python function, or a `command`"),
        ("trainer: 'a:b', command: [c]", "name either a `trainer`, which is a Python function, or a `command`"),
        ("command: []", "a command is a list of words, the first a program: [./train.sh, --fast]"),
        ("command: train.sh", "expected a list"),
        ("command: [c], memory_limit: 2", "'2' is no amount of memory; write a whole number and MB or GB, such as 2GB"),
        ("command: [c], memory_limit: 2MB", "the trainer itself takes nearly as much; give at least 500MB"),
    ],
)
def test_who_trains_and_with_how_much_memory_must_be_clear(how, told):
    assert f"m.yaml:10: {told}" in mistakes(HEAD + COMMAND.format(how=how))


@pytest.mark.parametrize("trainer", ["train", "a.b", "a-b:train", "a:b:c", "a.:train", ":train"])
def test_a_trainer_that_names_no_function_is_refused(trainer):
    (found,) = mistakes(HEAD + f"retrain: {{trainer: '{trainer}', data: {{span: 7d, holdout: 1d}}}}\n")
    assert found == f"m.yaml:10: '{trainer}' names no function; write `package.module:function`"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "m.yaml:1: is empty"),
        ("# nothing\n", "m.yaml:1: is empty"),
        ("- a\n", "m.yaml:1: expected a mapping (`name: value`)"),
        ("a: b: c\n", "m.yaml:1: is not YAML: mapping values are not allowed here"),
        (HEAD + "\tpane: 1m\n", "m.yaml:10: is not YAML: found character '\\t' that cannot start any token"),
        (HEAD + "---\na: b\n", "m.yaml:10: is not YAML: expected a single document in the stream, but found another"),
        (HEAD + "pane: \x00\n", "m.yaml:10: is not YAML: the character #x0000 may not stand in a text"),
        (HEAD + "pane: *none\n", "m.yaml:10: is not YAML: found undefined alias 'none'"),
        ("[" * 3_000, "m.yaml:1: is nested too deeply"),
        (HEAD.replace("[on-time, late]", '["\\ud800", late]'), "m.yaml:3: half a surrogate pair is no character"),
    ],
)
def test_what_is_no_spec_at_all_is_one_sentence_at_its_line(text, said):
    assert any(each.startswith(said) for each in mistakes(text))


def test_a_mistake_is_one_short_line_whatever_the_file_holds():
    (found,) = mistakes(HEAD + f"horizon: {'9' * 100_000}\n")
    assert len(found) < 500
    (found,) = mistakes(HEAD + 'horizon: "a\\e[2J\\nb"\n')
    assert found.isprintable()


def test_a_thousand_mistakes_are_all_told():
    lines = "".join(f"  feature{n}: {{type: numbr}}\n" for n in range(1000))
    found = mistakes(HEAD.replace("features:\n", "features:\n" + lines))
    assert len(found) == 1000
    assert [int(each.split(":")[1]) for each in found] == list(range(6, 1006))


def test_aliases_that_would_grow_without_bound_are_read_once():
    bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
    found = mistakes(HEAD + "a0: &a0 [x]\n" + bomb)
    assert len(found) == 40


def test_files_that_cannot_be_read_are_said_to_be_so(tmp_path):
    with pytest.raises(SpecError, match=r"none.yaml: cannot be read: No such file"):
        read_spec(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match=r"cannot be read: Is a directory"):
        read_spec(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("model: caf\xe9\n".encode("latin-1"))
    with pytest.raises(SpecError, match=r"latin.yaml: is not UTF-8 text"):
        read_spec(tmp_path / "latin.yaml")
    (tmp_path / "utf8.yaml").write_text(HEAD.replace("flight-delay", "caf\xe9"), encoding="utf-8")
    assert read_spec(tmp_path / "utf8.yaml").model == "caf\xe9"


# --- rules about what does not come, two thresholds, and the baseline ---


def rules_of(*texts):
    return parse_spec(HEAD + "rules:\n" + "".join(f"  - {text}\n" for text in texts), "m.yaml").rules


def test_rules_about_data_coverage_and_silence_are_read():
    data, coverage, silence = rules_of(
        "{name: gaps, data: missing, features: [distance], window: day, above: 0.1}",
        "{name: labels, coverage: day, below: 0.5, critical: 0.2, for: 2 of 3}",
        "{name: quiet, no_predictions_for: 8h, severity: critical}",
    )
    assert (data.kind, data.target, data.features, data.above) == ("data", "missing", ("distance",), 0.1)
    assert (coverage.kind, coverage.window, coverage.below, coverage.critical, coverage.k) == (
        *("coverage", "day", 0.5, 0.2),
        2,
    )
    assert (silence.kind, silence.quiet, silence.severity) == ("silence", timedelta(hours=8), "critical")


def test_thresholds_may_be_two_certain_or_relative():
    (one,) = rules_of("{name: a, metric: auc, window: day, below: 0.7, critical: 0.6, certain: true}")
    assert (one.critical, one.certain, one.relative) == (0.6, True, False)
    (other,) = rules_of("{name: a, metric: auc, window: day, below_baseline: 5%}")
    assert (other.below, other.above, other.relative) == (0.05, None, True)
    (all_three,) = rules_of(
        "{name: a, metric: log_loss, window: day, above_baseline: 5%, clear_below: 0%, critical: 10%, certain: true}"
    )
    assert (all_three.above, all_three.clear_below, all_three.critical) == (0.05, 0.0, 0.1)
    assert (all_three.relative, all_three.certain) == (True, True)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("data: mising, window: day, above: 0.1", "unknown share of values `mising`; did you mean `missing`?"),
        ("data: missing, window: day, features: [score], above: 0.1", "unknown feature `score`"),
        ("data: missing, window: day, false_alarms: 1 per 30d", "a share of values has no `false_alarms`"),
        ("coverage: dya, below: 0.5", "unknown window `dya`; did you mean `day`?"),
        ("coverage: day", "rule `a` needs `below`"),
        ("coverage: day, below: 50", "coverage lies between 0 and 1"),
        ("coverage: day, below: 0.5, retrain: true", "`retrain` is not for coverage"),
        ("no_predictions_for: long", "'long' is no duration"),
        ("no_predictions_for: 1h, window: day", "`window` is not for silence: only `severity` fits beside it"),
        (
            "metric: auc, window: day, below: 0.7, critical: 0.8",
            "`critical` lies beyond the threshold, on its bad side",
        ),
        ("metric: auc, window: day, below: 0.7, critical: 0.6, severity: critical", "the rule is critical already"),
        ("metric: auc, window: day, below_baseline: 0.05", "'0.05' is no part of the baseline; write for example `5%`"),
        ("metric: auc, window: day, below_baseline: 5%, below: 0.7", "`below` does not fit beside `below_baseline`"),
        ("drift: psi, window: day, above_baseline: 5%", "`above_baseline` is for metrics, which a baseline has too"),
        (
            "metric: auc, window: day, below_baseline: 5%, above_baseline: 5%",
            "`below_baseline` does not fit beside `above_baseline`",
        ),
        (
            "metric: auc, window: day, below_baseline: 5%, critical: 0.6",
            "'0.6' is no part of the baseline; write for example `5%`",
        ),
        (
            "metric: auc, window: day, below_baseline: 5%, critical: 4%",
            "`critical` lies beyond the threshold, on its bad side",
        ),
        (
            "metric: auc, window: day, below_baseline: 5%, clear_above: 6%",
            "`clear_above` belongs to `below_baseline` and is not farther from the baseline than it",
        ),
        (
            "metric: auc, window: day, below_baseline: 5%, clear_below: 3%",
            "`clear_below` belongs to `above_baseline` and is not farther from the baseline than it",
        ),
        ("metric: auc, window: day, below: 0.7, critical: 10%", "`10%` is no number"),
        ("coverage: day, below: 0.5, critical: 0.6", "`critical` lies beyond the threshold, on its bad side"),
    ],
)
def test_a_wrong_rule_of_a_newer_kind_is_told(rule, said):
    found = mistakes(HEAD + f"rules: [{{name: a, {rule}}}]\n")
    assert len(found) == 1
    assert said in found[0], found


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            "drift: psi, window: day, above: 0.2, certain: true",
            "drift has no interval, so `certain` would never fire: write `min_samples`, or `for: 2 of 3`",
        ),
        (
            "metric: ece, window: day, above: 0.2, certain: true",
            "`ece` has no interval, so `certain` would never fire: write `min_samples`, or `for: 2 of 3`",
        ),
        ("metric: auc, window: day, below: 0", "`auc` never lies below that, so this could never fire"),
        ("metric: auc, window: day, above: 1.0", "`auc` never lies above that, so this could never fire"),
        ("metric: auc, window: day, below: 0.5, critical: -1", "`auc` never lies below that"),
        ("metric: auc, window: day, below_baseline: 100%", "`auc` never lies below that"),
        ("estimate: auc, window: day, below: -0.1", "`auc` never lies below that"),
        ("drift: jensen_shannon, window: day, above: 1", "`jensen_shannon` never lies above that"),
        ("drift: psi, window: day, below: 0", "`psi` never lies below that"),
        ("data: missing, window: day, above: 1", "`missing` never lies above that"),
        ("coverage: day, below: 0", "`coverage` never lies below that"),
    ],
)
def test_a_rule_that_could_never_fire_is_refused(rule, said):
    (found,) = mistakes(HEAD + f"rules: [{{name: a, {rule}}}]\n")
    assert said in found


@pytest.mark.parametrize(
    "rule",
    [
        "metric: log_loss, window: day, above: 5, certain: true",
        "metric: log_loss, window: day, above_baseline: 100%",
        "estimate: auc, window: day, below: 0.6, certain: true",
        "data: missing, window: day, above: 0, certain: true",
        "coverage: day, below: 1, certain: true",
        "drift: psi, window: day, above: 7",
    ],
)
def test_a_rule_that_could_fire_is_not_refused(rule):
    assert len(rules_of(f"{{name: a, {rule}}}")) == 1


RETRAINING = "retrain:\n  trainer: a.b:c\n  data: {span: 7d, holdout: 2d%s}\n"


def test_a_retrain_leaves_periods_out_and_tries_again():
    text = (
        HEAD + RETRAINING % ", exclude: [[2013-03-08, 2013-03-10T12:00:00+01:00]]" + "  retries: 0\n  max_refusals: 5\n"
    )
    found = parse_spec(text, "m.yaml").retrain
    assert found.exclude == ((1362700800000, 1362913200000),)
    assert (found.retries, found.max_refusals) == (0, 5)
    assert parse_spec(HEAD + RETRAINING % "", "m.yaml").retrain.retries == 2


@pytest.mark.parametrize(
    ("period", "said"),
    [
        ("[2013-03-08]", "a period is `[from, to]`, two dates or instants"),
        ("[2013-03-10, 2013-03-08]", "the period is empty"),
        ("[monday, 2013-03-08]", "'monday' is no date"),
    ],
)
def test_a_wrong_period_is_told(period, said):
    (found,) = mistakes(HEAD + RETRAINING % f", exclude: [{period}]")
    assert said in found


def test_a_promotion_may_be_approved_shadowed_and_on_probation():
    found = parse_spec(HEAD + "promotion: {policy: approve, shadow: 12h, probation: 1d}\nrepeat: 4h\n", "m.yaml")
    promotion = found.promotion
    assert (promotion.policy, promotion.shadow, promotion.probation) == (
        "approve",
        timedelta(hours=12),
        timedelta(days=1),
    )
    assert found.repeat == timedelta(hours=4)
    (told,) = mistakes(HEAD + "promotion: {probation: 30d}\n")
    assert "`probation` is not longer than the longest window" in told
