"""The demo as a picture: AUC of what served and of the first model left alone, with alerts and promotions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl

from driftline.events.alerts import AlertKind, AlertState
from examples.flights.data import BEGIN
from examples.flights.serving import FIRST
from examples.flights.story import Story
from examples.flights.training import LEARNT_UNTIL

mpl.use("Agg")
import matplotlib.pyplot as plt  # the backend must be chosen first

ENOUGH = 3000
"""Weeks with fewer flights than the rule asks for are not drawn: a version's first days, above all."""


def draw(story: Story, path: Path) -> None:
    """Write the picture as PNG."""
    figure, axes = plt.subplots(figsize=(12, 6), layout="constrained")
    alone = story.metric("week", FIRST, "auc", ENOUGH)
    served: list[tuple[int, float]] = []
    states = story.models
    for number, state in enumerate(states):
        until = states[number + 1].at if number + 1 < len(states) else 2**62
        points = story.metric("week", state.champion.version, "auc", ENOUGH)
        served += [(end, value) for end, value in points if state.at < end <= until]
    axes.plot(*_xy(alone), color="#9aa5b1", linewidth=1.6, label="first model left alone (shadow)")
    axes.plot(*_xy(served), color="#0b6e4f", linewidth=2.2, label="serving champion")
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.03, high + 0.03)
    for state in states[1:]:
        axes.axvline(_date(state.at), color="#0b6e4f", linestyle="--", linewidth=1)
        axes.annotate(
            f"promoted\n{state.champion.version}",
            (_date(state.at), high + 0.025),
            fontsize=8,
            color="#0b6e4f",
            va="top",
            xytext=(3, 0),
            textcoords="offset points",
        )
    fired = [a for a in story.alerts if a.state is AlertState.FIRING and a.kind is AlertKind.METRIC]
    drawn = [(a.at, a.value) for a in fired if a.value is not None]
    axes.scatter(*_xy(drawn), color="#c0392b", zorder=3, s=46, marker="v", label="alert: AUC below 0.65")
    refused = {v.candidate for v in story.verdicts if v.decision == "refuse"}
    asked = {r.id: r.requested_at for r in story.requests}
    times = [asked[c.request] for c in story.candidates if c.id in refused and c.request in asked]
    axes.scatter(
        [_date(t) for t in times], [low - 0.015] * len(times), color="#b7791f", marker="x", label="candidate refused"
    )
    axes.set_ylabel("AUC over the trailing week")
    axes.set_title("Will a flight from New York be late? 2013, replayed through Driftline", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e8eb")
    learnt: Any = (BEGIN, LEARNT_UNTIL)  # as in `_date`
    axes.axvspan(*learnt, color="#f1f3f5", zorder=0)
    axes.annotate("the first model learnt\nfrom these flights", (learnt[0], low - 0.01), fontsize=8, color="#6b7280")
    axes.legend(loc="upper right", frameon=False, fontsize=9)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _xy(points: list[tuple[int, float]]) -> tuple[Any, Any]:
    return [_date(time) for time, _ in points], [value for _, value in points]


def _date(time: int) -> Any:
    """A datetime, which matplotlib plots though its types do not say so."""
    return datetime.fromtimestamp(time / 1000, UTC)
