"""What kind of model a file seems to be of, for a first spec: a guess, said aloud."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from driftline.backtesting.first_look import TOLD_APART, Look, Seen
from driftline.backtesting.mapping import OF_LABEL
from driftline.backtesting.values import label_readings
from driftline.errors import DriftlineError
from driftline.events.inputs import label_name
from driftline.spec.metrics import Task
from driftline.spec.model import MOST_LABELS

MOST_NUMBERED = 20
"""So many different whole numbers, without scores, may be labels; more are amounts."""
PAIRS = ({"0", "1"}, {"false", "true"}, {"no", "yes"})
"""The labels of a binary model of which only one is in the file."""


class Guess(NamedTuple):
    """The task, its labels and the positive one; `said`: what somebody should know who reads the spec."""

    task: Task
    labels: tuple[str, ...] = ()
    positive: str = ""
    said: tuple[str, ...] = ()


def guess_task(look: Look) -> Guess:
    """By the predictions and what came true. Raises `DriftlineError` where they are of no task that there is."""
    column = look.columns["prediction"]
    sides = [seen for seen in (look.seen[column], look.outcomes) if seen is not None]
    counts = [_counts(seen) for seen in sides]
    labels, odd = _labels(counts)
    countable = not any(seen.overflown for seen in sides)
    if len(labels) == 1 and countable and "score" in look.columns:
        labels = next((sorted(pair) for pair in PAIRS if labels[0] in pair), labels)
        odd = (*odd, f"only one answer is in the file: labels are taken to be {' and '.join(labels)}")
    if len(labels) == 2 and countable:
        if sides[0].is_number and set(labels) not in PAIRS:
            odd = (*odd, "two different numbers are taken for labels; if they are amounts, write regression")
        return Guess("binary", tuple(labels), _positive(look, labels), odd)
    if len(labels) > 2 and countable and (reason := _why_labels(look, sides, labels)) is not None:
        return Guess("multiclass", tuple(labels), "", (*odd, *reason))
    if sides[0].is_number:
        return Guess("regression")
    shown = ", ".join(labels[:5])
    raise DriftlineError(
        f"{look.data.name}: column `{column}` has {len(labels)} different value{'s' if len(labels) != 1 else ''} "
        f"({shown}{', ...' if len(labels) > 5 else ''}); what can be watched is a model with two labels or more that "
        "come again and again, or one that answers with numbers"
    )


def _counts(seen: Seen) -> Counter[str]:
    """How often each label is there; those of numbers are numbers."""
    found: Counter[str] = Counter()
    for value, count in seen.values.items():
        reading = label_readings(value)[-1]
        if not (seen.is_number and isinstance(reading, str)):
            found[label_name(reading)] += count
    return found


def _labels(counts: list[Counter[str]]) -> tuple[list[str], tuple[str, ...]]:
    """The different labels, and what is said of those that are left out.

    Beside two that nearly all rows have, a value is a label only if it is both predicted and comes true.
    """
    total = Counter[str]()
    for each in counts:
        total.update(each)
    ranked = sorted(total, key=lambda label: (-total[label], label))
    two = ranked[:2]
    if sum(total[label] for label in two) < TOLD_APART * total.total():
        odd = []
    else:
        odd = [label for label in ranked[2:] if len(counts) == 1 or not all(label in each for each in counts)]
    kept = [label for label in ranked if label not in odd]
    # only the most frequent are told by themselves where there are that many
    labels = kept if len(kept) > MOST_LABELS else sorted(kept)
    named = ", ".join(f"{label} ({total[label]:,})" for label in odd[:5]) + (", ..." if len(odd) > 5 else "")
    return labels, (f"taken for no labels, as they are rare: {named}; such rows will be left out",) if odd else ()


def _why_labels(look: Look, sides: list[Seen], labels: list[str]) -> tuple[str, ...] | None:
    """What is said of the labels of a multiclass model; None where they seem to be none, but numbers or free text."""
    if any(all(f"{begin}{label}" in look.data.columns for label in labels) for begin in OF_LABEL):
        pass
    elif sides[0].is_number:
        if len(labels) > MOST_NUMBERED or not all(seen.is_number and seen.whole for seen in sides):
            return None
        return (f"{len(labels)} different whole numbers are taken for labels; if they are amounts, write regression",)
    elif sides[0].is_identity:
        return None
    if len(labels) <= MOST_LABELS:
        return ()
    others = len(labels) - MOST_LABELS
    return (f"{len(labels)} labels: the {MOST_LABELS} most frequent are told by themselves, the other {others} as one",)


def _positive(look: Look, labels: list[str]) -> str:
    """The one whose predictions have the higher scores, else the last."""
    means: dict[str, float] = {}
    for value, (total, n) in look.scores.items():
        if n:
            means[label_name(label_readings(value)[-1])] = total / n
    return max(labels, key=lambda label: (means.get(label, -1.0) if len(means) == 2 else 0.0, label))
