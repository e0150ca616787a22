"""River's drift detectors behind one wrapper: fed one value at a time, rebuilt by feeding the same values again.

A preset sees how far a value is from the first ones, in their standard deviations: River's own settings are for values
of another scale, and miss small shifts. What is fed is clipped first: one value without bounds would blind a detector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from driftline.spec.detectors import PRESETS, make_detector

WARM = 100
"""Values from which a preset learns the usual mean and spread."""
FARTHEST = 5.0
"""Standard deviations beyond which a preset sees no difference."""
LONGEST, KEPT = 10_000, 5_000
"""After so many values a detector begins anew with the last ones, so that what must be remembered has a bound."""


class Detector:
    """One detector and what it was fed. The same values in the same order always give the same detections."""

    def __init__(self, name: str, params: Mapping[str, float], low: float = 0.0, high: float = 1.0) -> None:
        """`name`: a preset, or a class of `river.drift` (or its `binary`), whose arguments `params` are then.

        Values are clipped to `[low, high]`. Raises `ValueError` where River has no such detector or argument.
        """
        self._name, self._params, self._low, self._high = name, dict(params), low, high
        self.values: list[float] = []
        self.begun = 0
        """How often it has begun anew."""
        self._begin()

    def update(self, value: float) -> bool:
        """Take in one value; says whether a change is found now. What is no number changes nothing."""
        if math.isnan(value):
            return False
        value = min(max(value, self._low), self._high)
        if len(self.values) >= LONGEST:
            self.restore(self.values[-KEPT:])
        self.values.append(value)
        return self._feed(value)

    def restore(self, values: Sequence[float]) -> None:
        """Begin anew with what was fed earlier."""
        self.values = list(values)
        self.begun += 1
        self._begin()
        for place, value in enumerate(values, start=1):
            self._feed(value, place)

    def _begin(self) -> None:
        self._detector = make_detector(self._name, self._params)
        self._usual: tuple[float, float] | None = None

    def _feed(self, value: float, place: int | None = None) -> bool:
        if self._name not in PRESETS:
            self._detector.update(value)
            return bool(self._detector.drift_detected)
        fed = len(self.values) if place is None else place
        if fed < WARM:
            return False
        if self._usual is None:
            self._usual = _usual(self.values[:WARM])
            found = [self._standardised(each) for each in self.values[:WARM]]
        else:
            found = [self._standardised(value)]
        for each in found:
            self._detector.update(each)
        return bool(self._detector.drift_detected)

    def _standardised(self, value: float) -> float:
        assert self._usual is not None, "a preset has seen its first values"
        mean, spread = self._usual
        return min(max((value - mean) / spread, -FARTHEST), FARTHEST)


def _usual(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation; where all are equal, a spread of one."""
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return mean, spread or 1.0
