"""`docs/reference` is what the code says now, and the words explained there are all the words that it takes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from driftline.events import inputs
from driftline.events.topics import TOPICS, DeadLetterReason
from driftline.reference import EVENT_MODULES, ROOT, comments, differences, fields_of, files
from driftline.reference_fields import FIELDS
from driftline.reference_words import SETTINGS, SPEC_SECTIONS
from driftline.spec.durations import parse_duration
from driftline.spec.reader import parse_spec
from driftline.spec.sizes import parse_size
from driftline.spec.yaml_nodes import Node

SERVICES = Path(__file__).parents[2] / "services" / "driftline"
LEAST = """
model: m
task: binary
labels: [a, b]
positive: b
features: {x: {type: number}}
windows: {day: {span: 24h}}
rules:
- {name: r, metric: auc, window: day, below: 0.5}
retrain:
  trainer: package.module:function
  data: {span: 30d, holdout: 7d}
"""
WITH_EVERY_SECTION = LEAST.replace("windows:", "outputs: {score: {range: [0, 1]}}\nwindows:") + (
    "segments: [c]\npromotion: {veto: {segments: [c], worse_by: 0.1}}\n"
    "limits: {max_kept: 10}\nretention: {decisions: forever}\n"
)
INTERNAL = {"DRIFTLINE_STACK"}
"""What the local stack marks its own processes with: nobody sets it."""


def words_that_the_reader_takes():
    """(required, optional) of every mapping that is read from a spec with every section."""
    asked = set()
    real = Node.fields

    def recorded(self, required=(), optional=(), later=()):
        asked.add((frozenset(required), frozenset(optional)))
        return real(self, required, optional, later)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Node, "fields", recorded)
        parse_spec(WITH_EVERY_SECTION, "test")
    return asked


def environment_variables_read():
    """The names that the code asks the environment for, found in its syntax."""
    found = set()
    for path in SERVICES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args
            if named and ast.unparse(node.func.value) == "os.environ" and isinstance(node.args[0], ast.Constant):
                found.add(node.args[0].value)
    return found


def test_the_pages_are_as_generated_from_the_code():
    assert differences(ROOT) == []


def test_a_page_that_was_changed_by_hand_or_is_too_many_is_told(tmp_path):
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    assert differences(tmp_path) == []
    (tmp_path / "events.md").write_text("something else")
    (tmp_path / "old.md").write_text("no longer generated")
    assert differences(tmp_path) == ["events.md", "old.md"]


def test_the_words_of_every_section_are_those_that_the_reader_takes():
    taken = {required | optional for required, optional in words_that_the_reader_takes()}
    explained = {frozenset(words) for _, words in SPEC_SECTIONS.values()}
    assert explained == taken


def test_the_words_called_required_are_those_that_the_reader_requires():
    required = {required | optional: required for required, optional in words_that_the_reader_takes()}
    for _, words in SPEC_SECTIONS.values():
        said = {word for word, (_, default, _) in words.items() if default == "required"}
        assert said == required[frozenset(words)]


def test_the_stated_defaults_are_those_of_a_spec_without_them():
    spec = parse_spec(LEAST, "test")
    rule, retrain = spec.rules[0], spec.retrain

    def stated(section, word):
        return SPEC_SECTIONS[section][1][word][1].strip("`")

    for word in ("horizon", "lateness", "pane"):
        assert getattr(spec, word) == parse_duration(stated("The spec", word))
    assert spec.max_ahead == parse_duration(stated("limits", "max_ahead"))
    assert spec.max_kept == int(stated("limits", "max_kept"))
    for word in ("cooldown", "improve_within", "deadline", "time_limit"):
        assert getattr(retrain, word) == parse_duration(stated("retrain", word))
    assert retrain.memory_limit == parse_size(stated("retrain", "memory_limit"))
    assert f"{retrain.budget} per {retrain.budget_per.days}d" == stated("retrain", "budget")
    assert retrain.schedule is None
    assert retrain.label_delay == spec.horizon
    assert spec.windows["day"].every == spec.windows["day"].span
    assert (str(rule.min_samples), str(rule.min_coverage)) == (
        stated("rules[]", "min_samples"),
        stated("rules[]", "min_coverage"),
    )
    assert f"{rule.k} of {rule.of}" == stated("rules[]", "for")
    assert (rule.severity, rule.retrain) == (stated("rules[]", "severity"), False)
    assert spec.features["x"].missing == stated("features.<name>", "missing")
    assert (spec.promotion.metric, spec.promotion.min_effect) == ("log_loss", float(stated("promotion", "min_effect")))
    assert spec.promotion.confidence == float(stated("promotion", "confidence"))
    assert spec.promotion.block == parse_duration(stated("promotion", "block"))
    assert spec.outputs["score"].range == (0.0, 1.0)


def test_the_settings_explained_are_those_that_the_code_reads():
    assert set(SETTINGS) == environment_variables_read() - INTERNAL


def test_every_topic_and_every_reason_of_a_dead_letter_has_its_line():
    pages = files()
    assert all(f"| `{topic}` |" in pages["topics.md"] for topic in TOPICS)
    assert all(f"| `{reason}` |" in pages["events.md"] for reason in DeadLetterReason)


def test_the_fields_explained_are_fields_of_events():
    for name, meanings in FIELDS.items():
        found = [vars(module)[name] for module in EVENT_MODULES if name in vars(module)]
        (kind,) = set(found)
        assert meanings.keys() <= {field for field, _, _ in fields_of(kind)}


def test_every_field_of_what_applications_publish_is_explained():
    for kind in (inputs.Prediction, inputs.Outcome):
        assert FIELDS[kind.__name__].keys() == {field for field, _, _ in fields_of(kind)}


def test_what_stands_beside_a_member_of_an_enumeration_is_found():
    assert comments(DeadLetterReason)["NOT_JSON"] == "not UTF-8 JSON at all"


def test_every_link_of_the_pages_leads_somewhere():
    pages = files()
    for name, text in pages.items():
        for target in (part.split(")")[0] for part in text.split("](")[1:]):
            page, anchor = target.split("#")
            headings = {
                line.lstrip("# ").lower().replace(" ", "-") for line in pages[page].splitlines() if line.startswith("#")
            }
            assert anchor in headings, f"{name}: {target}"


def test_the_spec_of_the_guide_is_one_and_says_what_the_text_beside_it_says():
    guide = (ROOT.parent / "guide" / "monitor-spec.md").read_text()
    spec = parse_spec(guide.split("```yaml\n")[1].split("```")[0], "guide")
    assert spec.retain_raw == parse_duration("238d")
    assert (spec.retrain.label_delay, spec.rules[0].min_coverage) == (spec.horizon, 0.9)
    assert spec.outputs["score"].range == (0.0, 1.0)
