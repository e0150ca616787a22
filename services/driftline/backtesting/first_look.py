"""What a data file looks like, for a first spec: its columns, their ranges and values, how many rows a day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from driftline.backtesting.mapping import OF_LABEL, USUAL, Columns, Finder, Mapped
from driftline.backtesting.streams import no_times
from driftline.backtesting.tables import Data, open_data
from driftline.backtesting.values import NO_TIME, categories_of, coded, first_of, numbers_of, texts_of, times_of
from driftline.events.base import Millis

MOST_VALUES = 1_000
"""Different values of a column that are remembered; a column with more is no category."""
REMEMBERED = 200_000
"""Predictions whose time is remembered, to see how long their outcomes take."""
TOLD_APART = 0.99
"""A column of which so large a share are numbers has numbers."""


@dataclass
class Seen:
    """One column. `values`: how often each is there, while there are few. `times`: rows that are instants.
    `whole`: no number had a fraction.
    """

    rows: int = 0
    missing: int = 0
    numbers: int = 0
    times: int = 0
    whole: bool = True
    low: float = float("inf")
    high: float = float("-inf")
    values: dict[str, int] = field(default_factory=dict)
    overflown: bool = False

    @property
    def known(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    def take(self, column: pa.Array) -> None:
        """Look at some rows more."""
        self.rows += len(column)
        if pa.types.is_nested(column.type):  # lists and the like cannot be watched
            self.missing += len(column)
            return
        self.missing += column.null_count
        numbers, bad = numbers_of(column)
        some = numbers[~np.isnan(numbers) & ~bad]
        self.numbers += some.size
        if some.size:
            self.whole &= bool((some == np.floor(some)).all())
            self.low, self.high = min(self.low, float(some.min())), max(self.high, float(some.max()))
        else:
            self.times += int(np.count_nonzero(times_of(column).values != NO_TIME))
        if not self.overflown:
            codes, values = categories_of(column)
            counts = np.bincount(codes[codes >= 0], minlength=len(values)).tolist()
            for value, count in zip(values, counts, strict=True):
                if count:
                    self.values[str(value)] = self.values.get(str(value), 0) + count
            self.overflown = len(self.values) > MOST_VALUES

    @property
    def is_number(self) -> bool:
        """Whether nearly all values are numbers."""
        return bool(self.known) and self.numbers >= TOLD_APART * self.known

    @property
    def is_identity(self) -> bool:
        """Texts that hardly ever come again: ids, free text, instants."""
        return not self.is_number and (self.overflown or len(self.values) > max(50, self.known / 2))


@dataclass
class Look:
    """A file of predictions, and their outcomes where they were given.

    `columns`: by what they hold. `seen`: by name. `scores`: by predicted label, the sum of scores and their number.
    `delays`: milliseconds from predictions to outcomes. `said`: which columns were guessed.
    """

    data: Data
    columns: dict[str, str]
    seen: dict[str, Seen] = field(default_factory=dict)
    first: Millis | None = None
    last: Millis = 0
    scores: dict[str, tuple[float, int]] = field(default_factory=dict)
    outcomes: Seen | None = None
    delays: list[int] = field(default_factory=list)
    times: dict[str, Millis] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Predictions."""
        return self.seen[self.columns["prediction"]].rows

    def features(self) -> list[str]:
        """The columns that can be features."""
        return [name for name in self.data.columns if name not in self.columns.values() and not self._left_out(name)]

    def left_out(self) -> list[str]:
        """Columns that are neither features nor anything else that is known."""
        return [name for name in self.data.columns if name not in self.columns.values() and self._left_out(name)]

    def _left_out(self, name: str) -> bool:
        seen = self.seen[name]
        others = name.lower().startswith(("pred_", "prediction_", *OF_LABEL))  # of other versions
        return others or not seen.known or seen.is_identity or seen.times >= TOLD_APART * seen.known


def look_at(given: Any, outcomes: Any, asked: Columns, advance: Callable[[int], None]) -> Look:
    """One pass over the predictions, one over the outcomes. Raises `DriftlineError` where columns are missing."""
    data = open_data(given, "predictions")
    finder = Finder(data, (), asked)
    for what in ("time", "prediction"):
        finder.find(what)
    beside = ("outcome", "outcome_time") if outcomes is None else ()
    for what in ("id", "score", "version", "model", "role", "latency_ms", *beside):
        finder.find(what, required=False)
    look = Look(data, finder.found, {name: Seen() for name in data.columns})
    look.said += filter(None, [Mapped(data, finder.found, finder.guessed).said()])
    odd = None
    for batch in data.read(data.columns):
        odd = odd or first_of(batch.columns.column(finder.found["time"]))
        for name in data.columns:
            look.seen[name].take(batch.columns.column(name))
        _take_answers(look, batch.columns)
        advance(batch.columns.num_rows)
    if look.first is None:
        raise no_times(data.name, finder.found["time"], odd, "time")
    if outcomes is not None:
        _look_at_outcomes(look, open_data(outcomes, "outcomes"), asked, advance)
    elif "outcome" in look.columns:
        look.outcomes = look.seen[look.columns["outcome"]]
    return look


def _take_answers(look: Look, batch: pa.RecordBatch) -> None:
    times = times_of(batch.column(look.columns["time"])).values
    some = times[times != NO_TIME]
    if some.size:
        look.first = min(int(some.min()), int(some.min()) if look.first is None else look.first)
        look.last = max(look.last, int(some.max()))
    if "score" in look.columns:
        scores, bad = numbers_of(batch.column(look.columns["score"]))
        codes, labels = coded(texts_of(batch.column(look.columns["prediction"])))
        for code, label in enumerate(labels):
            of_label = scores[(codes == code) & ~np.isnan(scores) & ~bad]
            total, count = look.scores.get(str(label), (0.0, 0))
            look.scores[str(label)] = (total + float(of_label.sum()), count + of_label.size)
    if "outcome_time" in look.columns:
        known = times_of(batch.column(look.columns["outcome_time"])).values
        both = (known != NO_TIME) & (times != NO_TIME)
        room = max(0, REMEMBERED - len(look.delays))
        look.delays += (known - times)[both].tolist()[:room]
    elif "id" in look.columns and len(look.times) < REMEMBERED:
        ids = texts_of(batch.column(look.columns["id"])).to_pylist()
        look.times |= dict(zip(ids, times.tolist(), strict=True))


def _look_at_outcomes(look: Look, data: Data, asked: Columns, advance: Callable[[int], None]) -> None:
    finder = Finder(data, (), replace(asked, time=None, prediction=None, score=None, version=None))
    finder.find("id")
    finder.find("outcome")
    finder.find("outcome_time", also=USUAL["time"])
    look.said += filter(None, [Mapped(data, finder.found, finder.guessed).said()])
    look.outcomes = Seen()
    for batch in data.read(list(finder.found.values())):
        look.outcomes.take(batch.columns.column(finder.found["outcome"]))
        times = times_of(batch.columns.column(finder.found["outcome_time"])).values.tolist()
        ids = texts_of(batch.columns.column(finder.found["id"])).to_pylist()
        made = ((look.times.get(name, NO_TIME), time) for name, time in zip(ids, times, strict=True))
        look.delays += [known - time for time, known in made if NO_TIME not in (time, known)]
        advance(batch.columns.num_rows)
