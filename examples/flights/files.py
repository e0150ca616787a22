"""The flights as files, as somebody has them who has kept a log: predictions, outcomes, and what the model learnt from.

`driftline backtest` reads them; see README.md.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
import pandas as pd

from examples.flights import data, training
from examples.flights.serving import FIRST

FROM = datetime(2013, 3, 1, tzinfo=UTC)
LAST = datetime(2013, 9, 1, tzinfo=UTC)
WEEKS = 26


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--weeks", type=click.IntRange(1, WEEKS), default=WEEKS, show_default=True, help="From March 1.")
def main(directory: Path, weeks: int) -> None:
    """Write predictions.csv, outcomes.csv and reference.csv of the demo's first model into DIRECTORY.

    \b
    python -m examples.flights.files flights
    """
    flights = data.load(LAST)
    directory.mkdir(parents=True, exist_ok=True)
    known = flights[flights["outcome"].notna()]
    learnt = known[known["time"] < _millis(training.LEARNT_UNTIL)]
    features = list(data.FEATURES)
    model = training.make_model().fit(learnt[features], learnt["outcome"].astype(str))
    end = _millis(FROM) + weeks * 7 * 86_400_000
    served = flights[(flights["time"] >= _millis(FROM)) & (flights["time"] < end)]
    for name, table in (("reference", learnt), ("predictions", served)):
        late = model.predict_proba(table[features])[:, list(model.classes_).index("late")]
        told = table[["id", "time", *features]].assign(
            version=FIRST, prediction=np.where(late >= 0.5, "late", "on-time"), score=late.round(6)
        )
        told["time"] = _text(told["time"])
        told.to_csv(directory / f"{name}.csv", index=False)
    landed = served[served["known_at"] >= 0]
    outcomes = pd.DataFrame({"id": landed["id"], "time": _text(landed["known_at"]), "outcome": landed["outcome"]})
    outcomes.to_csv(directory / "outcomes.csv", index=False)
    click.echo(
        f"{len(served):,} predictions, {len(outcomes):,} outcomes and {len(learnt):,} reference rows in {directory}"
    )


def _text(times: pd.Series) -> pd.Series:
    return pd.to_datetime(times, unit="ms", utc=True).dt.strftime("%Y-%m-%dT%H:%M:%SZ")


def _millis(time: datetime) -> int:
    return int(time.timestamp() * 1000)


if __name__ == "__main__":
    main()
