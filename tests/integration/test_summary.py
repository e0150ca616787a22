"""The demo's summary: every number in it, computed again from the raw topics with somebody else's formulas.

The counts, the figures of each verdict, of each alert and of the closing comparison. Nothing is taken from what the
summary was made of but the ids that say which event a line is about.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime

import msgspec
import numpy as np
import pytest
from examples.flights.comparison import compare
from examples.flights.serving import FIRST, MODEL
from examples.flights.story import Follower
from examples.flights.summary import summarise
from scipy.stats import norm as normal
from scipy.stats import t as student
from sklearn.metrics import log_loss, roc_auc_score
from tests.flights_loop import DAY_MS, END, RULES_FROM

from driftline.events.retraining import Artifact
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.artifacts import load
from driftline.platform.kafka import read_all

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

UNIT_MS = 90 * 60_000
"""Parts of a week: the longest multiple of its panes that divides a day and leaves a hundred of them."""
NUMBER = r"([-+]?\d+(?:\.\d+)?(?:e-?\d+)?)"
VERDICT = re.compile(
    rf"verdict on (\S+): (\w+) \(([\w-]+)\); log_loss {NUMBER} -> {NUMBER}, "
    rf"gain {NUMBER} \[{NUMBER}, {NUMBER}\], n = (\d+)"
)
METRIC_ALERT = re.compile(
    rf"alert (firing|resolved): auc of {MODEL} version (\S+) is {NUMBER} \(95 % {NUMBER} to {NUMBER}\) "
    rf"in the week up to (\S+), n = (\d+): (.*)\."
)
DRIFT_ALERT = re.compile(
    rf"alert (firing|resolved): psi\((\w+)\) of {MODEL} version (\S+) is {NUMBER} "
    rf"in the week up to (\S+), n = (\d+): (.*)\."
)


@pytest.fixture(scope="module")
def summary(loop):
    """As the demo writes it into `.driftline/demo.json`, read back."""
    follower = Follower(loop.settings)
    told = summarise(follower.catch_up(), compare(loop.settings, RULES_FROM, END), loop.sent, 1.0)
    follower.close()
    return msgspec.json.decode(msgspec.json.encode(told))


@pytest.fixture(scope="module")
def published(loop):
    """What stands in the topics of decisions about flights, as plain JSON."""

    def of(topic):
        records = [r for r in read_all(loop.settings, topic) if r.value and not r.header(MARK_HEADER)]
        return [event for r in records if (event := msgspec.json.decode(r.value))["model"] == MODEL]

    topics = (Topic.ALERTS, Topic.RETRAIN_REQUESTS, Topic.CANDIDATES, Topic.VERDICTS, Topic.MODELS)
    return {topic: of(topic) for topic in (*topics, Topic.CASES, Topic.METRICS, Topic.BASELINES)}


def lines(summary, pattern):
    """(time, match) of the lines of the timeline that look like `pattern`."""
    return [(line["at"], found) for line in summary["timeline"] if (found := pattern.fullmatch(line["what"]))]


def truth_of(raw, name, known_by):
    """What had come true for a flight by a decision time; None: nothing yet."""
    came = [outcome for outcome in raw[1][MODEL, name] if outcome[0] < known_by]
    return max(came, key=lambda o: (o[1], o[2]))[3] if came else None


def predicted(raw, version, start, end, known_by):
    """The version's predictions whose event time lies in a span, as known by a decision time."""
    found = (
        event for (model, _, of), (at, event) in raw[0].items() if (model, of) == (MODEL, version) and at < known_by
    )
    return sorted((e for e in found if start <= e["time"] < end), key=lambda e: e["time"])


def test_it_counts_what_stands_in_the_topics(summary, published, loop):
    fired = {
        (a["fingerprint"], a["episode"])
        for a in published[Topic.ALERTS]
        if (a["state"], a["kind"]) == ("firing", "metric")
    }
    triggers = Counter(r["trigger"] for r in published[Topic.RETRAIN_REQUESTS])
    decisions = Counter(v["decision"] for v in published[Topic.VERDICTS])
    assert summary["happened"] == {
        "alerts on a metric": len(fired),
        "retrains asked for by the schedule": triggers["schedule"],
        "retrains asked for by an alert": triggers["rule"],
        "promotions": decisions["promote"],
        "refusals": decisions["refuse"],
        "failed trainings": sum(c.get("error") is not None for c in published[Topic.CANDIDATES]),
    }
    assert summary["happened"]["alerts on a metric"] > 0
    assert triggers["schedule"] > 0
    assert {what for what, n in summary["happened"].items() if not n} - {"failed trainings"} == set(summary["why_not"])
    inputs = [r for topic in (Topic.PREDICTIONS, Topic.OUTCOMES) for r in read_all(loop.settings, topic)]
    letters = [dict(r.headers) for r in read_all(loop.settings, Topic.DEAD_LETTERS)]
    malformed = len({tuple(each[f"driftline.{what}"] for what in ("topic", "partition", "offset")) for each in letters})
    assert summary["events"] == sum(bool(r.value) and not r.header(MARK_HEADER) for r in inputs) - malformed


def test_its_timeline_has_a_line_for_each_decision_at_its_time(summary, published):
    at = Counter()
    at.update(a["at"] for a in published[Topic.ALERTS] if a["state"] != "pending")
    at.update(r["requested_at"] for r in published[Topic.RETRAIN_REQUESTS])
    requested = {r["id"]: r["requested_at"] for r in published[Topic.RETRAIN_REQUESTS]}
    at.update(requested[c["request"]] for c in published[Topic.CANDIDATES])  # with its verdict, in one line
    at.update(m["at"] for m in published[Topic.MODELS])
    at.update(c["at"] for c in published[Topic.CASES] if "attempt" not in c["reason"])
    assert Counter(line["at"] for line in summary["timeline"]) == at
    assert [line["at"] for line in summary["timeline"]] == sorted(line["at"] for line in summary["timeline"])


def test_the_figures_of_each_verdict_are_those_of_its_rows(summary, published, raw, loop):
    told = {found[1]: found.groups()[1:] for _, found in lines(summary, VERDICT)}
    by_version = {v["version"]: v for v in published[Topic.VERDICTS]}
    assert told
    assert told.keys() == by_version.keys()
    candidates = {c["version"]: c for c in published[Topic.CANDIDATES]}
    artifacts = {m["champion"]["version"]: m["champion"]["artifact"] for m in published[Topic.MODELS]}
    artifacts |= {version: candidate["artifact"] for version, candidate in candidates.items()}
    for version, (decision, reason, *figures) in told.items():
        verdict, recipe = by_version[version], candidates[version]["recipe"]
        start, end = recipe["holdout"]["start"], recipe["holdout"]["end"]
        rows = {}
        for event in (e for (model, _, _), (at, e) in raw[0].items() if model == MODEL and at < recipe["known_by"]):
            if start <= event["time"] < end and event["role"] == "champion":
                rows.setdefault(event["id"], event)
        truth = {name: truth_of(raw, name, recipe["known_by"]) for name in rows}
        judged = [event for name, event in rows.items() if truth[name] is not None]
        late = np.array([truth[event["id"]] == "late" for event in judged])
        days = np.array([(event["time"] - start) // DAY_MS for event in judged])
        scores = [
            np.array([score for _, score in model.answers([event["features"] for event in judged])])
            for model in (
                load(loop.settings, msgspec.convert(artifacts[of], Artifact)) for of in (verdict["champion"], version)
            )
        ]
        low, high = student_interval(late, days, *scores)
        losses = [log_loss(late, score) for score in scores]
        expected = [*losses, losses[0] - losses[1], low, high]
        assert [float(figure) for figure in figures[:5]] == pytest.approx(expected, abs=5.1e-5)  # four decimals
        assert int(figures[5]) == len(judged) > 1000
        gain = losses[0] - losses[1]
        assert (decision, reason) == (
            ("refuse", "gain-too-small")
            if gain < 0.002
            else ("refuse", "gain-uncertain")
            if low <= 0
            else ("promote", "better")
        )


def student_interval(late, days, of_champion, of_candidate):
    """95 %: the gain in log loss with each day left out in turn, and Student's t."""

    def gain(kept):
        return log_loss(late[kept], of_champion[kept]) - log_loss(late[kept], of_candidate[kept])

    numbers = np.unique(days)
    assert numbers.size >= 3
    without = np.array([gain(days != day) for day in numbers])
    error = np.sqrt((numbers.size - 1) / numbers.size * ((without - without.mean()) ** 2).sum())
    half = student.ppf(0.975, numbers.size - 1) * error
    everything = gain(days == days)
    return everything - half, everything + half


def test_the_figures_of_each_alert_on_a_metric_are_those_of_its_week(summary, published, raw):
    told = lines(summary, METRIC_ALERT)
    assert sum(found[1] == "firing" for _, found in told) == summary["happened"]["alerts on a metric"]
    rng = np.random.default_rng(1)
    for at, found in told:
        state, version, auc, low, high, until, n, rest = found.groups()
        end = round(datetime.fromisoformat(until).timestamp() * 1000)
        week = predicted(raw, version, end - 7 * DAY_MS, end, at)
        pairs = [(e, truth) for e in week if (truth := truth_of(raw, e["id"], at)) is not None]
        late = np.array([truth == "late" for _, truth in pairs])
        scores = np.array([event["score"] for event, _ in pairs])
        assert int(n) == len(pairs)
        assert float(auc) == pytest.approx(roc_auc_score(late, scores), abs=0.001)  # from histograms, four digits
        # of the hours and a half that have outcomes, about the root as many blocks of neighbours are drawn
        unit = np.unique(np.array([event["time"] // UNIT_MS for event, _ in pairs]), return_inverse=True)[1]
        blocks = round((unit.max() + 1) ** 0.5)
        block = np.concatenate([np.full(len(p), k) for k, p in enumerate(np.array_split(np.unique(unit), blocks))])
        draws = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=1000)
        values = [roc_auc_score(late, scores, sample_weight=draw[block][unit]) for draw in draws]
        # so few blocks do not show all of the spread: Student's t
        stretch = student.ppf(0.975, blocks - 1) / normal.ppf(0.975) * np.sqrt(blocks / (blocks - 1))
        middle = roc_auc_score(late, scores)
        interval = middle + stretch * (np.quantile(values, [0.025, 0.975]) - middle)
        assert [float(low), float(high)] == pytest.approx(interval, abs=0.02)
        assert (
            rest
            == {
                "firing": "below the threshold 0.65, 2 of 3 windows needed",
                "resolved": "no longer below 0.65",
            }[state]
        )
        assert (float(auc) < 0.65) is (state == "firing")


def test_the_figures_of_each_alert_on_drift_are_those_of_its_week(summary, published, raw):
    told = lines(summary, DRIFT_ALERT)
    assert told
    baselines = {b["version"]: b for b in published[Topic.BASELINES]}
    for at, found in told:
        state, feature, version, psi, until, n, _ = found.groups()
        end = round(datetime.fromisoformat(until).timestamp() * 1000)
        values = [e["features"][feature] for e in predicted(raw, version, end - 7 * DAY_MS, end, at)]
        bins = baselines[version]["bins"]["features"][feature]
        counts = np.array(binned(bins, values)) + 0.5
        reference = np.array(baselines[version]["counts"][f"feature:{feature}"]) + 0.5
        p, q = counts / counts.sum(), reference / reference.sum()
        assert int(n) == len(values)
        assert float(psi) == pytest.approx(float(((p - q) * np.log(p / q)).sum()), rel=5e-4)  # four digits
        assert (float(psi) > 0.5) is (state == "firing")


def binned(bins, values):
    """How many values fall into each cell, one value at a time."""
    if bins["type"] == "category":
        others = bins.get("others", [])
        cells = [*bins["values"], *(["other"] if others else []), "unseen", None]
        known = {None: None} | dict.fromkeys(others, "other") | {v: v for v in bins["values"]}
        names = [known.get(v, "unseen") for v in values]
        return [names.count(cell) for cell in cells]
    counts = [0] * (len(bins["edges"]) + 4)
    for value in values:
        if value is None:
            counts[-1] += 1
        elif value < bins["low"] or value > bins["high"]:
            counts[-3 if value < bins["low"] else -2] += 1
        else:
            counts[sum(edge <= value for edge in bins["edges"])] += 1
    return counts


def test_no_line_with_figures_was_left_unchecked(summary):
    checked = (VERDICT, METRIC_ALERT, DRIFT_ALERT)
    rest = [line["what"] for line in summary["timeline"] if not any(p.fullmatch(line["what"]) for p in checked)]
    plain = re.compile(
        r"version \S+ serves \(\w+\)|retrain requested \((schedule|rule): [\w-]+\)|case [\w-]+: .*"
        rf"|alert resolved: [\w-]+ on {MODEL} version \S+ is over: version replaced\."
        rf"|alert firing: {MODEL} has not become better after [\w-]+ \([\w ]+\): a human is needed\. Tried: .*"
    )
    assert [line for line in rest if not plain.fullmatch(line)] == []


def test_the_closing_comparison_is_what_the_raw_topics_say(summary, raw):
    predictions, outcomes = raw
    flights = [e for (model, _, _), (_, e) in predictions.items() if model == MODEL and e["time"] >= RULES_FROM]
    served = {e["id"]: e for e in flights if e["role"] == "champion" and outcomes[MODEL, e["id"]]}
    alone = {e["id"]: e for e in flights if e["version"] == FIRST}
    for side, answers in (("with Driftline", served), ("first model alone", alone)):
        told = summary["comparison"][side]
        late = np.array([max(outcomes[MODEL, name])[3] == "late" for name in served])
        score = np.array([answers[name]["score"] for name in served])
        called = np.array([answers[name]["prediction"] == "late" for name in served])
        assert told["flights"] == len(served) > 5_000
        assert told["auc"] == pytest.approx(roc_auc_score(late, score), abs=1e-9)
        assert told["log_loss"] == pytest.approx(log_loss(late, score), abs=1e-9)
        assert told["missed_delays"] == (late & ~called).sum()
        assert told["false_alarms"] == (called & ~late).sum()
    late = np.array([max(outcomes[MODEL, name])[3] == "late" for name in served])
    ours, theirs = ([answers[name]["score"] for name in served] for answers in (served, alone))
    days = np.array([event["time"] // DAY_MS for event in served.values()])
    gain = summary["comparison"]["gain"]
    low, high = student_interval(late, days, np.array(theirs), np.array(ours))
    assert gain["log_loss"] == pytest.approx(log_loss(late, theirs) - log_loss(late, ours), abs=1e-9)
    assert [gain["low"], gain["high"]] == pytest.approx([low, high], abs=1e-9)


def test_what_stood_behind_each_alert_is_what_the_raw_topics_say(summary, published, raw):
    fired = [a for a in published[Topic.ALERTS] if (a["state"], a["kind"]) == ("firing", "metric")]
    assert len(summary["behind"]) == len(fired)
    for line, alert in zip(summary["behind"], fired, strict=True):
        start, end = alert["window"]["start"], alert["window"]["end"]
        week = predicted(raw, alert["version"], start, end, alert["at"])
        pairs = [(e, truth) for e in week if (truth := truth_of(raw, e["id"], alert["at"])) is not None]
        effects = {}
        for origin in ("EWR", "JFK", "LGA"):
            own = [(e["score"], truth == "late") for e, truth in pairs if e["features"]["origin"] == origin]
            auc = roc_auc_score([late for _, late in own], [score for score, _ in own])
            effects[f"origin={origin}"] = ((alert["value"] - auc) * len(own) / len(pairs), auc, len(own))
        worst = max(effects, key=lambda name: effects[name][0])
        (segment,), (feature,) = line["segments"], line["features"]
        assert segment["name"] == worst
        assert segment["value"] == pytest.approx(effects[worst][1], abs=0.001)
        assert segment["n"] == effects[worst][2]
        told = [each["feature"] for each in alert["evidence"]["features"]]
        assert feature["name"] == told[0]
        harm = {f["feature"]: f["error_effect"] or 0 for f in alert["evidence"]["features"]}
        assert max(harm.values()) == pytest.approx(harm[told[0]]) or max(harm.values()) <= 0
