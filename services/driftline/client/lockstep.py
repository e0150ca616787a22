"""What a replay needs of the cluster: its records out, the workers' progress and answers back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from driftline.errors import DeploymentError
from driftline.events.admin import Deployment, Progress
from driftline.events.base import Millis, decode
from driftline.events.retraining import Candidate, Verdict
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform.bulk import BulkSender
from driftline.platform.following import Tail
from driftline.platform.kafka import read_deployment, tick
from driftline.platform.records import Outgoing, Record
from driftline.platform.settings import Settings

TICKED_BY_SOURCE = (Topic.PREDICTIONS, Topic.OUTCOMES)
TICKED_BY_SHARD = (Topic.COMMANDS, Topic.CANDIDATES, Topic.VERDICTS)


class Cluster(Protocol):
    """A deployment as a replay sees it. The real one is `KafkaCluster`; tests have one without Kafka."""

    deployment: Deployment
    decided: dict[int, Progress]
    """The last progress known of each shard."""
    answered: set[str]
    """Ids of the retrain requests that have a verdict or a failed candidate."""

    def send(self, records: Iterable[Outgoing]) -> int:
        """Hand over `records`, to be written in order; returns how many."""

    def tick(self, time: Millis) -> None:
        """Let time pass to `time` in every input partition, of the sources and of control.

        Each tick stands behind all that was sent to its partition. Returns once these and the ticks are acknowledged.
        """

    def listen(self, timeout_s: float) -> None:
        """Bring `decided` and `answered` up to date; waits up to `timeout_s` for news."""

    def close(self) -> None:
        """Disconnect."""


class KafkaCluster:
    """The deployment that `settings` names."""

    def __init__(self, settings: Settings) -> None:
        self.deployment = read_deployment(settings)
        if self.deployment.clock != "events":
            raise DeploymentError(
                f"the deployment under {settings.prefix!r} runs by the broker's clock, which no replay can move: make "
                "one with `driftline topics create --clock events` under another DRIFTLINE_PREFIX"
            )
        self.decided: dict[int, Progress] = {}
        self.answered: set[str] = set()
        self._requests: dict[str, str] = {}
        self._unmatched: set[str] = set()
        self._news = Tail(settings, Topic.PROGRESS, Topic.CANDIDATES, Topic.VERDICTS)
        try:
            for record in self._news.catch_up():
                self._take(record)
            self._sender = BulkSender(settings)
        except BaseException:
            self._news.close()
            raise

    def send(self, records: Iterable[Outgoing]) -> int:
        """See `Cluster.send`."""
        sent = 0
        for record in records:
            self._sender.add(record)
            sent += 1
        return sent

    def tick(self, time: Millis) -> None:
        """See `Cluster.tick`."""
        spread = [(topic, self.deployment.partitions) for topic in TICKED_BY_SOURCE]
        spread += [(topic, self.deployment.shards) for topic in TICKED_BY_SHARD]
        self.send(tick(topic, number, time) for topic, count in spread for number in range(count))
        self._sender.acknowledged()

    def listen(self, timeout_s: float) -> None:
        """See `Cluster.listen`."""
        for record in self._news.poll(timeout_s):
            self._take(record)

    def close(self) -> None:
        """See `Cluster.close`."""
        self._news.close()
        self._sender.close()

    def _take(self, record: Record) -> None:
        if not record.value or record.header(MARK_HEADER) is not None:
            return
        if record.source.topic is Topic.PROGRESS:
            progress = decode(record.value, Progress)
            self.decided[progress.shard] = progress
        elif record.source.topic is Topic.CANDIDATES:
            candidate = decode(record.value, Candidate)
            self._requests[candidate.id] = candidate.request
            if candidate.error is not None or candidate.id in self._unmatched:
                self.answered.add(candidate.request)
        else:
            verdict = decode(record.value, Verdict)
            self._unmatched.add(verdict.candidate)  # the two topics are read side by side: either may come first
            if verdict.candidate in self._requests:
                self.answered.add(self._requests[verdict.candidate])
