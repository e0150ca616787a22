"""What control remembers of one model beside its panes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import msgspec

from driftline.control.detecting import Watch
from driftline.core.alerts import Standing
from driftline.core.case_book import CaseBook
from driftline.core.counters import Placement
from driftline.core.muting import Silence
from driftline.core.windows import Open, Run
from driftline.events.alerts import Alert
from driftline.events.base import Link, Millis
from driftline.events.baselines import Calibration
from driftline.events.retraining import Candidate, ModelState
from driftline.events.slices import Slice


class Foretold(msgspec.Struct, frozen=True, kw_only=True):
    """A provisional alert that waits for its slices: by source partition, the one that decides whether it holds."""

    alert: Alert
    until: dict[int, int]


class Probation(msgspec.Struct, frozen=True, kw_only=True):
    """Two versions that are compared by what they say live: before a promotion (`shadow`) or after it (`probation`).

    `version` stands against the one that `against` names, from `since` until `until`. `spread`: see `live.spread_of`.
    """

    kind: Literal["shadow", "probation"]
    version: str
    against: str
    since: Millis
    until: Millis
    spread: float = 0.0


class Book(msgspec.Struct, kw_only=True):
    """One model, but for its panes.

    `revision`: the spec in force. `marked`: by revision, the partitions that have shown its mark.
    `coming`: (first slice, revision) of a spec that all partitions have shown. `cursor`: the next end of each window.
    `latest`: the end of the last longest window that tells the champion's promotion metric, and the figure.
    `scheduled`: the schedule is settled up to here. `foretold`: by fingerprint. `joined`: outcomes that found a
    champion's prediction. `evicted`: predictions forgotten early, by pane number of the slice in which they were.
    `skipping`: by trigger or rule, why it asked for nothing when it last came. `began`: the start of the first pane of
    each version. `predicted`: predictions of each version that came while it was the champion. `runs`: windows that end
    after so many events. `watches`: detectors, but for the values that they were fed. `failures`: of the last windows
    of a name and version, whether what came true lay apart from its estimate; `checked`: the end of the last such
    window. `calibrations`: of rules with a budget of false alarms. `silences`: what nobody is to be told of. `heard`:
    when predictions last came. `probation`: see there. `spread`: see `live.spread_of`, of the last verdict. `link`: of
    the next decision.
    """

    model: str
    revision: int = 0
    marked: dict[int, list[int]] = {}
    coming: list[tuple[int, int]] = []
    champion: ModelState | None = None
    candidate: Candidate | None = None
    standings: dict[str, Standing] = {}
    cases: CaseBook = msgspec.field(default_factory=CaseBook)
    cursor: dict[str, Millis] = {}
    open: list[Open] = []
    bins: dict[str, str] = {}
    counters: dict[str, int] = {}
    latest: tuple[Millis, float] | None = None
    scheduled: Millis | None = None
    foretold: dict[str, Foretold] = {}
    placement: Placement = msgspec.field(default_factory=Placement)
    joined: int = 0
    evicted: dict[int, int] = {}
    skipping: dict[str, str] = {}
    began: dict[str, Millis] = {}
    runs: list[Run] = []
    watches: list[Watch] = []
    failures: dict[str, list[bool]] = {}
    checked: dict[str, Millis] = {}
    calibrations: dict[str, Calibration] = {}
    silences: list[Silence] = []
    heard: Millis | None = None
    predicted: dict[str, int] = {}
    probation: Probation | None = None
    spread: float = 0.0
    link: Link = Link()

    @property
    def spec_name(self) -> str:
        """The spec in force, as in `flight-delay@2`; empty before the first one."""
        return f"{self.model}@{self.revision}" if self.revision else ""

    def speaks_of(self, version: str) -> bool:
        """Whether rules speak about a version: the champion, or any while none is registered."""
        return self.champion is None or self.champion.champion.version == version

    def counted(self) -> dict[str, int]:
        """The counters that reports tell: the monitor's, and how often a trigger asked for nothing, by the reason."""
        return self.counters | {f"skipped:{reason}": n for reason, n in self.cases.skipped.items()}

    def withdraws_at(self, away: Collection[int]) -> int | None:
        """The next slice that can show that something foretold does not come; `away`: partitions that are left out."""
        untils = (foretold.until for foretold in self.foretold.values())
        return min((max(until.values()) for until in untils if not any(p in away for p in until)), default=None)

    def count(self, what: str, n: int) -> None:
        """Add to a counter of the model."""
        self.counters[what] = self.counters.get(what, 0) + n

    def mark(self, revision: int, arrived: Slice, partitions: int) -> None:
        """Note that a partition has shown the mark of a spec: it comes into force when all of them have, unless a newer
        one has before: of two authors at once the second one's marks may stand first.

        The first revision of all is in force from the slice after its first mark: from there on there are panes to add
        up, and no older rules to judge them by.
        """
        seen = self.marked.setdefault(revision, [])
        if arrived.partition in seen:
            return
        seen.append(arrived.partition)
        first_of_all = not self.revision and not self.coming
        newest = max([self.revision, *(coming for _, coming in self.coming)])
        if first_of_all or (len(seen) == partitions and revision > newest):
            self.coming.append((arrived.slice + 1, revision))
