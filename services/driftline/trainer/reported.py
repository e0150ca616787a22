"""What a training says of its own model, and what the gate needs to find it again."""

from __future__ import annotations

import json
import math
from pathlib import Path

from driftline.client.training import Trained
from driftline.errors import DriftlineError
from driftline.events.retraining import Told
from driftline.platform.formats import SKOPS
from driftline.platform.kept_rows import TRIAL, VALIDATED


def validation_of(trained: Trained, n: int) -> tuple[dict[str, Told], dict[str, bytes]]:
    """Its figures, and the files of the artifact that say what they are of. `n`: the rows that it got.

    Raises `DriftlineError` where they cannot be told, or are of rows or a model that nobody could try again.
    """
    files = {}
    if trained.validated_on is not None:
        places = [int(place) for place in trained.validated_on]
        if not places or len(set(places)) < len(places) or not 0 <= min(places) <= max(places) < n:
            raise DriftlineError(f"validated_on is {len(places)} positions, not each of another one of the {n} rows")
        files[VALIDATED] = json.dumps(places).encode()
    if trained.trial is not None:
        files[TRIAL] = SKOPS.dump(trained.trial)
        SKOPS.load(files[TRIAL], Path(TRIAL))  # it must come back in the gate
    return {name: _told(name, told) for name, told in trained.validation.items()}, files


def _told(name: str, told: Told) -> Told:
    if not isinstance(told, tuple):
        told = float(told)
        if math.isfinite(told):
            return told
    elif len(told) == 3:
        value, low, high = (float(each) for each in told)
        if low <= value <= high and math.isfinite(low) and math.isfinite(high):
            return value, low, high
    raise DriftlineError(f"validation figure {name} is {told}: neither a number nor (value, low, high) around it")
