"""What a source partition remembers beside its ledgers, and how the versions of models are counted in it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from driftline.core.binning import default_bins
from driftline.core.pane import Layout
from driftline.core.segments import Names
from driftline.core.series import Series
from driftline.core.step import Partition
from driftline.core.validation import kept_slices
from driftline.monitor.marks import Mark
from driftline.platform.catalog import Catalog
from driftline.spec.model import MonitorSpec, millis

DEFAULT_BINS = "default:"


class Cuts(msgspec.Struct):
    """How a version is cut into segments: as the spec's `revision` says; and its segments by code, by way to cut."""

    revision: int
    names: Names = msgspec.field(default_factory=dict)


class State(msgspec.Struct, kw_only=True):
    """What a partition remembers beside its ledgers.

    `origin`: the first slice seen. `previous`: the last slice published. `finished`: the last slice said to be
    finished. `specs`: revision in force by model. `coming`: (slice of the mark, model, revision), in force from the
    slice after. `bins`: bins id by model and version, fixed at the first sight of the version. `series`: see
    `core.series`. `cuts`: likewise, how a version is cut into segments. `bad`: by topic, how many bad records came
    since the last good one; -1: an operator lets them pass until a good one comes. `jumped`: what comes next follows on
    nothing that was read; marks may have stood before it.
    """

    origin: int | None = None
    previous: int | None = None
    finished: int = -1
    specs: dict[str, int] = {}
    coming: list[tuple[int, str, int]] = []
    bins: dict[str, dict[str, str]] = {}
    series: list[Series] = []
    cuts: dict[str, dict[str, Cuts]] = {}
    bad: dict[str, int] = {}
    jumped: bool = True


class Versions:
    """How each version is counted: in which bins, and cut into which segments. Fixed at its first sight.

    `baselines`: those marked in the run of slices that is being worked on, with the offsets of their marks.
    """

    def __init__(self, catalog: Catalog, state: State, partition: Partition, slice_ms: int) -> None:
        self._catalog, self._state, self._partition, self._slice_ms = catalog, state, partition, slice_ms
        self._layouts: dict[str, Layout] = {}
        self.baselines: list[tuple[int, str]] = []

    def register(self, spec: MonitorSpec, version: str, offset: int) -> tuple[int, int]:
        """Series and plan of a version. If new, its bins are those of the first baseline marked before `offset`."""
        model, bins = spec.model, self._state.bins.setdefault(spec.model, {})
        marked = [name for at, name in self.baselines if at < offset and self._is_of(name, model, version)]
        revision = self._state.specs[model]
        bins_id = bins.setdefault(version, marked[0] if marked else f"{DEFAULT_BINS}{model}@{revision}")
        cuts = self._state.cuts.setdefault(model, {}).setdefault(version, Cuts(revision))
        width = self._layout(bins_id).tail + len(self._catalog.specs[model, cuts.revision].segments)
        series = self._partition.table.predictions_of(model, version, kept_slices(spec, self._slice_ms), width)
        if series not in self._partition.kinds:
            self._count_as(series, model, version)
        return series, self._partition.plans.add(spec, self._layout(bins_id))

    def restore(self, known: Sequence[Series]) -> None:
        """Make known to the partition how the versions are counted that it remembers."""
        for code, series in enumerate(known, start=1):
            if series.version is not None:
                self._count_as(code, series.model, series.version)

    def settle_baselines(self) -> None:
        """Baselines of versions that have not been seen yet hold from their marks on."""
        for _, name in self.baselines:
            baseline = self._catalog.baselines[name]
            self._state.bins.setdefault(baseline.model, {}).setdefault(baseline.version, name)

    def _count_as(self, series: int, model: str, version: str) -> None:
        bins_id, cuts = self._state.bins[model][version], self._state.cuts[model][version]
        layout = self._layout(bins_id)
        spec = self._catalog.specs[model, cuts.revision]
        self._partition.kinds.add(series, bins_id, layout, millis(spec.pane))
        self._partition.segments.add(series, spec.segments, layout.tail, cuts.names)

    def _is_of(self, name: str, model: str, version: str) -> bool:
        baseline = self._catalog.baselines[name]
        return (baseline.model, baseline.version) == (model, version)

    def _layout(self, bins_id: str) -> Layout:
        if bins_id not in self._layouts:
            if bins_id.startswith(DEFAULT_BINS):
                mark = Mark.read(f"spec {bins_id.removeprefix(DEFAULT_BINS)}")
                bins = default_bins(self._catalog.specs[mark.model, mark.revision])
            else:
                bins = self._catalog.baselines[bins_id].bins
            self._layouts[bins_id] = Layout(bins)
        return self._layouts[bins_id]
