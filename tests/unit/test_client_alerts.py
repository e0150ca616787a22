"""Subscribing to alerts, with the topic faked."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline.client import alerts as module
from driftline.client.alerts import Alerts
from driftline.events.base import encode
from driftline.events.examples import GOOD
from driftline.events.topics import Topic
from driftline.platform.records import Record, Source
from driftline.platform.settings import Settings

SETTINGS = Settings("nowhere:1", "redis://nowhere", "test.", Path("/s"), Path("/a"), Path("/m"))


class Tail:
    """The topic `alerts`, whose records come all at once."""

    def __init__(self, *values: bytes) -> None:
        self.records = [Record(Source(Topic.ALERTS, 0), i, 0, 0, None, value, ()) for i, value in enumerate(values)]

    def poll(self, timeout_s):
        records, self.records = self.records, []
        return records

    def commit(self):
        pass


ODD = {"nothing": b"", "cut": b"{", "no text": b"\xff", "another": b"{}", "deep": b'{"x":' + b"[" * 100_000}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_what_is_no_alert_is_logged_and_the_next_one_comes(monkeypatch, caplog, odd):
    alert = GOOD["alert"]
    monkeypatch.setattr(module, "Tail", lambda *_, **__: Tail(odd, encode(alert)))
    assert next(iter(Alerts(SETTINGS))) == alert
    assert "alerts-0 offset 0 is no alert" in caplog.text
