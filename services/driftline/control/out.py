"""From events to records: where each goes, under which key."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from driftline.control.book import Book
from driftline.core.terms import terms_of
from driftline.events.admin import CommandResult, Deployment
from driftline.events.alerts import Alert
from driftline.events.base import Decision, Event, Millis, encode
from driftline.events.baselines import Calibration
from driftline.events.cloudevents import headers
from driftline.events.reports import WindowReport
from driftline.events.retraining import Case, ModelState, RetrainRequest
from driftline.events.topics import Topic
from driftline.platform.code import CODE
from driftline.platform.kafka import mark
from driftline.platform.records import Outgoing
from driftline.spec.model import MonitorSpec

_TOPIC: dict[type[Event], Topic] = {
    WindowReport: Topic.METRICS,
    Alert: Topic.ALERTS,
    RetrainRequest: Topic.RETRAIN_REQUESTS,
    Case: Topic.CASES,
    ModelState: Topic.MODELS,
    CommandResult: Topic.COMMAND_RESULTS,
    Calibration: Topic.BASELINES,
}
OUTPUTS = tuple(_TOPIC.values())


class About(Protocol):
    """What is known of a model where a decision about it is written."""

    book: Book
    spec: MonitorSpec | None


@dataclass
class Out:
    """The records of one step. `published`: ids that stand in the topics already (after a start without state).

    `models`: what is known of each. `inputs`: by id the digest of each command, candidate and verdict that has been
    applied in the slice at work. The only place where decisions are completed, so that what decides them, and what is
    remembered of them, knows nothing of it.
    """

    deployment: Deployment
    shard: int
    published: Container[str]
    models: Mapping[str, About]
    inputs: dict[str, str] = field(default_factory=dict)
    records: list[Outgoing] = field(default_factory=list)

    def event(self, event: Event, at: Millis) -> None:
        """Write an event, unless it has been written before."""
        if event.id in self.published:
            return
        if isinstance(event, Decision):
            event = self._complete(event)
        topic = _TOPIC[type(event)]
        key, partition = str(getattr(event, "model", "")), self.shard
        if isinstance(event, Alert):
            key = event.fingerprint
        elif isinstance(event, Calibration):
            key, partition = f"{event.model}/{event.version}", 0
        # a replayed log reads in replayed time; a live one has the broker's
        timestamp = at if self.deployment.clock == "events" else None
        self.records.append(
            Outgoing(topic, key.encode(), encode(event), partition, headers(event, "driftline/control"), timestamp)
        )

    def alert(self, alert: Alert | None, at: Millis) -> None:
        """Write an alert's change, if there is one."""
        if alert is not None:
            self.event(alert, at)

    def champion(self, state: ModelState) -> None:
        """Name who serves and who stands beside it: the marks of a version's baseline stand in every partition before
        anybody can learn of the version.
        """
        if state.id in self.published:
            return
        for known in (state.champion, state.shadow):
            if known is not None and known.baseline is not None:
                self.records += mark(self.deployment, f"baseline {known.baseline}")
        self.event(state, state.at)

    def _complete(self, decision: Decision) -> Decision:
        """Say on what it rests, and give it its place in the chain of its model: the next one follows its bytes."""
        about = self.models.get(decision.model)
        if about is None:
            return msgspec.structs.replace(decision, code=CODE)
        book = about.book
        decision = msgspec.structs.replace(decision, spec=book.spec_name, code=CODE)
        if isinstance(decision, Alert):
            terms = terms_of(decision, about.spec, book.calibrations.values())
            decision = msgspec.structs.replace(decision, terms=terms)
        if isinstance(decision, Calibration) or (isinstance(decision, Alert) and decision.provisional):
            return decision
        inputs = {cause: self.inputs[cause] for cause in decision.caused_by if cause in self.inputs}
        link = msgspec.structs.replace(book.link, inputs=inputs)
        decision = msgspec.structs.replace(decision, link=link)
        book.link = book.link.after(encode(decision))
        return decision
