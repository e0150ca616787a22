"""The tree of what led to something and what it led to, from the events of an eventful day."""

from __future__ import annotations

from functools import cache

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.laws.test_control_laws import declared, eventful_day
from tests.timeline.shards import HOUR, QUARTER, Shard, candidate, command, register, verdict

from driftline.core.telling import tell
from driftline.core.trace import Graph
from driftline.events.admin import SpecRevision
from driftline.events.alerts import Alert
from driftline.events.base import Decision, digest_id
from driftline.events.examples import GOOD
from driftline.events.inputs import Prediction
from driftline.events.reports import WindowReport
from driftline.events.retraining import Case, ModelState, RetrainRequest
from driftline.events.topics import Topic

KINDS = {
    Topic.ALERTS: Alert,
    Topic.CASES: Case,
    Topic.MODELS: ModelState,
    Topic.RETRAIN_REQUESTS: RetrainRequest,
    Topic.METRICS: WindowReport,
}
SAMPLE = Prediction(id="p", model="m", version="1", time=2 * HOUR, prediction="yes", score=0.7, features={"x": 12.0})


@cache
def story():
    """All that stands in the topics after the day."""
    shard = Shard(eventful_day(), declared()).run()
    told = [event for topic, kind in KINDS.items() for event in shard.events(topic, kind)]
    first, second = candidate(), candidate(attempt=2, version="3", baseline="b3")
    asked = [
        msgspec.structs.replace(first, caused_by=(first.request,)),
        msgspec.structs.replace(second, caused_by=(second.request,)),
        msgspec.structs.replace(verdict(first, "refuse"), caused_by=(first.id,)),
        msgspec.structs.replace(verdict(second), caused_by=(second.id,)),
    ]
    return [*told, *asked, register(), command("retrain"), SAMPLE]


def graph(events=None, live=False):
    found = Graph(QUARTER, live=live)
    found.add(story() if events is None else events)
    return found


def lines(nodes, depth=0):
    """Kinds with what tells them apart, indented."""
    for node in nodes:
        yield "  " * depth + f"{node.kind} {mark(node)}".strip() + (" (seen)" if node.seen else "")
        yield from lines(node.branches, depth + 1)


def mark(node):
    match node.event:
        case Alert():
            return f"{node.event.rule} {node.event.state}"
        case Case():
            return node.event.reason
        case RetrainRequest():
            return str(node.event.attempt)
        case ModelState():
            return node.event.champion.version
        case None:
            return node.id
        case _:
            return getattr(node.event, "version", "")


def test_a_case_shows_the_alert_that_opened_it_and_everything_that_came_of_it():
    tree = graph().tree(graph().find(digest_id("case", "m", 1))[0])
    assert (tree.root.kind, tree.root.event.reason) == ("case", "attempt-1-requested")
    assert list(lines(tree.causes)) == ["alert accuracy-low firing", "  report 1"]
    assert list(lines(tree.effects)) == [
        "request 1",
        "  candidate 2",
        "    verdict 2",
        "      case attempt-1-refused",
        "    case attempt-1-comparing",
        "request 2",
        "  candidate 3",
        "    verdict 3",
        "      case attempt-2-promoted",
        "      model 3",
        "        alert accuracy-low resolved",
        "    case attempt-2-comparing",
        "case attempt-2-requested",
        "case metric-is-back",
    ]


def test_a_version_leads_to_the_request_the_alert_and_the_report_behind_it_and_to_what_it_replaced():
    found = graph()
    tree = found.tree(found.find("m/3")[0])
    assert (tree.root.kind, tree.root.event.version) == ("candidate", "3")
    assert list(lines(tree.causes)) == [
        "request 2",
        "  case attempt-1-requested",
        "    alert accuracy-low firing",
        "      report 1",
    ]
    assert list(lines(tree.effects)) == [
        "verdict 3",
        "  case attempt-2-promoted",
        "  model 3",
        "    alert accuracy-low resolved",
        "case attempt-2-comparing",
    ]


def test_a_registered_version_is_its_change_of_champion_and_leads_to_the_command():
    found = graph()
    tree = found.tree(found.find("m/1")[0])
    assert (tree.root.kind, [node.kind for node in tree.causes]) == ("model", ["command"])


def test_a_prediction_leads_to_the_alerts_that_name_it_and_an_alert_to_its_slice_and_samples():
    found = graph()
    tree = found.tree("p")
    assert tree.root.kind == "prediction"
    assert list(lines(tree.effects)) == [
        "alert range:x firing",
        "  alert range:x resolved",
        "alert range:x firing",
        "  alert range:x firing",  # most values are out of range: told again
        "    alert range:x resolved",
    ]
    causes = found.tree(tree.effects[0].id).causes
    assert [(node.kind, node.id, node.missing) for node in causes] == [
        ("slice", "slice/0/3", False),
        ("prediction", "p", False),
    ]
    assert (causes[0].at, causes[0].sentence) == (3 * QUARTER, "what arrived in slice 3 of partition 0")


def test_a_spec_leads_to_the_decisions_of_its_revision_that_none_of_them_led_to():
    applied = [SpecRevision(id=f"spec-{n}", model="m", revision=n, author="ada", written_at=0, spec={}) for n in (1, 2)]
    found = graph([*story(), *applied])
    assert found.find("m@1") == ["spec-1"]
    tree = found.tree("spec-1")
    assert (tree.root.kind, tree.root.sentence) == ("spec", "m@1, applied by ada at 1970-01-01T00:00:00Z")
    assert not tree.causes
    shown = {node.id: node for node in tree.nodes()}
    decided = [event for event in story() if isinstance(event, Decision) and event.spec == "m@1"]
    assert decided
    assert {event.id for event in decided} <= set(shown)
    alert = next(event for event in decided if isinstance(event, Alert) and event.rule == "accuracy-low")
    assert list(lines(found.tree(alert.id).causes)) == ["spec", "report 1"]
    assert found.tree(alert.id).begins() == graph().tree(alert.id).begins(), "when it was applied bounds nothing"


def test_what_is_named_and_stands_nowhere_is_said():
    without = [event for event in story() if not isinstance(event, WindowReport)]
    found = graph(without)
    tree = found.tree(found.find(digest_id("case", "m", 1))[0])
    gone = tree.causes[0].branches
    assert [(node.kind, node.missing) for node in gone] == [("?", True)]
    assert gone[0].id in tree.missing()


def test_the_beginning_of_an_id_is_enough_where_it_is_the_only_one():
    found = graph()
    (name,) = found.find("m/3")
    assert found.find(name[:10]) == [name]
    assert found.find(name[:3]) == []
    assert found.find("nobody knows this") == []


def test_in_a_replay_answers_are_told_at_the_time_of_their_question():
    asked = {event.attempt: event.requested_at for event in story() if isinstance(event, RetrainRequest)}
    late = [
        msgspec.structs.replace(e, recipe=msgspec.structs.replace(e.recipe, known_by=asked[2]))
        if tell(e).kind == "candidate"
        else e
        for e in story()
    ]
    found = graph(late)
    assert found.tree(found.find("m/3")[0]).root.at == asked[2]
    assert graph(late, live=True).tree(found.find("m/3")[0]).root.at == 0


@given(st.lists(st.tuples(st.integers(0, 7), st.lists(st.integers(0, 9), max_size=3)), max_size=12), st.integers(0, 7))
def test_whatever_names_whom_in_circles_too_every_event_stands_once_with_its_branches(named, root):
    """Ids 8 and 9 stand nowhere."""
    events = [command("retrain", id=f"event-{i}", caused_by=tuple(f"event-{j}" for j in causes)) for i, causes in named]
    events.append(command("retrain", id=f"event-{root}"))
    tree = graph(events).tree(f"event-{root}")
    shown = [node.id for node in tree.nodes() if not node.seen]
    assert len(shown) == len(set(shown))
    assert {node.id for node in tree.nodes() if node.missing} <= {"event-8", "event-9"} | {
        f"event-{i}" for i in range(8)
    } - {event.id for event in events}


@pytest.mark.parametrize("name", [name for name, event in GOOD.items() if hasattr(event, "id")])
def test_every_event_that_can_stand_in_a_tree_has_a_plain_sentence(name):
    told = {"prediction", "window-report", "alert", "retrain-request", "candidate", "verdict", "case", "model-state"}
    told |= {"command", "command-result", "calibration", "baseline", "spec-revision"}
    if name in told:
        line = tell(GOOD[name])
        assert line.kind in name
        assert line.sentence


def test_the_sentences_of_a_loop_carry_its_evidence():
    said = {name: tell(GOOD[name]).sentence for name in ("window-report", "retrain-request", "candidate", "verdict")}
    assert said["window-report"].startswith("version 2 in the day up to 2013-04-02T12:15:00Z: auc 0.66 (0.62 to 0.7)")
    assert "most drift in temp (psi 0.310); n = 930, 97.3% with outcome" in said["window-report"]
    assert said["retrain-request"].startswith("attempt 1 asked for by rule (auc-low): train on 2013-04-01")
    assert said["candidate"].startswith("version 3, trained on 51000 rows of")
    assert said["candidate"].endswith("; of itself: auc 0.7 (0.68 to 0.72), log_loss 0.55")
    assert "log_loss 0.5800 -> 0.5500, gain +0.03 (0.01 to 0.05) on 6100 held-out rows" in said["verdict"]
