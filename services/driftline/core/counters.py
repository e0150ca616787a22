"""Alerts that follow from the monitor's counters of one model."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from driftline.core.alert_events import alert_about
from driftline.core.alerts import Change, Standing, fire, resolve
from driftline.events.alerts import Alert, AlertKind, AlertState, Severity
from driftline.events.base import Millis

MAX_KEPT, PARTITIONERS = "max-kept", "partitioners-differ"
EVICTED = "evicted"

APART = 0.2
"""Misplaced shares of the two topics that differ by more than this are two partitioners."""
ENOUGH, ENOUGH_TO_END = 50, 200
"""Sampled ids of each topic that are looked at before it is said that partitioners differ, or agree again."""

SAMPLED = ("sampled_predictions", "sampled_outcomes")
MISPLACED = ("misplaced_predictions", "misplaced_outcomes")


def observe_evicted(standing: Standing, model: str, n: int, at: Millis, cause: str) -> Alert | None:
    """Kept predictions were forgotten early. The first slice with such opens an episode; the rest are counted."""
    standing.quiet_since = at
    if standing.state is AlertState.FIRING and standing.last is not None:
        standing.last = msgspec.structs.replace(standing.last, n=standing.last.n + n)
        return None
    summary = f"Kept predictions of {model} hit max_kept: the oldest are forgotten before their outcome, and coverage "
    told = _alert(model, MAX_KEPT, at, summary + "will read lower. Raise limits.max_kept, or shorten the horizon.")
    return fire(standing, msgspec.structs.replace(told, n=n, caused_by=(cause,)))


class Placement(msgspec.Struct, kw_only=True):
    """Sampled ids since the last judgement, (predictions, outcomes), and those of them in another partition than
    murmur2 of their key says.
    """

    sampled: tuple[int, int] = (0, 0)
    misplaced: tuple[int, int] = (0, 0)

    def add(self, counters: Mapping[str, int]) -> bool:
        """Count a slice's samples; says whether there were any."""
        if not any(counters.get(name) for name in SAMPLED):
            return False
        self.sampled = _sum(self.sampled, counters, SAMPLED)
        self.misplaced = _sum(self.misplaced, counters, MISPLACED)
        return True


def observe_placement(
    placement: Placement, standing: Standing, model: str, orphans: int, joined: int, at: Millis, cause: str
) -> Alert | None:
    """Whether predictions and outcomes are spread by the same partitioner, judged whenever enough ids are sampled.

    `orphans`: outcomes so far that found no prediction; `joined`: those that did.
    """
    firing = standing.state is AlertState.FIRING
    if min(placement.sampled) < (ENOUGH_TO_END if firing else ENOUGH):
        return None
    shares = [wrong / n for wrong, n in zip(placement.misplaced, placement.sampled, strict=True)]
    n = min(placement.sampled)
    placement.sampled = placement.misplaced = (0, 0)
    if abs(shares[0] - shares[1]) <= APART:
        return resolve(standing, Change.PARTITIONERS_AGREE, at, (cause,))
    if firing:
        return None
    odd = "predictions" if shares[0] > shares[1] else "outcomes"
    outcomes = orphans + joined
    lost = f"{orphans / outcomes:.0%} of {outcomes} outcomes were orphans" if outcomes else "no outcome has joined yet"
    told = _alert(
        model,
        PARTITIONERS,
        at,
        f"The producers of {model} spread ids differently: {shares[0]:.0%} of predictions and {shares[1]:.0%} of "
        f"outcomes are not where murmur2 puts them, so many never meet ({lost}). Set partitioner=murmur2_random in the "
        f"librdkafka producer of the {odd}; the default of Java and kafka-python is murmur2.",
    )
    difference = abs(shares[0] - shares[1])
    return fire(standing, msgspec.structs.replace(told, value=difference, threshold=APART, n=n, caused_by=(cause,)))


def _sum(known: tuple[int, int], counters: Mapping[str, int], names: tuple[str, str]) -> tuple[int, int]:
    return known[0] + counters.get(names[0], 0), known[1] + counters.get(names[1], 0)


def _alert(model: str, rule: str, at: Millis, summary: str) -> Alert:
    return alert_about(AlertKind.DATA, model, "", rule, Severity.WARNING, rule, at, summary)
