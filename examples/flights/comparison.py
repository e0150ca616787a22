"""The honest comparison at the end: the flights that were served with promotions, and by the first model alone.

Computed from the archived events with scikit-learn, not from what Driftline reported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import t as student
from sklearn.metrics import log_loss, roc_auc_score

from driftline.platform.archive import query, wait_until_reached
from driftline.platform.kafka import read_deployment
from driftline.platform.settings import Settings
from examples.flights.serving import FIRST, MODEL

WAIT_S = 30.0
DAY_MS = 86_400_000

FLIGHTS = """
    WITH said AS (
        SELECT id, role, version, time, outcome_value ->> '$.outcome' = 'late' AS late,
            value ->> '$.prediction' = 'late' AS called_late, CAST(value ->> '$.score' AS DOUBLE) AS score
        FROM labelled WHERE model = '{model}' AND time >= {since}
    )
    SELECT served.time, served.late, served.score AS score, served.called_late AS called_late,
        alone.score AS score_alone, alone.called_late AS called_late_alone
    FROM said served JOIN said alone USING (id)
    WHERE served.role = 'champion' AND alone.version = '{first}' ORDER BY id
"""


def compare(settings: Settings, since: int, until: int) -> dict[str, dict[str, float]]:
    """AUC, log loss and missed delays of both sides, over the labelled flights predicted between two instants.

    And what the promotions gained in log loss, with the 95 % interval over days.
    """
    wait_until_reached(settings.archive_dir, read_deployment(settings).partitions, until, WAIT_S)
    rows = query(settings.archive_dir, FLIGHTS.format(model=MODEL, since=since, first=FIRST)).to_pandas()
    return {
        "with Driftline": _figures(rows["late"], rows["score"], rows["called_late"]),
        "first model alone": _figures(rows["late"], rows["score_alone"], rows["called_late_alone"]),
        "gain": _gain(rows),
    }


def _gain(rows: Any) -> dict[str, float]:
    """The mean gain in log loss: the jackknife over days, because the flights of a day share its weather."""
    losses = [-np.log(np.where(rows["late"], rows[side], 1 - rows[side])) for side in ("score_alone", "score")]
    days = np.unique(rows["time"] // DAY_MS, return_inverse=True)[1]
    gained, flights = np.bincount(days, losses[0] - losses[1]), np.bincount(days)
    without = (gained.sum() - gained) / (flights.sum() - flights)
    error = np.sqrt((gained.size - 1) / gained.size * ((without - without.mean()) ** 2).sum())
    gain, half = float(gained.sum() / flights.sum()), float(student.ppf(0.975, gained.size - 1) * error)
    return {"log_loss": gain, "low": gain - half, "high": gain + half}


def _figures(late: Any, scores: Any, called_late: Any) -> dict[str, float]:
    return {
        "flights": float(len(late)),
        "auc": float(roc_auc_score(late, scores)),
        "log_loss": float(log_loss(late, scores)),
        "missed_delays": float((late & ~called_late).sum()),
        "false_alarms": float((~late & called_late).sum()),
    }
