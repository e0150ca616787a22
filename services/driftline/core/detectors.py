"""River's drift detectors behind one wrapper: fed one value at a time, rebuilt by feeding the same values again.

River's begin anew with the value after a change that they find. So what came up to it need not be remembered.

A preset sees how far a value is from the first ones, in their standard deviations: River's own settings are for values
of another scale, and miss small shifts. What is fed is clipped first: one value without bounds would blind a detector.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from driftline.spec.detectors import PRESETS, make_detector

WARM = 100
"""Values from which a preset learns the usual mean and spread."""
FARTHEST = 5.0
"""Standard deviations beyond which a preset sees no difference."""
LONGEST, KEPT = 100_000, 50_000
"""After so many values without a change a detector begins anew with the last ones, so that what must be remembered has
a bound: 0.8 MB, and a tenth of a second to feed most detectors again."""

Usual = tuple[float, float]
"""A mean and a standard deviation."""


class Detector:
    """One detector and what it was fed. The same values in the same order always give the same detections.

    `values`: those since the one at which the last change was found. `usual`: what a preset has learnt, for good.
    `begun`: how often `values` began anew.
    """

    def __init__(self, name: str, params: Mapping[str, float], low: float = 0.0, high: float = 1.0) -> None:
        """`name`: a preset, or a class of `river.drift` (or its `binary`), whose arguments `params` are then.

        Values are clipped to `[low, high]`. Raises `ValueError` where River has no such detector or argument.
        """
        self._name, self._params, self._low, self._high = name, dict(params), low, high
        self.usual: Usual | None = None
        self.values = array("d")
        self.begun = 0
        self._detector: Any = make_detector(name, params)

    def update(self, value: float) -> bool:
        """Take in one value; says whether a change is found now. What is no number changes nothing."""
        if math.isnan(value):
            return False
        if self._detector.drift_detected:
            self.restore((), self.usual)
        elif len(self.values) >= LONGEST:
            self.restore(self.values[-KEPT:], self.usual)
        value = min(max(value, self._low), self._high)
        self.values.append(value)
        if self._name in PRESETS and self.usual is None:
            self._learn()
        else:
            self._feed((value,))
        return bool(self._detector.drift_detected)

    def restore(self, values: Iterable[float], usual: Usual | None) -> None:
        """Begin anew with what was fed and learnt earlier."""
        self.values, self.usual = array("d", values), usual
        self.begun += 1
        self._detector = make_detector(self._name, self._params)
        if self._name not in PRESETS or usual is not None:
            self._feed(self.values[-_reach(self._detector, len(self.values)) :])

    def _learn(self) -> None:
        """What is usual, once enough has come; that is fed then."""
        if len(self.values) >= WARM:
            self.usual = _usual(self.values)
            self._feed(self.values)

    def _feed(self, values: Iterable[float]) -> None:
        for value in values:
            self._detector.update(value if self.usual is None else _standardised(value, *self.usual))


def _reach(detector: Any, fed: int) -> int:
    """On how many of the last values a detector depends, of so many: KSWIN, whose tests take a millisecond, on those of
    its window alone, if it compares the whole older half with the newer one instead of drawing from it by chance.
    """
    if type(detector).__name__ == "KSWIN" and detector.window_size == 2 * detector.stat_size:
        return int(detector.window_size)
    return fed


def _standardised(value: float, mean: float, spread: float) -> float:
    return min(max((value - mean) / spread, -FARTHEST), FARTHEST)


def _usual(values: Sequence[float]) -> Usual:
    """Mean and standard deviation; where all are equal, a spread of one."""
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return mean, spread or 1.0
