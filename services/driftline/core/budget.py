"""How rare a bar is: thresholds that are passed no more often than a budget of false alarms allows.

A series of panes that is taken to be without a fault, the baseline, is replayed: long series are drawn from its blocks,
a rule is played on their windows, and its episodes are counted. Everything here is in panes, of one length, and in
figures of which greater is worse.

* Blocks are as long as what neighbours share: the panes that one judgement rests on, at least the cube root of the
  windows that there are (Hall, Horowitz and Jing, Biometrika 82, 1995), and whole days that begin as days of the
  baseline do, so that a quiet night never stands at noon. They wrap around (Politis and Romano, 1992), so that each
  pane is drawn equally often.
* Every series that is drawn is held against a baseline that is drawn likewise: what comes later is further from a
  baseline than the baseline's own panes are.
* The rarest that a baseline shows is once in its own time, and that is one window's chance. So for rare alarms the bar
  is looked for where the baseline shows several episodes, and moved on from there as far as the tail of their peaks
  tells, if that is further than what is drawn shows. The tail is taken to be exponential, as that of a sum of many
  rows is at most far out (Pickands, Annals of Statistics 3, 1975), and its scale to be known from these few peaks only:
  if K of them pass u by m in the mean, then the chance that the next one passes u + x is (1 + x / (K m))^-K, on average
  over all baselines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

FiguresOf = Callable[[csr_array, FloatArray, FloatArray], FloatArray]
"""A segment's figures: of windows that are weighted sums of panes, (windows, panes), by two baselines that are such
sums too, (panes,): the one that they are compared with, and the one that is known. Greater is worse, NaN where a window
is not judged: (windows,).

A figure that compares goes by the first. One that does not is as far from the known one as it is from the first: how
far windows of a later time are from a baseline is how far those that are drawn are from one that is drawn.
"""

FEWEST = 20
"""Windows of a baseline that can be judged, at least: four weeks of days are enough."""
BLOCKS = 4
"""Blocks that a baseline must hold, at least: fewer say nothing about how times differ."""
DRAWN = 20_000
"""Windows drawn in all: the error of a count of episodes is then small beside that of the baseline itself."""
LONGEST = 100
"""Windows of one series, about: there must be many series, as each is held against one baseline."""
MOST_SERIES = 200
"""Series drawn at most: where windows are few, more would cost time and tell no more."""
LEAST_DRAWN = 2_000
"""Windows drawn of each segment, however many there are."""


class Course(NamedTuple):
    """How a rule looks at `panes` panes: at windows of `span` of them, of which one ends every `every`.

    `first`: where the first window begins. `day`: the panes of a day, 0 where days play no part. `k` of the last `of`
    windows that can be judged must be past the bar. `longest`: the windows of a drawn series, about.
    """

    panes: int
    span: int
    every: int
    first: int = 0
    day: int = 0
    k: int = 1
    of: int = 1
    longest: int = LONGEST

    def windows(self, order: IntArray) -> csr_array:
        """The windows over a series that consists of these panes, as weights: (windows, panes)."""
        starts = np.arange(self.first, order.size - self.span + 1, self.every)
        drawn = order[starts[:, None] + np.arange(self.span)]
        ends = np.arange(starts.size + 1) * self.span
        found = csr_array((np.ones(drawn.size), drawn.ravel(), ends), shape=(starts.size, self.panes))
        found.sum_duplicates()
        return found

    def until(self, end: int) -> int:
        """The last pane up to `end` that ends a whole day."""
        return end // self.day * self.day if 0 < self.day <= end else end

    def blocks(self, panes: int) -> tuple[int, int] | None:
        """How long blocks are, and at multiples of what they begin; None where `panes` hold too few of them."""
        reach = self.span + (self.of - 1) * self.every
        reach = max(reach, self.every * int(np.ceil((panes / self.every) ** (1 / 3))))
        for step in (self.day, 1):
            if step and panes % step == 0 and BLOCKS * (size := -(-reach // step) * step) <= panes:
                return size, step
        return None


class Bar(NamedTuple):
    """A threshold with the one to clear. `beyond`: it is further out than what is drawn shows."""

    threshold: float
    clear: float
    beyond: bool


class Calibrated(NamedTuple):
    """What a baseline says. `bar` is None where it is not able to, for the `reason`.

    `held_back`: episodes in the `held_back_panes` panes at its end, by the bar of the panes before; None where these
    are too few. `windows`: of everybody that can be judged.
    """

    windows: int
    bar: Bar | None = None
    reason: str = ""
    held_back: int | None = None
    held_back_panes: int = 0


def calibrate(
    figures: Sequence[FiguresOf], course: Course, alarms: float, seed: int, *, flat: bool = False
) -> Calibrated:
    """The bar that is passed `alarms` times a pane, over all `figures` together; everybody's are the first.

    The same arguments give the same bar, and with more `alarms` it is not higher. `flat`: figures that are all the same
    say something too.
    """
    order, all_of_it = np.arange(course.panes), np.ones(course.panes)
    windows = course.windows(order)
    seen = [_judged(of(windows, all_of_it, all_of_it)) for of in figures]
    if seen[0].size < FEWEST:
        return Calibrated(seen[0].size, reason=f"{seen[0].size} of its windows can be judged, {FEWEST} are needed")
    if course.blocks(course.panes) is None:
        return Calibrated(seen[0].size, reason=f"it is not {BLOCKS} times as long as what one judgement rests on")
    if not flat and np.ptp(np.concatenate(seen)) == 0:
        return Calibrated(seen[0].size, reason="its figure is the same in all windows")
    bar = find_bar(figures, course, course.panes, alarms, seed)
    earlier = course.until(2 * course.panes // 3)
    tried = find_bar(figures, course, earlier, alarms, seed) if course.blocks(earlier) is not None else None
    if tried is None:
        return Calibrated(seen[0].size, bar)
    later = course._replace(first=(course.first - earlier) % course.every).windows(order[earlier:])
    known = (order < earlier).astype(np.float64)
    passed = (len(episodes(_judged(of(later, known, known)), tried.threshold, tried.clear, course)) for of in figures)
    return Calibrated(seen[0].size, bar, held_back=sum(passed), held_back_panes=course.panes - earlier)


def find_bar(figures: Sequence[FiguresOf], course: Course, panes: int, alarms: float, seed: int) -> Bar | None:
    """The bar, calibrated on the first `panes` panes; None where no window of these can be judged."""
    drawn, length = _drawn(figures, course, panes, np.random.default_rng(seed))
    if not any(each.size for each in drawn):
        return None
    usual = max(float(np.median(each)) for each in drawn if each.size)
    allowed = alarms * panes
    apart = panes / max(course.span, course.every)
    enough = min(20.0, max(3.0, apart / 4))  # many peaks tell the tail's scale well, few are far out in it
    candidates = np.unique(np.concatenate(drawn))[::-1]

    def peaks(threshold: float) -> list[float]:
        clear = clear_of(threshold, usual)
        return [peak for each in drawn for peak in episodes(each, threshold, clear, course)]

    def lowest(most: float) -> float:
        return _lowest(lambda bar: len(peaks(bar)), candidates, most * length / panes, usual)

    shown = bar = lowest(allowed)
    if allowed < enough:
        start = lowest(enough)
        found = peaks(start)
        seen = len(found) * panes / length
        if seen > allowed:
            scale = seen * float(np.mean(found) - start)
            bar = max(shown, start + scale * ((seen / allowed) ** (1 / seen) - 1))
    return Bar(bar, clear_of(bar, usual), beyond=bar > shown)


def clear_of(threshold: float, usual: float) -> float:
    """Halfway back to what is usual: a figure that wavers around the threshold is one episode."""
    return threshold if usual > threshold else (threshold + usual) / 2


def episodes(figures: FloatArray, threshold: float, clear: float, course: Course) -> list[float]:
    """The peaks of the episodes in figures of windows in time order, as `core.alerts.observe` goes through them.

    One begins where `k` of the last `of` windows, since the one before has ended, are past the threshold, and ends at
    the first window that is not past `clear`. Its peak is the highest bar at which it would have begun.
    """
    breach = figures > threshold
    before = np.concatenate([[0], np.cumsum(breach)])
    lately = before[1:] - before[np.maximum(np.arange(figures.size) + 1 - course.of, 0)]
    fires, clears = np.flatnonzero(breach & (lately >= course.k)), np.flatnonzero(figures <= clear)
    ends = np.append(clears, figures.size)[np.searchsorted(clears, fires)]
    spans: list[int] = []
    since = 0
    for fire, end in zip(fires.tolist(), ends.tolist(), strict=True):
        if fire >= since and before[fire + 1] - before[since] >= course.k:
            spans += (fire, end)
            since = min(end + 1, figures.size)
    if not spans:
        return []
    levels = np.append(_levels(figures, course.k, course.of), -np.inf)
    # from each place to the next: every other stretch is an episode, and the last may end where the figures do
    peaks: list[float] = np.maximum.reduceat(levels, spans)[::2].tolist()
    return peaks


def _levels(figures: FloatArray, k: int, of: int) -> FloatArray:
    """The k-th greatest of the last `of` figures."""
    if of == 1 or not figures.size:
        return figures
    padded = np.concatenate([np.full(of - 1, -np.inf), figures])
    found: FloatArray = np.sort(np.lib.stride_tricks.sliding_window_view(padded, of), axis=1)[:, of - k]
    return found


def _judged(figures: FloatArray) -> FloatArray:
    return figures[~np.isnan(figures)]


def _drawn(
    figures: Sequence[FiguresOf], course: Course, panes: int, rng: np.random.Generator
) -> tuple[list[FloatArray], int]:
    """Figures of each segment over series drawn from the first `panes` panes, and how many panes these take in all."""
    blocks = course.blocks(panes)
    assert blocks is not None, "the caller has asked"
    a_day = max(1, course.day // course.every)
    windows = max(1, min(panes // course.every, max(1, course.longest // a_day) * a_day))
    series = min(MOST_SERIES, -(-max(LEAST_DRAWN, DRAWN // len(figures)) // windows))
    length = course.first + course.span + (windows - 1) * course.every
    known = (np.arange(course.panes) < panes).astype(np.float64)
    found: list[list[FloatArray]] = [[] for _ in figures]
    for _ in range(series):
        drawn = course.windows(_resampled(length, panes, blocks, rng))
        against = np.bincount(_resampled(panes, panes, blocks, rng), minlength=course.panes).astype(np.float64)
        for place, of in enumerate(figures):
            found[place].append(_judged(of(drawn, against, known)))
    return [np.concatenate(each) for each in found], series * windows * course.every


def _resampled(length: int, panes: int, blocks: tuple[int, int], rng: np.random.Generator) -> IntArray:
    """`length` panes out of the first `panes`, block after block."""
    size, step = blocks
    starts = rng.integers(0, panes // step, -(-length // size)) * step
    order: IntArray = ((starts[:, None] + np.arange(size)) % panes).ravel()[:length]
    return order


def _lowest(count: Callable[[float], int], candidates: FloatArray, most: float, usual: float) -> float:
    """A low bar of `candidates`, highest first, with at most so many episodes: all higher ones that are tried have too.

    Far down, where the rule would always fire, there are few episodes again: so it is looked for from above, and not
    below what is usual. What is tried does not depend on `most` before it decides: more never leads to a higher bar.
    """
    good, bad = 0, 1
    last = int(np.count_nonzero(candidates >= usual)) - 1
    while bad < last and count(float(candidates[bad])) <= most:
        good, bad = bad, 2 * bad + 1
    bad = min(bad, last)
    if bad > good and count(float(candidates[bad])) <= most:
        return float(candidates[bad])
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if count(float(candidates[middle])) <= most else (good, middle)
    return float(candidates[good])
