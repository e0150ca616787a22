"""Finding what there is to say about one prediction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from driftline.core.explaining import Arrival, Explained, explain, revision_in_force
from driftline.events.base import decode, to_millis
from driftline.events.inputs import Outcome, Prediction
from driftline.events.reports import WindowReport
from driftline.events.topics import Topic
from driftline.platform import stored
from driftline.platform.kafka import read_deployment
from driftline.platform.settings import Settings
from driftline.spec.model import millis

KINDS: dict[Topic, type[Prediction] | type[Outcome]] = {Topic.PREDICTIONS: Prediction, Topic.OUTCOMES: Outcome}


def explained(settings: Settings, name: str, model: str | None) -> list[Explained]:
    """What became of the predictions with this id, by model and version. Empty: there is none."""
    slice_ms = millis(read_deployment(settings).slice)
    by_version: dict[tuple[str, str], list[Arrival]] = defaultdict(list)
    for one in _arrivals(settings, Topic.PREDICTIONS, name):
        if model in (None, one.event.model):
            by_version[one.event.model, one.event.version].append(one)
    if not by_version:
        return []
    outcomes = _arrivals(settings, Topic.OUTCOMES, name)
    declared = stored.declared(settings)
    found = []
    for (of, _), arrivals in sorted(by_version.items()):
        partition, offset, _ = arrivals[0].place
        revision = revision_in_force(declared.placed, of, partition, offset)
        spec = declared.specs.get((of, revision)) if revision is not None else None
        since = min(to_millis(one.event.time) for one in arrivals)
        reports = [decode(value, WindowReport) for value in stored.reports(settings, of, since)]
        of_model = [one for one in outcomes if one.event.model == of]
        spec_name = f"{of}@{revision}" if spec is not None else None
        found.append(explain(arrivals, of_model, spec, spec_name, reports, slice_ms))
    return found


def _arrivals(settings: Settings, topic: Topic, name: str) -> Sequence[Arrival]:
    """Every record of an id that can be read, and which of them are dead letters."""
    rows = stored.named(settings, topic, [name])
    dead = stored.dead_letters(settings, topic, rows)
    found = []
    for row in rows:
        try:
            event = decode(row.value, KINDS[topic])
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        found.append(Arrival(row.place, row.arrival, event, dead.get(row.place)))
    return found
