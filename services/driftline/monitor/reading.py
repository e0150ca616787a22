"""From records to columns: decoding and checking many at a time.

What is usual goes the quick way: types made from the specs (`monitor.typed`), checks on whole columns. A record that
does not pass there is looked at by itself (`monitor.intake`), which finds the reason, or that nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.core.columns import OutcomeColumns, PredictionColumns, contents, hash_of_name, hashed
from driftline.core.plans import names_of
from driftline.errors import InvalidRecord
from driftline.events.columns import COLUMNS
from driftline.events.inputs import Outcome, Value
from driftline.monitor.intake import read_prediction, read_rows, take_in
from driftline.monitor.models import Models, times_of
from driftline.monitor.typed import column_types, decoder, prediction_types
from driftline.platform.records import Record
from driftline.spec.model import MonitorSpec

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

CHUNK = 500
"""Records decoded at once: what they become stays in the processor's cache (2,000 cost twice as much each)."""
REMEMBERED_NAMES = 100_000
"""Categories whose hashes are remembered."""

Place = tuple[Record, int]
"""A record and the row in it."""
Bad = tuple[Record, int, InvalidRecord]

_key, _value, _headers = attrgetter("key"), attrgetter("value"), attrgetter("headers")
_event = attrgetter(
    *("version", "id", "role", "time", "prediction", "score", "scores", "latency_ms", "features", "attributes")
)
_read_outcome = msgspec.json.Decoder(Outcome).decode


@dataclass
class _Rows:
    """Rows as they were decoded, a list a field, all of one length but for `values`, which holds those of all rows."""

    places: list[Place] = field(default_factory=list)
    model: list[int] = field(default_factory=list)
    version: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    role: list[str] = field(default_factory=list)
    time: list[Any] = field(default_factory=list)
    answer: list[Any] = field(default_factory=list)
    score: list[float | None] = field(default_factory=list)
    scores: list[Sequence[float] | None] = field(default_factory=list)
    latency: list[float | None] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    attributes: list[Any] = field(default_factory=list)


class Reader:
    """Reads the input topics of a partition under the specs in force.

    `register` gives the series and the plan of a model's version, which is first seen at an offset.
    """

    def __init__(
        self,
        specs: Mapping[str, MonitorSpec],
        codes: Mapping[str, int],
        register: Callable[[MonitorSpec, str, int], tuple[int, int]],
    ) -> None:
        self._specs = specs
        self._register = register
        self._models = Models(specs, codes)
        cuts = [cut for spec in specs.values() for segment in spec.segments for cut in segment.cuts]
        self._by_attributes = any(cut.source == "attribute" for cut in cuts)
        self._types = prediction_types(specs)
        self._by_type = {kind: self._models.number[model] for kind, model in self._types.items()}
        self._decode = decoder(self._types)
        self._columns: tuple[Callable[[bytes], Any] | None, dict[type, int]] | None = None
        self._versions: dict[tuple[int, str], int] = {}
        self._taken_apart: tuple[Record, list[Record]] | None = None
        self._found: list[tuple[int, int]] = []
        self._names: dict[str | None, int] = {}

    def predictions(self, records: Sequence[Record], slice_ms: int) -> tuple[PredictionColumns, list[Bad]]:
        """Valid predictions, and what was wrong with the others."""
        rows = _Rows()
        bad: list[Bad] = []
        for chunk, columnar in _chunks(records):
            if columnar:
                self._take_columns(chunk[0], rows, bad)
            else:
                self._take_singles(chunk, rows, bad)
        return self._as_columns(rows, bad, slice_ms)

    def outcomes(self, records: Sequence[Record], slice_ms: int) -> tuple[OutcomeColumns, list[Bad]]:
        """Valid outcomes, and what was wrong with the others."""
        bad: list[Bad] = []
        good: list[Record] = []
        events: list[Outcome] = []
        for chunk, _ in _chunks(records):
            read, their = _decoded(_read_outcome, chunk, partial(self._outcome_alone, bad))
            events += read
            good += their
        number = np.array([self._models.number.get(event.model, -1) for event in events], np.int64)
        arrival = np.array([record.arrival for record in good], np.int64)
        time = times_of([event.time for event in events])
        truth, fine = self._models.labelled(number, [event.outcome for event in events])
        fine &= self._models.timely(number, time, arrival) & (number >= 0)
        ids = [event.id for event in events]
        keys = [event_id.encode() for event_id in ids]
        if list(map(_key, good)) != keys:
            fine &= np.array([record.key == key for record, key in zip(good, keys, strict=True)], np.bool_)
        if not fine.all():
            bad += [self._refuse((good[i], 0)) for i in np.flatnonzero(~fine).tolist()]
            ids = [ids[i] for i in np.flatnonzero(fine).tolist()]
            keys = [keys[i] for i in np.flatnonzero(fine).tolist()]
            good = [good[i] for i in np.flatnonzero(fine).tolist()]
        low, high = hashed(keys)
        number, arrival = number[fine], arrival[fine]
        code = self._models.code[number]
        last = good[-1].offset if good else -1
        return OutcomeColumns(ids, low, high, code, arrival // slice_ms, time[fine], truth[fine], last), bad

    def _take_singles(self, chunk: Sequence[Record], rows: _Rows, bad: list[Bad]) -> None:
        events, good = _decoded(self._decode, chunk, partial(self._prediction_alone, bad))
        if not events:
            return
        version, ids, role, time, answer, score, scores, latency, features, attributes = zip(
            *map(_event, events), strict=True
        )
        keys = [event_id.encode() for event_id in ids]
        if list(map(_key, good)) != keys:
            wrong = [record.key != key for record, key in zip(good, keys, strict=True)]
            bad += [self._refuse((record, 0)) for record, is_wrong in zip(good, wrong, strict=True) if is_wrong]
            self._take_singles([r for r, is_wrong in zip(good, wrong, strict=True) if not is_wrong], rows, bad)
            return
        rows.places += zip(good, [0] * len(good), strict=True)
        rows.model += map(self._by_type.__getitem__, map(type, events))
        rows.version += version
        rows.ids += ids
        rows.keys += keys
        rows.role += role
        rows.time += time
        rows.answer += answer
        rows.score += score
        rows.scores += map(_in_order, scores)
        rows.latency += latency
        rows.values += chain.from_iterable(map(msgspec.structs.astuple, features))
        rows.attributes += attributes

    def _take_columns(self, record: Record, rows: _Rows, bad: list[Bad]) -> None:
        """A message of columns: at once if all is well, else row by row."""
        if self._columns is None:
            types = column_types(self._specs)
            self._columns = decoder(types), {kind: self._models.number[model] for kind, model in types.items()}
        decode, by_type = self._columns
        try:
            event = None if decode is None else decode(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            event = None
        if event is not None and self._take_all(record, event, by_type[type(event)], rows):
            return
        try:
            singles = read_rows(record)
        except InvalidRecord as why:
            bad.append((record, 0, why))
            return
        for i, single in enumerate(singles):
            whole = _Rows()
            wrong: list[Bad] = []
            self._take_singles([single], whole, wrong)
            # its letter holds the row alone: with the whole message each, n bad rows would be n times n
            bad += [(single, i, why) for _, _, why in wrong]
            for name in _Rows.__dataclass_fields__:
                getattr(rows, name).extend(getattr(whole, name))
            if whole.places:
                rows.places[-1] = (record, i)

    def _take_all(self, record: Record, event: Any, model: int, rows: _Rows) -> bool:
        size = len(event.id)
        columns = [
            event.time,
            event.prediction,
            event.score,
            event.latency_ms,
            *msgspec.structs.astuple(event.features),
        ]
        attributes = {} if event.attributes is msgspec.UNSET else event.attributes
        scores = _in_order(event.scores)
        if any(c is not msgspec.UNSET and len(c) != size for c in (*columns, *attributes.values(), *(scores or ()))):
            return False
        absent = [None] * size
        time, answer, score, latency, *features = (absent if c is msgspec.UNSET else c for c in columns)
        rows.places += zip([record] * size, range(size), strict=True)
        rows.model += [model] * size
        rows.version += [event.version] * size
        rows.ids += event.id
        rows.keys += [event_id.encode() for event_id in event.id]
        rows.role += [event.role] * size
        rows.time += time
        rows.answer += answer
        rows.score += score
        rows.scores += absent if scores is None else _by_row([absent if c is msgspec.UNSET else c for c in scores])
        rows.latency += latency
        rows.values += chain.from_iterable(zip(*features, strict=True))
        named = [dict(zip(attributes, each, strict=True)) for each in zip(*attributes.values(), strict=True)]
        rows.attributes += named or [msgspec.UNSET] * size
        return True

    def _prediction_alone(self, bad: list[Bad], record: Record) -> Any:
        """A record that could not be decoded with the others: an event after all, or a bad one (None)."""
        if self._is_bad(bad, record):
            return None
        event = read_prediction(record)
        wanted = next(kind for kind, model in self._types.items() if model == event.model)
        return msgspec.convert(msgspec.to_builtins(event), wanted)

    def _outcome_alone(self, bad: list[Bad], record: Record) -> Any:
        """The same of an outcome."""
        return None if self._is_bad(bad, record) else _read_outcome(record.value or b"")

    def _is_bad(self, bad: list[Bad], record: Record) -> bool:
        try:
            take_in(record, self._specs)
        except InvalidRecord as why:
            bad.append((record, 0, why))
            return True
        return False

    def _refuse(self, place: Place) -> Bad:
        """Why a row that has been found wanting is bad."""
        record, row = place
        alone = record if record.header("content-type") != COLUMNS else self._rows_of(record)[row]
        try:
            take_in(alone, self._specs)
        except InvalidRecord as why:
            return alone, row, why
        raise AssertionError(f"{record.source} at {record.offset}, row {row}: found wanting, but nothing is wrong")

    def _rows_of(self, record: Record) -> list[Record]:
        """Those of a message of columns, which is asked for row after row."""
        if self._taken_apart is None or self._taken_apart[0] is not record:
            self._taken_apart = record, read_rows(record)
        return self._taken_apart[1]

    def _as_columns(self, rows: _Rows, bad: list[Bad], slice_ms: int) -> tuple[PredictionColumns, list[Bad]]:
        model = np.array(rows.model, np.int64)
        arrival = np.array([record.arrival for record, _ in rows.places], np.int64)
        time = times_of(rows.time)
        label, fine = self._models.labelled(model, rows.answer)
        fine &= self._models.timely(model, time, arrival)
        score, latency = np.array(rows.score, np.float64), np.array(rows.latency, np.float64)
        per_row = self._models.features[model]
        values = np.array(rows.values, dtype=object)
        if not fine.all():
            bad += [self._refuse(rows.places[i]) for i in np.flatnonzero(~fine).tolist()]
            values = values[np.repeat(fine, per_row)]
            kept = np.flatnonzero(fine).tolist()
            rows.keys = [rows.keys[i] for i in kept]
            rows.ids, rows.version = [rows.ids[i] for i in kept], [rows.version[i] for i in kept]
            rows.places = [rows.places[i] for i in kept]
            rows.role, rows.attributes = [rows.role[i] for i in kept], [rows.attributes[i] for i in kept]
            rows.scores = [rows.scores[i] for i in kept]
            model, arrival, time, label = model[fine], arrival[fine], time[fine], label[fine]
            score, latency, per_row = score[fine], latency[fine], per_row[fine]
        series, plan = self._of_versions(model.tolist(), rows)
        numeric = self._models.numeric[model]
        of_numbers = self._models.numbers[model]
        starts = np.cumsum(per_row) - per_row
        is_number = np.arange(values.size) - np.repeat(starts, per_row) < np.repeat(of_numbers, per_row)
        numbers = values[is_number].astype(np.float64)
        categories = names_of(values[~is_number].tolist())
        shares, said = self._models.shares_of(model, rows.scores, label)
        answer = np.where(numeric, label, np.where(self._models.shares[model] > 0, said, score))
        named = np.where(numeric, 0, label).astype(np.uint8)
        shadow = np.array([role == "shadow" for role in rows.role], np.bool_)
        low, high = hashed(rows.keys)
        attributes: list[dict[str, Value]] = [{} if each is msgspec.UNSET else each for each in rows.attributes]
        columns = PredictionColumns(
            ids=rows.ids,
            low=low,
            high=high,
            series=series,
            plan=plan,
            slice=arrival // slice_ms,
            pane=time // self._models.pane[model],
            shadow=shadow,
            answer=answer,
            label=named,
            latency=latency,
            digest=contents(
                *(time, shadow, answer, named),
                attributes,
                (numbers, of_numbers),
                (self._hashed_names(categories), per_row - of_numbers),
                (shares, self._models.shares[model]),
            ),
            numbers=numbers,
            categories=categories,
            last=rows.places[-1][0].offset if rows.places else -1,
            attributes=attributes if self._by_attributes else (),
            shares=shares,
        )
        return columns, bad

    def _of_versions(self, model: Sequence[int], rows: _Rows) -> tuple[NDArray[np.uint32], I64]:
        known = self._versions
        try:
            found = list(map(known.__getitem__, zip(model, rows.version, strict=True)))
        except KeyError:  # seldom: a version that has not been seen yet
            for i, pair in enumerate(zip(model, rows.version, strict=True)):
                if pair not in known:
                    known[pair] = len(self._found)
                    place, _ = rows.places[i]
                    self._found.append(self._register(self._models.specs[pair[0]], pair[1], place.offset))
            return self._of_versions(model, rows)
        which = np.array(found, np.int64)
        table = np.array(self._found or [(0, 0)], np.int64)
        return table[which, 0].astype(np.uint32), table[which, 1]

    def _hashed_names(self, names: Sequence[str | None]) -> NDArray[np.uint64]:
        known = self._names
        if len(known) > REMEMBERED_NAMES:
            known.clear()
        for name in set(names) - known.keys():
            known[name] = hash_of_name(name)
        return np.array([known[name] for name in names], np.uint64)


def _in_order(scores: Any) -> Sequence[Any] | None:
    """The scores of a multiclass model's labels, in the order of its spec; of any other they are not looked at."""
    return msgspec.structs.astuple(scores) if isinstance(scores, msgspec.Struct) else None


def _by_row(columns: Sequence[Sequence[float | None]]) -> Iterator[Sequence[float] | None]:
    """A row that has a score of some label has 0 of the others."""
    for row in zip(*columns, strict=True):
        told = [0.0 if value is None else value for value in row]
        yield told if any(value is not None for value in row) else None


def _chunks(records: Sequence[Record]) -> Iterator[tuple[Sequence[Record], bool]]:
    """Runs of single messages, not too long, and messages of columns, each by itself."""
    columnar: list[int] = []
    if any(map(_headers, records)):
        columnar = [i for i, record in enumerate(records) if record.header("content-type") == COLUMNS]
    begin = 0
    for end in (*columnar, len(records)):
        for at in range(begin, end, CHUNK):
            yield records[at : min(at + CHUNK, end)], False
        if end < len(records):
            yield records[end : end + 1], True
        begin = end + 1


def _decoded(
    decode: Callable[[bytes], Any] | None, chunk: Sequence[Record], alone: Callable[[Record], Any]
) -> tuple[list[Any], Sequence[Record]]:
    """The events of a chunk and their records; where one cannot be decoded with the others, `alone` says what it is."""
    if decode is not None and not any(record.headers and not _is_json(record) for record in filter(_headers, chunk)):
        try:
            return list(map(decode, map(_value, chunk))), chunk
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
            pass  # one of them is bad, or has no value: look at each
    events, good = [], []
    for record in chunk:
        event = None
        try:
            if decode is not None and _is_json(record):
                event = decode(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            event = None
        if event is None:
            event = alone(record)
        if event is not None:
            events.append(event)
            good.append(record)
    return events, good


def _is_json(record: Record) -> bool:
    return record.header("content-type") in (None, "application/json")
