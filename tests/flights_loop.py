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
import redis
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
VICTIMS = {"redis": 1, "monitor": 2, "kafka": 3, "control": 4, "state": 6}
"""On which day of the rules each is ended with SIGKILL; all that is stored is then taken away."""
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


LEARNING = """
model: {name}
task: binary
labels: ["no", "yes"]
positive: "yes"
features:
  x: {{type: number}}
  z: {{type: number}}
segments: [side]
horizon: 12h
lateness: 1h
pane: 15m
windows: {{day: {{span: 24h}}, long: {{span: 3d, every: 1d}}}}
retrain:
  trainer: tests.functions_to_train:logistic
  schedule: "{schedule}"
  data: {{span: 3d, holdout: 3d, label_delay: 1h}}
  cooldown: 1d
  budget: 20 per 30d
promotion: {{metric: log_loss, min_effect: 0.01, {promotion}}}
"""
LOPSIDED = LEARNING.format(
    name="lopsided", schedule="0 4 16-20 * *", promotion="veto: {segments: [side], worse_by: 0.05}"
)
"""A retrain of it learns what holds on the left, and forgets what holds on the right."""
BACKFIRING = LEARNING.format(name="backfiring", schedule="0 4 16 * *", promotion="probation: 3d")
"""A retrain of it learns what holds until it is promoted, and no longer."""
LEFT_SHARE = 0.8


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


class Learning:
    """The application of `lopsided` and `backfiring`: x is right three times in four; z is nearly always right, but for
    lopsided on the right side only ever wrong, and for backfiring wrong once another version serves.
    """

    def __init__(self, settings: Settings, model: str) -> None:
        self._model, self._champion = model, Champion(model, settings)

    def day(self, start: int):
        """What it publishes in a day, stamped."""
        self._champion.refresh()
        turned = self._model == "backfiring" and self._champion.version != "1"
        rng = np.random.default_rng([start // DAY_MS, len(self._model)])
        size = 192
        truth = rng.random(size) < 0.5
        sides = np.where(rng.random(size) < LEFT_SHARE, "left", "right")
        tells = np.where(turned | ((self._model == "lopsided") & (sides == "right")), ~truth, truth)
        tells = np.where(rng.random(size) < 0.05, ~tells, tells)
        x = np.where(np.where(rng.random(size) < 0.75, truth, ~truth), 1.0, -1.0) + rng.normal(0, 0.2, size)
        z = np.where(tells, 1.0, -1.0) + rng.normal(0, 0.2, size)
        rows = [{"x": a, "z": b} for a, b in zip(x.tolist(), z.tolist(), strict=True)]
        for role, answers in (
            ("champion", self._champion.predict(rows)),
            ("shadow", self._champion.predict_beside(rows)),
        ):
            for i, answer in enumerate(answers):
                time = start + i * DAY_MS // size
                yield (
                    time,
                    Prediction(
                        id=f"{self._model}{time}",
                        model=self._model,
                        version=answer.version,
                        role=role,
                        time=time,
                        features=rows[i],
                        attributes={"side": str(sides[i])},
                        prediction=answer.prediction,
                        score=answer.score,
                    ),
                )
        for i, came in enumerate(truth.tolist()):
            known = start + i * DAY_MS // size + 5 * 60_000
            name = f"{self._model}{start + i * DAY_MS // size}"
            yield known, Outcome(id=name, model=self._model, time=known, outcome="yes" if came else "no")


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
    every = of_workers | of_servers | {"state": None}
    victims = {RULES_FROM + VICTIMS[name] * DAY_MS: (name, of) for name, of in every.items()}
    killed, sent, now = [], 0, BEGIN

    def on_wait(_wait):
        # called while the workers have not decided up to the stretch's end: the victim has work in hand
        if victim := victims.pop(now, None):
            name, of = victim
            if of is None:
                killed.append((name, forget_all(settings)))
                return
            pid = of.pid(name)
            os.kill(pid, signal.SIGKILL)
            killed.append((name, pid))

    with Replay(settings, on_wait=on_wait, patience_s=120) as replay:
        replay.stretch(BEGIN - HOUR_MS, [])
        for text in (LOPSIDED, BACKFIRING):  # later than 1970, where their schedule would begin to count
            declare_learning(settings, text)
        replay.stretch(BEGIN, [])
        learning = [Learning(settings, name) for name in ("lopsided", "backfiring")]
        with Champion(MODEL, settings) as champion:
            application = Application(flights, champion, StoredModel(manifest_of(history, FIRST), first, None))
            for now in range(BEGIN, END, DAY_MS):
                if now == RULES_FROM:
                    apply_spec(settings, flights_spec(), "test")
                    send_all(settings, malformed(now))
                events = [*application.day(now), *stubborn_events(now), *odd_events(now)]
                events += [event for application_of in learning for event in application_of.day(now)]
                sent += replay.stretch(now + DAY_MS, [e for e in events if e[0] < now + DAY_MS]).events
    return killed, sent


def declare_learning(settings: Settings, text: str) -> None:
    """A model whose first version goes by x alone."""
    spec = parse_spec(text, "learning")
    apply_spec(settings, spec, "test")
    signs = np.array([[-1.0, 0.0], [1.0, 0.0]] * 3 + [[1.0, 0.0], [-1.0, 0.0]])
    by_x = LogisticRegression().fit(signs, ["no", "yes"] * 4)
    rng = np.random.default_rng(3)
    rows = rng.choice([-1.0, 1.0], (800, 2)) + rng.normal(0, 0.2, (800, 2))
    register(settings, spec, "1", by_x, {"x": rows[:, 0].tolist(), "z": rows[:, 1].tolist()}, "test")


def forget_all(settings: Settings) -> int:
    """All that is stored under the deployment's prefix is gone at once; how many keys that were."""
    with redis.Redis.from_url(settings.redis_url) as client:
        keys = list(client.scan_iter(match=f"{settings.prefix}*", count=1000))
        return int(client.delete(*keys)) if keys else 0
