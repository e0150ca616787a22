"""From rows of a file to the columns that the engine counts, a whole batch at a time.

What is right and wrong is the monitor's to say (`monitor.models`, `core.validation`); here it is asked of columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftline.backtesting.letters import DeadLetter
from driftline.backtesting.mapping import Mapped, attributes_of
from driftline.backtesting.streams import ROW, TIME, Refuse
from driftline.backtesting.values import categories_of, coded, label_readings, numbers_of, texts_of
from driftline.core.columns import OutcomeColumns, PredictionColumns, contents, hash_of_name, hashed
from driftline.errors import DriftlineError
from driftline.events.inputs import Value
from driftline.events.topics import DeadLetterReason
from driftline.monitor.models import Models
from driftline.spec.model import LARGEST, MonitorSpec, millis

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

LONGEST_ID = 1024
ONE_VERSION = "1"
"""What predictions without a column of versions are said to be of."""
_REASON = DeadLetterReason


class Texts(Sequence[str]):
    """Ids as bytes, decoded one by one where somebody asks: only samples are shown."""

    def __init__(self, keys: list[bytes]) -> None:
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, place: Any) -> Any:
        return self.keys[place].decode()


class Rows:
    """The rows of a table of one file, of which some turn out to be bad: the first thing wrong with each is told."""

    def __init__(self, table: pa.Table, mapped: Mapped, refuse: Refuse) -> None:
        self._table = table.combine_chunks()
        self._mapped, self._refuse = mapped, refuse
        self.fine = np.ones(table.num_rows, np.bool_)

    def __contains__(self, what: str) -> bool:
        return what in self._table.column_names

    def column(self, what: str) -> pa.Array:
        """A column, as one array. Raises `DriftlineError` where it holds lists or the like."""
        found = self._table.column(what)
        if pa.types.is_nested(found.type):
            name = self._mapped.name_of(what)
            raise DriftlineError(f"{self._mapped.data.name}: column `{name}` holds {found.type}, not one value a row")
        if found.num_chunks == 1:
            return found.chunk(0)
        return pa.concat_arrays(found.chunks) if found.num_chunks else pa.array([], found.type)

    def numbers(self, what: str) -> I64:
        """A column of our own, as numbers."""
        values: I64 = self.column(what).to_numpy(zero_copy_only=False)
        return values

    def check(self, bad: Bools, what: str, reason: DeadLetterReason, tell: Callable[[Any], str]) -> None:
        """Rows are refused where `bad`; `tell` says why, given the value in column `what`."""
        wrong = np.flatnonzero(bad & self.fine).tolist()
        if not wrong:
            return
        self.fine[wrong] = False
        if what in self._mapped.told:
            return
        values, rows = self.column(what).take(pa.array(wrong)).to_pylist(), self.numbers(ROW)
        for i, value in zip(wrong, values, strict=True):
            self._refuse(
                DeadLetter(
                    file=self._mapped.data.name,
                    row=int(rows[i]),
                    column=self._mapped.name_of(what),
                    reason=reason,
                    detail="a value is missing" if value is None else tell(value),
                )
            )

    def narrowed(self) -> Rows:
        """The good ones."""
        if self.fine.all():
            return self
        return Rows(self._table.filter(pa.array(self.fine)), self._mapped, self._refuse)


class Columns:
    """Makes columns of one model's rows. `code`: of its outcomes; `register` gives series and plan of a version."""

    def __init__(
        self, spec: MonitorSpec, code: int, register: Callable[[str], tuple[int, int]], slice_ms: int, refuse: Refuse
    ) -> None:
        self._spec, self._code, self._register = spec, code, register
        self._slice_ms, self._pane_ms, self._refuse = slice_ms, millis(spec.pane), refuse
        self._models = Models({spec.model: spec}, {spec.model: code})
        self._numeric = spec.task == "regression"
        self._shares = int(self._models.shares[0])
        self._numbers = [name for name, feature in spec.features.items() if feature.type == "number"]
        self._categories = [name for name, feature in spec.features.items() if feature.type == "category"]
        self._versions: dict[str, tuple[int, int]] = {}

    def predictions(self, table: pa.Table, mapped: Mapped) -> PredictionColumns:
        """The good rows; the others are refused."""
        rows = Rows(table, mapped, self._refuse)
        self._check_names(rows)
        label = self._answers(rows, "prediction", mapped)
        score = np.full(label.size, np.nan) if self._numeric else self._number(rows, "score")
        chances = self._chances(rows)
        features = [self._number(rows, f"feature:{name}") for name in self._numbers]
        latency = self._number(rows, "latency_ms")
        fine = rows.fine
        rows = rows.narrowed()
        keys = _keys(rows)
        time = rows.numbers(TIME)
        series, plan = self._of_versions(rows)
        size = time.size
        numbers = np.stack([values[fine] for values in features], axis=1) if features else np.empty((size, 0))
        categories, hashes = self._category_columns(rows, size, mapped.data.textual)
        label, score, chances = label[fine], score[fine], None if chances is None else chances[fine]
        told = [None] * size if chances is None else [None if row[0] != row[0] else row for row in chances.tolist()]
        shares, said = self._models.shares_of(np.zeros(size, np.int64), told, label)
        answer = label if self._numeric else said if self._shares else score
        named = (np.zeros(size) if self._numeric else label).astype(np.uint8)
        shadow = self._shadows(rows, size)
        low, high = hashed(keys)
        flat, per_row = numbers.reshape(-1), np.full(size, len(features), np.int64)
        attributes = self._attributes(rows, mapped.data.textual)
        return PredictionColumns(
            ids=Texts(keys),
            low=low,
            high=high,
            series=series,
            plan=plan,
            slice=time // self._slice_ms,
            pane=time // self._pane_ms,
            shadow=shadow,
            answer=answer,
            label=named,
            latency=latency[fine],
            digest=contents(
                *(time, shadow, answer, named),
                attributes or [{}] * size,
                (flat, per_row),
                (hashes, np.full(size, len(self._categories), np.int64)),
                (shares, np.full(size, self._shares, np.int64)),
            ),
            numbers=flat,
            categories=categories,
            last=-1,
            attributes=attributes,
            shares=shares,
        )

    def _attributes(self, rows: Rows, textual: bool) -> list[dict[str, Value]]:
        """What segments are cut by, a mapping a row; none at all where none are."""
        columns: dict[str, list[Value]] = {}
        for name, as_number in attributes_of(self._spec).items():
            column = rows.column(f"attribute:{name}")
            if as_number:
                values, bad = numbers_of(column)
                columns[name] = [None if b or np.isnan(v) else v for v, b in zip(values.tolist(), bad, strict=True)]
            else:
                codes, texts = categories_of(column, textual=textual)
                columns[name] = [[*texts, None][code] for code in codes.tolist()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def outcomes(self, table: pa.Table, mapped: Mapped) -> OutcomeColumns:
        """The good rows; the others are refused."""
        rows = Rows(table, mapped, self._refuse)
        self._check_names(rows)
        truth = self._answers(rows, "outcome", mapped)
        fine = rows.fine
        rows = rows.narrowed()
        keys, time = _keys(rows), rows.numbers(TIME)
        low, high = hashed(keys)
        series = np.full(time.size, self._code, np.uint32)
        return OutcomeColumns(Texts(keys), low, high, series, time // self._slice_ms, time, truth[fine], -1)

    def _check_names(self, rows: Rows) -> None:
        """Ids, models, versions and roles."""
        if "id" in rows:
            ids = texts_of(rows.column("id"))
            lengths = pc.fill_null(pc.binary_length(ids), 0).to_numpy(zero_copy_only=False)
            rows.check(lengths == 0, "id", _REASON.NOT_AN_EVENT, lambda _: "an id has at least one character")
            if lengths.max(initial=0) > LONGEST_ID:
                length = pc.fill_null(pc.utf8_length(ids), 0).to_numpy(zero_copy_only=False)
                wrong = f"an id has {LONGEST_ID} characters at most"
                rows.check(length > LONGEST_ID, "id", _REASON.NOT_AN_EVENT, lambda _: wrong)
        for what, allowed, reason in (
            ("model", {self._spec.model}, _REASON.UNKNOWN_MODEL),
            ("role", {"champion", "shadow"}, _REASON.NOT_AN_EVENT),
        ):
            if what in rows:
                codes, values = coded(texts_of(rows.column(what)))
                # without a role it is a champion's
                good = np.array([*(value in allowed for value in values), what == "role"])[codes]
                known = " or ".join(sorted(allowed))
                rows.check(~good, what, reason, lambda value, k=known: f"{value!r} is not {k}")  # type: ignore[misc]  # bound now
        if "version" in rows:
            missing = rows.column("version").is_null().to_numpy(zero_copy_only=False)
            rows.check(missing, "version", _REASON.NOT_AN_EVENT, str)

    def _answers(self, rows: Rows, what: str, mapped: Mapped) -> F64:
        """Labels by number, or the numbers of a regression."""
        column = rows.column(what)
        rows.check(column.is_null().to_numpy(zero_copy_only=False), what, _REASON.NOT_AN_EVENT, str)
        if self._numeric:
            values, bad = numbers_of(column)
            bad |= np.isnan(values)
            rows.check(bad, what, _REASON.WRONG_TYPE, lambda value: f"{value!r} is no finite number")
            with np.errstate(invalid="ignore"):
                large = np.abs(values) > LARGEST
            rows.check(large, what, _REASON.WRONG_TYPE, lambda value: f"{value!r} is beyond {LARGEST:g}")
            return values
        codes, known = coded(column)
        numbers = np.array([*(self._label(value, mapped.data.textual) for value in known), -1.0])[codes]
        there = ", ".join(self._spec.labels)
        rows.check(numbers < 0, what, _REASON.UNKNOWN_LABEL, lambda value: f"{str(value)!r} is none of {there}")
        return numbers

    def _label(self, value: Any, textual: bool) -> float:
        """The number of a label; -1 where it is none."""
        if value is None:
            return -1.0
        readings = label_readings(value) if textual and isinstance(value, str) else [value]
        found, _ = self._models.labelled(np.zeros(len(readings), np.int64), readings)
        return float(found.max(initial=-1.0)) if len(readings) > 1 else float(found[0])

    def _number(self, rows: Rows, what: str) -> F64:
        """Finite numbers, NaN where they are missing."""
        if what not in rows:
            return np.full(rows.fine.size, np.nan)
        values, bad = numbers_of(rows.column(what))
        rows.check(bad, what, _REASON.WRONG_TYPE, lambda value: f"{value!r} is no finite number")
        return values

    def _chances(self, rows: Rows) -> F64 | None:
        """The probability of each label of the spec, (rows, labels), NaN where a row has none; None: nobody has."""
        columns = [f"score:{label}" for label in self._spec.labels]
        if not any(what in rows for what in columns):
            return None
        found = np.full((rows.fine.size, len(columns)), np.nan)
        for place, what in enumerate(columns):
            found[:, place] = self._number(rows, what)
        some = ~np.isnan(found).all(axis=1)
        found[some] = np.nan_to_num(found[some])
        return found

    def _category_columns(self, rows: Rows, size: int, textual: bool) -> tuple[list[str | None], NDArray[np.uint64]]:
        """All categories, row after row, and their hashes."""
        texts = np.empty((size, len(self._categories)), object)
        hashes = np.empty((size, len(self._categories)), np.uint64)
        for place, name in enumerate(self._categories):
            allowed = self._spec.features[name].allowed or ()
            codes, values = categories_of(rows.column(f"feature:{name}"), textual=textual, known=allowed)
            texts[:, place] = np.array([*values, None], object)[codes]
            hashes[:, place] = np.array([*map(hash_of_name, values), 0], np.uint64)[codes]
        return texts.reshape(-1).tolist(), hashes.reshape(-1)

    def _of_versions(self, rows: Rows) -> tuple[NDArray[np.uint32], I64]:
        if "version" in rows:
            codes, values = coded(texts_of(rows.column("version")))
        else:
            codes, values = np.zeros(rows.fine.size, np.int64), [ONE_VERSION]
        for value in (values[code] for code in np.unique(codes).tolist()):
            if value not in self._versions:
                self._versions[value] = self._register(value)
        table = np.array([self._versions.get(value, (0, 0)) for value in values] or [(0, 0)], np.int64)
        return table[codes, 0].astype(np.uint32), table[codes, 1]

    def _shadows(self, rows: Rows, size: int) -> Bools:
        if "role" not in rows:
            return np.zeros(size, np.bool_)
        codes, values = coded(texts_of(rows.column("role")))
        found: Bools = np.array([*(value == "shadow" for value in values), False])[codes]
        return found


def _keys(rows: Rows) -> list[bytes]:
    """The ids as bytes; where there are none, rows are known by their number."""
    ids = texts_of(rows.column("id" if "id" in rows else ROW))
    keys: list[bytes] = pc.cast(ids, pa.binary()).to_pylist()
    return keys
