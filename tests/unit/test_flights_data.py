"""The demo's flights are what really happened: nothing left out, nothing known before it was."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from examples.flights import data

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def flights():
    return data.load()


@pytest.fixture(scope="module")
def raw():
    return pd.read_csv(data._file("flights.csv.zip"))


def at(year, *rest):
    return int(datetime(year, *rest, tzinfo=UTC).timestamp() * 1000)


def test_every_flight_is_there_once(flights, raw):
    assert len(flights) == len(raw) == 336_776
    assert flights["id"].is_unique
    assert flights.groupby("origin").size().to_dict() == raw.groupby("origin").size().to_dict()
    assert flights["distance"].sum() == raw["distance"].sum()


def test_the_first_flights_are_the_same_without_the_later_ones(flights):
    until = datetime(2013, 1, 20, tzinfo=UTC)
    before = flights[flights["time"] < until.timestamp() * 1000]
    assert len(before) > 10_000
    pd.testing.assert_frame_equal(data.load(until), before, check_dtype=False)


def test_outcomes_are_those_of_the_flights_that_arrived(flights, raw):
    arrived = raw["arr_delay"].dropna()
    assert flights["outcome"].value_counts().to_dict() == {
        "late": int((arrived > 15).sum()),
        "on-time": int((arrived <= 15).sum()),
    }
    without = flights["outcome"].isna()
    assert round(without.mean(), 3) == 0.028
    assert (flights["known_at"] == -1).equals(without)


def test_a_flight_is_predicted_when_it_should_leave(flights):
    assert flights["time"].is_monotonic_increasing
    # 05:15 and 23:59 in New York, which is five hours behind
    assert flights["time"].iloc[0] == at(2013, 1, 1, 10, 15)
    assert flights["time"].iloc[-1] == at(2014, 1, 1, 4, 59)
    in_summer = flights[flights["id"].str.startswith("2013-07-04T06:00/")]["time"]
    assert set(in_summer) == {at(2013, 7, 4, 10, 0)}


def test_an_outcome_is_known_after_the_flight_and_not_a_day_later(flights):
    known = flights[flights["outcome"].notna()]
    took = (known["known_at"] - known["time"]) / HOUR_MS
    assert took.min() > 0
    assert took.quantile(0.999) < 14
    assert took.max() < 48


@pytest.mark.parametrize(
    ("dest", "zone"),
    [
        ("IAH", "America/Chicago"),
        ("SJU", "America/Puerto_Rico"),
        ("HNL", "Pacific/Honolulu"),
        ("PHX", "America/Phoenix"),
    ],
)
def test_an_outcome_is_known_when_the_clock_at_the_destination_says_so(flights, raw, dest, zone):
    mine = flights[(flights["dest"] == dest) & flights["outcome"].notna()]
    theirs = raw[(raw["dest"] == dest) & raw["arr_delay"].notna()]
    clocks = [datetime.fromtimestamp(ms / 1000, ZoneInfo(zone)).strftime("%H%M") for ms in mine["known_at"]]
    assert len(clocks) > 500
    assert sorted(clocks) == sorted(f"{int(t) % 2400:04d}" for t in theirs["arr_time"])


def test_features_are_known_before_the_flight(flights, raw):
    assert list(flights.columns) == ["id", "time", "known_at", *data.FEATURES, "outcome"]
    assert not set(data.FEATURES) & {"dep_delay", "dep_time", "arr_time", "arr_delay", "air_time"}
    monday = flights[flights["id"].str.startswith("2013-01-07T")]
    assert set(monday["weekday"]) == {0.0}
    assert np.isclose(flights["temp"].isna().mean(), 0.005, atol=0.005)


def test_rows_are_what_an_application_sends(flights):
    row = data.rows_of(flights.iloc[:1])[0]
    assert tuple(row) == data.FEATURES
    assert (row["hour"], row["weekday"], row["carrier"], row["origin"], row["dest"]) == (5.0, 1.0, "UA", "EWR", "IAH")
    hot = data.rows_of(flights[flights["temp"].isna()].iloc[:1])[0]
    assert hot["temp"] is None
