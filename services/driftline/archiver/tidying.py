"""Which files to put together, and which days to let go: decided without touching any."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise

from driftline.events.base import Millis
from driftline.events.retraining import AttemptState, Candidate, Case, ModelState, Recipe, RetrainRequest, Span
from driftline.platform.archive_files import DAY_MS, Stored
from driftline.spec.model import millis

LARGE_BYTES = 16 << 20
"""A file of this size is left alone: about 100 MB of events, which still fits into memory to be put together."""
STEPS_BYTES = (64 << 10, 1 << 20, LARGE_BYTES)
FAN_IN = 16
"""So many neighbours under a step make one file, so a row is written again about once a step."""


def to_merge(files: Sequence[Stored], finished: bool) -> list[Stored]:
    """Neighbours among one directory's files to put together next; none: it is tidy.

    While rows still come, small ones are put together by the dozen; when its day is over (`finished`), all that fit
    into a large file.
    """
    present = sorted((f for f in files if not any(other.covers(f) for other in files)), key=lambda f: f.first)
    if finished:
        return next((run for run, _ in _runs(present, LARGE_BYTES) if len(run) > 1), [])
    for below, step in pairwise((0, *STEPS_BYTES)):
        for run, full in _runs(present, step):
            sizes = [file.size_bytes for file in run]
            # those under `below` only come along: else every dozen small ones would write a larger one again
            if sum(size >= below for size in sizes) >= FAN_IN or (full and 2 * max(sizes) <= sum(sizes)):
                return run
    return []


def _runs(files: Iterable[Stored], step: int) -> Iterator[tuple[list[Stored], bool]]:
    """Neighbours under `step`, and whether they are so many that one more would exceed a large file."""
    run: list[Stored] = []
    for file in files:
        full = sum(f.size_bytes for f in run) + file.size_bytes > LARGE_BYTES
        if run and (file.size_bytes >= step or full):
            yield run, full and file.size_bytes < step
            run = []
        if file.size_bytes < step:
            run.append(file)
    if run:
        yield run, False


def to_remove(files: Sequence[Stored], settled: Collection[Stored]) -> list[Stored]:
    """Files all of whose rows stand in one of `settled`, files that every reader has had time to find."""
    return [file for file in files if any(other.covers(file) for other in settled)]


def expired_days(days: Iterable[int], decision_time: Millis, retained: timedelta, needed: Sequence[Span]) -> list[int]:
    """Days (since 1970) that are over for longer than `retained` and hold no arrival that is `needed`."""
    return [
        day
        for day in days
        if (day + 1) * DAY_MS <= decision_time - millis(retained)
        and not any(span.start < (day + 1) * DAY_MS and day * DAY_MS < span.end for span in needed)
    ]


def live_recipes(
    models: Mapping[str, ModelState],
    cases: Iterable[Case],
    requests: Iterable[RetrainRequest],
    candidates: Iterable[Candidate],
) -> dict[str, list[Recipe]]:
    """By model the recipes whose rows must stay: of the champion, the version before it, and all open attempts.

    `models` has each model's newest state, `cases` every case's newest.
    """
    serving = {
        (model, champion.version)
        for model, state in models.items()
        for champion in (state.champion, state.previous)
        if champion is not None
    }
    waiting = (AttemptState.REQUESTED, AttemptState.COMPARING)
    open_requests = {a.request for case in cases for a in case.attempts if a.state in waiting}
    live: dict[str, list[Recipe]] = {}
    for request in requests:
        if request.id in open_requests:
            live.setdefault(request.model, []).append(request.recipe)
    for candidate in candidates:
        if (candidate.model, candidate.version) in serving and candidate.artifact is not None:
            live.setdefault(candidate.model, []).append(candidate.recipe)
    return live
