"""Keeps the archive tidy and small: puts small files together, removes what is no longer to be kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from driftline.archiver.tidying import expired_days, live_recipes, to_merge, to_remove
from driftline.events.base import Millis, decode
from driftline.events.retraining import Candidate, Case, ModelState, RetrainRequest, Span
from driftline.events.topics import Topic
from driftline.platform.archive import declared, read_topic
from driftline.platform.archive_files import (
    ARCHIVED,
    DAY_MS,
    Place,
    directory_of,
    merge,
    places,
    remove,
    stored_in,
)
from driftline.platform.archive_rows import arrivals_of
from driftline.spec.model import MonitorSpec

T = TypeVar("T")

log = logging.getLogger("driftline.archiver")

GRACE_S = 60.0
"""A query that has listed the small files has this long to read them before they go."""
RETENTION_S = 600.0
PLACES_A_TURN = 8
"""So few directories are looked at between two flushes that these are not late."""
RAW = (Topic.PREDICTIONS, Topic.OUTCOMES)


class Keeper:
    """Looks after one archive. It only touches files whose flushes the positions know of."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._watched = dict.fromkeys(place for topic in ARCHIVED for place in places(archive, topic))
        self._next_retention = 0.0

    def wrote(self, written: Iterable[Place]) -> None:
        """There are new files in these places."""
        self._watched.update(dict.fromkeys(written))

    def turn(self, flush_number: int, decision_time: Millis) -> None:
        """Do a little. Files of `flush_number` and later are not archived yet, whatever they look like."""
        for place in list(self._watched)[:PLACES_A_TURN]:
            del self._watched[place]
            if self._tidy(place, flush_number, finished=(place.day + 1) * DAY_MS <= decision_time):
                self._watched[place] = None  # at the end of the queue
        if decision_time >= 0 and time.monotonic() >= self._next_retention:
            self._next_retention = time.monotonic() + RETENTION_S
            self.let_go(decision_time)

    def let_go(self, decision_time: Millis) -> None:
        """Remove the days of raw topics that no spec and no live artifact keeps; decisions stay for ever.

        Rows that name no model of ours are kept as long as the longest retention. A dead letter stays at least as long
        as raw records of its day or before, since it says which of them are not valid.
        """
        slice_ms, specs = declared(self._archive)
        if not specs:
            return
        longest = max(spec.retain_raw for spec in specs.values())
        needed = self._needed(slice_ms, specs)
        retained = {directory_of(model): spec.retain_raw for model, spec in specs.items()}
        for topic in RAW:
            for place in places(self._archive, topic):
                kept = retained.get(place.model, longest)
                if expired_days([place.day], decision_time, kept, needed.get(place.model, [])):
                    self._remove_day(place)
        oldest = min((place.day for topic in RAW for place in places(self._archive, topic)), default=None)
        for place in places(self._archive, Topic.DEAD_LETTERS):
            alone = oldest is None or place.day < oldest
            if alone and expired_days([place.day], decision_time, longest, []):
                self._remove_day(place)

    def _tidy(self, place: Place, flush_number: int, finished: bool) -> bool:
        """Put together, remove what was; whether there may be more to do later."""
        files = [file for file in stored_in(place.within(self._archive)) if file.last < flush_number]
        old = [file for file in files if time.time() - file.written > GRACE_S]
        replaced = to_remove(files, old)
        remove(self._archive, place, replaced)
        files = [file for file in files if file not in replaced]
        if chosen := to_merge(files, finished):
            merge(self._archive, place, chosen)
        return len(files) > 1 or not finished

    def _needed(self, slice_ms: int, specs: dict[str, MonitorSpec]) -> dict[str, list[Span]]:
        """By directory the arrivals that belong to live artifacts."""
        models = {state.model: state for state in self._events(Topic.MODELS, ModelState)}
        cases = {case.case: case for case in self._events(Topic.CASES, Case)}
        recipes = live_recipes(
            models,
            cases.values(),
            self._events(Topic.RETRAIN_REQUESTS, RetrainRequest),
            self._events(Topic.CANDIDATES, Candidate),
        )
        return {
            directory_of(model): [
                arrivals_of(specs[model], slice_ms, part, recipe.known_by)
                for recipe in of_model
                for part in (recipe.training, recipe.holdout)
            ]
            for model, of_model in recipes.items()
            if model in specs
        }

    def _events(self, topic: Topic, kind: type[T]) -> list[T]:
        return [decode(value, kind) for value in read_topic(self._archive, topic)]

    def _remove_day(self, place: Place) -> None:
        directory = place.within(self._archive)
        remove(self._archive, place, stored_in(directory))
        log.info("removed %s: older than it is to be kept", directory)
