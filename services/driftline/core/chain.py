"""Is the chain of a model's decisions whole, and is what they rest on still what it was?

Every one names the digest of the one before it, and of the commands, candidates and verdicts that caused it
(`events.base.Link`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from driftline.events.base import Link, value_digest
from driftline.events.topics import Topic, decode_record

CHAINED = (Topic.ALERTS, Topic.CASES, Topic.MODELS, Topic.RETRAIN_REQUESTS)
"""Where the decisions of a chain stand, all of them in the partition of its shard."""
INPUTS = (Topic.COMMANDS, Topic.CANDIDATES, Topic.VERDICTS)
"""Where that stands which others write and decisions name by its digest."""


class Place(NamedTuple):
    """Where a record stands."""

    topic: Topic
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition} at {self.offset}"


class Flaw(StrEnum):
    """What is wrong with a chain."""

    CHANGED = "changed"  # it is not what a later one followed, or what the archive or control remember
    MISSING = "missing"
    REORDERED = "reordered"
    DUPLICATED = "duplicated"  # it stands again where no relay after a kill would have put it
    UNREADABLE = "unreadable"  # no event at all
    UNCHAINED = "unchained"  # a decision without a place in the chain, behind others that have one


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong. `place`: where; of something missing, the place of the record behind the gap or of the
    decision that rests on it. `number`: of the decision.
    """

    model: str
    flaw: Flaw
    number: int | None
    place: Place | None
    detail: str


class Chain(msgspec.Struct, kw_only=True):
    """What was found of one model. `repeats`: records that a relay after a kill has written again, all of them exact
    copies. `before`: decisions from before there were chains. `end`: the link of the decision that comes next.
    """

    model: str
    decisions: int = 0
    repeats: int = 0
    before: int = 0
    end: Link = Link()
    faults: list[Fault] = []


class _Head(msgspec.Struct):
    id: str = ""
    model: str = ""
    provisional: bool = False
    code: str = ""
    link: Link | None = None


class _Stands(NamedTuple):
    place: Place
    link: Link
    value: bytes


_Given = dict[str, list[tuple[Place, str]]]
"""By id the records of `INPUTS`, each with its digest."""


def verify(records: Iterable[tuple[Place, bytes]], remembered: Mapping[str, Link] | None = None) -> list[Chain]:
    """The chains of all models in `records` of `CHAINED` and `INPUTS`, each topic partition in order of its offsets.

    `remembered`: by model the link that control gives next. A chain by itself cannot show that its end was cut off or
    that its last record was changed.
    """
    chains: dict[str, Chain] = {}
    standing: dict[str, list[_Stands]] = {}
    begun: set[tuple[Topic, int, str]] = set()
    given: _Given = {}
    for place, value in records:
        if place.topic in INPUTS:
            given.setdefault(_head_of(value).id, []).append((place, value_digest(value)))
            continue
        try:
            head = _read(place.topic, value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            found = Fault(model="", flaw=Flaw.UNREADABLE, number=None, place=place, detail=str(error))
            chains.setdefault("", Chain(model="")).faults.append(found)
            continue
        if head is None:
            continue
        chain = chains.setdefault(head.model, Chain(model=head.model))
        here = (place.topic, place.partition, head.model)
        if head.link is not None:
            begun.add(here)
            standing.setdefault(head.model, []).append(_Stands(place, head.link, value))
        elif head.code or here in begun:
            detail = "a decision without a place in the chain"
            chain.faults.append(Fault(model=head.model, flaw=Flaw.UNCHAINED, number=None, place=place, detail=detail))
        else:
            chain.before += 1
    known = {model: link for model, link in (remembered or {}).items() if link != Link()}
    for model in known:
        chains.setdefault(model, Chain(model=model))
    for model, chain in chains.items():
        chain.faults += _links(chain, standing.get(model, []), known.get(model))
        chain.faults += _places(chain, standing.get(model, []))
        chain.faults += _inputs(model, standing.get(model, []), given)
    return [chains[model] for model in sorted(chains)]


def _read(topic: Topic, value: bytes) -> _Head | None:
    """What a record says of itself, if it is a decision that has a place in a chain. It must be one of its topic."""
    head = msgspec.json.decode(value, type=_Head)
    decode_record(topic, value)
    return None if head.provisional or not head.model else head


def _links(chain: Chain, found: list[_Stands], remembered: Link | None) -> Iterator[Fault]:
    """From the end to the beginning, so that of two records that claim one number the one that was followed counts."""
    claims: dict[int, dict[bytes, _Stands]] = {}
    for one in found:
        claims.setdefault(one.link.number, {}).setdefault(one.value, one)
    chain.decisions = len(claims)
    model, behind, wanted = chain.model, None, None
    above = max(claims, default=0) + 1
    if remembered is not None and remembered.number >= above:
        above, wanted = remembered.number, remembered.previous
    for number in [*sorted(claims, reverse=True), 0]:
        if number < above - 1:
            yield _gap(model, max(number, 0) + 1, above - 1, behind)
            wanted = None
        ones = list(claims.get(number, {}).values())
        fitting = [one for one in ones if wanted is None or one.link.after(one.value).previous == wanted]
        genuine = next(iter(fitting or ones), None)
        for one in ones:
            if number < 1:
                yield _fault(model, Flaw.CHANGED, one, "decisions are counted from 1")
            elif genuine is not None and one is not genuine:
                yield _fault(model, Flaw.CHANGED, one, f"decision {number} is the one that stands at {genuine.place}")
            elif not fitting:
                yield _fault(model, Flaw.CHANGED, one, "its digest is not the one that is named behind it")
        if genuine is not None:
            if behind is None:
                chain.end = genuine.link.after(genuine.value)
            if number == 1 and genuine.link.previous:
                yield _fault(model, Flaw.CHANGED, genuine, "it is the first one, but names one before it")
            behind, wanted, above = genuine, genuine.link.previous, number


def _gap(model: str, first: int, last: int, behind: _Stands | None) -> Fault:
    what = f"decision {first} stands" if first == last else f"decisions {first} to {last} stand"
    where = f"before {behind.place}" if behind is not None else "at the end, as control remembers"
    place = behind.place if behind is not None else None
    return Fault(model=model, flaw=Flaw.MISSING, number=first, place=place, detail=f"{what} nowhere; missing {where}")


def _places(chain: Chain, found: list[_Stands]) -> Iterator[Fault]:
    """Each decision stands once, in the partition of the chain, in its topic in order.

    A relay that was cut short is done again from its first record to its last: such copies are counted, not faults.
    """
    first: dict[bytes, Place] = {}
    standing: dict[tuple[Topic, int], list[_Stands]] = {}
    for one in found:
        place = first.setdefault(one.value, one.place)
        if place[:2] != one.place[:2]:
            yield _fault(chain.model, Flaw.DUPLICATED, one, f"it stands at {place} too")
        elif one.place.partition != found[0].place.partition:
            where = f"the chain stands in partition {found[0].place.partition}"
            yield _fault(chain.model, Flaw.REORDERED, one, where)
        standing.setdefault((one.place.topic, one.place.partition), []).append(one)
    for ones in standing.values():
        yield from _order(chain, ones)


def _order(chain: Chain, standing: list[_Stands]) -> Iterator[Fault]:
    at: dict[bytes, int] = {}  # where each first stood
    latest = 0
    again: list[_Stands] = []  # copies of a relay that has not come to its end
    for one in standing:
        repeated = at.get(one.value)
        if repeated is None or (again and repeated > at[again[-1].value] + 1):
            yield from _never_ended(chain.model, again)
            again = []
        if repeated is None:
            if one.link.number < latest:
                yield _fault(chain.model, Flaw.REORDERED, one, f"it stands behind decision {latest}")
            at[one.value] = len(at)
            latest = max(latest, one.link.number)
            continue
        again.append(one)
        if repeated == len(at) - 1:
            chain.repeats += len(again)
            again = []
    yield from _never_ended(chain.model, again)


def _never_ended(model: str, again: list[_Stands]) -> Iterator[Fault]:
    for one in again:
        yield _fault(model, Flaw.DUPLICATED, one, "an exact copy of one that stands before; readers know it by its id")


def _inputs(model: str, found: list[_Stands], given: _Given) -> Iterator[Fault]:
    """What decisions name stands there with the digest that they name, and before any other record of its id."""
    named: dict[tuple[str, str], _Stands] = {}
    for one in found:
        for named_input in one.link.inputs.items():
            named.setdefault(named_input, one)
    for (name, digest), one in named.items():
        records, number = given.get(name, []), one.link.number
        genuine = next((place for place, its in records if its == digest), None)
        first = next((place for place, _ in records if genuine is None or place[:2] == genuine[:2]), None)
        if first is None:
            yield _fault(model, Flaw.MISSING, one, f"{name}, on which it rests, stands nowhere")
        elif first != genuine:
            flaw = Flaw.CHANGED if genuine is None else Flaw.DUPLICATED
            said = "has not the digest of" if genuine is None else f"stands before {genuine}, which is"
            detail = f"{name} {said} what decision {number} rests on"
            yield Fault(model=model, flaw=flaw, number=number, place=first, detail=detail)


def _fault(model: str, flaw: Flaw, one: _Stands, detail: str) -> Fault:
    return Fault(model=model, flaw=flaw, number=one.link.number, place=one.place, detail=detail)


def compare(
    topic: Mapping[Place, bytes], archive: Mapping[Place, bytes], until: Mapping[tuple[Topic, int], int]
) -> Iterator[Fault]:
    """Where the topics and their archived copy differ, up to the offsets `until` which the archive has them."""
    for place in sorted({*topic, *archive}):
        if place.offset >= until.get((place.topic, place.partition), 0):
            continue
        stands, copy = topic.get(place), archive.get(place)
        if stands == copy:
            continue
        if stands is None:
            flaw, detail = Flaw.MISSING, "the archive has this record; the topic has it no more"
        elif copy is None:
            flaw, detail = Flaw.MISSING, "the topic has this record; the archive has it no more"
        else:
            flaw, detail = Flaw.CHANGED, "the topic and the archive have different records here"
        head = _head_of(stands or copy or b"")
        number = head.link.number if head.link else None
        yield Fault(model=head.model, flaw=flaw, number=number, place=place, detail=detail)


def judged(
    topics: Mapping[Place, bytes],
    archive: Mapping[Place, bytes],
    until: Mapping[tuple[Topic, int], int],
    remembered: Mapping[str, Link] | None,
) -> list[Chain]:
    """`verify` and `compare` of all that is known. What the topics have no more of inputs is taken from the archive."""
    inputs = {place: value for place, value in archive.items() if place.topic in INPUTS}
    chains = {chain.model: chain for chain in verify(sorted((inputs | dict(topics)).items()), remembered)}
    for fault in compare(topics, archive, until):
        chains.setdefault(fault.model, Chain(model=fault.model)).faults.append(fault)
    return [chains[model] for model in sorted(chains)]


def _head_of(value: bytes) -> _Head:
    try:
        return msgspec.json.decode(value, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Head()
