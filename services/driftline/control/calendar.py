"""One model's panes and windows: what has been counted, which reports are due, and the reports themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from driftline.control.attendance import Attendance
from driftline.control.book import Book
from driftline.control.panes import Panes, Series
from driftline.core.baseline import baseline_of_segments
from driftline.core.estimation import failed, withdrawn
from driftline.core.pane import Layout, Totals
from driftline.core.references import (
    baseline_of,
    first_span,
    reaches_back,
    reference_spans,
    reference_unit,
)
from driftline.core.reports import BaselineOf, Circumstances, report
from driftline.core.windows import Open, Run, due_at, final_at, first_end, unit_of
from driftline.events.base import Millis
from driftline.events.baselines import Baseline
from driftline.events.reports import Window, WindowReport
from driftline.events.slices import PaneDelta
from driftline.spec.model import MonitorSpec, WindowSpec, millis

ENOUGH = 0.9
"""Coverage from which on an estimate is held against what came true; rules ask for as much."""
LayoutOf = Callable[[str], tuple[Layout, Baseline | None]]


class Calendar:
    """Adds panes up and says which windows are to be reported. Its memory is in `book` and `panes`."""

    def __init__(self, book: Book, panes: Panes, layout_of: LayoutOf, attendance: Attendance) -> None:
        self.panes = panes
        self._book = book
        self._layout_of = layout_of
        self._attendance = attendance
        self._grown: set[tuple[Millis, str]] = set()
        self._retell: set[tuple[str, Millis, str, str]] = set()
        self._known = {_key(known): known for known in book.open}

    def take_pane(self, spec: MonitorSpec, delta: PaneDelta, begun: Millis, late: bool) -> None:
        """Add what a slice changed to its pane, and to the counts of windows that have been reported already.

        `begun`: when the slice began: a window that was final by then is not told again. `late`: it is counted in a
        later slice than its own, since its partition was left out.
        """
        everybody, predicted, labelled = not delta.cut, delta.predicted, delta.labelled
        cells, counts, sums = delta.cells, delta.counts, delta.sums
        if self._book.bins.setdefault(delta.version, delta.bins) != delta.bins:
            # counted in other bins by a partition that saw the version before its baseline: only the predictions add
            # up, so that coverage shows what is missing from the metrics
            cells, counts, sums, labelled = (0,), (predicted,), {}, 0
            self._book.count("foreign_bins", predicted if everybody else 0)
        start = delta.pane * millis(spec.pane)
        self._book.began[delta.version] = min(start, self._book.began.get(delta.version, start))
        self.panes.add(Series(delta.version, delta.role, delta.cut, delta.segment), start, cells, counts, sums)
        if not everybody:
            return
        if delta.role == "champion":
            self._book.joined += labelled
        for name, window in spec.windows.items():
            if window.events is not None:
                touched = self._into_run(name, start, delta, predicted)
            else:
                touched = self._into_windows(spec, name, start, delta, begun)
            for known in touched:
                known.n += predicted
                known.labelled += labelled
                known.changed = True
                if late:
                    self._retell.add(_key(known))
                elif known.grown():
                    self._grown.add((known.end, name))

    def _into_windows(
        self, spec: MonitorSpec, name: str, start: Millis, delta: PaneDelta, begun: Millis
    ) -> Iterator[Open]:
        """The windows that hold a pane and have been reported already."""
        window = spec.windows[name]
        cursor = self._book.cursor.get(name)
        if cursor is None:
            cursor = self._book.cursor[name] = first_end(window, start)
        for end in _ends(window, start, cursor):
            if final_at(spec, end) > begun:
                yield self._open(Window(name=name, start=end - millis(window.span), end=end), delta.version, delta.role)

    def _into_run(self, name: str, start: Millis, delta: PaneDelta, predicted: int) -> Iterator[Open]:
        """Likewise where windows end after so many events; else the pane is added to the one that is under way."""
        run = self._run(name, delta.version, delta.role)
        if start >= run.closed:
            run.counts[start] = run.counts.get(start, 0) + predicted
            return
        for known in self._book.open:
            whose = (known.window, known.version, known.role)
            if whose == (name, delta.version, delta.role) and known.start <= start < known.end and not known.final:
                yield known

    def _run(self, name: str, version: str, role: str) -> Run:
        key = (name, version, role)
        found = next((run for run in self._book.runs if (run.window, run.version, run.role) == key), None)
        if found is None:
            found = Run(window=name, version=version, role=role)
            self._book.runs.append(found)
        return found

    def take_evicted(self, spec: MonitorSpec, n: int, begun: Millis) -> None:
        """Predictions were forgotten early in the slice that began at `begun`."""
        number = begun // millis(spec.pane)
        self._book.evicted[number] = self._book.evicted.get(number, 0) + n

    def all_are_back(self) -> None:
        """No partition is left out any more: what was told without one is told again."""
        self._retell |= {_key(known) for known in self._book.open if known.complete < 1}

    def due(self, spec: MonitorSpec) -> list[Millis]:
        """The instants at which reports fall due, as far as they are known now."""
        first = [due_at(spec, end) for name, end in self._book.cursor.items() if name in spec.windows]
        runs = [due_at(spec, end) for _, end in self._runs(spec)]
        return first + runs + [final_at(spec, known.end) for known in self._book.open if not known.final]

    def _runs(self, spec: MonitorSpec) -> list[tuple[Run, Millis]]:
        """The windows under way that end after so many events, and where."""
        runs = [run for run in self._book.runs if run.window in spec.windows]
        return [(run, end) for run in runs if (end := run.end(spec)) is not None]

    def reports(self, spec: MonitorSpec, at: Millis) -> Iterator[WindowReport]:
        """The reports due by `at`: windows told again, in order, then windows told for the first time, in order."""
        final = {
            (known.end, known.window)
            for known in self._book.open
            if not known.final and final_at(spec, known.end) <= at
        }
        again = self._grown | {(end, name) for name, end, _, _ in self._retell}
        again = {(end, name) for end, name in again if due_at(spec, end) <= at}
        for end, name in sorted(final | again):
            yield from self._restate(spec, name, end, at, final=(end, name) in final)
        self._grown.clear()
        self._retell.clear()
        moved = self._close(final)
        while True:
            cursors = [(end, name) for name, end in self._book.cursor.items() if name in spec.windows]
            end, name = min(cursors, default=(at, ""))
            if not name or due_at(spec, end) > at:
                break
            self._book.cursor[name] = end + millis(spec.windows[name].every)
            moved = True
            every = self.panes.series(unit_of(spec, name))
            window = Window(name=name, start=end - millis(spec.windows[name].span), end=end)
            for version, role in sorted({(series.version, series.role) for series in every}):
                yield from self._first(spec, window, version, role, at)
        while closing := [
            (end, r.window, r.version, r.role, r) for r, end in self._runs(spec) if due_at(spec, end) <= at
        ]:
            end, name, version, role, run = min(closing, key=lambda each: each[:4])
            window = Window(name=name, start=run.start, end=end)
            run.close(end)
            moved = True
            yield from self._first(spec, window, version, role, at)
        if moved:
            self._prune(spec, at)

    def _close(self, final: set[tuple[Millis, str]]) -> bool:
        """Forget the windows that were told for the last time, unless a partition is still left out."""
        for known in self._book.open:
            known.final = known.final or (known.end, known.window) in final
        if self._attendance.since() is not None or not any(known.final for known in self._book.open):
            return False
        self._book.open = [known for known in self._book.open if not known.final]
        self._known = {_key(known): known for known in self._book.open}
        return True

    def _first(self, spec: MonitorSpec, window: Window, version: str, role: str, at: Millis) -> Iterator[WindowReport]:
        told = self._report(spec, window, version, role, at)
        if told is not None:
            everybody, known = told.segments[0], self._open(window, version, role)
            known.n, known.labelled = everybody.n, everybody.labelled
            known.told, known.complete = everybody.coverage, told.completeness
            yield told

    def _restate(self, spec: MonitorSpec, name: str, end: Millis, at: Millis, *, final: bool) -> Iterator[WindowReport]:
        for known in self._book.open:
            if (known.window, known.end) != (name, end) or name not in spec.windows:
                continue
            if _key(known) in self._retell or (known.changed and (final or known.grown())):
                window = Window(name=name, start=known.start, end=end)
                told = self._report(spec, window, known.version, known.role, at)
                known.told, known.changed = known.coverage, False
                if told is not None:
                    known.complete = told.completeness
                    yield told

    def _report(self, spec: MonitorSpec, window: Window, version: str, role: str, at: Millis) -> WindowReport | None:
        """What is known of a window now; None where it holds no prediction."""
        start, end, unit = window.start, window.end, unit_of(spec, window.name)
        every = sorted(one for one in self.panes.series(unit) if (one.version, one.role) == (version, role))
        panes = {(s.cut, s.segment): found for s in every if (found := self.panes.between(unit, s, start, end))}
        if not panes:
            return None
        bins_id = self._book.bins[version]
        layout, baseline = self._layout_of(bins_id)
        pane_ms = millis(spec.pane)
        circumstances = Circumstances(
            self._attendance.completeness(due_at(spec, end)),
            sum(n for number, n in self._book.evicted.items() if (number + 1) * pane_ms > start),
            self._book.counted(),
            withdrawn(self._book.failures.get(_name(window, version), ())),
        )
        compared = self._baselines(spec, window, layout, every, baseline)
        told = report(spec, version, role, window, at, bins_id, layout, panes, compared, circumstances)
        if not told.segments[0].n:
            return None
        if role == "champion":
            self._check_estimates(told)
        return told

    def _check_estimates(self, told: WindowReport) -> None:
        """Hold what was estimated against what came true, once a window, when most of its outcomes are known."""
        everybody, name = told.segments[0], _name(told.window, told.version)
        if everybody.coverage < ENOUGH or self._book.checked.get(name, -1) >= told.window.end:
            return
        wrong = failed(everybody.estimates, everybody.metrics)
        if wrong is not None:
            self._book.failures[name] = [*self._book.failures.get(name, []), wrong][-3:]
            self._book.checked[name] = told.window.end

    def _baselines(
        self, spec: MonitorSpec, window: Window, layout: Layout, every: Sequence[Series], known: Baseline | None
    ) -> BaselineOf:
        """What each segment is compared with: itself, as no segment is like everybody."""
        unit = reference_unit(spec, window.name)
        if unit is None:
            return lambda cut, segments: baseline_of_segments(known, layout, cut, segments) if cut else known
        version = every[0].version
        spans = reference_spans(spec, window, self._book.began[version])

        def of(cut: str, segments: Collection[str]) -> Baseline | None:
            series = [one for one in every if one.cut == cut and one.segment in segments]
            panes = [p for one in series for span in spans for p in self.panes.between(unit, one, *span).values()]
            return baseline_of(spec.model, version, spec.baseline, spans, Totals.of(layout, panes)) if panes else None

        return of

    def _open(self, window: Window, version: str, role: str) -> Open:
        """The entry of a window that has been told of; a version that comes late to a window gets one then."""
        known = self._known.get((window.name, window.end, version, role))
        if known is None:
            start, end = window.start, window.end
            known = Open(
                window=window.name, start=start, end=end, version=version, role=role, n=0, labelled=0, told=0.0
            )
            self._known[_key(known)] = known
            self._book.open.append(known)
        return known

    def _prune(self, spec: MonitorSpec, at: Millis) -> None:
        """Forget panes that no window, told for the first time or again, can reach any more."""
        at = min(at, self._attendance.since() or at)
        reach = max(millis(spec.horizon), millis(spec.lateness)) + millis(spec.lateness)
        oldest: dict[Millis, Millis] = {}
        for name, window in spec.windows.items():
            first = min(at - reach, self._book.cursor.get(name, at)) - millis(window.span)
            further = first - reaches_back(spec.baseline, spec)
            for unit, needed in ((unit_of(spec, name), first), (reference_unit(spec, name), further)):
                if unit is not None:
                    oldest[unit] = min(oldest.get(unit, needed), needed)
        first_panes = spec.baseline.kind == "first"
        for unit, before in oldest.items():
            of = next((name for name in spec.windows if first_panes and reference_unit(spec, name) == unit), None)
            kept = {v: first_span(spec, of, began) for v, began in self._book.began.items()} if of else {}
            self.panes.prune(unit, before, kept)
        before = min(oldest.values(), default=at) // millis(spec.pane)
        self._book.evicted = {number: n for number, n in self._book.evicted.items() if number >= before}


def _name(window: Window, version: str) -> str:
    return f"{window.name} of {version}"


def units_of(spec: MonitorSpec) -> set[Millis]:
    """The lengths of panes that the windows of a spec, and what they are compared with, are added up from."""
    found = {unit_of(spec, name) for name in spec.windows} | {reference_unit(spec, name) for name in spec.windows}
    return {unit for unit in found if unit is not None}


def _key(known: Open) -> tuple[str, Millis, str, str]:
    return known.window, known.end, known.version, known.role


def _ends(window: WindowSpec, start: Millis, before: Millis) -> range:
    """The ends below `before` of the windows that hold a pane which starts at `start`."""
    every = millis(window.every)
    return range(start // every * every + every, min(before, start + millis(window.span) + 1), every)
