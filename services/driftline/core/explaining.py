"""What became of one prediction: whether it counted, what its ranges say, its outcome, and the windows it is in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from driftline.core.binning import category_name
from driftline.core.validation import kept_slices
from driftline.core.windows import due_at, first_end
from driftline.events.base import Millis, to_millis
from driftline.events.inputs import Outcome, Prediction, content_digest
from driftline.events.reports import WindowReport
from driftline.spec.model import MonitorSpec, millis


class Fate(StrEnum):
    """What an arrival came to."""

    COUNTS = "counts"
    DUPLICATE = "duplicate"  # an exact repeat of one that counts
    CONFLICT = "conflict"  # another content under the same id and version: the first one counts
    CORRECTED = "corrected"  # an outcome in whose place a later one holds
    UNREACHED = "unreached"  # an outcome too far from its prediction: the ledger did not know both at once
    DEAD_LETTER = "dead-letter"


class Arrival(NamedTuple):
    """A prediction or an outcome as it stands in its topic. `dead`: why it could not be used, if it could not."""

    place: tuple[int, int, int]
    arrival: Millis
    event: Any
    dead: str | None = None


class Came(msgspec.Struct, frozen=True, kw_only=True):
    """One arrival and what it came to. `row`: in a message of columns."""

    fate: Fate
    arrival: Millis
    partition: int
    offset: int
    row: int
    event: Prediction | Outcome
    why: str | None = None


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A declared value, what was declared, and what is wrong with it; None: nothing."""

    name: str
    value: Any
    declared: str
    wrong: str | None


class InWindow(msgspec.Struct, frozen=True, kw_only=True):
    """A window that holds the prediction's event time.

    `counted`: decision time of the first report in which it counts, `labelled`: in which its outcome does; `reports`:
    how many reports of the window there are. `due`: when the first one is due.
    """

    window: str
    start: Millis
    end: Millis
    due: Millis | None
    counted: Millis | None
    labelled: Millis | None
    reports: int
    n: int | None
    report: str | None


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction id of one model and version. `spec`: the revision in force where it stands, if one was."""

    model: str
    version: str
    id: str
    spec: str | None
    predictions: list[Came]
    outcomes: list[Came]
    checks: list[Check]
    windows: list[InWindow]

    @property
    def counted(self) -> Came | None:
        """The prediction that counts."""
        return next((came for came in self.predictions if came.fate is Fate.COUNTS), None)


def explain(
    arrivals: Sequence[Arrival],
    outcomes: Sequence[Arrival],
    spec: MonitorSpec | None,
    spec_name: str | None,
    reports: Iterable[WindowReport],
    slice_ms: int,
) -> Explained:
    """Everything about the `arrivals` of one model, version and id, in their order; `outcomes` are those of the id.

    `spec` is the one in force where the first one stands, to within the slice in which its mark was read.
    """
    kept = kept_slices(spec, slice_ms) if spec is not None else 0
    came = _predictions(arrivals, kept, slice_ms)
    first = next((one for one in came if one.fate is Fate.COUNTS), came[0])
    event: Prediction = first.event  # type: ignore[assignment]  # `came` holds predictions alone
    told = _outcomes(outcomes, first, kept, slice_ms)
    holds = next((one for one in told if one.fate is Fate.COUNTS), None)
    counts = spec is not None and first.fate is Fate.COUNTS
    return Explained(
        model=event.model,
        version=event.version,
        id=event.id,
        spec=spec_name,
        predictions=came,
        outcomes=told,
        checks=[] if spec is None else list(checks(event, spec)),
        windows=_windows(event, first.arrival, holds, spec, list(reports), slice_ms) if spec and counts else [],
    )


def revision_in_force(
    placed: Mapping[tuple[str, int], Mapping[int, int]], model: str, partition: int, offset: int
) -> int | None:
    """The newest revision of a model whose mark stands before an offset of its partition of `predictions`."""
    found = [r for (of, r), offsets in placed.items() if of == model and offsets.get(partition, offset) < offset]
    return max(found, default=None)


def checks(event: Prediction, spec: MonitorSpec) -> Iterator[Check]:
    """Each declared feature and output against its declaration. The same rules as `core.breaches`, one value a time."""
    for name, feature in spec.features.items():
        value = event.features.get(name)
        declared = [] if feature.range is None else [f"in [{feature.range[0]:g}, {feature.range[1]:g}]"]
        declared += [] if feature.allowed is None else [f"one of {', '.join(feature.allowed)}"]
        wrong = None
        if value is None:
            wrong = "missing" if feature.missing == "forbidden" else None
        elif feature.range is not None and isinstance(value, int | float):
            wrong = None if feature.range[0] <= value <= feature.range[1] else "out-of-range"
        elif feature.allowed is not None and category_name(value) not in feature.allowed:
            wrong = "not-allowed"
        text = "; ".join([feature.type, *declared, *(["missing allowed"] if feature.missing == "allowed" else [])])
        yield Check(name=name, value=value, declared=text, wrong=wrong)
    for name, output in spec.outputs.items():
        low, high = output.range
        values = [event.prediction] if name == "prediction" else [event.score, *(event.scores or {}).values()]
        numbers = [value for value in values if isinstance(value, int | float)]
        worst = max(numbers, key=lambda value: max(low - value, value - high), default=None)
        wrong = "out-of-range" if worst is not None and not low <= worst <= high else None
        yield Check(name=name, value=worst, declared=f"in [{low:g}, {high:g}]", wrong=wrong)


def _predictions(arrivals: Sequence[Arrival], kept: int, slice_ms: int) -> list[Came]:
    found, counted = [], None
    for one in arrivals:
        if one.dead is not None:
            found.append(_came(one, Fate.DEAD_LETTER))
        elif counted is None or (kept and one.arrival // slice_ms - counted.arrival // slice_ms >= kept):
            counted = one
            found.append(_came(one, Fate.COUNTS))
        else:
            same = content_digest(one.event) == content_digest(counted.event)
            found.append(_came(one, Fate.DUPLICATE if same else Fate.CONFLICT))
    return found


def _outcomes(arrivals: Sequence[Arrival], prediction: Came, kept: int, slice_ms: int) -> list[Came]:
    """The latest by its own time holds, the later arrival of two of one time."""

    def reaches(one: Arrival) -> bool:
        apart = abs(one.arrival // slice_ms - prediction.arrival // slice_ms)
        return one.dead is None and (not kept or apart < kept) and one.place[0] == prediction.partition

    def rank(one: Arrival) -> tuple[Millis, tuple[int, int, int]]:
        return to_millis(one.event.time), one.place

    usable = {content_digest(one.event): one for one in reversed(arrivals) if reaches(one)}  # the first of repeats
    holds = max(usable.values(), key=rank, default=None)
    found = []
    for one in arrivals:
        if one.dead is not None:
            fate = Fate.DEAD_LETTER
        elif not reaches(one):
            fate = Fate.UNREACHED
        elif one is holds:
            fate = Fate.COUNTS
        else:
            fate = Fate.CORRECTED if usable[content_digest(one.event)] is one else Fate.DUPLICATE
        found.append(_came(one, fate))
    return found


def _came(one: Arrival, fate: Fate) -> Came:
    partition, offset, row = one.place
    return Came(
        fate=fate, arrival=one.arrival, partition=partition, offset=offset, row=row, event=one.event, why=one.dead
    )


def _windows(
    event: Prediction,
    arrival: Millis,
    holds: Came | None,
    spec: MonitorSpec,
    reports: Sequence[WindowReport],
    slice_ms: int,
) -> list[InWindow]:
    """Those that the spec asks for, and those that end after so many events where there are reports of them."""
    time = to_millis(event.time)
    told: dict[tuple[str, Millis, Millis], list[WindowReport]] = {}
    for report in reports:
        mine = (report.model, report.version, report.role) == (event.model, event.version, event.role)
        if mine and report.window.start <= time < report.window.end:
            place = (report.window.name, report.window.start, report.window.end)
            told.setdefault(place, []).append(report)
    wanted: dict[tuple[str, Millis, Millis], Millis | None] = dict.fromkeys(told)
    for name, window in spec.windows.items():
        if window.events is None:
            for end in range(first_end(window, time), time + millis(window.span) + 1, millis(window.every)):
                wanted[name, end - millis(window.span), end] = due_at(spec, end)
    known_at = (arrival // slice_ms + 1) * slice_ms
    labelled_at = None if holds is None else max(known_at, (holds.arrival // slice_ms + 1) * slice_ms)
    found = []
    for place, due in sorted(wanted.items(), key=lambda item: (item[0][2] - item[0][1], item[0])):
        of_window = sorted(told.get(place, ()), key=lambda report: report.revision)
        counting = [report for report in of_window if report.revision >= known_at]
        labelling = [report for report in of_window if labelled_at is not None and report.revision >= labelled_at]
        last = counting[-1] if counting else None
        name, start, end = place
        found.append(
            InWindow(
                window=name,
                start=start,
                end=end,
                due=due,
                counted=counting[0].revision if counting else None,
                labelled=labelling[0].revision if labelling else None,
                reports=len(of_window),
                n=last.segments[0].n if last else None,
                report=last.id if last else None,
            )
        )
    return found
