"""CloudEvents 1.0 headers in Kafka's binary mode, so that brokers and functions can route without reading the body."""

from __future__ import annotations

import re

from driftline.events.base import Event, Millis, iso

_TIMES = ("at", "revision", "requested_at", "written_at")
"""Where an event says when it was: the first that it has. Never a clock: a repeat carries the same headers."""


def type_name(kind: type) -> str:
    """`WindowReport` is `dev.driftline.window-report.v1`."""
    return f"dev.driftline.{re.sub(r'(?<!^)(?=[A-Z])', '-', kind.__name__).lower()}.v1"


def headers(event: Event, source: str) -> tuple[tuple[str, bytes], ...]:
    """The headers of an event that `source` (such as `driftline/control`) writes."""
    found = {
        "ce_specversion": "1.0",
        "ce_id": event.id,
        "ce_type": type_name(type(event)),
        "ce_source": source,
        "content-type": "application/json",
    }
    time: Millis | None = next((getattr(event, name) for name in _TIMES if hasattr(event, name)), None)
    if time is not None:
        found["ce_time"] = iso(time)
    return tuple((name, value.encode()) for name, value in found.items())
