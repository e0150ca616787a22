"""How a worker watches itself: its log, one line an event to standard error, and its metrics, on loopback only."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import start_http_server
from prometheus_client.registry import Collector

from driftline.events.base import Millis
from driftline.events.topics import Topic
from driftline.platform.records import Outgoing, Source

log = logging.getLogger("driftline.telemetry")

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
"""Upper bounds of the histograms' buckets."""

METRICS: dict[str, str] = {
    "driftline_records_taken_total": "Records taken, by unit and topic.",
    "driftline_lag_records": "Records that stand in Kafka and have not been taken, by unit and topic.",
    "driftline_decision_behind_seconds": "How far the decision time lies behind the wall clock (clock live only).",
    "driftline_dead_letters_total": "Records that could not be used, by unit and reason.",
    "driftline_refused_records_total": "Records that Driftline itself could not work on.",
    "driftline_missing_records_total": "Records that were gone from Kafka before they were read, by unit and source.",
    "driftline_outbox_records": "Records that are stored to be sent and not yet acknowledged.",
    "driftline_unit_stopped": "1 while a unit stands still until an operator lets it go on.",
    "driftline_kept_predictions": "Predictions that are remembered until their horizon.",
    "driftline_step_seconds": "How long steps took.",
    "driftline_write_seconds": "How long writes of state, outbox and position took.",
    "driftline_relay_seconds": "How long sending an outbox took, until all of it was acknowledged.",
}
"""Every metric of a worker, beside those of its process (`process_resident_memory_bytes` and its like). What a work
measures of itself (`Work.gauges`) is `driftline_<name>`."""


def setup_logging() -> None:
    """Log at `DRIFTLINE_LOG_LEVEL` (default INFO), in UTC; the client libraries only from WARNING on.

    kafka-python's selector warns whenever the machine, or an import, held up one of its steps for a tenth of a second.
    """
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("driftline").setLevel(os.environ.get("DRIFTLINE_LOG_LEVEL", "INFO").upper())
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)


class Timings:
    """The histograms of one worker. Without a registry they are kept and shown to nobody."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        names = ("driftline_step_seconds", "driftline_write_seconds", "driftline_relay_seconds")
        made = (Histogram(name, METRICS[name], registry=registry, buckets=SECONDS) for name in names)
        self.step, self.write, self.relay = made


@dataclass
class UnitWatch:
    """What one unit tells of itself: plain numbers, which cost next to nothing where they are counted.

    `events`: records taken since the worker started. `last_event`: wall time at which it last took one.
    `decision_time`: 0 before the first step. `stopped`: why it stands still, else empty.
    """

    unit: str = ""
    live: bool = False
    timings: Timings = field(default_factory=Timings)
    events: int = 0
    last_event: Millis | None = None
    decision_time: Millis = 0
    taken: Counter[str] = field(default_factory=Counter)
    lag: Mapping[Source, int] = field(default_factory=dict)
    dead_letters: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    outbox: int = 0
    stopped: str = ""
    behind: bool = False
    gauges: Mapping[str, float] = field(default_factory=dict)

    def note(self, events: int, decision_time: Millis) -> None:
        """The unit has taken `events` records and has come to `decision_time`."""
        self.events += events
        self.decision_time = decision_time
        if events:
            self.last_event = int(time.time() * 1000)

    def stored(self, taken: Mapping[Source, Sequence[object]], outbox: Iterable[Outgoing]) -> None:
        """A step is stored: what it took, and what it has to send."""
        for source, records in taken.items():
            self.taken[source.topic.value] += len(records)
        for record in outbox:
            if record.topic is Topic.DEAD_LETTERS:
                self.dead_letters[dict(record.headers).get("driftline.reason", b"").decode()] += 1

    def behind_s(self, now: Millis) -> float | None:
        """How far the decision time lies behind `now`; None where no clock of ours moves it, or nothing is known."""
        return max(0, now - self.decision_time) / 1000 if self.live and self.decision_time else None


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker that runs units says of them.

    `behind_s`: how far the slowest decision time lies behind the wall clock (`clock: live`); `behind`: further than it
    should, as a notice has said. `kept`: predictions
    remembered until their horizon. `dead_letters`, `refused`: since it started. `missing`: records that were gone from
    Kafka before they were read. `metrics`: where it answers Prometheus. `stopped`: why units stand still, by unit.
    """

    lag: int
    behind_s: float | None
    behind: bool
    kept: int | None
    dead_letters: int
    refused: int
    missing: int
    metrics: str
    stopped: dict[str, str]


class WorkerWatch(Collector):
    """The units of one worker, and its metrics. Only those that it runs (`running`) are shown."""

    def __init__(self, service: str, running: Callable[[], Iterable[int]], live: bool) -> None:
        self._service, self._running, self._live = service, running, live
        self._registry = CollectorRegistry()
        self._timings = Timings(self._registry)
        self._units: dict[int, UnitWatch] = {}
        self.address = ""
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def unit(self, number: int) -> UnitWatch:
        """The watch of one unit."""
        name = f"{self._service}:{number}"
        return self._units.setdefault(number, UnitWatch(name, self._live, self._timings))

    def units(self) -> list[UnitWatch]:
        """Those of the units that run."""
        return [self.unit(number) for number in sorted(self._running())]

    def vitals(self) -> Vitals:
        """All of them in one."""
        units, now = self.units(), int(time.time() * 1000)
        kept = [u.gauges["kept_predictions"] for u in units if "kept_predictions" in u.gauges]
        return Vitals(
            lag=sum(sum(u.lag.values()) for u in units),
            behind_s=max((behind for u in units if (behind := u.behind_s(now)) is not None), default=None),
            behind=any(u.behind for u in units),
            kept=int(sum(kept)) if kept else None,
            dead_letters=sum(u.dead_letters.total() for u in units),
            refused=sum(u.refused for u in units),
            missing=sum(sum(u.missing.values()) for u in units),
            metrics=self.address,
            stopped={u.unit: u.stopped for u in units if u.stopped},
        )

    def serve(self) -> None:
        """Answer Prometheus on loopback, at `DRIFTLINE_METRICS_PORT` or a free port.

        A port that cannot be had holds up no work: a free one is used, and the log says so.
        """
        wanted = os.environ.get("DRIFTLINE_METRICS_PORT") or "0"
        try:
            server, _ = start_http_server(int(wanted), addr="127.0.0.1", registry=self._registry)
        except (OSError, ValueError, OverflowError) as error:
            log.error("metrics: port %s (DRIFTLINE_METRICS_PORT) cannot be used (%s); a free one is", wanted, error)
            server, _ = start_http_server(0, addr="127.0.0.1", registry=self._registry)
        self._server = server
        self.address = f"127.0.0.1:{server.server_port}"
        log.info("metrics at http://%s/metrics", self.address)

    def close(self) -> None:
        """Give the port back."""
        if self.address:
            self._server.shutdown()
            self._server.server_close()

    def collect(self) -> Iterator[Metric]:
        """What a scrape reads."""
        units, now = self.units(), int(time.time() * 1000)
        taken = ((u.unit, topic, n) for u in units for topic, n in u.taken.items())
        yield _family(CounterMetricFamily, "driftline_records_taken_total", ("unit", "topic"), taken)
        lag = ((u.unit, source.topic.value, n) for u in units for source, n in u.lag.items())
        yield _family(GaugeMetricFamily, "driftline_lag_records", ("unit", "topic"), _summed(lag))
        behind = ((u.unit, seconds) for u in units if (seconds := u.behind_s(now)) is not None)
        yield _family(GaugeMetricFamily, "driftline_decision_behind_seconds", ("unit",), behind)
        dead = ((u.unit, reason, n) for u in units for reason, n in u.dead_letters.items())
        yield _family(CounterMetricFamily, "driftline_dead_letters_total", ("unit", "reason"), dead)
        refused = ((u.unit, u.refused) for u in units)
        yield _family(CounterMetricFamily, "driftline_refused_records_total", ("unit",), refused)
        missing = ((u.unit, source, n) for u in units for source, n in u.missing.items())
        yield _family(CounterMetricFamily, "driftline_missing_records_total", ("unit", "source"), missing)
        yield _family(GaugeMetricFamily, "driftline_outbox_records", ("unit",), ((u.unit, u.outbox) for u in units))
        stopped = ((u.unit, float(bool(u.stopped))) for u in units)
        yield _family(GaugeMetricFamily, "driftline_unit_stopped", ("unit",), stopped)
        for name in sorted({name for u in units for name in u.gauges}):
            values = ((u.unit, u.gauges[name]) for u in units if name in u.gauges)
            yield _family(GaugeMetricFamily, f"driftline_{name}", ("unit",), values)


def _family(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
    name: str,
    labels: tuple[str, ...],
    samples: Iterable[tuple[str | float, ...]],
) -> Metric:
    family = kind(name, METRICS.get(name, "What the work measures of itself."), labels=labels)
    for *values, number in samples:
        family.add_metric([str(value) for value in values], float(number))
    return family


def _summed(samples: Iterable[tuple[str, str, int]]) -> Iterator[tuple[str, str, int]]:
    """One sample a pair of labels: control reads many partitions of one topic."""
    sums: Counter[tuple[str, str]] = Counter()
    for unit, topic, n in samples:
        sums[unit, topic] += n
    return ((unit, topic, n) for (unit, topic), n in sums.items())


def resident_bytes() -> int:
    """Memory of this process that is in use, as the kernel counts it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
