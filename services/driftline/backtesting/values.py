"""Columns of a file as what the engine counts: instants, numbers, texts. Whole columns at a time; nothing is guessed
by a sample, so one odd value costs that row and no more.

Each function gives the values and which of them are none (`bad`, True where a value is there but of no use).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftline.core.binning import category_name
from driftline.core.validation import LATEST
from driftline.events.base import to_millis

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

NO_TIME = -1
TIME_FORMS = "RFC 3339 (2013-03-01T00:00:00Z), or seconds, milli-, micro- or nanoseconds since 1970"
"""How times may be written; numbers say by their size what they are."""
_FROM = (1e8, 1e11, 1e14, 1e17, 1e19)
"""From where on a number is seconds, milliseconds and so on, up to where one is none: from 1973 until 2286."""


class Times(NamedTuple):
    """Epoch milliseconds, `NO_TIME` for what is none; `naive`: an offset was missing, and UTC was taken."""

    values: I64
    naive: bool


class Coded(NamedTuple):
    """A column by its different values: `codes[i]` is the place of row i's in `values`, -1 where it is missing."""

    codes: I64
    values: list[Any]


def times_of(column: pa.Array) -> Times:
    """Instants: timestamps, dates, numbers since the epoch in whatever unit their size says, or any of them as text."""
    column = _plain(column)
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        stamps = pc.cast(column, pa.timestamp("ms"), safe=False) if pa.types.is_date(kind) else _in_millis(column)
        return Times(_instants(stamps.cast(pa.int64())), pa.types.is_date(kind) or kind.tz is None)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return Times(_instants(_since_epoch(column)), False)
    if not _is_text(kind):
        return Times(np.full(len(column), NO_TIME, np.int64), False)
    for parse, naive in _TIME_TEXTS:
        try:
            return Times(_instants(parse(column)), naive)
        except pa.ArrowInvalid:
            continue
    read = [(NO_TIME, False) if text is None else _time_of(text) for text in column.to_pylist()]
    times = pa.array([time for time, _ in read], pa.int64())
    return Times(_instants(times), any(naive for _, naive in read))


def _in_millis(column: pa.Array) -> pa.Array:
    """Rounded down, as the time of an event is."""
    if column.type.unit in ("s", "ms"):
        return pc.cast(column, pa.timestamp("ms", column.type.tz))
    return pc.cast(pc.floor_temporal(column, unit="millisecond"), pa.timestamp("ms", column.type.tz), safe=False)


def _since_epoch(column: pa.Array) -> pa.Array:
    """Numbers as milliseconds, rounded down; null where one is none."""
    whole = pa.types.is_integer(column.type)
    column = pc.cast(column, pa.int64() if whole else pa.float64(), safe=False)
    given = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers that are none
        # a fraction may lie a little below the millisecond that it stands for
        seconds = given * 1000 if whole else np.round(given * 1e3, 3)
        found = np.choose(
            np.searchsorted(_FROM, given, "right"), [0, seconds, given, given // 10**3, given // 10**6, 0]
        )
    return pa.array(np.floor(found).astype(np.int64), mask=~(found > 0))


def first_of(column: pa.Array) -> str | None:
    """How its first value that is not missing is written."""
    known = column.drop_null()
    return repr(known[0].as_py()) if len(known) else None


_TIME_TEXTS: Sequence[tuple[Callable[[pa.Array], pa.Array], bool]] = (
    (lambda texts: _since_epoch(pc.cast(texts, pa.int64())), False),
    (lambda texts: _since_epoch(pc.cast(texts, pa.float64())), False),
    (lambda texts: _in_millis(pc.cast(texts, pa.timestamp("us", "UTC"))).cast(pa.int64()), False),
    (lambda texts: _in_millis(pc.cast(texts, pa.timestamp("us"))).cast(pa.int64()), True),
)
"""The ways to write a column of instants that are understood all at once, and whether the offset is missing."""


def _time_of(text: str) -> tuple[int, bool]:
    """One instant, and whether its offset is missing."""
    try:
        number = _number_of(text)
        if number is not None:
            return _since_epoch(pa.array([number]))[0].as_py() or NO_TIME, False
        text = text.strip()
        time = datetime.fromisoformat(f"{text[:-4]}Z" if text.endswith(" UTC") else text)
    except ValueError:
        return NO_TIME, False
    naive = time.tzinfo is None
    return to_millis(time.replace(tzinfo=UTC) if naive else time), naive


def _instants(column: pa.Array) -> I64:
    found = pc.fill_null(column, NO_TIME).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where((found >= 0) & (found <= LATEST), found, NO_TIME)


def numbers_of(column: pa.Array) -> tuple[F64, Bools]:
    """Numbers, NaN where missing; bad is what is no finite number."""
    column = _plain(column)
    kind = column.type
    bad = np.zeros(len(column), np.bool_)
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan), bad
    if _is_text(kind):
        try:
            found = pc.cast(column, pa.float64())
        except pa.ArrowInvalid:
            parsed = [_number_of(text) for text in column.to_pylist()]
            bad = np.array([number is None for number in parsed], np.bool_)
            return np.array([np.nan if number is None else number for number in parsed], np.float64), bad
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        found = pc.cast(column, pa.float64(), safe=False)
    else:  # a boolean is no number, as in JSON
        return np.full(len(column), np.nan), column.is_valid().to_numpy(zero_copy_only=False)
    values = found.to_numpy(zero_copy_only=False).astype(np.float64)
    bad = np.isinf(values)
    return values, bad


def _number_of(text: str | None) -> float | None:
    """NaN for what is missing, None for what is no number."""
    if text is None:
        return float("nan")
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) != float("inf") else None


def coded(column: pa.Array) -> Coded:
    """A column by its different values."""
    if pa.types.is_null(column.type):
        return Coded(np.full(len(column), -1, np.int64), [])
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes = pc.fill_null(column.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    values = [None if value != value else value for value in column.dictionary.to_pylist()]  # NaN is missing
    if None in values:
        codes = np.where(np.array([value is None for value in values])[codes] & (codes >= 0), -1, codes)
    return Coded(codes, values)


def categories_of(column: pa.Array) -> Coded:
    """Categories, spelled as everywhere."""
    codes, values = coded(column)
    return Coded(codes, [category_name(value if isinstance(value, _SIMPLE) else str(value)) for value in values])


_SIMPLE = (str, bool, int, float, type(None))


def texts_of(column: pa.Array) -> pa.Array:
    """Ids and names as text; whole numbers without a fraction, which they get where some are missing."""
    column = _plain(column)
    if pa.types.is_floating(column.type):
        fits = pc.and_(pc.equal(column, pc.floor(column)), pc.less(pc.abs(column), 2.0**63))
        column = pc.cast(column, pa.int64()) if pc.all(fits).as_py() else column
    return column if column.type == pa.string() else pc.cast(column, pa.string())


def label_readings(text: str) -> list[str | int | float | bool]:
    """What a label written as text may be, in order: `1.0` is the label 1, `True` is the label true."""
    found: list[str | int | float | bool] = [text]
    if text in ("True", "TRUE", "False", "FALSE"):
        found.append(text[0] == "T")
    with suppress(ValueError):
        found.append(float(text))
    return found


def _plain(column: pa.Array) -> pa.Array:
    """A column of codes (a pandas categorical) as its values."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
