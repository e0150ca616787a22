"""The oracle: re-reads the raw topics from offset 0 and compares everything that Driftline says with what they say.

It shares no code with Driftline: topics by kafka-python, JSON by the standard library, rules by a dictionary.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.bookkeeping import Beginning, Bookkeeper, Expected, Pane, PaneKey, Raw
from tests.chaos.contract import BadRecordError, read_columns
from tests.chaos.reading import Deployment, arriving, is_tick, read_deployment, read_topic
from tests.chaos.verdict import Verdict
from tests.chaos.windows import check_reports

RawTopics = Mapping[str, Mapping[int, Sequence[Raw]]]
INPUTS = ("predictions", "outcomes")


@dataclass
class Published:
    """What topic `slices` says, each (partition, slice, shard, part) once."""

    panes: dict[PaneKey, Pane] = field(default_factory=dict)
    counters: dict[tuple[int, int, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    breaches: Counter[tuple[int, int, str, str, str, str]] = field(default_factory=Counter)
    upto: dict[int, int] = field(default_factory=dict)


EVENTS_AN_ID = 6
SAMPLED = ("sampled_predictions", "sampled_outcomes")
MISPLACED = ("misplaced_predictions", "misplaced_outcomes")
LARGE = 4 << 20
"""Of a record with more bytes a dead letter need not hold all."""
ONE_IN = 64
"""Of the ids, so many are looked at for the partition in which they stand: which ones is not part of the contract."""


@dataclass(frozen=True)
class Rebuilt:
    """Redis was emptied when Kafka no longer held everything.

    `before`: the last slice that was published with everything known. `exact_from`: the slice from which on what is
    gone no longer matters. `beginning`: what holds at the earliest records kept.
    """

    before: int
    exact_from: int
    beginning: Beginning


TOPICS = ("predictions", "outcomes", "slices", "dead-letters", "metrics")


def read_raw(bootstrap: str, prefix: str) -> dict[str, dict[int, list[Raw]]]:
    """All that stands in the topics that the oracle reads."""
    return {topic: read_topic(bootstrap, prefix, topic) for topic in TOPICS}


def verify(
    bootstrap: str,
    prefix: str,
    broken: Collection[bytes] = (),
    gone: RawTopics | None = None,
    rebuilt: Rebuilt | None = None,
) -> Verdict:
    """Compare a deployment whose workers have finished and stand still. The options are those of `compare`."""
    return compare(read_deployment(bootstrap, prefix), read_raw(bootstrap, prefix), broken, gone, rebuilt)


def compare(
    deployment: Deployment,
    raw: RawTopics,
    broken: Collection[bytes] = (),
    gone: RawTopics | None = None,
    rebuilt: Rebuilt | None = None,
) -> Verdict:
    """`verify` of records in hand, by topic and partition.

    `broken`: texts; a record with one of them made a step raise. `gone`: records that were read before Kafka let go of
    them, to be put before those that it has. Where state was `rebuilt` without them, what is published until they no
    longer matter is what a reading of the records kept gives.
    """
    verdict = Verdict()
    published = read_slices(raw["slices"], verdict, rebuilt)
    whole = {topic: _joined((gone or {}).get(topic, {}), raw[topic]) for topic in INPUTS}
    expected = _expected(deployment, whole, published, Beginning(), broken, verdict)
    if rebuilt is not None:
        after = _expected(deployment, raw, published, rebuilt.beginning, broken, verdict)
        expected.replace_between(after, rebuilt.before, rebuilt.exact_from)
    verdict.predictions, verdict.outcomes = len(expected.predictions), expected.outcomes_joined
    verdict.letters = {place: reason for place, (reason, _) in expected.letters.items()}
    _compare_panes(expected, published, verdict)
    _compare_counters(expected, published, verdict)
    _compare_letters(expected, raw["dead-letters"], verdict)
    check_reports(deployment, expected, raw["metrics"], verdict)
    return verdict


def _joined(gone: Mapping[int, Sequence[Raw]], kept: Mapping[int, Sequence[Raw]]) -> dict[int, list[Raw]]:
    return {
        n: arriving([*gone.get(n, ()), *kept.get(n, ())]) if n in gone else list(kept.get(n, ()))
        for n in {*gone, *kept}
    }


def _expected(
    deployment: Deployment,
    raw: RawTopics,
    published: Published,
    beginning: Beginning,
    broken: Collection[bytes],
    verdict: Verdict,
) -> Expected:
    """What the inputs say, as far as they have been published; all of them must have been."""
    expected = Expected()
    for number in range(deployment.partitions):
        inputs = (raw["predictions"].get(number, ()), raw["outcomes"].get(number, ()))
        last = max((r.arrival for records in inputs for r in records if not is_tick(r)), default=-1)
        upto = published.upto.get(number, -1)
        if last // deployment.slice_ms > upto:
            verdict.differ(f"partition {number} is finished up to", last // deployment.slice_ms, upto)
        bookkeeper = Bookkeeper(
            number, deployment.slice_ms, deployment.specs, deployment.baselines, expected, beginning, broken
        )
        bookkeeper.read(*inputs, until=(max(upto, last // deployment.slice_ms) + 1) * deployment.slice_ms)
    return expected


def read_slices(partitions: Mapping[int, Sequence[Raw]], verdict: Verdict, rebuilt: Rebuilt | None = None) -> Published:
    """Add up the slices; a repeat must be the same bytes, and nothing may come after it was said to be finished.

    What is `rebuilt` without all that was known may repeat otherwise what was published before; it does not count.
    """
    published = Published()
    for number, records in partitions.items():
        seen: dict[tuple[int, int, int], bytes] = {}
        upto = -1
        for record in records:
            event = json.loads(record.value)
            kind = record.header("driftline-kind")
            if kind == "upto":
                upto = max(upto, event["slice"])
                continue
            if kind == "notice":
                verdict.notices[event["id"]] = event
                continue
            name = (event["slice"], event["shard"], event.get("part", 0))
            if name in seen:
                verdict.relayed_again += 1
                if seen[name] != record.value and rebuilt is None:
                    verdict.differ(f"slice {number}/{name} relayed again", seen[name][:200], record.value[:200])
                continue
            if rebuilt is not None and event["slice"] <= min(upto, rebuilt.before):
                continue
            if event["partition"] != number or (event["slice"] <= upto and rebuilt is None):
                verdict.differ(f"slice {number}/{name} comes", f"in its place, after {upto}", f"at {record.offset}")
            seen[name] = record.value
            _add(published, event)
        published.upto[number] = upto
        if rebuilt is None:
            _check_chain(number, [json.loads(value) for value in seen.values()], verdict)
    return published


def _check_chain(number: int, slices: Iterable[Mapping[str, Any]], verdict: Verdict) -> None:
    """Each slice names the number of the one before it."""
    by_number = defaultdict(set)
    for event in slices:
        by_number[event["slice"]].add(event["previous"])
    before = None
    for name in sorted(by_number):
        if by_number[name] != {before}:
            verdict.differ(f"the slice before {number}/{name}", before, by_number[name])
        before = name


def _add(published: Published, event: Mapping[str, Any]) -> None:
    place = (event["partition"], event["slice"])
    for delta in event["panes"]:
        names = ("model", "version", "role", "pane", "cut", "segment")
        key = PaneKey(*place, *(delta[name] for name in names))
        pane = published.panes.setdefault(key, Pane(delta["bins"]))
        pane.cells.update(dict(zip(delta["cells"], delta["counts"], strict=True)))
        pane.sums.update(delta["sums"])
    for breach in event["breaches"]:
        published.breaches[(*place, breach["model"], breach["version"], breach["name"], breach["reason"])] += breach[
            "n"
        ]
    for model, counters in event["counters"].items():
        published.counters[(*place, model)].update(counters)


def _compare_panes(expected: Expected, published: Published, verdict: Verdict) -> None:
    """Every cell of every pane that every slice changes; `n` and `labelled`, in the first two, tell what is lost."""
    for key in sorted(set(expected.panes) | set(published.panes)):
        wanted, found = (
            side.panes[key].settled() if key in side.panes else ("", {}, {}) for side in (expected, published)
        )
        if not wanted[1] and not wanted[2]:
            wanted = ("", {}, {})
        if wanted != found:
            verdict.differ(f"pane {tuple(key)}", *_difference(wanted, found))
    for cell in (0, 1):
        difference = _totals(expected, cell)
        difference.subtract(_totals(published, cell))
        verdict.lost += sum(n for n in difference.values() if n > 0)
        verdict.twice -= sum(n for n in difference.values() if n < 0)


def _difference(wanted: tuple[Any, ...], found: tuple[Any, ...]) -> tuple[object, object]:
    """Only the cells that differ, which is what one wants to read."""
    cells = [c for c in sorted(set(wanted[1]) | set(found[1])) if wanted[1].get(c) != found[1].get(c)][:8]
    return tuple((side[0], {c: side[1].get(c) for c in cells}, side[2]) for side in (wanted, found))  # type: ignore[return-value]  # of two sides


def _totals(side: Expected | Published, cell: int) -> Counter[tuple[str, str, str, int]]:
    totals: Counter[tuple[str, str, str, int]] = Counter()
    for key, pane in side.panes.items():
        if key.cut:
            continue
        totals[key.model, key.version, key.role, key.pane] += pane.cells[cell]
    return totals


def _compare_counters(expected: Expected, published: Published, verdict: Verdict) -> None:
    _compare_samples(expected, published, verdict)
    orphans = sum(counters.pop("orphans", 0) for counters in published.counters.values())
    low, high = expected.orphans
    if not low <= orphans <= high:
        verdict.differ("orphans", f"{low} to {high}", orphans)
    for name in sorted(set(expected.counters) | set(published.counters)):
        wanted, found = +expected.counters[name], +published.counters[name]
        if wanted != found:
            verdict.differ(f"counters of {name}", dict(wanted), dict(found))
    for breach in sorted(set(expected.breaches) | set(published.breaches)):
        if expected.breaches[breach] != published.breaches[breach]:
            verdict.differ(f"breaches of {breach}", expected.breaches[breach], published.breaches[breach])


def _compare_samples(expected: Expected, published: Published, verdict: Verdict) -> None:
    """Nothing is misplaced, and about as much was looked at as should be: within six standard deviations."""
    sampled: Counter[str] = Counter()
    for counters in published.counters.values():
        for name in (*SAMPLED, *MISPLACED):
            sampled[name] += counters.pop(name, 0)
    if any(sampled[name] for name in MISPLACED):
        verdict.differ("misplaced", 0, {name: sampled[name] for name in MISPLACED})
    for topic in ("predictions", "outcomes"):
        wanted = expected.valid[topic] / ONE_IN
        # an id has several events, which are looked at together
        if abs(sampled[f"sampled_{topic}"] - wanted) > 6 * (EVENTS_AN_ID * wanted) ** 0.5 + EVENTS_AN_ID:
            verdict.differ(f"sampled {topic}", f"about {wanted:.0f}", sampled[f"sampled_{topic}"])


def _compare_letters(expected: Expected, partitions: Mapping[int, Sequence[Raw]], verdict: Verdict) -> None:
    """Each bad record is there with its place, its reason and its bytes; a repeat after a crash is the same again."""
    found: dict[tuple[str, int, int, int], tuple[str, bytes]] = {}
    for record in (r for records in partitions.values() for r in records):
        headers = dict(record.headers)
        place = (
            headers["driftline.topic"].decode(),
            int(headers["driftline.partition"]),
            int(headers["driftline.offset"]),
            int(headers["driftline.row"]),
        )
        wanted = expected.letters.get(place, ("", b""))[1]
        value = wanted if _tells(record, headers, wanted, place[3]) else record.value
        letter = (headers["driftline.reason"].decode(), value)
        verdict.relayed_again += place in found
        if found.setdefault(place, letter) != letter:
            verdict.differ(f"dead letter of {place} again", found[place][0], letter[0])
    verdict.letters_expected, verdict.letters_found = len(expected.letters), len(found)
    for place in sorted(set(expected.letters) | set(found)):
        if expected.letters.get(place) != found.get(place):
            sides = [side[place][0] if place in side else None for side in (expected.letters, found)]
            verdict.differ(f"dead letter of {place}", *sides)


def _tells(letter: Raw, headers: Mapping[str, bytes], whole: bytes, row: int) -> bool:
    """Whether a dead letter holds what it should of a record: its bytes, or its beginning, or its row alone."""
    size = headers.get("driftline.size")
    if size is not None and int(size) == len(whole) > LARGE:
        return bool(letter.value) and whole.startswith(letter.value)
    try:
        wanted = {name: value for name, value in read_columns(whole)[row].items() if value != {}}
        return wanted.items() <= json.loads(letter.value).items()
    except (BadRecordError, IndexError, ValueError):
        return letter.value == whole
