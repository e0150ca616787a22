"""Three weeks and a half of flights through the whole loop, with faults on the way."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from examples.flights import data, training
from examples.flights.serving import DAY_MS, FIRST, MODEL, Application
from sklearn.linear_model import LogisticRegression

from driftline.client import Champion, Outcome, Prediction, Replay
from driftline.events.base import decode
from driftline.events.topics import MARK_HEADER, Topic
from driftline.platform import topics
from driftline.platform.archive import wait_until_reached
from driftline.platform.artifacts import StoredModel
from driftline.platform.declare import apply_spec
from driftline.platform.kafka import read_all, send_all
from driftline.platform.local.stack import LocalStack, leftovers
from driftline.platform.records import Outgoing
from driftline.platform.registering import manifest_of, register
from driftline.platform.settings import LocalServers, Settings
from driftline.spec.reader import parse_spec, read_spec

ROOT = Path(__file__).parents[1]
BEGIN, RULES_FROM, END = (int(datetime(2013, 2, day, tzinfo=UTC).timestamp() * 1000) for day in (4, 16, 28))
VICTIMS = {"redis": 1, "monitor": 2, "kafka": 3, "control": 4}
"""On which day of the rules each is ended with SIGKILL."""
HOUR_MS = 3_600_000

STUBBORN = """
model: stubborn
task: binary
labels: ["no", "yes"]
positive: "yes"
features: {x: {type: number, range: [-10, 10]}}
horizon: 12h
lateness: 1h
pane: 15m
windows: {day: {span: 24h}}
rules:
  - {name: accuracy-low, metric: accuracy, window: day, below: 0.9, min_samples: 50, retrain: true}
retrain:
  trainer: tests.functions_to_train:worse
  data: {span: 3d, holdout: 3d, label_delay: 1h}
  cooldown: 1d
  budget: 3 per 30d
  improve_within: 3d
"""


def flights_spec():
    """The demo's own rules, over spans that fit into a few weeks."""
    text = (ROOT / "examples/flights/monitor.yaml").read_text()
    text = text.replace("{span: 56d, holdout: 7d", "{span: 7d, holdout: 4d").replace('"0 4 1 * *"', '"0 4 * * 1,4"')
    return parse_spec(text.replace("cooldown: 10d", "cooldown: 2d"), "monitor.yaml")


def stubborn_events(start: int):
    """A model that is right for three days, and wrong from then on: what it learnt has turned round."""
    rng = np.random.default_rng(start // DAY_MS)
    for i in range(96):
        time = start + i * 15 * 60_000
        x = float(rng.normal())
        truth = (x > 0) == (start < RULES_FROM)
        score = float(1 / (1 + np.exp(-4 * x)))
        name = f"s{time}"
        answer = "yes" if x > 0 else "no"
        yield (
            time,
            Prediction(
                id=name, model="stubborn", version="1", time=time, features={"x": x}, prediction=answer, score=score
            ),
        )
        known = time + 5 * 60_000
        yield known, Outcome(id=name, model="stubborn", time=known, outcome="yes" if truth else "no")


def odd_events(start: int):
    """An outcome before its prediction, the same events three times, and a correction."""
    noon = start + 12 * HOUR_MS
    late = {"model": "stubborn", "version": "1", "prediction": "yes", "score": 0.9, "features": {"x": 1.0}}
    early = Prediction(id=f"early{start}", time=noon + HOUR_MS, **late)
    yield noon, Outcome(id=early.id, model="stubborn", time=noon, outcome="yes")
    yield noon + HOUR_MS, early
    thrice = Prediction(id=f"thrice{start}", time=noon, **late)
    for k in range(3):
        yield noon + k, thrice
        yield noon + 10 + k, Outcome(id=thrice.id, model="stubborn", time=noon, outcome="no")
    yield noon + 60_000, Outcome(id=thrice.id, model="stubborn", time=noon + 60_000, outcome="yes")


def malformed(start: int):
    """Bad records among good ones, stamped like them."""
    stamp = start + 6 * HOUR_MS
    return [
        Outgoing(Topic.PREDICTIONS, b"a", b'{"id": "a", "model": ', None, (), stamp),
        Outgoing(Topic.PREDICTIONS, b"b", b'{"id": "b", "model": "stubborn"}', None, (), stamp),
        Outgoing(Topic.OUTCOMES, b"c", b"\xff\xfe\x00", None, (), stamp),
        Outgoing(
            Topic.OUTCOMES,
            b"d",
            msgspec.json.encode(Outcome(id="d", model="nobody", time=stamp, outcome="yes")),
            None,
            (),
            stamp,
        ),
    ]


PARTITIONS = 4


@dataclass(frozen=True)
class Loop:
    """What is left of the loop once all its workers have stopped: its topics, its Redis state, its archive."""

    settings: Settings
    killed: list[tuple[str, int]]
    """(worker, process id) of what was ended with SIGKILL."""
    sent: int
    """Events that the replay says it has sent."""

    def events(self, topic: Topic, kind):
        """Every event of a topic."""
        return [decode(r.value, kind) for r in read_all(self.settings, topic) if r.value and not r.header(MARK_HEADER)]


def run_loop(servers: LocalServers, own_servers: LocalStack | None, state: Path) -> Loop:
    """All workers under the supervisor, the replay, the kills; none of the workers runs any more when this returns.

    Servers are killed only where they are this test run's own.
    """
    prefix = f"loop{os.getpid()}."
    settings = Settings(
        bootstrap=servers.bootstrap,
        redis_url=servers.redis_url,
        prefix=prefix,
        state_dir=state,
        archive_dir=state / "archive",
        artifact_dir=state / "artifacts",
    )
    topics.create(settings, clock="events", slice_length=timedelta(minutes=15), partitions=PARTITIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTLINE_BOOTSTRAP", servers.bootstrap)
        patch.setenv("DRIFTLINE_REDIS_URL", servers.redis_url)
        stack = LocalStack(state, {"DRIFTLINE_PREFIX": prefix, "PYTHONPATH": f"{ROOT / 'services'}:{ROOT}"})
        try:
            stack.start()
            stack.start_workers()
            killed, sent = drive(settings, stack, own_servers)
            wait_until_reached(settings.archive_dir, PARTITIONS, END, 60)
        finally:
            stack.stop()
    assert leftovers(state) == []
    return Loop(settings, killed, sent)


def drive(settings, stack, own_servers):
    """The replay. Returns what was killed, as (name, process id), and how many events were sent."""
    flights = data.load(datetime.fromtimestamp(END / 1000, UTC))
    known = flights[(flights["time"] < RULES_FROM) & flights["outcome"].notna()]
    first = training.make_model().fit(known[list(data.FEATURES)].tail(8000), known["outcome"].astype(str).tail(8000))
    history, stubborn = read_spec(ROOT / "examples/flights/history.yaml"), parse_spec(STUBBORN, "stubborn")
    for spec in (history, stubborn):
        apply_spec(settings, spec, "test")
    rows = data.rows_of(known.tail(3000))
    register(settings, history, FIRST, first, {n: [row[n] for row in rows] for n in data.FEATURES}, "test")
    x = np.linspace(-2, 2, 400)
    right = LogisticRegression().fit(x.reshape(-1, 1), np.where(x > 0, "yes", "no"))
    register(settings, stubborn, "1", right, {"x": x.tolist()}, "test")
    of_workers = dict.fromkeys(("monitor", "control"), stack)
    of_servers = dict.fromkeys(("redis", "kafka"), own_servers) if own_servers else {}
    victims = {RULES_FROM + VICTIMS[name] * DAY_MS: (name, of) for name, of in (of_workers | of_servers).items()}
    killed, sent, now = [], 0, BEGIN

    def on_wait(_wait):
        # called while the workers have not decided up to the stretch's end: the victim has work in hand
        if victim := victims.pop(now, None):
            name, of = victim
            pid = of.pid(name)
            os.kill(pid, signal.SIGKILL)
            killed.append((name, pid))

    with Replay(settings, on_wait=on_wait, patience_s=120) as replay:
        replay.stretch(BEGIN, [])
        with Champion(MODEL, settings) as champion:
            application = Application(flights, champion, StoredModel(manifest_of(history, FIRST), first, None))
            for now in range(BEGIN, END, DAY_MS):
                if now == RULES_FROM:
                    apply_spec(settings, flights_spec(), "test")
                    send_all(settings, malformed(now))
                events = [*application.day(now), *stubborn_events(now), *odd_events(now)]
                sent += replay.stretch(now + DAY_MS, [e for e in events if e[0] < now + DAY_MS]).events
    return killed, sent
