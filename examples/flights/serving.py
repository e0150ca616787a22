"""The application of the demo: it predicts every flight of a day with the champion, the first model beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from driftline.client import Champion, Outcome, Prediction
from driftline.platform.artifacts import StoredModel
from examples.flights.data import rows_of

MODEL = "flight-delay"
FIRST = "1"
DAY_MS = 86_400_000

Stamped = tuple[int, Prediction | Outcome]


class Application:
    """Serves flights day by day. `first` keeps predicting as `shadow` once another version has replaced it."""

    def __init__(self, flights: pd.DataFrame, champion: Champion, first: StoredModel) -> None:
        self._flights = flights
        self._known = flights[flights["known_at"] >= 0].sort_values(["known_at", "id"])
        self._champion = champion
        self._first = first

    def day(self, start: int) -> list[Stamped]:
        """What the application publishes between `start` and a day later, each with the time at which it does."""
        self._champion.refresh()
        flights = self._flights
        low, high = flights["time"].searchsorted([start, start + DAY_MS])
        return [*self._predictions(flights.iloc[low:high]), *self._outcomes(start)]

    def _predictions(self, flights: pd.DataFrame) -> Iterator[Stamped]:
        if flights.empty:
            return
        rows = rows_of(flights)
        version = self._champion.version
        answers = [(a.prediction, a.score) for a in self._champion.predict(rows)]
        yield from self._published(flights, rows, version, "champion", answers)
        if version != FIRST:
            yield from self._published(flights, rows, FIRST, "shadow", self._first.answers(rows))

    def _published(
        self, flights: pd.DataFrame, rows: list[dict[str, Any]], version: str, role: Any, answers: Any
    ) -> Iterator[Stamped]:
        for name, time, row, (label, score) in zip(flights["id"], flights["time"].tolist(), rows, answers, strict=True):
            yield (
                time,
                Prediction(
                    id=name,
                    model=MODEL,
                    version=version,
                    role=role,
                    time=time,
                    features=row,
                    prediction=label,
                    score=score,
                ),
            )

    def _outcomes(self, start: int) -> Iterator[Stamped]:
        low, high = self._known["known_at"].searchsorted([start, start + DAY_MS])
        known = self._known.iloc[low:high]
        for name, time, outcome in zip(known["id"], known["known_at"].tolist(), known["outcome"], strict=True):
            yield time, Outcome(id=name, model=MODEL, time=time, outcome=outcome)
