"""What people say to alerts, and rules about what does not come: control's part."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from tests.timeline.shards import HOUR, LOW_ACCURACY, QUARTER, SOURCES, Shard, catalog, command, delta, play, spec
from tests.unit.test_control_work import begun, changes, hours

from driftline.core.alert_events import fingerprint
from driftline.events.admin import CommandResult, Matching
from driftline.events.alerts import Alert
from driftline.events.topics import Topic
from driftline.spec.model import RuleSpec

LOW = msgspec.structs.replace(LOW_ACCURACY, retrain=False)
NAME = fingerprint("m", "1", "all", "accuracy-low")
QUIET = RuleSpec(name="silence", kind="silence", target="predictions", quiet=timedelta(hours=2))
LABELS = RuleSpec(name="labels", kind="coverage", target="coverage", window="hour", below=0.5, min_samples=1)
GAPS = RuleSpec(name="gaps", kind="data", target="missing", features=("x",), window="hour", above=0.5, min_samples=10)


def told(shard):
    return shard.events(Topic.ALERTS, Alert)


def results(shard):
    return {r.command: (r.accepted, r.reason) for r in shard.events(Topic.COMMAND_RESULTS, CommandResult)}


def declared(*rules, **changes):
    return catalog(spec(rules=rules, **changes))


def bad(first=1, last=3):
    return hours(begun(), first, last, right=20, wrong=30)


def silence(lasts, **fields):
    matching = {name: fields.pop(name) for name in ("rule", "version", "segment") if name in fields}
    return command("silence", matching=Matching(lasts=lasts, **matching), **fields)


def test_an_alert_that_is_acknowledged_says_so_until_it_is_over():
    log = bad().say(9, command("acknowledge", fingerprint=NAME, comment="on it")).until(16)
    hours(log, 4, 5).until(24)
    shard = play(log, declared(LOW))
    assert results(shard)["acknowledge-command"] == (True, "acknowledged")
    fired, seen, over = told(shard)
    assert (fired.acknowledged, seen.acknowledged.by, seen.acknowledged.comment) == (None, "a", "on it")
    assert (over.state, over.acknowledged) == ("resolved", seen.acknowledged)


def test_nobody_acknowledges_what_is_not_open():
    shard = play(begun().say(2, command("acknowledge", fingerprint=NAME)).until(4), declared(LOW))
    assert results(shard)["acknowledge-command"] == (False, "no such alert is open and waits for somebody")


def test_what_is_silenced_is_told_as_muted_and_told_again_when_the_silence_is_over():
    log = hours(begun(), 0, 0).say(2, silence(timedelta(hours=3), rule="accuracy-low"))
    shard = play(hours(log, 1, 4, right=20, wrong=30).until(20), declared(LOW))
    first, again = told(shard)
    assert (first.state, first.muted) == ("firing", "silenced by silence-command")
    assert (again.state, again.muted, again.at) == ("firing", "", 3 * QUARTER + 3 * HOUR)
    assert again.episode == first.episode
    assert results(shard)["silence-command"] == (True, "silenced")


def test_a_silence_can_be_ended_and_one_of_another_rule_silences_nothing():
    log = hours(begun(), 0, 0).say(2, silence(timedelta(hours=9))).say(2, silence(timedelta(hours=9), id="o", rule="x"))
    log = hours(log, 1, 2, right=20, wrong=30).say(13, command("unsilence", silence="silence-command"))
    shard = play(log.say(14, command("unsilence", id="c", silence="silence-command")).until(16), declared(LOW))
    assert [alert.muted for alert in told(shard)] == ["silenced by silence-command", ""]
    assert results(shard)["unsilence-command"] == (True, "ended")
    assert results(shard)["c"] == (False, "there is no such silence")


def test_a_silence_needs_a_time():
    shard = play(begun().say(2, silence(timedelta(0))).until(4), declared(LOW))
    assert results(shard)["silence-command"] == (False, "say what is to be silenced, and for how long")


def test_a_firing_alert_is_told_again_until_somebody_takes_it_on():
    log = bad(1, 8).say(24, command("acknowledge", fingerprint=NAME)).until(50)
    alerts = told(play(log, declared(LOW, repeat=timedelta(hours=2))))
    assert [alert.at / HOUR for alert in alerts] == [2, 4, 6, 6.25]
    assert {alert.state for alert in alerts} == {"firing"}
    assert len({alert.id for alert in alerts}) == 4


def test_a_model_of_which_nothing_is_heard_is_silent_and_mutes_what_follows():
    log = hours(begun(), 0, 0, right=20, wrong=30).until(16)
    shard = play(hours(log, 5, 5).until(24), declared(LOW, QUIET))
    quiet = [alert for alert in told(shard) if alert.rule == "silence"]
    assert quiet[0].kind == "silence"
    assert (quiet[0].since, quiet[0].at) == (4 * QUARTER, 4 * QUARTER + 2 * HOUR)
    assert (quiet[-1].state, quiet[-1].reason) == ("resolved", "predictions-come-again")
    low = [alert for alert in told(shard) if alert.rule == "accuracy-low"]
    muted = next(alert for alert in low if alert.muted)
    assert muted.incident == quiet[0].fingerprint
    assert any(alert.evidence.effects == (NAME,) for alert in quiet)
    assert low[-1].muted == "" or low[-1].state == "resolved"


def test_a_model_that_never_spoke_is_silent_from_its_spec_on():
    (alert,) = told(play(begun().until(12), declared(QUIET)))
    assert alert.at == 2 * QUARTER + 2 * HOUR


def test_labels_that_are_missing_when_a_window_is_first_told_are_an_alert():
    log = begun().slice(0, 1, delta(1, right=10, open_=90)).slice(1, 5, delta(5, right=90, open_=10)).until(12)
    alerts = told(play(log, declared(LABELS)))
    assert [(a.kind, a.state, a.value) for a in alerts] == [("coverage", "firing", 0.1), ("coverage", "resolved", 0.9)]
    assert (alerts[0].low, alerts[0].high) != (None, None)


def test_a_share_of_values_that_are_missing_is_an_alert_and_explains_what_follows():
    empty = delta(5, right=5, wrong=45)
    start = empty.cells.index(min(cell for cell in empty.cells if cell > 1))
    moved = msgspec.structs.replace(
        empty, cells=tuple(24 if i == start else cell for i, cell in enumerate(empty.cells))
    )
    log = hours(begun(), 0, 0).slice(0, 5, moved).until(10)
    alerts = told(play(log, declared(GAPS, LOW)))
    gaps = next(alert for alert in alerts if alert.rule == "gaps")
    assert (gaps.kind, gaps.figure, gaps.value) == ("data", "missing(x)", 1.0)
    low = [alert for alert in alerts if alert.rule == "accuracy-low"]
    assert low[-1].incident == gaps.fingerprint


def test_a_silence_and_its_end_are_the_same_after_a_restart_at_every_step():
    log = hours(begun(), 0, 0).say(2, silence(timedelta(hours=3)))
    hours(log, 1, 4, right=20, wrong=30).say(18, command("acknowledge", fingerprint=NAME)).until(24)
    expected = play(log, declared(LOW, QUIET, repeat=timedelta(hours=1)))
    shard = Shard(log, declared(LOW, QUIET, repeat=timedelta(hours=1)))
    for count in range(1, max(map(len, log.records.values())) + 1):
        for source in SOURCES:
            shard.fetch(source, max(0, count - shard.read[source]))
        shard.go_on()
        shard.restart()
    assert changes(shard) == changes(expected)
    assert [alert.id for alert in told(shard)] == [alert.id for alert in told(expected)]
