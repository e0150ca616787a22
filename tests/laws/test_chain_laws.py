"""The chain of a model's decisions goes on through kills and losses of state, and shows whatever is done to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.laws.test_control_laws import declared, eventful_day
from tests.timeline.shards import SOURCES, Shard, ShardLog, register

from driftline.core.chain import CHAINED, INPUTS, Flaw, Place, compare, judged, verify
from driftline.events.alerts import Alert
from driftline.events.base import Link, encode, value_digest
from driftline.events.topics import Topic
from driftline.platform.records import Outgoing, Source

Told = list[tuple[Place, bytes]]


def placed(outbox: Iterable[Outgoing]) -> Told:
    """The decisions as they stand in their topics."""
    ends: Counter[Topic] = Counter()
    found = []
    for record in outbox:
        if record.topic in CHAINED:
            found.append((Place(record.topic, 0, ends[record.topic]), record.value or b""))
            ends[record.topic] += 1
    return found


@cache
def steps() -> tuple[tuple[Outgoing, ...], ...]:
    """What each step of the day writes, when it is read a record at a time and killed after every step."""
    shard, found = Shard(eventful_day(), declared()), []
    while any(shard.read[source] < len(shard.log.records[source]) for source in SOURCES):
        before = len(shard.outbox)
        for source in SOURCES:
            shard.fetch(source, 1)
        shard.go_on()
        if len(shard.outbox) > before:
            found.append(tuple(shard.outbox[before:]))
            shard.restart()
    return tuple(found)


@cache
def day() -> tuple[Told, Link]:
    """The day's decisions in their topics, and what control remembers."""
    shard = Shard(eventful_day(), declared()).run()
    return placed(shard.outbox), shard.work._shard.desks["m"].book.link


@cache
def inputs() -> Told:
    """The day's commands, candidates and verdicts in their topics."""
    return [
        (Place(*record.source, record.offset), record.value)
        for topic in INPUTS
        for record in eventful_day().records[Source(topic, 0)]
        if record.value and record.value.startswith(b'{"id":')
    ]


def test_a_chain_is_whole_and_holds_every_decision_about_its_model():
    told, remembered = day()
    (chain,) = verify([*told, *inputs()], {"m": remembered})
    assert not chain.faults
    assert chain.end == remembered
    assert chain.decisions == len({msgspec.json.decode(value)["id"] for _, value in told if b'"link":{' in value}) > 20
    assert {place.topic for place, _ in told} == set(CHAINED)
    outside = [msgspec.json.decode(value, type=Alert) for _, value in told if b'"link":null' in value]
    assert all(alert.provisional or not alert.model for alert in outside)


def test_a_decision_names_the_digest_of_each_input_that_caused_it():
    digests = {msgspec.json.decode(value)["id"]: (place.topic, value_digest(value)) for place, value in inputs()}
    named = {}
    for _, value in day()[0]:
        decision = msgspec.json.decode(value)
        of_it = (decision["link"] or {"inputs": {}})["inputs"]
        assert of_it == {cause: digests[cause][1] for cause in decision["caused_by"] if cause in of_it}
        named |= of_it
    assert {digests[name][0] for name in named} == set(INPUTS)


def test_a_decision_holds_what_is_needed_to_understand_it_alone():
    decisions = [msgspec.json.decode(value) for _, value in day()[0] if b'"link":{' in value]
    assert {each["spec"] for each in decisions} == {"", "m@1", "m@2"}
    assert [each["reason"] for each in decisions if not each["spec"]] == ["registered"]
    assert all(each["code"] for each in decisions)
    (terms,) = {str(each["terms"]): each["terms"] for each in decisions if each.get("kind") == "metric"}.values()
    assert (terms["below"], terms["clear_above"], terms["k"], terms["of"]) == (0.7, 0.8, 1, 1)
    assert (terms["min_samples"], terms["min_coverage"]) == (40, 0.9)


def test_killed_after_every_step_the_chain_is_the_same():
    written = [record for step in steps() for record in step]
    assert [each for each in written if b'"link":{' in (each.value or b"")] == [
        each for each in Shard(eventful_day(), declared()).run().outbox if b'"link":{' in (each.value or b"")
    ]


@pytest.mark.parametrize("share", [0, 0.05, 0.2, 0.45, 0.7, 0.99, 1])
def test_a_start_without_state_goes_on_with_the_chain_that_stands_in_the_topics(share):
    told, remembered = day()
    outbox = Shard(eventful_day(), declared()).run().outbox
    kept = outbox[: int(len(outbox) * share)]
    again = Shard(eventful_day(), declared(), kept).run()
    (chain,) = verify([*placed([*kept, *again.outbox]), *inputs()], {"m": remembered})
    assert not chain.faults
    assert chain.end == again.work._shard.desks["m"].book.link
    assert placed([*kept, *again.outbox]) == told


def test_a_start_without_state_from_logs_that_begin_late_goes_on_with_the_chain_too():
    """It does not decide again all that stands there, so it must not begin behind what it decided last."""
    outbox = Shard(eventful_day(), declared()).run().outbox
    late = ShardLog()
    late.records = {source: records[len(records) // 3 :] for source, records in eventful_day().records.items()}
    late.say(92, register("9", id="late")).until(95)
    late_command = (Place(Topic.COMMANDS, 0, 10_000), encode(register("9", id="late")))
    again = Shard(late, declared(), outbox).run()
    assert [state["champion"]["version"] for state in again.events(Topic.MODELS)] == ["9"]
    (chain,) = verify([*placed([*outbox, *again.outbox]), *inputs(), late_command])
    assert not chain.faults
    assert chain.decisions >= day()[1].number


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_relays_that_are_cut_short_and_done_again_are_no_faults(data):
    written: list[Outgoing] = []
    repeated = 0
    for step in steps():
        if data.draw(st.booleans()):
            cut = data.draw(st.integers(0, len(step)))
            written += step[:cut]
            repeated += sum(b'"link":{' in (r.value or b"") for r in step[:cut])
        written += step
    (chain,) = verify([*placed(written), *inputs()], {"m": day()[1]})
    assert not chain.faults
    assert chain.repeats == repeated


def changed(told: Told, draw) -> Told:
    """One byte of one record is another."""
    i = draw(st.sampled_from([i for i, (_, value) in enumerate(told) if b'"link":{' in value]))
    place, value = told[i]
    at = draw(st.integers(0, len(value) - 1))
    other = draw(st.integers(0, 255).filter(lambda byte: byte != value[at]))
    return [*told[:i], (place, value[:at] + bytes([other]) + value[at + 1 :]), *told[i + 1 :]]


def removed(told: Told, draw) -> Told:
    i = draw(st.sampled_from([i for i, (_, value) in enumerate(told) if b'"link":{' in value]))
    return [*told[:i], *told[i + 1 :]]


def swapped(told: Told, draw) -> Told:
    """Two records have changed places, within a topic or not."""
    chained = [i for i, (_, value) in enumerate(told) if b'"link":{' in value]
    i, j = sorted(draw(st.lists(st.sampled_from(chained), min_size=2, max_size=2, unique=True)))
    found = list(told)
    found[i], found[j] = (told[i][0], told[j][1]), (told[j][0], told[i][1])
    return found


def copied(told: Told, draw) -> Told:
    """A record stands again somewhere behind, in its topic or another, but not where a relay would have put it."""
    last = {place.topic: i for i, (place, value) in enumerate(told) if b'"link":{' in value}
    chained = [i for i, (_, value) in enumerate(told) if b'"link":{' in value and i not in last.values()]
    i = draw(st.sampled_from(chained))
    topic = draw(st.sampled_from(CHAINED))
    return [*told, (Place(topic, draw(st.integers(0, 1)), 10_000), told[i][1])]


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from([changed, removed, swapped, copied]))
def test_whatever_is_done_to_a_record_is_found(data, spoil):
    told, remembered = day()
    records = [*spoil(told, data.draw), *inputs()]
    faults = [fault for chain in verify(records, {"m": remembered}) for fault in chain.faults]
    assert faults
    assert all(fault.place is not None or fault.number == remembered.number - 1 for fault in faults)


def test_each_flaw_is_called_by_its_name():
    told, remembered = day()
    cases = [i for i, (place, value) in enumerate(told) if place.topic is Topic.CASES and b'"link":{' in value]
    first, second = cases[:2]
    turned = list(told)
    turned[first], turned[second] = (told[first][0], told[second][1]), (told[second][0], told[first][1])
    again = [*told, (Place(Topic.CASES, 1, 0), told[first][1])]
    no_event = [*told, (Place(Topic.CASES, 0, 10_000), b"\xff")]
    found = [
        {fault.flaw for chain in verify([*each, *inputs()], {"m": remembered}) for fault in chain.faults}
        for each in (turned, again, no_event)
    ]
    assert found == [{Flaw.REORDERED}, {Flaw.DUPLICATED}, {Flaw.UNREADABLE}]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_missing_record_is_named_by_its_number_and_by_what_stands_behind_it(data):
    told, remembered = day()
    spoilt = removed(told, data.draw)
    (gone,) = {value for _, value in told} - {value for _, value in spoilt}
    number = msgspec.json.decode(gone)["link"]["number"]
    (fault,) = verify([*spoilt, *inputs()], {"m": remembered})[0].faults
    assert (fault.flaw, fault.number) == (Flaw.MISSING, number)


def test_what_control_no_longer_remembers_leaves_the_end_of_a_chain_unproven():
    told, remembered = day()
    last = next(i for i, (_, value) in enumerate(told) if b'"number":%d,' % (remembered.number - 1) in value)
    cut = [*told[:last], *told[last + 1 :], *inputs()]
    assert not verify(cut)[0].faults
    (fault,) = verify(cut, {"m": remembered})[0].faults
    assert (fault.flaw, fault.place) == (Flaw.MISSING, None)


def test_the_archive_is_a_second_copy_that_shows_what_the_topics_have_lost_or_changed():
    told, _ = day()
    topics, archive = dict(told), dict(told)
    until = {(topic, 0): 10_000 for topic in CHAINED}
    assert not list(compare(topics, archive, until))
    gone, other, unarchived, *_ = topics
    topics.pop(gone)
    topics[other] += b" "
    archive.pop(unarchived)
    assert {(fault.flaw, fault.place) for fault in compare(topics, archive, until)} == {
        (Flaw.MISSING, gone),
        (Flaw.CHANGED, other),
        (Flaw.MISSING, unarchived),
    }
    assert not list(compare(topics, archive, {})), "what it has not come to yet proves nothing"


def test_decisions_from_before_there_were_chains_are_counted_and_later_ones_without_a_place_are_faults():
    told, _ = day()
    bare = []
    for place, value in told:
        plain = msgspec.json.decode(value)
        if plain.get("link"):
            bare.append((place, msgspec.json.encode(plain | {"link": None, "code": ""})))
    (chain,) = verify(bare)
    assert (chain.before, chain.decisions, chain.faults) == (len(bare), 0, [])
    plain = next(value for place, value in bare if place.topic == "cases")
    behind = [*told, *inputs(), (Place(Topic.CASES, 0, 10_000), plain)]
    assert [fault.flaw for fault in verify(behind)[0].faults] == [Flaw.UNCHAINED]


def decided_on(topic: Topic) -> tuple[Place, bytes]:
    """The last input of a topic on which a decision rests."""
    named = {name for _, value in day()[0] for name in (msgspec.json.decode(value)["link"] or {}).get("inputs", {})}
    return [one for one in inputs() if one[0].topic is topic and msgspec.json.decode(one[1])["id"] in named][-1]


def faults_with(topics: Told, archive: Told = ()) -> list[tuple[Flaw, Place]]:
    """What is wrong with the day's decisions over these inputs."""
    told, remembered = day()
    until = {(topic, 0): 10_000 for topic in INPUTS} if archive else {}
    chains = judged(dict([*told, *topics]), dict(archive), until, {"m": remembered})
    return [(fault.flaw, fault.place) for chain in chains for fault in chain.faults]


@pytest.mark.parametrize("topic", INPUTS)
def test_an_input_that_was_changed_is_named_with_its_place(topic):
    place, value = decided_on(topic)
    spoilt = [(at, value.replace(b'"model":"m"', b'"model":"n"') if at == place else its) for at, its in inputs()]
    assert faults_with(spoilt) == [(Flaw.CHANGED, place)]


@pytest.mark.parametrize("topic", INPUTS)
def test_an_input_that_was_removed_is_named_by_the_decision_that_rests_on_it(topic):
    gone, value = decided_on(topic)
    left = [one for one in inputs() if one[0] != gone]
    ((flaw, place),) = faults_with(left)
    assert flaw is Flaw.MISSING
    assert msgspec.json.decode(value)["id"] in msgspec.json.decode(dict(day()[0])[place])["link"]["inputs"]
    assert faults_with(left, inputs()) == [(Flaw.MISSING, gone)], "the archive still has what was decided on"


@pytest.mark.parametrize("topic", INPUTS)
def test_an_input_before_which_another_was_put_is_found_and_one_behind_it_is_a_repeat(topic):
    place, value = decided_on(topic)
    other = value.replace(b'"model":"m"', b'"model":"n"')
    later = [(at._replace(offset=at.offset + 1), its) for at, its in inputs()]
    assert faults_with([(Place(topic, 0, 0), other), *later]) == [(Flaw.DUPLICATED, Place(topic, 0, 0))]
    assert faults_with([*inputs(), (Place(topic, 0, 10_000), other)]) == []
    assert faults_with([*inputs(), (place, other), (Place(topic, 0, 10_000), value)]) == [(Flaw.DUPLICATED, place)]


def test_what_the_archive_and_the_topics_have_of_an_input_is_compared():
    place, value = decided_on(Topic.VERDICTS)
    assert faults_with(inputs(), inputs()) == []
    forged = [(at, value + b" " if at == place else its) for at, its in inputs()]
    assert set(faults_with(inputs(), forged)) == {(Flaw.CHANGED, place)}
    assert set(faults_with(forged, inputs())) == {(Flaw.CHANGED, place)}


def test_decisions_from_before_inputs_were_named_are_valid():
    chained = [(place, msgspec.json.decode(value)) for place, value in day()[0] if b'"link":{' in value]
    found, link = [], Link()
    for place, decision in sorted(chained, key=lambda one: one[1]["link"]["number"]):
        value = msgspec.json.encode(decision | {"link": {"number": link.number, "previous": link.previous}})
        found.append((place, value))
        link = link.after(value)
    (chain,) = verify(sorted(found), {"m": link})
    assert (chain.decisions, chain.faults) == (len(found), [])
