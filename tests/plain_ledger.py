"""The ledger: who predicted what, and what came true. It joins outcomes to predictions in either order, once each.

Rules, which the archive's SQL view applies too:

* The first prediction of (model, id, version) counts; an exact repeat is a duplicate, a different one a conflict.
* A prediction and an outcome meet if their arrival slices are less than `kept` slices apart.
* Of several outcomes a prediction takes the one with the greatest `(time, offset)`; a change takes back the old one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import msgspec
import xxhash

SEGMENTS = 16
"""Kept items are stored in about this many segments by arrival, so that forgetting is dropping whole ones."""


class Truth(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An outcome as kept: `value` is a label's number or a regression target."""

    slice: int
    offset: int
    time: int
    value: float
    digest: int
    matched: bool


class Kept(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A prediction as kept: `value` is a label's number or a regression prediction; `truth` what was joined to it."""

    slice: int
    version: str
    role: str
    pane: int
    value: float
    score: float | None
    digest: int
    truth: Truth | None


class Fate(StrEnum):
    """What became of an arrival."""

    COUNTED = "counted"
    DUPLICATE = "duplicates"
    CONFLICT = "conflicts"
    CORRECTION = "corrections"
    SUPERSEDED = "superseded"  # an outcome older than the one already known


class Joined(NamedTuple):
    """A prediction and its outcome, to be added to the prediction's pane (`sign` 1) or taken back (-1)."""

    prediction: Kept
    truth: Truth
    sign: int


@dataclass
class LedgerChanges:
    """Fields of stored segments to write and drop, and whole segments to forget."""

    put: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    drop: dict[int, list[bytes]] = field(default_factory=dict)
    forget: list[int] = field(default_factory=list)


@dataclass
class _Entry:
    predictions: list[Kept] = field(default_factory=list)
    outcomes: list[Truth] = field(
        default_factory=list
    )  # the earlier arrived, the greater its time: none dominates another


class Ledger:
    """The ledger of one model in one source partition.

    `kept`: for how many slices an arrival is remembered; it may change. `segment_slices`, which names what is stored,
    may not.
    """

    def __init__(self, kept: int, segment_slices: int) -> None:
        self.kept = kept
        self._segment_slices = segment_slices
        self._entries: dict[bytes, _Entry] = {}
        self._segments: dict[int, set[bytes]] = {}
        self._changes = LedgerChanges()

    def __len__(self) -> int:
        return len(self._entries)

    @staticmethod
    def segment_size(kept: int) -> int:
        """How many slices make a segment, so that there are about `SEGMENTS` of them."""
        return max(1, kept // SEGMENTS)

    @staticmethod
    def key(event_id: str) -> bytes:
        """128 bits of an id (two ids in 10^11 collide with a chance below 10^-16)."""
        return xxhash.xxh3_128_digest(event_id.encode())

    def predict(self, key: bytes, prediction: Kept) -> tuple[Fate, list[Joined]]:
        """A prediction arrives: it counts if its version has not predicted this id yet."""
        entry = self._entries.setdefault(key, _Entry())
        for known in entry.predictions:
            if known.version == prediction.version and self._alive(known.slice, prediction.slice):
                return (Fate.DUPLICATE if known.digest == prediction.digest else Fate.CONFLICT), []
        waiting = [truth for truth in entry.outcomes if self._alive(truth.slice, prediction.slice)]
        joined = []
        if waiting:
            best = max(waiting, key=lambda truth: (truth.time, truth.offset))
            if not best.matched:
                self._replace_outcome(key, entry, best, msgspec.structs.replace(best, matched=True))
            prediction = msgspec.structs.replace(prediction, truth=best)
            joined.append(Joined(prediction, best, 1))
        entry.predictions.append(prediction)
        self._store(key, prediction.slice, _prediction_field(key, prediction), prediction)
        return Fate.COUNTED, joined

    def outcome(self, key: bytes, truth: Truth) -> tuple[Fate, list[Joined]]:
        """An outcome arrives: it scores every version that predicted this id, or waits for one that will."""
        entry = self._entries.setdefault(key, _Entry())
        joined: list[Joined] = []
        repeated = any(
            known.digest == truth.digest for known in entry.outcomes if self._alive(known.slice, truth.slice)
        )
        corrected = superseded = False
        for position, kept in enumerate(entry.predictions):
            if not self._alive(kept.slice, truth.slice):
                continue
            if kept.truth is not None:
                repeated |= kept.truth.digest == truth.digest
                superseded |= truth.time < kept.truth.time
                if truth.time < kept.truth.time or kept.truth.digest == truth.digest:
                    continue
                corrected = True
                joined.append(Joined(kept, kept.truth, -1))
            updated = msgspec.structs.replace(kept, truth=truth)
            entry.predictions[position] = updated
            self._store(key, kept.slice, _prediction_field(key, updated), updated)
            joined.append(Joined(updated, truth, 1))
        superseded |= any(known.time > truth.time for known in entry.outcomes if self._alive(known.slice, truth.slice))
        self._keep_outcome(key, entry, truth, matched=bool(joined))
        if joined:
            return (Fate.CORRECTION if corrected else Fate.COUNTED), joined
        if repeated:
            return Fate.DUPLICATE, joined
        return (Fate.SUPERSEDED if superseded else Fate.COUNTED), joined

    def forget(self, slice_number: int) -> int:
        """Drop the segments of which nothing is remembered; returns how many outcomes never met a prediction."""
        orphans = 0
        for segment in sorted(self._segments):
            if slice_number - ((segment + 1) * self._segment_slices - 1) < self.kept:
                break
            for key in self._segments.pop(segment):
                entry = self._entries.get(key)
                if entry is None:
                    continue
                gone = [truth for truth in entry.outcomes if self._segment(truth.slice) == segment]
                orphans += sum(not truth.matched for truth in gone)
                entry.outcomes = [truth for truth in entry.outcomes if truth not in gone]
                entry.predictions = [kept for kept in entry.predictions if self._segment(kept.slice) != segment]
                if not entry.outcomes and not entry.predictions:
                    del self._entries[key]
            self._changes.put.pop(segment, None)
            self._changes.drop.pop(segment, None)
            self._changes.forget.append(segment)
        return orphans

    def take_changes(self) -> LedgerChanges:
        """What has changed since the last call."""
        changes, self._changes = self._changes, LedgerChanges()
        return changes

    def restore(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back stored fields (`field -> value`), in any order."""
        for name, value in items:
            key = name[1:17]
            entry = self._entries.setdefault(key, _Entry())
            if name[:1] == _PREDICTION:
                kept = _DECODE_KEPT(value)
                entry.predictions.append(kept)
                self._segments.setdefault(self._segment(kept.slice), set()).add(key)
            else:
                truth = _DECODE_TRUTH(value)
                entry.outcomes.append(truth)
                self._segments.setdefault(self._segment(truth.slice), set()).add(key)
        for entry in self._entries.values():
            entry.predictions.sort(key=lambda kept: kept.slice)
            entry.outcomes.sort(key=lambda truth: truth.offset)

    def _segment(self, slice_number: int) -> int:
        return slice_number // self._segment_slices

    def _alive(self, then: int, now: int) -> bool:
        return now - then < self.kept

    def _keep_outcome(self, key: bytes, entry: _Entry, truth: Truth, *, matched: bool) -> None:
        """Remember `truth` for predictions to come, a repeat too since it lives longer; forget those it dominates."""
        for known in [known for known in entry.outcomes if known.time <= truth.time]:
            matched |= known.matched
            entry.outcomes.remove(known)
            self._drop(known.slice, _outcome_field(key, known))
        truth = msgspec.structs.replace(truth, matched=matched)
        entry.outcomes.append(truth)
        self._store(key, truth.slice, _outcome_field(key, truth), truth)

    def _replace_outcome(self, key: bytes, entry: _Entry, old: Truth, new: Truth) -> None:
        entry.outcomes[entry.outcomes.index(old)] = new
        self._store(key, new.slice, _outcome_field(key, new), new)

    def _store(self, key: bytes, slice_number: int, name: bytes, item: Kept | Truth) -> None:
        segment = self._segment(slice_number)
        self._segments.setdefault(segment, set()).add(key)
        self._changes.put.setdefault(segment, {})[name] = _ENCODER.encode(item)

    def _drop(self, slice_number: int, name: bytes) -> None:
        segment = self._segment(slice_number)
        written = self._changes.put.get(segment, {})
        written.pop(name, None)
        self._changes.drop.setdefault(segment, []).append(name)


def _prediction_field(key: bytes, prediction: Kept) -> bytes:
    return _PREDICTION + key + prediction.version.encode()


def _outcome_field(key: bytes, truth: Truth) -> bytes:
    return _OUTCOME + key + truth.digest.to_bytes(8, "big")


_ENCODER = msgspec.msgpack.Encoder()
_DECODE_KEPT = msgspec.msgpack.Decoder(Kept).decode
_DECODE_TRUTH = msgspec.msgpack.Decoder(Truth).decode
_PREDICTION, _OUTCOME = b"p", b"o"
