"""The oracle itself: it says "exact" of what is exact, and of nothing else. Without Kafka, by hand-made topics."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.chaos.bookkeeping import MARK, Bookkeeper, Expected, Raw
from tests.chaos.catalogue import SCENARIOS
from tests.chaos.contract import COLUMNS, DEFAULT_BINS, Layout, Spec
from tests.chaos.load import Load, spec_of
from tests.chaos.malformed import kinds
from tests.chaos.reading import Deployment
from tests.chaos.verifier import compare

from driftline.spec.plain import to_plain

HERE = Path(__file__).parent
ORACLE = ("contract", "bookkeeping", "reading", "verdict", "verifier", "windows")
BEGIN = 1_700_000_000_000
SLICE_MS = 1000


@pytest.fixture(scope="module")
def deployment():
    specs = {(model, 1): Spec(to_plain(spec_of(model))) for model in ("alpha", "beta")}
    plain = json.loads(msgspec.json.encode({name: spec.plain for (name, _), spec in specs.items()}))
    return Deployment(SLICE_MS, 1, "events", {(name, 1): Spec(spec) for name, spec in plain.items()}, {})


class Log:
    """Both input topics of one partition, written by hand; both models' specs are in force from the first slice on."""

    def __init__(self):
        self.records = {"predictions": [], "outcomes": []}
        for model in ("alpha", "beta"):
            self.add("predictions", 0, b"", None, ((MARK, f"spec {model}@1".encode()),))

    def add(self, topic, stamp, value, key=None, headers=()):
        records = self.records[topic]
        arrival = max([stamp, *(r.arrival for r in records[-1:])])
        records.append(Raw(topic, 0, len(records), arrival, key, value, headers))

    def predict(self, stamp, name, version="1", score=0.75, **changes):
        event = {"id": name, "model": "alpha", "version": version, "time": stamp, "score": score, "prediction": "yes"}
        self.add("predictions", stamp, json.dumps(event | changes).encode(), name.encode())

    def tell(self, stamp, name, outcome="yes", time=None):
        event = {"id": name, "model": "alpha", "time": stamp if time is None else time, "outcome": outcome}
        self.add("outcomes", stamp, json.dumps(event).encode(), name.encode())

    def expected(self, deployment):
        found = Expected()
        keeper = Bookkeeper(0, SLICE_MS, deployment.specs, deployment.baselines, found)
        keeper.read(self.records["predictions"], self.records["outcomes"], 2**62)
        return found


def cells(expected, deployment, histogram):
    """The sum over everybody's panes of a histogram of one cell, or of the confusion matrix [outcome, prediction]."""
    layout = Layout(deployment.specs["alpha", 1].default_bins())
    start = layout.start[histogram]
    size = 4 if histogram == "confusion" else 1
    everybody = [pane for key, pane in expected.panes.items() if not key.cut]
    total = [sum(pane.cells[start + i] for pane in everybody) for i in range(size)]
    return total if size > 1 else total[0]


def counters(expected):
    total = {}
    for of_slice in expected.counters.values():
        for name, n in of_slice.items():
            total[name] = total.get(name, 0) + n
    return total


def test_the_first_prediction_counts_a_repeat_is_a_duplicate_and_another_a_conflict(deployment):
    log = Log()
    for score in (0.75, 0.75, 0.5):
        log.predict(BEGIN, "a", score=score)
    log.predict(BEGIN, "a", version="2")
    expected = log.expected(deployment)
    assert cells(expected, deployment, "n") == 2
    assert counters(expected) == {"duplicates": 1, "conflicts": 1}


def test_an_outcome_before_its_prediction_and_one_after_it_are_joined_once(deployment):
    log = Log()
    log.tell(BEGIN, "a")
    log.tell(BEGIN + 10, "a")  # told again at another time: the same label, yet another event
    log.predict(BEGIN + 5000, "a")
    log.predict(BEGIN + 5000, "b")
    log.tell(BEGIN + 6000, "b", "no")
    expected = log.expected(deployment)
    assert cells(expected, deployment, "labelled") == 2
    assert cells(expected, deployment, "confusion") == [0, 1, 0, 1]


def test_a_correction_replaces_and_an_older_outcome_does_not(deployment):
    log = Log()
    log.predict(BEGIN, "a")
    log.tell(BEGIN + 1000, "a", "yes")
    log.tell(BEGIN + 2000, "a", "no")
    log.tell(BEGIN + 3000, "a", "yes", time=BEGIN + 1500)
    log.tell(BEGIN + 4000, "a", "yes", time=BEGIN + 2000)  # of equal times the later arrival
    expected = log.expected(deployment)
    assert cells(expected, deployment, "confusion") == [0, 0, 0, 1]
    assert counters(expected) == {"corrections": 2, "superseded": 1}
    (made,) = expected.predictions
    assert [label for _, label in made.history] == [1, 0, 1]


def test_prediction_and_outcome_meet_within_the_horizon_of_arrival_only(deployment):
    kept = deployment.specs["alpha", 1].kept(SLICE_MS)
    log = Log()
    log.predict(BEGIN, "a")
    log.predict(BEGIN, "b")
    log.tell(BEGIN + (kept - 1) * SLICE_MS, "a")
    log.tell(BEGIN + kept * SLICE_MS, "b")
    assert cells(log.expected(deployment), deployment, "labelled") == 1


def test_every_odd_record_is_judged_as_its_kind_says(deployment):
    log, wanted = Log(), {}
    for odd in kinds(BEGIN, "t"):
        place = (odd.topic, 0, len(log.records[odd.topic]), 0)
        log.add(odd.topic, BEGIN, odd.value, odd.key, odd.headers)
        if odd.reason is not None:
            wanted[place] = odd.reason
    found = {place: reason for place, (reason, _) in log.expected(deployment).letters.items()}
    assert found == wanted
    assert len(set(wanted.values())) == 10, "every reason that there is, but those of baselines and rows"


@pytest.fixture(scope="module")
def world(deployment):
    """The inputs of a load, and the slices and dead letters that a faultless monitor would publish."""
    log = Log()
    for item in Load(5, 1).until(BEGIN, BEGIN + 30_000, 300):
        headers = (("content-type", COLUMNS.encode()),) if item.columns else ()
        log.add(item.topic, item.stamp, item.value, item.key, headers)
    expected = log.expected(deployment)
    slices = {}
    for key, pane in expected.panes.items():
        bins, cells, sums = pane.settled()
        if cells or sums:
            delta = key._asdict() | {"bins": bins, "cells": list(cells), "counts": list(cells.values()), "sums": sums}
            slices.setdefault(key.slice, ([], [], {}))[0].append(delta)
    for (_, number, *about), n in expected.breaches.items():
        breach = dict(zip(("model", "version", "name", "reason"), about, strict=True)) | {"n": n}
        slices.setdefault(number, ([], [], {}))[1].append(breach)
    for (_, number, model), counters in expected.counters.items():
        slices.setdefault(number, ([], [], {}))[2][model] = dict(counters)
    published, previous = [], None
    for number, (panes, breaches, counted) in sorted(slices.items()):
        event = {"partition": 0, "slice": number, "previous": previous, "shard": 0, "panes": panes}
        published.append(event | {"breaches": breaches, "counters": counted, "marks": []})
        previous = number
    return log.records, published, previous, expected.letters


def verdict_of(deployment, world, change=lambda slices: slices, letters=lambda letters: letters):
    records, published, last, expected_letters = world
    topic = [
        Raw("slices", 0, i, 0, None, json.dumps(event).encode(), (("driftline-kind", b"slice"),))
        for i, event in enumerate(change(json.loads(json.dumps(published))))
    ]
    note = json.dumps({"partition": 0, "slice": last}).encode()
    topic.append(Raw("slices", 0, len(topic), 0, None, note, (("driftline-kind", b"upto"),)))
    dead = [
        Raw("dead-letters", 0, i, 0, None, value, tuple(_headers(place, reason)))
        for i, (place, (reason, value)) in enumerate(letters(expected_letters).items())
    ]
    return compare(
        deployment,
        {**{t: {0: r} for t, r in records.items()}, "slices": {0: topic}, "dead-letters": {0: dead}, "metrics": {}},
    )


def _headers(place, reason):
    names = tuple(f"driftline.{name}" for name in ("topic", "partition", "offset", "row", "reason"))
    return ((name, str(value).encode()) for name, value in zip(names, (*place, reason), strict=True))


def test_what_is_exact_is_called_so_also_when_it_was_relayed_again(deployment, world):
    verdict = verdict_of(deployment, world)
    assert verdict.exact, verdict.describe()
    assert verdict.predictions > 300
    assert verdict.letters_found >= 2
    again = verdict_of(deployment, world, lambda slices: [*slices[:9], *slices[3:9], *slices[9:]])
    assert again.exact, again.describe()
    assert again.relayed_again == 6


def _without(slices, number):
    kept = slices[:number] + slices[number + 1 :]
    kept[number]["previous"] = kept[number - 1]["slice"]
    return kept


def _shifted(slices, cell, by):
    delta = next(d for s in slices[4:] for d in s["panes"] if cell in d["cells"])
    delta["counts"][delta["cells"].index(cell)] += by
    return slices


def test_a_slice_that_was_never_published_is_called_lost(deployment, world):
    verdict = verdict_of(deployment, world, lambda slices: _without(slices, 5))
    assert verdict.lost > 5
    assert verdict.twice == 0


@pytest.mark.parametrize(("by", "lost", "twice"), [(1, 0, 1), (-1, 1, 0)])
@pytest.mark.parametrize("cell", [0, 1])
def test_one_prediction_or_outcome_too_many_or_too_few_is_seen(deployment, world, cell, by, lost, twice):
    verdict = verdict_of(deployment, world, lambda slices: _shifted(slices, cell, by))
    assert (verdict.lost, verdict.twice) == (lost, twice)
    assert not verdict.exact


def _more_log_loss(slices):
    next(d for s in slices for d in s["panes"] if d["sums"])["sums"]["log_loss"] += 1
    return slices


def _other_repeat(slices):
    other = json.loads(json.dumps(slices[2]))
    other["counters"] = {"alpha": {"duplicates": 17}}
    return [*slices[:4], other, *slices[4:]]


def _other_counter(slices):
    event = next(s for s in slices if s["counters"].get("alpha"))
    event["counters"]["alpha"]["duplicates"] = event["counters"]["alpha"].get("duplicates", 0) + 1
    return slices


def _other_breach(slices):
    next(s for s in slices if s["breaches"])["breaches"][0]["n"] += 1
    return slices


def _other_chain(slices):
    slices[4]["previous"] = slices[2]["slice"]
    return slices


@pytest.mark.parametrize("change", [_more_log_loss, _other_repeat, _other_counter, _other_breach, _other_chain])
def test_any_other_difference_in_a_slice_is_seen(deployment, world, change):
    assert verdict_of(deployment, world, change).differences


@pytest.mark.parametrize(
    "change",
    [
        lambda letters: dict(list(letters.items())[1:]),
        lambda letters: letters | {("outcomes", 0, 0, 0): ("not-json", b"")},
        lambda letters: letters | {next(iter(letters)): ("not-json", next(iter(letters.values()))[1])},
        lambda letters: letters | {next(iter(letters)): (next(iter(letters.values()))[0], b"other")},
    ],
    ids=["missing", "too-many", "other-reason", "other-bytes"],
)
def test_any_difference_in_the_dead_letters_is_seen(deployment, world, change):
    assert not verdict_of(deployment, world, letters=change).exact


def test_a_partition_that_was_never_finished_is_seen(deployment, world):
    records, published, last, letters = world
    assert verdict_of(deployment, (records, published, last - 3, letters)).differences


def test_a_slice_that_comes_after_it_was_said_to_be_finished_is_seen(deployment, world):
    records, published, last, _ = world
    note = Raw("slices", 0, 0, 0, None, json.dumps({"slice": last}).encode(), (("driftline-kind", b"upto"),))
    late = Raw("slices", 0, 1, 0, None, json.dumps(published[-1]).encode(), (("driftline-kind", b"slice"),))
    found = compare(
        replace(deployment),
        {**{t: {0: r} for t, r in records.items()}, "slices": {0: [note, late]}, "dead-letters": {}, "metrics": {}},
    )
    assert any("comes" in difference for difference in found.differences)


@pytest.mark.parametrize("name", ORACLE)
def test_the_oracle_shares_no_code_with_driftline(name):
    imported = set()
    for node in ast.walk(ast.parse((HERE / f"{name}.py").read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    assert not {module for module in imported if module.split(".")[0] == "driftline"}
    ours = {module.removeprefix("tests.chaos.") for module in imported if module.startswith("tests.")}
    assert ours <= set(ORACLE)


def test_default_bins_are_named_as_slices_name_them(deployment):
    log = Log()
    log.predict(BEGIN, "a")
    assert {pane.bins for pane in log.expected(deployment).panes.values()} == {f"{DEFAULT_BINS}alpha@1"}


def test_the_page_on_reliability_names_every_scenario_and_what_it_does():
    page = (HERE.parents[1] / "docs" / "reliability.md").read_text()
    for entry in SCENARIOS:
        assert f"| `{entry.name}` | {(entry.scenario.__doc__ or '').splitlines()[0]} |" in page
