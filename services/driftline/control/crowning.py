"""Who serves: candidates, verdicts, promotions, and whether a promotion is taken back."""

from __future__ import annotations

from typing import Literal

import msgspec

from driftline.control.book import Book, Probation
from driftline.control.calendar import LayoutOf
from driftline.control.detecting import Detecting
from driftline.control.judging import Judging
from driftline.control.out import Out
from driftline.control.panes import Panes, Series
from driftline.core import alerts, cases
from driftline.core.alert_events import alert_about
from driftline.core.alerts import Change
from driftline.core.case_book import Call, Skipped, Why
from driftline.core.live import LiveGain, Side, compare_live, spread_of
from driftline.core.windows import unit_of
from driftline.events.admin import Command
from driftline.events.alerts import AlertKind, Severity
from driftline.events.base import Millis, digest_id
from driftline.events.reports import ALL
from driftline.events.retraining import (
    AttemptState,
    Candidate,
    Case,
    Champion,
    ModelState,
    Serving,
    Verdict,
)
from driftline.spec.model import MonitorSpec, millis

ARTIFACT = "artifact"
UNUSABLE = ("candidate-unusable", "champion-unusable")
"""How a verdict's reason begins where an artifact was refused."""


class Crowning:
    """All methods act at decision time `at`. Its memory is in `book`."""

    def __init__(self, book: Book, panes: Panes, layout_of: LayoutOf, judging: Judging, detecting: Detecting) -> None:
        self._book = book
        self._panes = panes
        self._layout_of = layout_of
        self._judging = judging
        self._detecting = detecting

    # --- what trainer, gate and people say ---

    def register(self, command: Command, spec: MonitorSpec | None, at: Millis, out: Out) -> tuple[bool, str]:
        """Bring in the first champion."""
        if self._book.champion is not None:
            return False, f"version {self._book.champion.champion.version} serves already"
        if command.version is None:
            return False, "no version named"
        serving = Champion(version=command.version, artifact=command.artifact, baseline=command.baseline, since=at)
        self._crown(spec, serving, "registered", "stable", (command.id,), at, out)
        return True, "registered"

    def take_candidate(self, spec: MonitorSpec | None, candidate: Candidate, at: Millis, out: Out) -> None:
        """The trainer has answered."""
        case = cases.take_candidate(self._book.cases, candidate, _retries(spec), at)
        if case is not None:
            self._book.candidate = candidate if candidate.error is None else None
            self.tell(spec, case, at, out)

    def take_verdict(self, spec: MonitorSpec | None, verdict: Verdict, at: Millis, out: Out) -> None:
        """The gate has judged, of the artifact that the candidate named."""
        candidate = self._book.candidate
        if spec is None or candidate is None or candidate.artifact is None:
            return
        if candidate.artifact.sha256 != verdict.artifact_sha256:
            return
        case, serving = self._book.cases.open, self._book.champion
        if case is not None and serving is not None and case.attempts[-1].champion != serving.champion.version:
            verdict = msgspec.structs.replace(verdict, decision="refuse", reason=Why.OUTDATED)
        case = cases.take_verdict(self._book.cases, verdict, spec.promotion, at)
        if case is None:
            return
        self._book.spread = spread_of(verdict)
        self._look_at_artifacts(verdict, at, out)
        self.tell(spec, case, at, out)
        self._go_on(spec, case, verdict.reason, (verdict.id, candidate.id), at, out)

    def decide(self, command: Command, spec: MonitorSpec | None, at: Millis, out: Out) -> tuple[bool, str]:
        """A human promotes or rejects what waits for it."""
        case, candidate, promote = self._book.cases.open, self._book.candidate, command.action == "promote"
        if spec is None or case is None or candidate is None or self._book.champion is None:
            return False, "no candidate waits for a decision"
        reason = f"{'approved' if promote else 'rejected'} by {command.author}" + (
            f": {command.comment}" if command.comment else ""
        )
        changed = cases.decide(self._book.cases, command.verdict, promote, reason, at, command.id)
        if changed is None:
            return False, "no candidate with this verdict waits for a decision"
        self.tell(spec, changed, at, out)
        self._go_on(spec, changed, reason, (command.id, candidate.id), at, out)
        return True, "promoted" if promote else "rejected"

    def roll_back(self, command: Command, spec: MonitorSpec | None, at: Millis, out: Out) -> tuple[bool, str]:
        """A human wants the version before back; which one that is he must say if it was taken back itself."""
        known = self._book.champion
        if known is None or known.previous is None:
            return False, "there is no version to go back to"
        before = known.previous.version
        if command.version is None and known.state == "rolled-back":
            return False, f"version {before} was taken back itself; to have it serve again, name it as the one to go to"
        if command.version not in (None, before):
            return False, f"version {known.champion.version} serves, and the one before it is {before}"
        reason = f"rolled back by {command.author}" + (f": {command.comment}" if command.comment else "")
        self._take_back(spec, reason, (command.id,), at, out)
        return True, f"rolled back to version {before}"

    def close(self, command: Command, spec: MonitorSpec | None, at: Millis, out: Out) -> tuple[bool, str]:
        """A human closes the open case."""
        reason = f"closed by {command.author}" + (f": {command.comment}" if command.comment else "")
        case = cases.close(self._book.cases, command.case, reason, at, command.id)
        if case is None:
            return False, "no such case is open without a running attempt"
        self.tell(spec, case, at, out)
        return True, "closed"

    # --- what time brings ---

    def due(self) -> list[Millis]:
        """When a comparison of live figures ends."""
        return [] if self._book.probation is None else [self._book.probation.until]

    def pass_time(self, spec: MonitorSpec, at: Millis, out: Out) -> None:
        """What falls due: a comparison of live figures, and deadlines of attempts and cases."""
        watched = self._book.probation
        if watched is not None and watched.kind == "shadow" and watched.until <= at:
            self._end_shadow(spec, watched, at, out)
        elif watched is not None and watched.until <= at:
            self._book.probation = None
            self._look_beside(spec, (), at, out)
        for case in cases.pass_time(self._book.cases, _retries(spec), at):
            self.tell(spec, case, at, out)
            self._look_beside(spec, (case.id,), at, out)

    def look_live(self, spec: MonitorSpec, at: Millis, out: Out) -> None:
        """A window was told: on probation, one that is certainly worse than the version before it goes."""
        watched = self._book.probation
        if watched is None or watched.kind != "probation":
            return
        found = self._live(spec, watched, at)
        if found is not None and found.certain_at_any_look:
            said = f"{Why.PROBATION_FAILED}: {spec.promotion.metric} {found.champion:.4g}, {found.other:.4g} before"
            self._take_back(spec, said, (), at, out)

    def tell(self, spec: MonitorSpec | None, case: Case, at: Millis, out: Out) -> None:
        """Publish a case's change, and call a human if it needs one."""
        out.event(case, at)
        why = cases.call(case, None if spec is None else spec.retrain)
        if why is not None:
            self.call_human(case, why, at, out)

    def call_human(self, case: Case, why: Call, at: Millis, out: Out) -> None:
        """Once a case, whichever version serves meanwhile: the alert is about the one for which it was opened."""
        version = case.attempts[0].champion
        standing = self._judging.standing(version, f"manual-intervention:{case.case}")
        self._judging.tell(standing, alerts.call_human(standing, version, case, why, cases.tried(case), at), at, out)

    def skipped(self, why: Skipped, at: Millis, out: Out) -> None:
        """A rule asked for an attempt in vain: a case whose budget is used up needs a human."""
        case = self._book.cases.open
        if why is Skipped.BUDGET and case is not None and case.rule is not None:
            self.call_human(case, Call.BUDGET_USED_UP, at, out)

    # --- how it goes on ---

    def _go_on(
        self, spec: MonitorSpec, case: Case, reason: str, caused_by: tuple[str, ...], at: Millis, out: Out
    ) -> None:
        """What follows from the state that an attempt has come to."""
        if case.attempts[-1].state is AttemptState.PROMOTED:
            on_trial = bool(spec.promotion.probation) and self._book.champion is not None
            state: Serving = "probation" if on_trial else "stable"
            self._crown(spec, self._candidate(at), reason, state, caused_by, at, out)
        else:
            self._look_beside(spec, caused_by, at, out)

    def _look_beside(self, spec: MonitorSpec, caused_by: tuple[str, ...], at: Millis, out: Out) -> None:
        """One version at most stands beside the champion: who, follows from what is watched.

        While a promotion is on probation, that is the version before; a candidate that is to be seen beside the
        champion waits for its end, and stays there until somebody has decided about it.
        """
        known, running = self._book.champion, self._book.cases.running
        if known is None or self._book.probation is not None:
            return
        causes = caused_by or (known.id,)
        if running is not None and running.state is AttemptState.SHADOW:
            self._begin_shadow(spec, known, causes, at, out)
        elif known.shadow is not None and (running is None or running.version != known.shadow.version):
            self._say(known, "stable", "nothing stands beside it any more", causes, at, out)

    def _begin_shadow(
        self, spec: MonitorSpec, known: ModelState, caused_by: tuple[str, ...], at: Millis, out: Out
    ) -> None:
        candidate = self._candidate(at)
        until = at + millis(spec.promotion.shadow) + millis(spec.lateness)
        self._watch("shadow", candidate.version, known.champion.version, at, until)
        self._say(known, "shadow", f"{candidate.version} stands beside it", caused_by, at, out, shadow=candidate)

    def _watch(
        self, kind: Literal["shadow", "probation"], version: str, against: str, at: Millis, until: Millis
    ) -> None:
        self._book.probation = Probation(
            kind=kind, version=version, against=against, since=at, until=until, spread=self._book.spread
        )

    def _end_shadow(self, spec: MonitorSpec, watched: Probation, at: Millis, out: Out) -> None:
        found = self._live(spec, watched, at)
        better = None if found is None else found.gain >= spec.promotion.min_effect and found.certain
        self._book.probation = None
        case = cases.take_live(self._book.cases, better, spec.promotion, at)
        if case is None:
            return
        self.tell(spec, case, at, out)
        self._go_on(spec, case, case.attempts[-1].reason, (case.id,), at, out)

    def _take_back(
        self, spec: MonitorSpec | None, reason: str, caused_by: tuple[str, ...], at: Millis, out: Out
    ) -> None:
        """The version before serves again."""
        known = self._book.champion
        assert known is not None, "a version serves that has one before it"
        assert known.previous is not None, "a version serves that has one before it"
        causes = caused_by or (known.id,)
        outdated = cases.outdate(self._book.cases, at, causes)
        for case in (outdated, cases.roll_back(self._book.cases, reason, at, causes)):
            if case is not None:
                self.tell(spec, case, at, out)
        back = msgspec.structs.replace(known.previous, since=at)
        self._crown(spec, back, reason, "rolled-back", causes, at, out)

    def _crown(
        self,
        spec: MonitorSpec | None,
        champion: Champion,
        reason: str,
        state: Serving,
        caused_by: tuple[str, ...],
        at: Millis,
        out: Out,
    ) -> None:
        known = self._book.champion
        previous = None if known is None else known.champion
        self._book.probation = None
        if state == "probation" and previous is not None and spec is not None:
            until = at + millis(spec.promotion.probation)
            self._watch("probation", champion.version, previous.version, at, until)
        told = ModelState(
            id=digest_id("models", self._book.model, *caused_by),
            caused_by=caused_by,
            model=self._book.model,
            champion=champion,
            previous=previous,
            shadow=previous if state == "probation" else None,
            state=state,
            reason=reason,
            at=at,
        )
        self._book.champion = told
        out.champion(told)
        self._book.latest = None
        if spec is not None:
            self._detecting.keep(spec, [champion.version])
        self._judging.version_replaced(champion.version, told.id, at, out)

    def _say(
        self,
        known: ModelState,
        state: Serving,
        reason: str,
        caused_by: tuple[str, ...],
        at: Millis,
        out: Out,
        shadow: Champion | None = None,
    ) -> None:
        """The same version serves, but something else has changed."""
        self._book.champion = msgspec.structs.replace(
            known,
            id=digest_id("models", self._book.model, state, *caused_by),
            caused_by=caused_by,
            state=state,
            shadow=shadow,
            reason=reason,
            at=at,
        )
        out.champion(self._book.champion)

    def _look_at_artifacts(self, verdict: Verdict, at: Millis, out: Out) -> None:
        """An artifact that was refused is an alert by itself, until artifacts could be used to compare."""
        standing = self._judging.standing("", ARTIFACT)
        why, _, detail = verdict.reason.partition(":")
        if why in UNUSABLE:
            summary = f"An artifact of {verdict.model} was refused ({why.replace('-', ' ')}):{detail or ' no detail'}."
            told = alert_about(AlertKind.ARTIFACT, verdict.model, "", ARTIFACT, Severity.CRITICAL, why, at, summary)
            told = msgspec.structs.replace(told, caused_by=(verdict.id,))
            self._judging.tell(standing, alerts.fire(standing, told), at, out)
        elif verdict.metrics:
            self._judging.tell(standing, alerts.resolve(standing, Change.USABLE, at, (verdict.id,)), at, out)

    def _candidate(self, at: Millis) -> Champion:
        """What was judged, as it would serve."""
        found = self._book.candidate
        assert found is not None, "what was judged is known"
        return Champion(version=found.version, artifact=found.artifact, baseline=found.baseline, since=at)

    def _live(self, spec: MonitorSpec, watched: Probation, at: Millis) -> LiveGain | None:
        """The gain of the version that stands beside the champion, by what both said since then."""
        serving, beside = (watched.against, watched.version)
        if watched.kind == "probation":
            serving, beside = watched.version, watched.against
        if not {serving, beside} <= self._book.bins.keys():
            return None
        longest = max(spec.windows, key=lambda name: spec.windows[name].span)
        unit = unit_of(spec, longest)
        start = -(-watched.since // unit) * unit

        def side(version: str, role: str) -> Side:
            layout, _ = self._layout_of(self._book.bins[version])
            return Side(layout, self._panes.between(unit, Series(version, role, "", ALL), start, at))

        seed = (spec.model, serving, beside, watched.since, at)
        blocks = (at - start) / millis(spec.promotion.block)
        return compare_live(
            spec.promotion.metric, side(serving, "champion"), side(beside, "shadow"), watched.spread, blocks, seed
        )


def _retries(spec: MonitorSpec | None) -> int:
    return 0 if spec is None or spec.retrain is None else spec.retrain.retries
