"""Whether Kafka keeps raw records for long enough to rebuild from them."""

from __future__ import annotations

from datetime import timedelta

from driftline.events.admin import SpecRevision, decode_specs_record
from driftline.events.topics import Topic
from driftline.platform.kafka import read_all
from driftline.platform.settings import Settings
from driftline.platform.topics import configurations
from driftline.spec.durations import show_duration
from driftline.spec.model import MonitorSpec, millis
from driftline.spec.plain import from_plain

RAW = (Topic.PREDICTIONS, Topic.OUTCOMES)


def warnings(settings: Settings) -> list[str]:
    """What would make a rebuild inexact, each in a sentence; empty: nothing.

    A rebuild is exact from two horizons after the earliest record kept: an outcome comes up to a horizon after its
    prediction, and both must still be there.
    """
    specs = newest_specs(settings)
    configured = configurations(settings, [settings.topic(topic) for topic in RAW])
    found = []
    for name, values in configured.items():
        kept = int(values["retention.ms"])
        short = sorted(m for m, spec in specs.items() if 0 <= kept < 2 * millis(spec.horizon))
        if short:
            longest = max(specs[model].horizon for model in short)
            found.append(
                f"topic {name} keeps records for {_shown(kept)}, less than two horizons of {', '.join(short)} "
                f"({show_duration(2 * longest)}): what is lost from Redis could not be counted again exactly; "
                f"{_mends(settings, name, 2 * millis(longest))}"
            )
        if int(values["retention.bytes"]) >= 0:
            found.append(
                f"topic {name} is also limited to {values['retention.bytes']} bytes a partition: how long it keeps "
                "records depends on how many come"
            )
    return found


def newest_specs(settings: Settings) -> dict[str, MonitorSpec]:
    """The newest revision of every model's spec."""
    newest: dict[str, SpecRevision] = {}
    for record in read_all(settings, Topic.SPECS):
        event = decode_specs_record(record.value) if record.value else None
        if isinstance(event, SpecRevision) and (
            event.model not in newest or event.revision > newest[event.model].revision
        ):
            newest[event.model] = event
    return {model: from_plain(event.spec) for model, event in newest.items()}


def _mends(settings: Settings, name: str, wanted_ms: int) -> str:
    return (
        f"`kafka-configs.sh --bootstrap-server {settings.bootstrap} --alter --entity-type topics --entity-name {name} "
        f"--add-config retention.ms={wanted_ms}` keeps them"
    )


def _shown(kept_ms: int) -> str:
    return show_duration(timedelta(milliseconds=kept_ms))
