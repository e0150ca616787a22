"""Dead letters: reading them, and putting the original records back where they came from.

That a letter has been replayed is remembered in the topic itself: a mark behind it names where its record stood. The
record that is put back carries the same in a header, which it keeps if it becomes a dead letter again. So neither a
letter nor what became of it is replayed twice, unless somebody says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import msgspec
from kafka.errors import KafkaError

from driftline.errors import Unreachable
from driftline.events.base import Millis
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.kafka import producer, read_all, read_deployment
from driftline.platform.records import LETTER_PREFIX, Outgoing, Record
from driftline.platform.settings import Settings

REPLAYED_HEADER = "driftline-replayed"
"""On a record that was put back: `topic/partition/offset` (and row, where it is not the first) of the original."""
REPLAYABLE = (Topic.PREDICTIONS, Topic.OUTCOMES)
"""What others write. Driftline's own records are never put back: their readers follow the order in which they stand."""
AT_A_TIME = 500
LARGEST_BYTES = 16 << 20
SEND_S = 60.0


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter. `offset`: its own, `topic` to `row`: of the record. `place` names the original for good.

    `at`: when it was written. `model` is None where the bytes tell none. `cut`: the record was too large to be written
    down once more, and this is only its beginning.
    """

    offset: int
    at: Millis
    reason: str
    detail: str
    topic: str
    partition: int
    record_offset: int
    row: int
    place: str
    model: str | None
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    mark: bool
    cut: bool


@dataclass(frozen=True)
class Wanted:
    """Which letters. None: any. `since`: written at that time or later."""

    reason: str | None = None
    model: str | None = None
    topic: str | None = None
    since: Millis | None = None

    def matches(self, letter: Letter) -> bool:
        """Whether it is one of them, `since` aside."""
        return (
            self.reason in (None, letter.reason)
            and self.model in (None, letter.model)
            and self.topic in (None, letter.topic)
        )


@dataclass
class Found:
    """Letters by number. `replayed`: places of originals that have been put back. `until`: where reading ended."""

    by_reason: Counter[str] = field(default_factory=Counter)
    replayed: set[str] = field(default_factory=set)
    until: int = 0
    letters: int = 0


def look_through(settings: Settings, wanted: Wanted) -> Found:
    """Count the letters, and find out which have been replayed."""
    found = Found()
    for record in read_all(settings, Topic.DEAD_LETTERS, wanted.since):
        found.until = record.next_offset
        letter = read_letter(record)
        if letter is None:
            mark = record.header(MARK_HEADER) or ""
            if mark.startswith("replayed "):
                found.replayed.add(mark.removeprefix("replayed "))
            continue
        if any(name == REPLAYED_HEADER for name, _ in letter.headers):
            found.replayed.add(letter.place)
        if wanted.matches(letter):
            found.letters += 1
            found.by_reason[letter.reason] += 1
    return found


def letters(settings: Settings, wanted: Wanted, until: int) -> Iterator[Letter]:
    """The letters that stand before `until`, in order."""
    for record in read_all(settings, Topic.DEAD_LETTERS, wanted.since):
        if record.offset >= until:
            return
        letter = read_letter(record)
        if letter is not None and wanted.matches(letter):
            yield letter


def to_replay(found: Iterable[Letter], replayed: set[str], again: bool, partitions: int) -> Iterator[Letter]:
    """Those of the letters that are to be put back: each original once, whatever became of it meanwhile.

    Several rows of one record that hold the whole of it are put back once. `partitions`: of the input topics.
    """
    done = set() if again else set(replayed)
    whole: set[tuple[str, int, int, int]] = set()
    for letter in found:
        ours = letter.topic not in REPLAYABLE or letter.mark
        if ours or letter.cut or letter.partition >= partitions:
            continue
        known = (letter.topic, letter.partition, letter.record_offset, hash(letter.value))
        if letter.place not in done and known not in whole:
            yield letter
        done.add(letter.place)
        whole.add(known)


def replay(settings: Settings, chosen: Iterable[Letter], told: Callable[[int], None]) -> int:
    """Put the records back and remember it; `told` hears after each few how many they were. Returns how many in all.

    First the records, acknowledged, then their marks: a crash in between lets the next replay repeat them, which counts
    as a duplicate and changes nothing. Raises `Unreachable`.
    """
    # with the replay's own clock a record is placed by what stands before it
    timestamp = 0 if read_deployment(settings).clock == "events" else None
    sender = producer(settings, max_request_size=LARGEST_BYTES)
    n = 0
    try:
        waiting = iter(chosen)
        while some := list(islice(waiting, AT_A_TIME)):
            _send(settings, sender, [_original(letter, timestamp) for letter in some])
            _send(settings, sender, [_mark(letter) for letter in some])
            n += len(some)
            told(len(some))
        return n
    except KafkaError as error:
        raise Unreachable(f"{n} records were put back, then Kafka did not take one: {error}") from error
    finally:
        sender.close(timeout=SEND_S)


def read_letter(record: Record) -> Letter | None:
    """The letter that a record of topic `dead-letters` is; None where it is a mark."""
    ours = {name: value for name, value in record.headers if name.startswith(LETTER_PREFIX)}
    if f"{LETTER_PREFIX}reason" not in ours:
        return None

    def text(name: str) -> str:
        return ours.get(LETTER_PREFIX + name, b"").decode("utf-8", "replace")

    def number(name: str) -> int:
        return int(said) if (said := text(name)).isdecimal() else 0

    theirs = tuple((name, value) for name, value in record.headers if not name.startswith(LETTER_PREFIX))
    before = dict(theirs).get(REPLAYED_HEADER)
    row = number("row")
    place = "/".join([text("topic"), str(number("partition")), str(number("offset")), *([str(row)] if row else [])])
    return Letter(
        offset=record.offset,
        at=record.timestamp,
        reason=text("reason"),
        detail=text("detail"),
        topic=text("topic"),
        partition=number("partition"),
        record_offset=number("offset"),
        row=row,
        place=before.decode("utf-8", "replace") if before is not None else place,
        model=_model(record.value or b""),
        key=ours.get(f"{LETTER_PREFIX}key"),
        value=record.value or b"",
        headers=theirs,
        mark=any(name == MARK_HEADER for name, _ in theirs),
        cut=f"{LETTER_PREFIX}size" in ours,
    )


class _About(msgspec.Struct, gc=False):
    model: object = None


_ABOUT = msgspec.json.Decoder(_About).decode


def _model(value: bytes) -> str | None:
    try:
        model = _ABOUT(value).model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return model if isinstance(model, str) else None


def _original(letter: Letter, timestamp: Millis | None) -> Outgoing:
    kept = tuple((name, value) for name, value in letter.headers if name != REPLAYED_HEADER)
    headers = (*kept, (REPLAYED_HEADER, letter.place.encode()))
    # into the partition where it stood, which is that of its prediction or outcome
    return Outgoing(Topic(letter.topic), letter.key, letter.value, letter.partition, headers, timestamp)


def _mark(letter: Letter) -> Outgoing:
    return Outgoing(Topic.DEAD_LETTERS, None, b"", 0, ((MARK_HEADER, f"replayed {letter.place}".encode()),))


def _send(settings: Settings, sender: object, records: list[Outgoing]) -> None:
    sent = [
        sender.send(  # type: ignore[attr-defined]  # kafka-python carries no types
            settings.topic(record.topic),
            key=record.key,
            value=record.value,
            partition=record.partition,
            headers=list(record.headers),
            timestamp_ms=record.timestamp,
        )
        for record in records
    ]
    for future in sent:
        future.get(SEND_S)
