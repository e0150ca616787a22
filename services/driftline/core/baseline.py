"""Reference rows of a model version, counted in its own bins, as live predictions are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.core.arrivals import Joined
from driftline.core.binning import bins_from_reference, category_name, to_numbers
from driftline.core.columns import PredictionColumns
from driftline.core.counting import count
from driftline.core.kinds import Kinds
from driftline.core.pane import Layout, Pane, Totals
from driftline.core.plans import Plans
from driftline.core.segments import SegmentCodes
from driftline.core.series import SeriesTable
from driftline.errors import DriftlineError
from driftline.events.base import digest_id, encode
from driftline.events.baselines import Baseline, Bins, SegmentCounts
from driftline.events.inputs import Label, Value, label_name
from driftline.spec.model import LARGEST, MOST_LABELS, MonitorSpec

FloatArray = NDArray[np.float64]


def make_baseline(
    spec: MonitorSpec,
    columns: Mapping[str, Sequence[Value]],
    scores: FloatArray | None,
    predictions: FloatArray | Sequence[Label] | None,
    version: str,
    source: str,
    outcomes: Sequence[Label | None] = (),
    *,
    trained_on: bool = False,
) -> Baseline:
    """The bins of `version` and how its reference rows fall into them.

    `columns` has one sequence a feature, all of one length; `scores` (see `core.columns.scores_of`) and `predictions`
    (labels, or numbers of a regression) are the model's own on these rows. The id follows from the content, so the same
    reference gives the same baseline. `outcomes`: what came true in these rows, None where that is not known.
    `trained_on`: the model was made from these rows, so its errors in them say nothing, but for which of a regression's
    are large: half of them.
    Raises `DriftlineError` where a prediction is none of the labels.
    """
    numeric = spec.task == "regression"
    numbers = np.asarray(predictions, np.float64) if numeric and predictions is not None else None
    shares = scores if spec.task == "multiclass" else None
    said = _of_answers(spec, scores, predictions)
    bins = bins_from_reference(spec, columns, said, numbers, shares)
    if numbers is not None and len(outcomes):
        errors = np.abs(numbers - to_numbers(outcomes))
        large = float(np.median(errors[np.isfinite(errors)])) if np.isfinite(errors).any() else None
        bins = msgspec.structs.replace(bins, large_error=large)
    rows = _Rows(spec, bins, columns, said, predictions, () if trained_on else outcomes, shares)
    return _counted(rows, bins, spec.model, version, source)


def count_again(
    recorded: Baseline,
    spec: MonitorSpec,
    columns: Mapping[str, Sequence[Value]],
    scores: FloatArray | None,
    predictions: FloatArray | Sequence[Label] | None,
    outcomes: Sequence[Label | None],
) -> Baseline:
    """A baseline of these rows in the bins of `recorded`, whatever bins `spec` would give today.

    The outcomes count if they did in `recorded`.
    """
    shares = scores if spec.task == "multiclass" else None
    known = outcomes if "labelled" in recorded.counts else ()
    said = _of_answers(spec, scores, predictions)
    rows = _Rows(spec, recorded.bins, columns, said, predictions, known, shares)
    return _counted(rows, recorded.bins, recorded.model, recorded.version, recorded.source)


def _counted(rows: _Rows, bins: Bins, model: str, version: str, source: str) -> Baseline:
    totals, segments = rows.counted()
    baseline = Baseline(
        id="",
        model=model,
        version=version,
        bins=bins,
        n=rows.size,
        counts={name: tuple(totals.histogram(name).tolist()) for name in rows.known(totals.layout)},
        source=source,
        sums=totals.sums,
        segments=segments,
    )
    return msgspec.structs.replace(baseline, id=digest_id("baseline", encode(baseline)))


def baseline_of_segments(
    known: Baseline | None, layout: Layout, cut: str, segments: Collection[str]
) -> Baseline | None:
    """The same baseline of some segments of a way to cut, put together; None where it knows none of them."""
    if known is None:
        return None
    found = [part for name, part in known.segments.get(cut, {}).items() if name in segments]
    if not found:
        return None
    totals = Totals.of(layout, [Pane.of(np.array(p.cells), np.array(p.counts), p.sums) for p in found])
    counts = {name: tuple(totals.histogram(name).tolist()) for name in known.counts}
    return msgspec.structs.replace(known, n=totals.n, counts=counts, sums=totals.sums, segments={})


def numbers_of_labels(spec: MonitorSpec, values: Sequence[Label | None] | FloatArray) -> FloatArray:
    """Labels by their numbers among those that are told, NaN for what is none."""
    known = {label: float(min(i, MOST_LABELS)) for i, label in enumerate(spec.labels)}
    return np.array([np.nan if v is None else known.get(label_name(v), np.nan) for v in values], np.float64)


def _of_answers(
    spec: MonitorSpec, scores: FloatArray | None, predictions: FloatArray | Sequence[Label] | None
) -> FloatArray | None:
    """The score of each answer: of the positive label, or of the label that was predicted."""
    if scores is None or spec.task != "multiclass":
        return scores
    if predictions is None:
        return None
    label = numbers_of_labels(spec, predictions)
    said = np.full(len(scores), np.nan)
    known = ~np.isnan(label)
    said[known] = scores[known, label[known].astype(np.int64)]
    return said


class _Rows:
    """Reference rows as predictions of one instant, and their outcomes."""

    def __init__(
        self,
        spec: MonitorSpec,
        bins: Bins,
        columns: Mapping[str, Sequence[Value]],
        scores: FloatArray | None,
        predictions: FloatArray | Sequence[Label] | None,
        outcomes: Sequence[Label | None],
        shares: FloatArray | None,
    ) -> None:
        self._spec, self._bins, self._columns = spec, bins, columns
        self.size = len(next(iter(columns.values()), ()))
        self._numeric = spec.task == "regression"
        answers = predictions if self._numeric else scores
        self._answers = np.full(self.size, np.nan) if answers is None else np.asarray(answers, np.float64)
        self._scored, self._told = answers is not None, predictions is not None
        self._said = np.zeros(self.size) if predictions is None or self._numeric else self._numbered(predictions)
        if np.isnan(self._said).any():
            raise DriftlineError(
                f"the model answers with other labels than {', '.join(bins.labels)} on its reference rows"
            )
        self._shares = np.full((self.size, len(bins.scores)), np.nan) if shares is None else shares
        self._cuts = [way for way in spec.segments if all(cut.name in columns for cut in way.cuts)]
        self._truth = self._numbered(outcomes) if self._told and len(outcomes) else np.full(self.size, np.nan)

    def known(self, layout: Layout) -> list[str]:
        """The histograms that these rows tell: all of them if their outcomes are known."""
        if not np.isnan(self._truth).all():
            return list(layout.cells)
        names = [f"feature:{name}" for name in self._bins.features]
        names += ["score"] if self._scored and not self._numeric else []
        names += ["prediction"] if self._told else []
        if self._told and self._scored and not self._numeric:
            names += ["scores", "scores|said"] if self._bins.scores else ["score|said"]
        return names

    def counted(self) -> tuple[Totals, dict[str, dict[str, SegmentCounts]]]:
        """The rows as one pane, and as one of each segment."""
        layout, table, plans, kinds = Layout(self._bins), SeriesTable(), Plans(), Kinds()
        series = table.predictions_of(self._spec.model, "reference", 1, layout.tail + len(self._cuts))
        kinds.add(series, "", layout, 1)
        plan = plans.add(self._spec, layout)
        segments = SegmentCodes(plans)
        segments.add(series, self._cuts, layout.tail, {})
        new = self._predictions(series, plan, plans)
        cells = plans.tables.features(new.plan, new.numbers, new.categories, table.widest)
        plans.tables.write_shares(new.plan, new.shares, cells.tails)
        segments.write(new, cells.tails)
        everybody, parts = [], dict[str, dict[str, SegmentCounts]]()
        for delta in count(table, kinds, segments, new, cells, self._joined(new, cells.tails)).get(0, []):
            if delta.cut:
                part = SegmentCounts(cells=delta.cells, counts=delta.counts, sums=delta.sums)
                parts.setdefault(delta.cut, {})[delta.segment] = part
            else:
                everybody.append(Pane.of(np.array(delta.cells), np.array(delta.counts), delta.sums))
        return Totals.of(layout, everybody), parts

    def _predictions(self, series: int, plan: int, plans: Plans) -> PredictionColumns:
        of, nothing = plans[plan], np.zeros(self.size, np.int64)
        numbers = [to_numbers(self._columns[name]) for name in of.numbers]
        categories = [[category_name(value) for value in self._columns[name]] for name in of.categories]
        return PredictionColumns(
            ids=[""] * self.size,
            low=nothing.astype(np.uint64),
            high=nothing.astype(np.uint64),
            series=np.full(self.size, series, np.uint32),
            plan=np.full(self.size, plan, np.int64),
            slice=nothing,
            pane=nothing,
            shadow=nothing.astype(np.bool_),
            answer=self._answers,
            label=self._said.astype(np.uint8),
            latency=np.full(self.size, np.nan),
            digest=nothing.astype(np.uint64),
            numbers=np.stack(numbers, axis=1).ravel() if numbers else np.empty(0),
            categories=[value for row in zip(*categories, strict=True) for value in row],
            last=-1,
            attributes=self._attributes(),
            shares=self._shares.ravel(),
        )

    def _attributes(self) -> list[dict[str, Value]]:
        """What the rows have of what segments are cut by."""
        names = {cut.name for way in self._cuts for cut in way.cuts if cut.source == "attribute"}
        values = [self._columns[name] for name in sorted(names)]
        return [dict(zip(sorted(names), row, strict=True)) for row in zip(*values, strict=True)]

    def _joined(self, new: PredictionColumns, tails: NDArray[np.uint8]) -> Joined:
        taken = (np.abs(self._truth) <= LARGEST) & ~(np.abs(new.answer) > LARGEST)  # the others are refused when live
        rows = np.flatnonzero(taken)
        zeros = np.zeros(rows.size, np.int64)
        return Joined(
            slice=zeros,
            series=new.series[rows],
            pane=zeros,
            shadow=new.shadow[rows],
            answer=new.answer[rows],
            label=new.label[rows],
            time=zeros,
            truth=self._truth[rows],
            sign=np.ones(rows.size, np.int64),
            tail=tails[rows],
        )

    def _numbered(self, values: FloatArray | Sequence[Label | None]) -> FloatArray:
        """Labels by their numbers, NaN for what is none; numbers as they are."""
        if self._numeric:
            return np.array([np.nan if value is None else float(value) for value in values], np.float64)
        return numbers_of_labels(self._spec, values)
